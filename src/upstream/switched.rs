//! A connection whose endpoint has switched to another protocol: bytes from here on.

use bytes::Bytes;

use crate::base::ahead::Ahead;
use crate::tls::stream::Stream;

use super::h1::Open;

/// A connection that speaks HTTP no longer. It counts as open until dropped.
#[derive(Debug)]
pub struct Switched {
    /// What came with the answer's head is read first.
    stream: Ahead<Stream>,
    _open: Open,
}

impl Switched {
    pub(super) fn new(stream: Stream, ahead: Bytes, open: Open) -> Self {
        Self { stream: Ahead::new(ahead, stream), _open: open }
    }

    /// Where its bytes are read and written.
    pub fn stream(&mut self) -> &mut Ahead<Stream> {
        &mut self.stream
    }
}
