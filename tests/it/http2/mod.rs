//! HTTP/2 (RFC 9113) from raw frames: what of it may become HTTP/1, what one client may cost, and
//! endpoints that speak it.

mod downgrade;
mod endpoints;
mod floods;
mod frames;
mod grpc;
mod grpcio;
mod interim;
mod upstream;
mod websocket;
