//! How bytes are put on the wire: the first byte of an input tells.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

/// How bytes are written. A digit in front of a seed is a manner: `0` is all at once, `3` is three
/// bytes at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner(u8);

impl Manner {
    /// Takes it from the front of an input.
    pub(crate) fn of(input: &[u8]) -> (Self, &[u8]) {
        match input.split_first() {
            Some((first, rest)) => (Self(*first), rest),
            None => (Self(0), input),
        }
    }

    /// Whether the connection is dropped in the end, unread.
    pub(crate) fn breaks_off(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// Whether the other way of two is meant: what that is, each target tells.
    pub(crate) fn is_other(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Writes `bytes` so.
    ///
    /// # Errors
    /// When the other side takes no more.
    pub(crate) async fn write(
        self,
        to: &mut (impl AsyncWrite + Unpin),
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut rest = bytes;
        let size = usize::from(self.0 & 0xf);
        if size > 0 {
            for _ in 0..MOST_PIECES {
                let Some((piece, after)) = rest.split_at_checked(size) else { break };
                to.write_all(piece).await?;
                // Gives the reader a chance to see the piece alone.
                tokio::task::yield_now().await;
                rest = after;
            }
        }
        to.write_all(rest).await
    }
}

/// 64: more make an input slow and show nothing else.
const MOST_PIECES: usize = 64;
