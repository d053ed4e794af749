//! A body in chunks (RFC 9112 §7.1), read byte for byte as strictly as it is written there: no bare
//! line feed, no space before a size, nothing that another reader might take for another size.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Fault;
use super::decoder::take;

/// Where the reader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    at: At,
    /// What was read of trailers.
    trailers: BytesMut,
    /// Bytes of chunk extensions so far: they mean nothing to us, and cost time.
    extensions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a size of so many digits.
    Size {
        size: u64,
        digits: u32,
    },
    /// In space behind the size.
    Space {
        size: u64,
    },
    /// In what follows the size on its line.
    Extension {
        size: u64,
    },
    /// After the size's carriage return.
    SizeEnd {
        size: u64,
    },
    /// So many bytes of a chunk are left.
    Data {
        left: u64,
    },
    /// After a chunk.
    DataEnd,
    /// After its carriage return.
    DataFeed,
    /// After the last chunk.
    Trailers,
    End,
}

/// What the next bytes are.
#[derive(Debug)]
pub enum Part {
    /// Bytes of the body.
    Data(Bytes),
    /// The fields after it.
    Trailers(HeaderMap),
    /// More bytes are needed.
    More,
    /// The body is over.
    End,
}

impl Default for Chunks {
    /// Before the first one.
    fn default() -> Self {
        Self { at: START, trailers: BytesMut::new(), extensions: 0 }
    }
}

impl Chunks {
    /// Whether the last of them and its trailers were read.
    pub fn is_ended(&self) -> bool {
        self.at == At::End
    }

    /// Takes the next part from the front of `bytes`.
    ///
    /// # Errors
    /// When the bytes are no chunks, or too many of them are not data.
    pub fn next(&mut self, bytes: &mut Bytes) -> Result<Part, Fault> {
        loop {
            match self.at {
                At::End => return Ok(Part::End),
                At::Data { left: 0 } => self.at = At::DataEnd,
                At::Data { left } if !bytes.is_empty() => {
                    let size = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    self.at = At::Data { left: left - size as u64 };
                    return Ok(Part::Data(take(bytes, size)));
                }
                At::Trailers => return self.trailers(bytes),
                _ => {
                    let Some(byte) = bytes.first().copied() else {
                        return Ok(Part::More);
                    };
                    bytes.advance(1);
                    self.at = self.step(byte)?;
                }
            }
        }
    }

    fn step(&mut self, byte: u8) -> Result<At, Fault> {
        match (self.at, byte) {
            (At::Size { size, digits }, digit) if digit.is_ascii_hexdigit() => {
                // 16 digits fill the word; leading zeros are digits, too.
                if digits == u64::BITS / 4 {
                    return Err(Fault::Chunk("its size is too large"));
                }
                let digit = char::from(digit).to_digit(16).unwrap_or_default();
                Ok(At::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (At::Size { digits: 0, .. }, _) => Err(Fault::Chunk("its size is missing")),
            (At::Size { size, .. } | At::Space { size } | At::Extension { size }, b'\r') => {
                Ok(At::SizeEnd { size })
            }
            (At::Size { size, .. } | At::Space { size }, b';') => Ok(At::Extension { size }),
            (At::Size { size, .. } | At::Space { size }, b' ' | b'\t') => {
                self.extension().map(|()| At::Space { size })
            }
            (At::Size { .. } | At::Space { .. }, _) => {
                Err(Fault::Chunk("its size is no hexadecimal number"))
            }
            (At::Extension { .. }, b'\n') => Err(Fault::Chunk("a bare line feed ends its size")),
            (At::Extension { size }, _) if byte == b'\t' || !byte.is_ascii_control() => {
                self.extension().map(|()| At::Extension { size })
            }
            (At::Extension { .. }, _) => Err(Fault::Chunk("an extension has a control character")),
            (At::SizeEnd { size: 0 }, b'\n') => Ok(At::Trailers),
            (At::SizeEnd { size }, b'\n') => Ok(At::Data { left: size }),
            (At::DataEnd, b'\r') => Ok(At::DataFeed),
            (At::DataFeed, b'\n') => Ok(START),
            _ => Err(Fault::Chunk("it does not end with a line's end")),
        }
    }

    /// Counts a byte that is neither a size nor data.
    fn extension(&mut self) -> Result<(), Fault> {
        self.extensions += 1;
        if self.extensions > EXTENSIONS {
            return Err(Fault::Chunk("its extensions are too long"));
        }
        Ok(())
    }

    /// The fields after the last chunk, up to an empty line.
    fn trailers(&mut self, bytes: &mut Bytes) -> Result<Part, Fault> {
        let before = self.trailers.len();
        self.trailers.extend_from_slice(bytes);
        let size = if self.trailers.starts_with(b"\r\n") {
            2
        } else if let Some(end) = find(&self.trailers, b"\r\n\r\n") {
            end + 4
        } else {
            bytes.clear();
            if self.trailers.len() > TRAILERS {
                return Err(Fault::Chunk("the trailers are too large"));
            }
            return Ok(Part::More);
        };
        bytes.advance(size - before);
        self.at = At::End;
        self.trailers.truncate(size);
        let trailers = std::mem::take(&mut self.trailers).freeze();
        if size == 2 {
            return Ok(Part::End);
        }
        parse(&trailers).map(Part::Trailers)
    }
}

fn parse(trailers: &Bytes) -> Result<HeaderMap, Fault> {
    // httparse takes a bare line feed for a line's end, and would end at an empty line of one.
    if trailers.windows(2).any(|two| two[1] == b'\n' && two[0] != b'\r') {
        return Err(Fault::Chunk("a bare line feed ends a line of its trailers"));
    }
    let mut room = [httparse::EMPTY_HEADER; TRAILER_FIELDS];
    let parsed = httparse::parse_headers(trailers, &mut room).map_err(Fault::Syntax)?;
    let httparse::Status::Complete((_, fields)) = parsed else {
        return Err(Fault::Chunk("the trailers are no fields"));
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name.as_bytes()),
            HeaderValue::from_maybe_shared(trailers.slice_ref(field.value)),
        ) else {
            return Err(Fault::Chunk("the trailers are no fields"));
        };
        map.append(name, value);
    }
    Ok(map)
}

/// Where `needle` begins in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

const START: At = At::Size { size: 0, digits: 0 };
/// 16 KiB over a whole body.
const EXTENSIONS: usize = 16 << 10;
/// 16 KiB.
const TRAILERS: usize = 16 << 10;
const TRAILER_FIELDS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read when the bytes come in pieces of `piece` bytes: the data, the trailers, and
    /// what is left behind.
    fn read(wire: &[u8], piece: usize) -> Result<(Vec<u8>, HeaderMap, Vec<u8>), Fault> {
        let mut chunks = Chunks::default();
        let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
        let mut pieces = wire.chunks(piece.max(1));
        let mut bytes = Bytes::new();
        loop {
            match chunks.next(&mut bytes)? {
                Part::Data(part) => data.extend_from_slice(&part),
                Part::Trailers(fields) => trailers = fields,
                Part::More => match pieces.next() {
                    Some(piece) => bytes = Bytes::copy_from_slice(piece),
                    None => return Err(Fault::Closed),
                },
                Part::End => break,
            }
        }
        let rest = bytes.iter().chain(pieces.flatten()).copied().collect();
        Ok((data, trailers, rest))
    }

    #[test]
    fn chunks_are_joined_and_what_follows_them_is_left_alone() {
        let wire =
            b"5\r\nhello\r\n1;a=b\r\n \r\n00A\r\nwonderful!\r\n0\r\nx-sum: 7\r\n\r\nHTTP/1.1";
        for piece in 1..wire.len() {
            let (data, trailers, rest) = read(wire, piece).unwrap();
            assert_eq!(data, b"hello wonderful!");
            assert_eq!(trailers["x-sum"], "7");
            assert_eq!(rest, b"HTTP/1.1");
        }
    }

    #[test]
    fn what_another_reader_might_read_otherwise_is_refused() {
        let bad: &[&[u8]] = &[
            b"\r\n",
            b"x\r\n",
            b" 5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5\nhello\n0\n\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\rx",
            b"5;a\nhello\r\n0\r\n\r\n",
            b"5 5\r\nhello\r\n0\r\n\r\n",
            b"5 a\r\nhello\r\n0\r\n\r\n",
            b"5;a\0\r\nhello\r\n0\r\n\r\n",
            b"5\rhello\r\n",
            b"10000000000000005\r\nhello\r\n",
            b"00000000000000005\r\nhello\r\n",
            b"-1\r\n",
            b"0\r\nno field\r\n\r\n",
            b"0\r\nx : 1\r\n\r\n",
            b"0\r\nx: 1\r\n y\r\n\r\n",
            b"0\r\nx: 1\ny: 2\r\n\r\n",
            b"0\r\nx: 1\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ];
        for wire in bad {
            for piece in [1, 2, wire.len()] {
                let read = read(wire, piece);
                let refused = matches!(read, Err(Fault::Chunk(_) | Fault::Syntax(_)));
                assert!(refused, "{:?}: {read:?}", String::from_utf8_lossy(wire));
            }
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_refused() {
        let extension = [b"1;".as_slice(), &vec![b'a'; EXTENSIONS + 1], b"\r\nx\r\n"].concat();
        assert!(matches!(read(&extension, 1000), Err(Fault::Chunk(_))));
        let trailers = [b"0\r\nx: ".as_slice(), &vec![b'a'; TRAILERS]].concat();
        assert!(matches!(read(&trailers, 1000), Err(Fault::Chunk(_))));
        let many = [b"0\r\n".as_slice(), &b"x: 1\r\n".repeat(TRAILER_FIELDS + 1), b"\r\n"].concat();
        assert!(matches!(read(&many, 1000), Err(Fault::Syntax(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_word(wire: Vec<u8>, piece in 1usize..40) {
            drop(read(&wire, piece));
        }

        #[test]
        fn any_data_in_any_chunks_comes_out_whole(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
            piece in 1usize..60,
        ) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend_from_slice(format!("{:X}\r\n", part.len()).as_bytes());
                wire.extend_from_slice(part);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\nrest");
            let (data, _, rest) = read(&wire, piece).unwrap();
            prop_assert_eq!(data, parts.concat());
            prop_assert_eq!(rest, b"rest");
        }
    }
}
