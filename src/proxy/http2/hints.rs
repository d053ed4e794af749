//! Answers of status 1xx that a client of HTTP/2 hears before the final one (RFC 9110 §15.2).

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use http::{Response, StatusCode};

/// Those of one stream, on their way to it.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Hints {
    waiting: RefCell<Vec<Response<()>>>,
    /// Bytes of all so far: the library keeps what the client does not take, in no window.
    size: Cell<usize>,
    /// Who sends them.
    sender: RefCell<Option<Waker>>,
}

impl Hints {
    /// One more is to go out. What is too much is left out: it is a hint.
    pub(in crate::proxy) fn tell(&self, hint: Response<()>) {
        let fields = hint.headers().iter();
        let size: usize = fields.map(|(name, value)| name.as_str().len() + value.len()).sum();
        let all = self.size.get() + LEAST + size;
        if all <= MOST {
            self.size.set(all);
            self.push(hint);
        }
    }

    fn push(&self, hint: Response<()>) {
        self.waiting.borrow_mut().push(hint);
        // It may be told by another task: one that sends the request's body.
        if let Some(sender) = &*self.sender.borrow() {
            sender.wake_by_ref();
        }
    }

    /// The client waits for the word that its body is wanted (RFC 9110 §10.1.1).
    pub(super) fn ask(&self) {
        let mut word = Response::new(());
        *word.status_mut() = StatusCode::CONTINUE;
        self.push(word); // whatever was told before: the client may wait for nothing else
    }

    /// What is to go out now: nothing, in nearly all cases. Who asks is woken by what is told later.
    pub(super) fn take(&self, context: &Context<'_>) -> Vec<Response<()>> {
        let hints = std::mem::take(&mut *self.waiting.borrow_mut());
        let mut sender = self.sender.borrow_mut();
        if !sender.as_ref().is_some_and(|sender| sender.will_wake(context.waker())) {
            *sender = Some(context.waker().clone());
        }
        hints
    }
}

/// 64 KiB a stream: what an endpoint's head may have.
const MOST: usize = 64 << 10;
/// 16 bytes: a frame, and its status.
const LEAST: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use http::HeaderValue;

    use super::*;

    fn hint(size: usize) -> Response<()> {
        let value = HeaderValue::from_maybe_shared(vec![b'a'; size]).unwrap();
        Response::builder().status(103).header("link", value).body(()).unwrap()
    }

    #[test]
    fn a_stream_hears_hints_up_to_the_size_of_a_head() {
        let hints = Hints::default();
        for _ in 0..100 {
            hints.tell(hint(1000));
        }

        let context = Context::from_waker(Waker::noop());
        assert_eq!(hints.take(&context).len(), MOST / (1000 + LEAST + "link".len()));
        hints.tell(hint(1000));
        assert!(hints.take(&context).is_empty(), "what was told before counts");
        hints.ask();
        assert_eq!(hints.take(&context)[0].status(), StatusCode::CONTINUE);
    }

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    // A client waited in vain for the word to send its body, where another task had asked for that.
    #[test]
    fn what_is_told_later_wakes_who_sends_it() {
        let (hints, woken) = (Hints::default(), Arc::new(Woken(AtomicBool::new(false))));
        let waker = Waker::from(Arc::clone(&woken));
        assert!(hints.take(&Context::from_waker(&waker)).is_empty());

        hints.ask();

        assert!(woken.0.load(Ordering::Relaxed));
    }
}
