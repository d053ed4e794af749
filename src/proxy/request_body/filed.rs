//! The way of a body that is kept in a file for a retry: rare, and apart from that of all others.

use std::task::{Context, Poll, Waker, ready};

use crate::base::memory::Refused;
use crate::proxy::body_rule::BodyFault;
use crate::proxy::part::Part;
use crate::proxy::spill::Spill;

use super::Stream;

impl Stream {
    /// Ready where nothing of it is being written any more.
    pub(super) fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(spill) = &mut self.spill else { return Poll::Ready(()) };
        if ready!(spill.poll_written(context)).is_err() {
            self.keeping = false;
            self.forget();
        }
        Poll::Ready(())
    }

    /// Whether nothing of it is being written any more. Who does not wait is not woken.
    pub(super) fn is_written(&mut self) -> bool {
        self.poll_written(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// A part of what is kept in the file; `None` where the reader has had all of it, and the client's next
    /// part can be kept or need not be.
    #[cold]
    #[inline(never)]
    pub(super) fn poll_spill(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Part, BodyFault>>> {
        let Some(spill) = &mut self.spill else { return Poll::Ready(None) };
        match ready!(spill.poll_next(context)) {
            Some(Ok(part)) => {
                self.forget_read();
                return Poll::Ready(Some(Ok(part)));
            }
            Some(Err(_counted)) => return self.fail(BodyFault::Lost),
            None if !self.keeping => return Poll::Ready(None),
            None => {}
        }
        if ready!(spill.poll_room(context)).is_err() {
            self.keeping = false;
            self.forget();
        }
        Poll::Ready(None)
    }

    /// Keeps a part in the file, or tells that it cannot be kept.
    #[cold]
    #[inline(never)]
    pub(super) fn keep_in_file(&mut self, part: &Part) -> bool {
        let Some(spilling) = &self.rule.spilling else { return false };
        let kept = self.kept_bytes + self.spill.as_ref().map_or(0, |spill| spill.size());
        if kept + part.size() > self.rule.replay {
            return false;
        }
        if self.spill.is_none() {
            if !self.kept_held.ask_more(Refused::Replay, Spill::MEMORY) {
                return false;
            }
            self.spill = spilling.begin(self.rule.allowance.spools()).map(Box::new);
        }
        let Some(spill) = &mut self.spill else { return false };
        spill.push(part);
        true
    }
}
