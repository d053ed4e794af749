//! HTTP/1.1 as bytes (RFC 9112), for both sides of the gateway: how heads and bodies are told and
//! written. Knows messages, not connections: who speaks to clients or endpoints is above.

pub mod chunks;
pub mod decoder;
pub mod encoder;
pub mod fields;
pub mod gather;
pub mod plain;
pub mod reading;
pub mod room;
pub mod sending;

use std::io;

/// Why a connection of HTTP/1.1 is of no more use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The other side closed it.
    #[error("the connection was closed before the message was whole")]
    Closed,
    /// What came is no HTTP.
    #[error("what came is no HTTP: {0}")]
    Syntax(#[source] httparse::Error),
    /// A head that nobody should believe.
    #[error("the head is not valid: {0}")]
    Head(&'static str),
    /// A body that nobody should believe.
    #[error("a chunk is not valid: {0}")]
    Chunk(&'static str),
    /// A head that is too large.
    #[error("the head is larger than {0} bytes")]
    TooLarge(usize),
    /// The message cannot be sent as it is.
    #[error("the message was not sent: {0}")]
    Unsendable(&'static str),
    /// The body of the message that is sent failed.
    #[error("the body failed: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}
