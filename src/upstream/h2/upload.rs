//! The body of a request on its way to an endpoint of HTTP/2.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use crate::base::tasks::LocalTasks;
use crate::http1::sending::Payload;
use crate::http2::sending::pass;

use super::Streams;
use crate::upstream::h1::CONTINUE;

/// A body that has not begun to go.
pub(super) struct Upload {
    sending: Pin<Box<dyn Future<Output = ()>>>,
    /// It is held back until then: the client waits for a 100 (RFC 9110 §10.1.1).
    held: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    /// Of a request whose head went by `stream`. `waits`: its client waits for a word.
    pub(super) fn new<B: Payload>(mut body: B, mut stream: SendStream<Bytes>, waits: bool) -> Self {
        let sending = Box::pin(async move {
            if let Err(error) = pass(&mut body, &mut stream).await {
                tracing::debug!(%error, "the rest of a request is not sent");
            }
        });
        Self { sending, held: waits.then(|| Box::pin(sleep(CONTINUE))) }
    }

    /// Ready when it may go: the endpoint has spoken, or says nothing.
    pub(super) fn poll_wanted(&mut self, spoken: bool, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.held {
            Some(held) if !spoken => held.as_mut().poll(context),
            _ => Poll::Ready(()),
        }
    }

    /// Sends what is there. The rest goes by a task, whether or not somebody reads the answer; it ends
    /// where the given word is dropped unsaid.
    pub(super) fn go(
        self,
        streams: &Rc<Streams>,
        tasks: &RefCell<LocalTasks>,
        context: &mut Context<'_>,
    ) -> Option<oneshot::Sender<()>> {
        let mut sending = self.sending;
        if sending.as_mut().poll(context).is_ready() {
            return None;
        }
        let (word, go_on) = oneshot::channel();
        let streams = Rc::clone(streams);
        tasks.borrow_mut().spawn(|_stop| async move {
            tokio::select! {
                () = &mut sending => {}
                said = go_on => if said.is_ok() { sending.await },
            }
            drop(streams); // it is in use until here
        });
        Some(word)
    }
}
