//! The body of a message that comes: which of the bytes are its own.

use bytes::Bytes;
use http_body::SizeHint;

use super::Fault;
use super::chunks::{Chunks, Part};

/// How a body is framed, and what of it is still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoder {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Box<Chunks>),
    /// All until the connection is closed.
    Close,
}

impl Decoder {
    /// Chunks, from the first one on.
    pub fn chunked() -> Self {
        Self::Chunked(Box::default())
    }

    /// Takes the next part of the body from the front of `bytes`.
    ///
    /// # Errors
    /// When the bytes are no body of this framing.
    pub fn next(&mut self, bytes: &mut Bytes) -> Result<Part, Fault> {
        match self {
            Self::Length(0) => Ok(Part::End),
            Self::Chunked(chunks) => {
                let part = chunks.next(bytes);
                if bytes.is_empty() {
                    *bytes = Bytes::new(); // as in `take`: of nothing no hold on a buffer is left
                }
                part
            }
            _ if bytes.is_empty() => Ok(Part::More),
            Self::Length(left) => {
                let size = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= size as u64;
                Ok(Part::Data(take(bytes, size)))
            }
            Self::Close => Ok(Part::Data(take(bytes, bytes.len()))),
        }
    }

    /// Looks at what came with the head: a body that is bad from its first bytes on makes a bad
    /// message, and nobody has heard of that yet.
    ///
    /// # Errors
    /// When the bytes are no body of this framing.
    pub fn check(&self, bytes: &Bytes) -> Result<(), Fault> {
        if let Self::Chunked(chunks) = self {
            chunks.clone().next(&mut bytes.clone())?;
        }
        Ok(())
    }

    /// All that is left of the body, if `bytes` hold it and nothing else.
    pub fn take_rest(&mut self, bytes: &mut Bytes) -> Option<Bytes> {
        match self {
            Self::Length(left) if *left > 0 && *left == bytes.len() as u64 => {
                *left = 0;
                Some(std::mem::take(bytes))
            }
            _ => None,
        }
    }

    /// The other side has closed the connection.
    ///
    /// # Errors
    /// When the body is not whole.
    pub fn close(&mut self) -> Result<(), Fault> {
        if *self != Self::Close && !self.is_ended() {
            return Err(Fault::Closed);
        }
        *self = Self::Length(0);
        Ok(())
    }

    /// Whether all of it was taken.
    pub fn is_ended(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_ended(),
            Self::Close => false,
        }
    }

    /// How many bytes are still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::Close => None,
        }
    }

    /// How much is still to come.
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::Close => SizeHint::default(),
        }
    }
}

/// Takes `size` bytes from the front. Where none are left no hold on their buffer is left either, so
/// that it serves the next read.
pub fn take(bytes: &mut Bytes, size: usize) -> Bytes {
    if size == bytes.len() { std::mem::take(bytes) } else { bytes.split_to(size) }
}
