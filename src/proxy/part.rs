//! One part of a request's body: bytes, or the trailers behind them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::Frame;

use super::hygiene::{self, OwnedNames};

/// A part as it goes to an endpoint.
#[derive(Clone)]
pub(super) enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Part {
    pub(super) fn of(frame: Frame<Bytes>, nominated: &[HeaderName], owned: &OwnedNames) -> Self {
        match frame.into_data() {
            Ok(data) => Self::Data(data),
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                hygiene::clean_trailers(&mut trailers, nominated, owned);
                Self::Trailers(trailers)
            }
        }
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }

    /// Small parts are copied together: each alone would take more for its place than for its bytes,
    /// and hold on to all of the memory that it was read into.
    pub(super) fn append_to(&self, kept: &mut Vec<Self>) {
        match (kept.last_mut(), self) {
            (Some(Self::Data(last)), Self::Data(data))
                if last.len() < SMALL && data.len() < SMALL =>
            {
                *last = [&last[..], data].concat().into();
            }
            (_, Self::Data(data)) if data.len() < SMALL => {
                kept.push(Self::Data(Bytes::copy_from_slice(data)));
            }
            _ => kept.push(self.clone()),
        }
    }

    pub(super) fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

/// 1 KiB: a part that is no larger is small.
const SMALL: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_tiny_parts_takes_no_more_memory_than_one_in_large_parts() {
        let body: Vec<u8> = (0..64 << 10).map(|at| at as u8).collect();
        for size in [1, 100, 1000, 5000] {
            let mut kept = Vec::new();
            for part in body.chunks(size) {
                Part::Data(Bytes::copy_from_slice(part)).append_to(&mut kept);
            }
            assert!(kept.len() <= 2 * body.len() / SMALL, "{size}: {} parts", kept.len());
            let back = kept.into_iter().flat_map(|part| match part {
                Part::Data(data) => data,
                Part::Trailers(_) => Bytes::new(),
            });
            assert!(back.eq(body.iter().copied()), "{size}");
        }
    }
}
