//! What an exchange leaves behind, however it ends: a record is begun with each request and handed
//! over exactly once, also when the client leaves and the exchange is dropped half-way.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{StatusCode, Version};
use tokio::time::Instant;

use crate::limits;
use crate::limits::pacer::Pacer;
use crate::model::caller::Caller;
use crate::model::ids::Label;
use crate::routing::host;
use crate::routing::table::Table;
use crate::routing::tenant::{Shares, Tenant};
use crate::telemetry::record::{Ending, Line, Record, Tag};
use crate::telemetry::trace::{Attempt, Trace};

use super::choice::Parties;
use super::connection::Peer;
use super::debug::{self, Trail};
use super::forwarded::{self, Told};
use super::hygiene::X_REQUEST_ID;
use super::limited::Pass;
use super::worker::Worker;

/// The record of an exchange under way.
#[derive(Debug)]
pub(super) struct Visit {
    worker: Rc<Worker>,
    /// Boxed: it is handed on several times, and is large.
    record: Option<Box<Record>>,
    /// For whom the request is, at a listener with trusted proxies.
    told: Option<Box<Told>>,
    /// What becomes of it, where the client asks.
    trail: Option<Box<Trail>>,
    /// What it holds of its tenant's limits, where there are some.
    pass: Option<Box<Pass>>,
}

impl Visit {
    /// Begins the record of a request.
    pub(super) fn begin(worker: &Rc<Worker>, peer: &Peer, head: &Parts) -> Self {
        worker.meter.exchange_started();
        let told = forwarded::told(worker, peer, head);
        let scheme = told.as_ref().map_or(peer.scheme(), |told| told.scheme);
        // The room first: what is made elsewhere and moved there would be copied.
        let record = Box::write(
            Box::new_uninit(),
            Record {
                started: worker.clock.recent(), // the head has just been read
                duration: Duration::ZERO,
                request_id: request_id(worker, head),
                client: told.as_ref().map_or(peer.address, |told| told.client),
                method: head.method.clone(),
                version: head.version,
                line: None,
                logged: false,
                trace: worker.tracer.begin(&head.headers, scheme),
                asked: None,
                tenant: None,
                caller: None,
                route: None,
                pool: None,
                endpoint: None,
                queued: None,
                attempts: 0,
                status: CLIENT_LEFT,
                problem: None,
                first_byte: None,
                bytes_in: 0,
                bytes_out: 0,
                ending: Ending::Cut,
            },
        );
        Self { worker: Rc::clone(worker), record: Some(record), told, trail: None, pass: None }
    }

    /// Follows what becomes of the request, where its client may ask.
    pub(super) fn follow(&mut self, peer: &Peer, table: &Table, head: &Parts) {
        self.trail = debug::begin(&self.worker, peer, table, head, self.started());
    }

    /// Tells the trail of the request, where somebody asks.
    pub(super) fn trail(&mut self, tell: impl FnOnce(&mut Trail)) {
        if let Some(trail) = &mut self.trail {
            tell(trail);
        }
    }

    /// Whether somebody asks what becomes of it.
    pub(super) fn is_followed(&self) -> bool {
        self.trail.is_some()
    }

    /// Holds its places among those that the limits allow at once, until it has ended.
    pub(super) fn hold(&mut self, pass: Pass) {
        self.pass = Some(Box::new(pass));
    }

    /// It has waited for a service that was asked: what comes now began with the end of that.
    pub(super) fn held_up(&mut self) {
        self.pass.get_or_insert_default();
    }

    /// It is sent anew, after a wait for an endpoint.
    pub(super) fn comes_again(&mut self) {
        self.pass.get_or_insert_default().again = true;
    }

    /// Whether it is sent anew.
    pub(super) fn is_sent_again(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.again)
    }

    /// It has waited for an endpoint in vain: it goes to anybody now.
    pub(super) fn take_anybody(&mut self) {
        self.pass.get_or_insert_default().anybody = true;
    }

    /// Whether it goes to anybody, since nobody has come for whom it waited.
    pub(super) fn takes_anybody(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.anybody)
    }

    /// It has waited for so long, for a turn in its pool or for an endpoint.
    pub(super) fn has_queued(&mut self, waited: Duration) {
        self.note(|record| {
            let queued = record.queued.get_or_insert_default();
            **queued = queued.saturating_add(waited);
        });
    }

    /// How long it has waited for a turn in its pool, or for an endpoint.
    pub(super) fn queued(&self) -> Duration {
        let queued = self.record.as_ref().and_then(|record| record.queued.as_deref().copied());
        queued.unwrap_or_default()
    }

    /// Leaves its places among those that the limits allow at once.
    pub(super) fn leave_limits(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.leave();
        }
    }

    /// What the answer tells of limits.
    pub(super) fn take_limits(&mut self) -> Option<limits::told::Told> {
        self.pass.as_mut()?.take_told()
    }

    /// Whether it may have waited, for a limit or a service that was asked; rates of its bodies may be among what it holds.
    pub(super) fn is_limited(&self) -> bool {
        self.pass.is_some()
    }

    /// What its request's body keeps to.
    pub(super) fn take_upload_pacer(&mut self) -> Option<Box<Pacer>> {
        self.pass.as_mut()?.upload.take()
    }

    /// What its answer's body keeps to.
    pub(super) fn download_pacer(&mut self) -> Option<&mut Pacer> {
        self.pass.as_mut()?.download.as_deref_mut()
    }

    /// Its trail as it is now.
    pub(super) fn take_trail(&mut self) -> Option<Box<Trail>> {
        self.trail.take()
    }

    /// The client's address; `None` where it has none, as on a Unix socket.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.record.as_ref().and_then(|record| record.client)
    }

    /// Whether nobody knows who the client is, and the address is another's.
    pub(super) fn hides_client(&self) -> bool {
        self.told().is_some_and(|told| told.hides_client)
    }

    /// For whom the request is, at a listener with trusted proxies.
    pub(super) fn told(&self) -> Option<&Told> {
        self.told.as_deref()
    }

    /// Who sent the request, where that is proven.
    pub(super) fn caller(&self) -> Option<&Caller> {
        self.record.as_ref().and_then(|record| record.caller.as_deref())
    }

    /// Counts a request that is not let in.
    pub(super) fn count_refusal(&self, reason: &'static str) {
        self.worker.meter.refused(reason);
    }

    /// Draws whether the exchange leaves a line, and spans, by the shares of its tenant where that
    /// has some. Called while the head is as the client sent it.
    pub(super) fn sample(&mut self, own: Shares, head: &Parts) {
        if self.worker.access_log.sampled(own.log) {
            self.log(head);
        }
        self.trace(own, head);
    }

    /// It is for this tenant: draws, by its shares, what the exchange leaves.
    pub(super) fn is_for(&mut self, tenant: &Tenant, head: &Parts) {
        self.worker.meter.hear_of_tenant(tenant.slot(), || tenant.label());
        self.note(|record| record.tenant = Some(Tag::of(tenant.slot())));
        self.sample(tenant.shares(), head);
        self.note_for_log(|record| record.tenant = Some(Tag::named(&tenant.label())));
    }

    /// The place of the tenant that it is for, once that is known.
    pub(super) fn tenant(&self) -> Option<u32> {
        self.record.as_ref().and_then(|record| record.tenant.as_ref()).map(|tenant| tenant.slot)
    }

    /// It goes to this pool.
    pub(super) fn goes_to(&mut self, pool: &Label) {
        self.worker.meter.hear_of_pool(pool);
        self.note(|record| record.pool = Some(Tag::of(pool.slot)));
        self.note_for_log(|record| record.pool = Some(Tag::named(pool)));
    }

    fn trace(&mut self, own: Shares, head: &Parts) {
        if let Some(record) = &mut self.record
            && let Some(trace) = &mut record.trace
            && self.worker.tracer.decide(trace, own.traces, &head.headers)
        {
            keep_line(record, &self.worker, head);
        }
    }

    /// The exchange has failed, with the gateway's own answer or an endpoint's: it leaves a line
    /// where failures do.
    pub(super) fn failed(&mut self, head: &Parts, parties: &Parties<'_>) {
        if self.worker.access_log.wants_errors() {
            self.log(head);
        } else if self.record.as_ref().is_some_and(|record| record.tenant.is_none()) {
            self.sample(Shares::default(), head); // nothing was drawn yet: it failed before
        }
        self.trace(Shares::default(), head);
        self.note_for_log(|record| {
            record.tenant = parties.tenant.map(|tenant| Tag::named(&tenant.label()));
            record.pool = parties.pool.map(Tag::named);
        });
    }

    /// The head is about to be changed: keeps what a line of a failure would tell of it.
    pub(super) fn keep_asked(&mut self, head: &Parts) {
        if !self.worker.access_log.wants_errors() {
            return;
        }
        self.note(|record| {
            if record.line.is_none() {
                let target = head.uri.path_and_query().cloned();
                let host = host::authority(head).and_then(|host| HeaderValue::from_str(host).ok());
                record.asked = target.map(|target| (target, host));
            }
        });
    }

    /// Fills what a line of a failure tells besides.
    pub(super) fn note_failure(&mut self, fill: impl FnOnce(&mut Record)) {
        if self.worker.access_log.wants_errors() {
            self.note(fill);
        }
    }

    fn log(&mut self, head: &Parts) {
        if let Some(record) = &mut self.record {
            record.logged = true;
            keep_line(record, &self.worker, head);
        }
    }

    /// The trace that the exchange belongs to, where there is tracing.
    pub(super) fn traced(&self) -> Option<&Trace> {
        self.record.as_ref().and_then(|record| record.trace.as_deref())
    }

    /// The same, where its spans are kept.
    pub(super) fn traced_whole(&mut self) -> Option<&mut Trace> {
        let record = self.record.as_mut()?;
        record.trace.as_deref_mut().filter(|trace| trace.is_kept())
    }

    /// The answer of the last attempt is the client's: it ends with the exchange.
    pub(super) fn answers(&mut self) {
        let last = self.traced_whole().and_then(|trace| trace.attempts.last_mut());
        if let Some(Attempt { ended, .. }) = last {
            *ended = None;
        }
    }

    /// Whether the client speaks HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.version == Version::HTTP_2)
    }

    /// Fills the record.
    pub(super) fn note(&mut self, fill: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            fill(record);
        }
    }

    /// Fills what only the access log and spans ask for.
    pub(super) fn note_for_log(&mut self, fill: impl FnOnce(&mut Record)) {
        self.note(|record| {
            if record.line.is_some() {
                fill(record);
            }
        });
    }

    /// The id of the request.
    pub(super) fn request_id(&self) -> HeaderValue {
        let id = self.record.as_ref().map(|record| record.request_id.clone());
        id.unwrap_or_else(|| HeaderValue::from_static("unknown"))
    }

    /// The id of the request, for its answer: only the access log asks for it after that.
    pub(super) fn last_request_id(&mut self) -> HeaderValue {
        match &mut self.record {
            Some(record) if record.line.is_none() => {
                std::mem::replace(&mut record.request_id, HeaderValue::from_static(""))
            }
            _ => self.request_id(),
        }
    }

    /// The gateway itself has answered, with this status and so many bytes.
    pub(super) fn finish(mut self, status: StatusCode, bytes: usize) {
        if let Some(mut record) = self.record.take() {
            record.status = status.as_u16();
            record.bytes_out = bytes as u64;
            record.ending = Ending::Whole;
            self.worker.finish(record);
        }
    }

    /// When the request came.
    pub(super) fn started(&self) -> Instant {
        self.record.as_ref().map_or_else(Instant::now, |record| record.started)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.worker.meter.panicked();
        }
        if let Some(record) = self.record.take() {
            self.worker.finish(record);
        }
    }
}

/// The client's own id where it is short and plain, else a new one.
fn request_id(worker: &Worker, head: &Parts) -> HeaderValue {
    let own = head.headers.get(X_REQUEST_ID).filter(|id| is_plain(id.as_bytes()));
    let mut id = own.cloned().unwrap_or_else(|| {
        let new = worker.room.keep(&new_request_id());
        HeaderValue::from_maybe_shared(new).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    });
    // No other answer has it: in HTTP/2's table of fields it would only drive out what they share
    // (RFC 7541 §6.2.3 keeps it from there).
    id.set_sensitive(true);
    id
}

/// 32 random hex digits.
pub(super) fn new_request_id() -> [u8; 32] {
    let (random, mut id) = (fastrand::u128(..), [0; 32]);
    // Which digit stands where does not matter.
    let (low, high) = id.split_at_mut(16);
    low.copy_from_slice(&hex_digits(random).to_ne_bytes());
    high.copy_from_slice(&hex_digits(random >> 4).to_ne_bytes());
    id
}

/// For each byte the digit of its lower half, all at once.
fn hex_digits(bytes: u128) -> u128 {
    const ONES: u128 = u128::from_ne_bytes([1; 16]);
    let halves = bytes & (ONES * 0xf);
    let letters = ((halves + ONES * 6) >> 4) & ONES; // 1 for those from 10 on
    halves + ONES * u128::from(b'0') + letters * u128::from(b'a' - b'0' - 10)
}

fn is_plain(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !id.is_empty() && id.len() <= 128 && id.iter().all(plain)
}

fn keep_line(record: &mut Record, worker: &Worker, head: &Parts) {
    if record.line.is_none() {
        let headers = worker.access_log.headers();
        record.line = Some(Box::new(line(head, record.asked.take(), headers)));
    }
}

fn line(
    head: &Parts,
    asked: Option<(PathAndQuery, Option<HeaderValue>)>,
    headers: &[HeaderName],
) -> Line {
    let value = |name: &HeaderName| {
        head.headers.get(name).map(|value| cut(value.as_bytes(), MOST_OF_FIELD))
    };
    let (target, host) = asked.unzip();
    let target = target.as_ref().or(head.uri.path_and_query());
    let host = host.flatten();
    let host = host.as_ref().and_then(|host| host.to_str().ok()).or_else(|| host::authority(head));
    Line {
        host: cut(host.unwrap_or_default().as_bytes(), MOST_OF_FIELD),
        target: cut(target.map_or("/", |target| target.as_str()).as_bytes(), MOST_OF_TARGET),
        agent: value(&USER_AGENT).unwrap_or_default(),
        headers: headers.iter().map(value).collect(),
    }
}

/// A value as text of bounded size: lines wait in a queue, where clients must not fill the memory.
fn cut(value: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(value.get(..most).unwrap_or(value));
    let mut text = match text.len() > most {
        true => text[..text.floor_char_boundary(most)].to_owned(), // what is no text has grown
        false => text.into_owned(),
    };
    if value.len() > most {
        text.push('\u{2026}');
    }
    text
}

/// 4 KiB: as much of a target as browsers and servers agree on.
const MOST_OF_TARGET: usize = 4 << 10;
/// 1 KiB.
const MOST_OF_FIELD: usize = 1 << 10;
/// No status: the client left before an answer. The metrics' class is `none`, the log's status
/// `null`.
const CLIENT_LEFT: u16 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_of_hex_digits_of_which_each_comes_at_each_place() {
        let mut seen = [[false; 256]; 32];
        for _ in 0..2_000 {
            for (place, digit) in seen.iter_mut().zip(new_request_id()) {
                place[usize::from(digit)] = true;
            }
        }

        let digits: Vec<u8> = (0..=u8::MAX).filter(|byte| seen[0][usize::from(*byte)]).collect();

        assert_eq!(digits, b"0123456789abcdef");
        assert!(seen.iter().all(|place| *place == seen[0]));
    }
}
