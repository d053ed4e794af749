//! TLS over the wire.

mod both_sides;
mod clients;
mod handshakes;
mod hosts;
mod sessions;
mod tenants;
