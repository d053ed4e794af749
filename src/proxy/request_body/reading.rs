//! The body as a connection reads it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::RequestBody;
use crate::proxy::body_rule::BodyFault;
use crate::proxy::part::Part;

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let reader = match self.get_mut() {
            Self::Stream(reader) => reader,
            Self::Kept(kept) => return Poll::Ready(kept.next().map(|part| Ok(part.into_frame()))),
            Self::Empty => return Poll::Ready(None),
        };
        let mut stream = reader.stream.borrow_mut();
        if stream.reader != reader.number {
            if reader.has_all {
                return Poll::Ready(None);
            }
            let why = "another attempt sends it".to_owned();
            return Poll::Ready(Some(Err(BodyFault::Broken(why))));
        }
        let polled = stream.poll_frame(context);
        match polled {
            Poll::Ready(Some(Ok(_))) => {
                stream.taken[reader.side as usize] = Some(Instant::now());
                reader.has_all = stream.is_read();
            }
            Poll::Ready(None) => reader.has_all = true,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Kept(kept) => kept.is_ended(),
            Self::Stream(reader) => {
                let stream = reader.stream.borrow();
                if stream.reader != reader.number {
                    return reader.has_all;
                }
                stream.has_kept() && stream.fault.is_none() && stream.incoming.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let reader = match self {
            Self::Stream(reader) => reader,
            Self::Kept(kept) => return SizeHint::with_exact(kept.size()),
            Self::Empty => return SizeHint::with_exact(0),
        };
        let stream = reader.stream.borrow();
        let kept: u64 = stream.kept.iter().skip(stream.position).map(Part::size).sum();
        let kept = kept + stream.spill.as_ref().map_or(0, |spill| spill.left());
        let coming = stream.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(coming.lower().saturating_add(kept));
        if let Some(upper) = coming.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "RequestBody::Empty",
            Self::Stream(_) => "RequestBody::Stream",
            Self::Kept(_) => "RequestBody::Kept",
        })
    }
}
