//! Answers of status 1xx that a client of HTTP/2 hears before the final one (RFC 9110 §15.2).

use std::cell::{Cell, RefCell};

use http::{Response, StatusCode};

/// Those of one stream, on their way to it.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Hints {
    waiting: RefCell<Vec<Response<()>>>,
    /// Bytes of all so far: the library keeps what the client does not take, in no window.
    size: Cell<usize>,
}

impl Hints {
    /// One more is to go out. What is too much is left out: it is a hint.
    pub(in crate::proxy) fn tell(&self, hint: Response<()>) {
        let fields = hint.headers().iter();
        let size: usize = fields.map(|(name, value)| name.as_str().len() + value.len()).sum();
        let all = self.size.get() + LEAST + size;
        if all <= MOST {
            self.size.set(all);
            self.waiting.borrow_mut().push(hint);
        }
    }

    /// The client waits for the word that its body is wanted (RFC 9110 §10.1.1).
    pub(super) fn ask(&self) {
        let mut word = Response::new(());
        *word.status_mut() = StatusCode::CONTINUE;
        self.tell(word);
    }

    /// What is to go out now: nothing, in nearly all cases.
    pub(super) fn take(&self) -> Vec<Response<()>> {
        std::mem::take(&mut *self.waiting.borrow_mut())
    }
}

/// 64 KiB a stream: what an endpoint's head may have.
const MOST: usize = 64 << 10;
/// 16 bytes: a frame, and its status.
const LEAST: usize = 16;

#[cfg(test)]
mod tests {
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

        assert_eq!(hints.take().len(), MOST / (1000 + LEAST + "link".len()));
        hints.tell(hint(1000));
        assert!(hints.take().is_empty(), "what was told before counts");
    }
}
