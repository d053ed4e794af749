//! The body of a request on its way to an endpoint of HTTP/2.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep, timeout};

use crate::base::tasks::LocalTasks;
use crate::http1::sending::Payload;
use crate::http2::sending::pass;

use super::streams::StreamCount;
use crate::upstream::h1::{CONTINUE, PATIENCE};

/// A body that has not begun to go.
pub(super) struct Upload {
    sending: Pin<Box<dyn Future<Output = ()>>>,
    /// Bytes that went.
    sent: Rc<Cell<u64>>,
    /// It is held back until then: the client waits for a 100 (RFC 9110 §10.1.1).
    held: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    /// Of a request whose head went by `stream`. `waits`: its client waits for a word.
    pub(super) fn new<B: Payload>(mut body: B, mut stream: SendStream<Bytes>, waits: bool) -> Self {
        let sent = Rc::new(Cell::new(0));
        let count = Rc::clone(&sent);
        let sending = Box::pin(async move {
            if let Err(error) = pass(&mut body, &mut stream, &count).await {
                tracing::debug!(%error, "the rest of a request is not sent");
            }
        });
        Self { sending, sent, held: waits.then(|| Box::pin(sleep(CONTINUE))) }
    }

    /// Ready when it may go: the endpoint has spoken, or says nothing.
    pub(super) fn poll_wanted(&mut self, spoken: bool, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.held {
            Some(held) if !spoken => held.as_mut().poll(context),
            _ => Poll::Ready(()),
        }
    }

    /// Sends what is there. The rest goes by a task, whether or not somebody reads the answer; it ends
    /// where the given word is dropped unsaid. Once it is said, an endpoint that takes nothing more is not
    /// waited for.
    pub(super) fn go(
        self,
        count: &Rc<StreamCount>,
        tasks: &RefCell<LocalTasks>,
        context: &mut Context<'_>,
    ) -> Option<oneshot::Sender<()>> {
        let Self { mut sending, sent, .. } = self;
        if sending.as_mut().poll(context).is_ready() {
            return None;
        }
        let (word, go_on) = oneshot::channel();
        let count = Rc::clone(count);
        tasks.borrow_mut().spawn(|_stop| async move {
            tokio::select! {
                () = &mut sending => {}
                said = go_on => if said.is_ok() { finish(sending, &sent).await },
            }
            drop(count); // the stream is in use until here
        });
        Some(word)
    }
}

/// Sends the rest of a request whose answer has ended.
async fn finish(mut sending: Pin<Box<dyn Future<Output = ()>>>, sent: &Cell<u64>) {
    let mut before = None;
    while before != Some(sent.get()) {
        before = Some(sent.get());
        if timeout(PATIENCE, &mut sending).await.is_ok() {
            return;
        }
    }
}
