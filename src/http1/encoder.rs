//! How the body of a message that is sent is framed (RFC 9112 §6).

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

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

impl Encoder {
    /// The framing that a head announces; a head that announces none has no body.
    ///
    /// # Errors
    /// When the length is no number, or there are several ways to read it.
    pub fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        const UNCLEAR: Fault =
            Fault::Unsendable("its head does not say clearly how long its body is");
        let mut framing = None;
        // Of a few fields, looking at each is the faster way to find two.
        for (name, value) in headers {
            let said = match () {
                () if *name == TRANSFER_ENCODING => Self::Chunked,
                () if *name == CONTENT_LENGTH => {
                    decimal(value.as_bytes()).map(Self::Length).ok_or(UNCLEAR)?
                }
                () => continue,
            };
            if framing.is_some_and(|other| other != said || said != Self::Chunked) {
                return Err(UNCLEAR);
            }
            framing = Some(said);
        }
        Ok(framing.unwrap_or(Self::Length(0)))
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
                    write_field(name.as_str().as_bytes(), value, out);
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
    use http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn encoder(fields: &[(&'static str, &'static str)]) -> Result<Encoder, Fault> {
        let fields = fields.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        Encoder::of(&fields.collect::<HeaderMap>())
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
