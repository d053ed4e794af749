//! How the body of a message that is sent is framed (RFC 9112 §6).

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};

use super::Fault;
use super::fields::{decimal, write_field};

/// How a body is written, and what of it is still owed. What the head has said is kept to the
/// byte: a body that is longer or shorter would make its recipient see other messages than this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks, until one of no size.
    Chunked,
    /// All until the connection is closed.
    Close,
}

/// What a head that is written says of how its body is framed.
#[derive(Debug, Default)]
pub struct Said {
    framing: Option<Encoder>,
    unclear: bool,
}

impl Said {
    /// Notes what a field says, whichever it is.
    pub fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        let said = match () {
            () if *name == TRANSFER_ENCODING => Some(Encoder::Chunked),
            () if *name == CONTENT_LENGTH => decimal(value.as_bytes()).map(Encoder::Length),
            () => return,
        };
        let again = self.framing.is_some_and(|other| Some(other) != said || !other.is_chunked());
        self.unclear |= again || said.is_none();
        self.framing = said;
    }

    /// How the body is framed; a head that does not say it has none.
    ///
    /// # Errors
    /// When its length is no number, or there are several ways to read it.
    pub fn framing(self) -> Result<Encoder, Fault> {
        if self.unclear {
            return Err(Fault::Unsendable("its head does not say clearly how long its body is"));
        }
        Ok(self.framing.unwrap_or(Encoder::Length(0)))
    }
}

impl Encoder {
    fn is_chunked(self) -> bool {
        self == Self::Chunked
    }

    /// Begins one part of the body. Gives the bytes that end it.
    ///
    /// # Errors
    /// When the body is longer than its head says.
    pub fn begin(&mut self, data: &Bytes, out: &mut BytesMut) -> Result<&'static [u8], Fault> {
        match self {
            Self::Length(left) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or(Fault::Unsendable("its body is longer than its head says"))?;
                Ok(b"")
            }
            Self::Chunked => {
                write_size(data.len(), out);
                Ok(b"\r\n")
            }
            Self::Close => Ok(b""),
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When it is shorter than its head says.
    pub fn end(&self, trailers: Option<&HeaderMap>, out: &mut BytesMut) -> Result<(), Fault> {
        match self {
            Self::Length(0) | Self::Close => Ok(()),
            Self::Length(_) => Err(Fault::Unsendable("its body is shorter than its head says")),
            Self::Chunked => {
                out.put_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    write_field(name, value, out);
                }
                out.put_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

fn write_size(size: usize, out: &mut BytesMut) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.put_u8(b"0123456789abcdef"[size >> (digit * 4) & 0xf]);
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoder(fields: &[(&'static str, &'static str)]) -> Result<Encoder, Fault> {
        let mut said = Said::default();
        for (name, value) in fields {
            said.note(&HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
        said.framing()
    }

    #[test]
    fn a_head_that_says_two_things_of_its_body_is_not_sent() {
        assert_eq!(encoder(&[]).unwrap(), Encoder::Length(0));
        assert_eq!(encoder(&[("content-length", "5")]).unwrap(), Encoder::Length(5));
        assert_eq!(encoder(&[("transfer-encoding", "chunked")]).unwrap(), Encoder::Chunked);
        for length in ["", "+5", "5, 5", " 5", "0x5", "18446744073709551616"] {
            assert!(encoder(&[("content-length", length)]).is_err(), "{length:?}");
        }
        let both = [("content-length", "5"), ("transfer-encoding", "chunked")];
        assert!(encoder(&both).is_err());
        assert!(encoder(&[both[1], both[0]]).is_err());
        assert!(encoder(&[("content-length", "5"), ("content-length", "5")]).is_err());
        assert_eq!(encoder(&[both[1], both[1]]).unwrap(), Encoder::Chunked);
    }

    #[test]
    fn a_body_is_as_long_as_its_head_says() {
        let five = Bytes::from_static(b"12345");
        let mut out = BytesMut::new();
        assert!(Encoder::Length(4).begin(&five, &mut out).is_err());
        let mut encoder = Encoder::Length(6);
        encoder.begin(&five, &mut out).unwrap();
        assert!(encoder.end(None, &mut out).is_err());
    }

    #[test]
    fn trailers_end_the_chunks() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        let mut out = BytesMut::new();
        Encoder::Chunked.end(Some(&trailers), &mut out).unwrap();
        assert_eq!(&out[..], b"0\r\nx-sum: 7\r\n\r\n");
    }

    proptest! {
        #[test]
        fn a_chunks_size_is_its_size_in_hex(size: usize) {
            let mut out = BytesMut::new();
            write_size(size, &mut out);
            prop_assert_eq!(String::from_utf8_lossy(&out), format!("{size:x}\r\n"));
        }
    }
}
