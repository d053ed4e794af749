//! The answer's body on its way to the client. It carries what must live until its last byte: the
//! connection it is read from, the endpoint's place in flight, and the record of the exchange.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::base::purse::{Paid, Passage};
use crate::http1::room::AnswerHead;
use crate::pool::InFlight;
use crate::telemetry::record::Ending;
use crate::upstream::{Cause, Connection};

use super::admission::Place;
use super::connection::Busy;
use super::hygiene;
use super::request_body::{RequestBody, Upload};
use super::visit::Visit;
use super::worker::Worker;

/// An answer to a client.
pub(super) struct Answer {
    pub(super) head: AnswerHead,
    pub(super) body: AnswerBody,
}

/// The body of an answer to a client.
pub(super) struct AnswerBody {
    content: Content,
    /// The client's connection is busy until the body has ended.
    busy: Option<Busy>,
}

enum Content {
    Empty,
    /// Made by the gateway.
    Whole(Option<Bytes>),
    /// Made by the gateway of parts that answers share; none of them is empty. Boxed, since it is rare.
    Parts(Box<Parts>),
    /// From an endpoint.
    Stream(Rc<RefCell<Download>>),
    /// The same, where the client gets nothing of it.
    Unseen(Rc<RefCell<Download>>),
}

/// Parts, and how many bytes are left of them.
struct Parts(std::vec::IntoIter<Bytes>, u64);

/// Why an answer was cut off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum DownloadFault {
    /// The endpoint failed within its answer.
    #[error("the endpoint broke off its answer: {0}")]
    Broken(#[source] Cause),
    /// The endpoint fell silent within its answer.
    #[error("the endpoint sent nothing for {0:?} within its answer")]
    Silent(Duration),
    /// The client kept the stream open and took nothing.
    #[error("the client took nothing of the answer for too long")]
    Untaken,
    /// The exchange's own deadline passed.
    #[error("the exchange took longer than its total time")]
    Overdue,
}

/// What an answer's body holds until it ends.
pub(super) struct Lease {
    /// Where the body comes from; kept for the next request once the body has ended.
    pub(super) connection: Connection<RequestBody>,
    /// The endpoint is busy for so long.
    pub(super) in_flight: InFlight,
    /// Longest silence.
    pub(super) silence: Duration,
    /// When the exchange must have ended.
    pub(super) end: Option<Instant>,
    /// The request's body, which may still be on its way.
    pub(super) upload: Upload,
    /// Memory that the exchange may need.
    pub(super) held: Arc<Paid>,
    /// Trailers that end here: the answer's `Connection` field names them.
    pub(super) nominated: Vec<HeaderName>,
    /// Its place among the pool's requests.
    pub(super) place: Place,
}

/// An answer that is being read from an endpoint.
pub(super) struct Download {
    /// Gone once the body has ended or was given up.
    lease: Option<Box<Lease>>,
    alarm: Option<Pin<Box<Sleep>>>,
    ended: bool,
    /// The endpoint is waited for, not the client.
    asked: bool,
    /// Looks since the client has asked for more.
    looks: u32,
    given_up: Option<DownloadFault>,
    /// The whole body, where it came with its head: the endpoint has done its part.
    whole: Option<Bytes>,
    /// What the body's length was said to be in all, where it was.
    length: Option<u64>,
    /// Where it is registered.
    number: Option<usize>,
    bytes: u64,
    upload: Upload,
    worker: Rc<Worker>,
    visit: Visit,
    /// As in [`Lease`].
    nominated: Vec<HeaderName>,
    held: Arc<Paid>,
    passage: Passage,
}

impl From<Response<AnswerBody>> for Answer {
    fn from(answer: Response<AnswerBody>) -> Self {
        let (head, body) = answer.into_parts();
        Self { head: Box::new(Response::from_parts(head, ())), body }
    }
}

impl AnswerBody {
    /// No body.
    pub(super) fn empty() -> Self {
        Self { content: Content::Empty, busy: None }
    }

    /// A body that the gateway made.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { content: Content::Whole(Some(bytes)), busy: None }
    }

    /// A body that the gateway made of parts.
    pub(super) fn parts(mut parts: Vec<Bytes>) -> Self {
        parts.retain(|part| !part.is_empty());
        let size = parts.iter().map(|part| part.len() as u64).sum();
        Self { content: Content::Parts(Box::new(Parts(parts.into_iter(), size))), busy: None }
    }

    /// What is left of it where the client gets no body. An endpoint of HTTP/2 may say only after the
    /// head that nothing follows: its stream is not reset for that.
    pub(super) fn without_content(self) -> Self {
        let content = match self.content {
            Content::Stream(download) if !download.borrow().ended => Content::Unseen(download),
            _ => Content::Empty,
        };
        Self { content, busy: self.busy }
    }

    /// What keeps the client's connection busy: who sends the body holds it until all was sent.
    pub(super) fn let_go(&mut self) -> Option<Busy> {
        self.busy.take()
    }

    /// Keeps the client's connection busy until the body has ended.
    pub(super) fn hold(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }

    /// An answer's body from an endpoint. The exchange's record ends with it.
    pub(super) fn stream(mut lease: Box<Lease>, worker: Rc<Worker>, visit: Visit) -> Self {
        let length = lease.connection.size_hint().exact();
        let held = Arc::clone(&lease.held);
        // A client of HTTP/2 may leave many whole answers lying while it asks for more.
        let counted = |whole| if visit.is_http2() { held.part(whole) } else { whole };
        let download = Rc::new(RefCell::new(Download {
            whole: lease.connection.take_rest().map(counted),
            ended: lease.connection.is_end_stream(),
            length,
            asked: false,
            looks: 0,
            given_up: None,
            number: None,
            bytes: 0,
            upload: lease.upload.clone(),
            nominated: std::mem::take(&mut lease.nominated),
            lease: Some(lease),
            alarm: None,
            worker,
            visit,
            held,
            passage: Passage::default(),
        }));
        download.borrow_mut().begin(&download);
        Self { content: Content::Stream(download), busy: None }
    }
}

impl Download {
    /// `own` is itself.
    fn begin(&mut self, own: &Rc<RefCell<Self>>) {
        if self.ended {
            self.release();
        } else {
            self.number = Some(self.worker.downloads.enter(own));
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadFault>>> {
        if self.visit.is_limited() { self.poll_paced(context) } else { self.poll_part(context) }
    }

    /// The next part once there is room for it in the rates that hold for the body, if any do.
    #[cold]
    fn poll_paced(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadFault>>> {
        if let Some(pacer) = self.visit.download_pacer() {
            self.looks = 0; // the client asks, and we keep it waiting
            ready!(pacer.poll(context));
        }
        let polled = self.poll_part(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let (Some(data), Some(pacer)) = (frame.data_ref(), self.visit.download_pacer())
        {
            pacer.count(data.len() as u64);
        }
        polled
    }

    fn poll_part(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadFault>>> {
        if let Some(data) = self.whole.take() {
            self.bytes += data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(lease) = &mut self.lease else {
            return Poll::Ready(self.given_up.take().map(Err));
        };
        // It is the client that is waited for, and it that may take too long.
        let turn = self.passage.poll_turn(&self.held, context);
        if turn.is_pending() {
            (self.asked, self.looks) = (false, 0);
            self.alarm = None; // it is not the endpoint that is silent
            return Poll::Pending;
        }
        lease.connection.set_appetite(self.held.appetite());
        let polled = lease.connection.poll_frame(context);
        let is_end = lease.connection.is_end_stream();
        self.asked = polled.is_pending();
        self.looks = 0;
        let Poll::Ready(polled) = polled else {
            return self.poll_alarm(context).map(|fault| Some(Err(fault)));
        };
        self.alarm = None;
        let answer = match polled {
            None => None,
            Some(Err(error)) => {
                self.blame();
                // What came before goes to the client first, which hears of the fault when it is
                // asked for more.
                self.give_up(DownloadFault::Broken(error));
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Ok(frame)) => Some(Ok(self.pass(frame))),
        };
        if answer.is_none() || is_end {
            self.ended = true;
            self.release();
        }
        Poll::Ready(answer)
    }

    /// Waits for the end of a body that should be none. Where there is one it is given up.
    fn poll_end(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadFault>>> {
        while let Some(frame) = ready!(self.poll(context)) {
            if frame?.data_ref().is_none_or(|data| !data.is_empty()) {
                self.lease = None;
                break;
            }
        }
        self.ended = true;
        Poll::Ready(None)
    }

    /// Gives up a download whose client does not ask for more, so that no deadline is looked at: a
    /// client of HTTP/2 may stall one stream and keep its connection. What the endpoint is busy with
    /// ends now; the client hears of it when it asks. Called about once a second.
    pub(super) fn look(&mut self, now: Instant, patience: u32) {
        self.held.settle();
        let Some(lease) = self.lease.as_ref().filter(|_| !self.asked) else {
            return; // the endpoint has done its part, or the download's own alarm is on
        };
        self.looks += 1;
        let overdue = lease.end.is_some_and(|end| now >= end);
        if !overdue && self.looks <= patience {
            return;
        }
        let fault = if overdue { DownloadFault::Overdue } else { DownloadFault::Untaken };
        self.give_up(fault);
    }

    /// The endpoint has broken off its answer; unless the client did so first, and it had to.
    #[cold]
    fn blame(&self) {
        if let Some(lease) = self.lease.as_ref().filter(|_| self.upload.fault().is_none()) {
            lease.in_flight.endpoint().breaks_off(self.visit.tenant());
        }
    }

    fn give_up(&mut self, fault: DownloadFault) {
        tracing::debug!(%fault, "an answer was given up");
        self.given_up = Some(fault);
        self.lease = None;
        self.visit.leave_limits();
    }

    fn pass(&mut self, mut frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(trailers) = frame.trailers_mut() {
            hygiene::clean_answer_trailers(trailers, &self.nominated);
        }
        if let Some(data) = frame.data_ref() {
            self.bytes += data.len() as u64;
        }
        frame.map_data(|data| self.passage.count(&self.held, data))
    }

    fn poll_alarm(&mut self, context: &mut Context<'_>) -> Poll<DownloadFault> {
        let Some(lease) = &self.lease else {
            return Poll::Pending;
        };
        let alarm = self.alarm.get_or_insert_with(|| {
            let silent = self.worker.clock.now() + lease.silence;
            Box::pin(tokio::time::sleep_until(lease.end.map_or(silent, |end| end.min(silent))))
        });
        alarm.as_mut().poll(context).map(|()| match lease.end {
            Some(end) if Instant::now() >= end => DownloadFault::Overdue,
            _ => DownloadFault::Silent(lease.silence),
        })
    }

    /// The endpoint's part is done: its connection may serve the next request.
    fn release(&mut self) {
        if let Some(lease) = self.lease.take() {
            let now = self.worker.clock.recent();
            let Lease { connection, in_flight, place, .. } = *lease;
            self.worker.client.put_back(connection, now);
            in_flight.endpoint().ends_whole();
            drop(in_flight);
            if let Some(mut permit) = place {
                permit.done();
            }
            self.visit.leave_limits();
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let (bytes_in, bytes_out) = (self.upload.bytes(), self.bytes);
        // HTTP/2 may say only after the last byte that it was the last; a length tells before.
        let whole = self.length == Some(self.bytes) || (self.ended && self.whole.is_none());
        if let Some(number) = self.number {
            self.worker.downloads.leave(number);
        }
        let ending = if whole { Ending::Whole } else { Ending::Cut };
        self.visit.note(|record| {
            record.bytes_in = bytes_in;
            record.bytes_out = bytes_out;
            record.ending = ending;
        });
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = DownloadFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadFault>>> {
        match &mut self.get_mut().content {
            Content::Empty => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Parts(parts) => Poll::Ready(parts.0.next().map(|part| {
                parts.1 -= part.len() as u64;
                Ok(Frame::data(part))
            })),
            Content::Stream(download) => download.borrow_mut().poll(context),
            Content::Unseen(download) => download.borrow_mut().poll_end(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Whole(bytes) => bytes.is_none(),
            Content::Parts(parts) => parts.1 == 0,
            Content::Stream(download) => {
                let download = download.borrow();
                download.ended && download.whole.is_none()
            }
            Content::Unseen(download) => download.borrow().ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Parts(parts) => SizeHint::with_exact(parts.1),
            Content::Stream(download) => {
                let download = download.borrow();
                let left = download.length.map(|length| length.saturating_sub(download.bytes));
                left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Content::Unseen(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerBody").field("busy", &self.busy).finish_non_exhaustive()
    }
}
