//! The body of a client's request, for who reads it. It may outlive its request, and then finds
//! itself ended; it keeps no connection open.

use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::base::purse::Appetite;
use crate::http1::Fault;

use super::wire::Wire;

/// The body of a request, for who reads it.
#[derive(Debug)]
pub(in crate::proxy) struct Body {
    wire: Weak<Wire>,
    number: u64,
}

impl Body {
    /// The body of the request whose head was read last.
    pub(super) fn of(wire: &Rc<Wire>) -> Self {
        let number = wire.inbound.borrow().number;
        Self { wire: Rc::downgrade(wire), number }
    }

    /// The next part.
    ///
    /// # Errors
    /// When it breaks off or is not valid.
    pub(in crate::proxy) fn poll_frame(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Some(wire) = self.wire.upgrade() else {
            return Poll::Ready(Some(Err(Fault::Closed)));
        };
        if self.is_over(&wire) {
            return Poll::Ready(None);
        }
        wire.poll_body(context)
    }

    /// How large its reads may get.
    pub(in crate::proxy) fn set_appetite(&self, appetite: Appetite) {
        if let Some(wire) = self.wire.upgrade().filter(|wire| !self.is_over(wire)) {
            wire.inbound.borrow_mut().set_appetite(appetite);
        }
    }

    /// Whether all of it was read.
    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        self.wire
            .upgrade()
            .is_some_and(|wire| self.is_over(&wire) || wire.inbound.borrow().decoder.is_ended())
    }

    /// How much is still to come.
    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        match self.wire.upgrade() {
            Some(wire) if self.is_over(&wire) => SizeHint::with_exact(0),
            Some(wire) => wire.inbound.borrow().decoder.size_hint(),
            None => SizeHint::default(),
        }
    }

    /// Whether the connection is at a later request: then this body had ended.
    fn is_over(&self, wire: &Wire) -> bool {
        wire.inbound.borrow().number != self.number
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(wire) = self.wire.upgrade().filter(|wire| !self.is_over(wire)) {
            let mut inbound = wire.inbound.borrow_mut();
            inbound.abandoned = true;
            inbound.wake();
        }
    }
}
