//! A connection as requests use it: the wire, and who keeps sending while the answer is read.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;

use crate::base::purse::Appetite;
use crate::base::tasks::LocalTasks;
use crate::http1::room::AnswerHead;
use crate::http1::sending::Payload;
use crate::model::ids::Label;
use crate::telemetry::meter::Meter;
use crate::upstream::Call;
use crate::upstream::error::{Cause, SendError};
use crate::upstream::switched::Switched;

use super::Wire;

/// An open connection. Small: it is handed on many times with each request.
#[derive(Debug)]
pub(in crate::upstream) struct Line<B> {
    own: Rc<Own<B>>,
    /// Ends the task that sends the rest of a request: a socket that closes wakes nobody.
    sender: Option<oneshot::Sender<()>>,
}

/// The connection and the tasks of its worker.
#[derive(Debug)]
struct Own<B> {
    wire: RefCell<Wire<B>>,
    tasks: Rc<RefCell<LocalTasks>>,
    open: Open,
}

/// Counts a connection as open until dropped.
#[derive(Debug)]
pub(in crate::upstream) struct Open {
    meter: Rc<Meter>,
    pool: Label,
}

impl Open {
    pub(in crate::upstream) fn count(meter: &Rc<Meter>, pool: &Label) -> Self {
        meter.upstream_opened(pool);
        Self { meter: Rc::clone(meter), pool: pool.clone() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.meter.upstream_closed(&self.pool);
    }
}

impl<B: Payload> Line<B> {
    pub(in crate::upstream) fn new(
        wire: Wire<B>,
        tasks: Rc<RefCell<LocalTasks>>,
        open: Open,
    ) -> Self {
        Self { own: Rc::new(Own { wire: RefCell::new(wire), tasks, open }), sender: None }
    }

    /// Sends a request and waits for the head of its answer. What is left of the request by then is
    /// sent by a task of its own: the client may read nothing of the answer until it has sent all.
    pub(in crate::upstream) async fn send(
        &mut self,
        call: Call<'_>,
        body: B,
    ) -> Result<AnswerHead, SendError> {
        let wire = &self.own.wire;
        wire.borrow_mut().begin(call, body).map_err(|fault| SendError::of_h1(fault, false))?;
        let answer =
            std::future::poll_fn(|context| wire.borrow_mut().poll_answer(context, call.interim));
        let answer = answer.await;
        let answer = answer.map_err(|fault| SendError::of_h1(fault, wire.borrow().has_begun()))?;
        if !self.is_sent() {
            let own = Rc::downgrade(&self.own);
            let (sender, gone) = oneshot::channel();
            self.sender = Some(sender);
            self.own.tasks.borrow_mut().spawn(|_stop| async move {
                let send = |context: &mut Context<'_>| match own.upgrade() {
                    Some(own) => own.wire.borrow_mut().poll_send(context),
                    None => Poll::Ready(Ok(())),
                };
                tokio::select! {
                    biased;
                    _ = gone => {}
                    sent = std::future::poll_fn(send) => if let Err(fault) = sent {
                        tracing::debug!(%fault, "a request broke off after its answer had begun");
                    }
                }
            });
        }
        Ok(answer)
    }

    pub(in crate::upstream) fn poll_frame(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let frame = self.own.wire.borrow_mut().poll_frame(context);
        frame.map(|frame| frame.map(|frame| frame.map_err(Cause::from)))
    }

    pub(in crate::upstream) fn set_appetite(&self, appetite: Appetite) {
        self.own.wire.borrow_mut().set_appetite(appetite);
    }

    pub(in crate::upstream) fn take_rest(&self) -> Option<Bytes> {
        self.own.wire.borrow_mut().take_rest()
    }

    pub(in crate::upstream) fn is_end_stream(&self) -> bool {
        self.own.wire.borrow().is_end_stream()
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        self.own.wire.borrow().size_hint()
    }

    pub(in crate::upstream) fn is_sent(&self) -> bool {
        self.own.wire.borrow().is_sent()
    }

    /// Sends the rest of a request whose answer has ended, then closes the connection. An endpoint
    /// that takes nothing more is not waited for.
    pub(in crate::upstream) fn finish(mut self) {
        self.sender = None; // of two tasks that send only one would be woken
        let tasks = Rc::clone(&self.own.tasks);
        tasks.borrow_mut().spawn(|_stop| async move {
            let wire = &self.own.wire;
            let mut sent = None;
            while sent != Some(wire.borrow().sent()) {
                sent = Some(wire.borrow().sent());
                let send = std::future::poll_fn(|context| wire.borrow_mut().poll_send(context));
                if tokio::time::timeout(PATIENCE, send).await.is_ok() {
                    break;
                }
            }
        });
    }

    pub(in crate::upstream) fn is_reusable(&self) -> bool {
        self.own.wire.borrow().is_reusable()
    }

    /// For how long the endpoint keeps it idle, where its last answer said so.
    pub(in crate::upstream) fn kept_for(&self) -> Option<Duration> {
        self.own.wire.borrow().rest
    }

    pub(in crate::upstream) fn is_silent(&self) -> bool {
        self.own.wire.borrow_mut().is_silent()
    }

    pub(in crate::upstream) fn say_goodbye(&self) {
        self.own.wire.borrow_mut().say_goodbye();
    }

    pub(in crate::upstream) fn rest(&self) {
        self.own.wire.borrow_mut().rest();
    }

    /// The bytes below HTTP, once the endpoint has switched protocols.
    pub(in crate::upstream) fn into_switched(self) -> Option<Switched> {
        let Own { wire, open, .. } = Rc::into_inner(self.own)?;
        let (stream, ahead) = wire.into_inner().into_stream();
        Some(Switched::new(stream, ahead, open))
    }
}

/// 30 s without a byte taken.
pub(in crate::upstream) const PATIENCE: Duration = Duration::from_secs(30);
