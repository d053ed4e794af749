//! TLS over the wire.

mod bearers;
mod both_sides;
mod clients;
mod handshakes;
mod hosts;
mod pools;
mod renewal;
mod sessions;
mod swaps;
mod tenants;
