//! Unix sockets on both sides of the gateway.

mod endpoints;
mod listeners;
