//! The request as endpoints see it: cleaned, introduced, rewritten once, then sent by as many
//! attempts as it takes.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode, Uri, Version};
use tokio::time::Instant;

use crate::base::memory::Refused;
use crate::base::purse::Paid;
use crate::base::spool::Spools;
use crate::config::spec::{MOST_IN_MEMORY, Protocol};
use crate::http1::room::AnswerHead;
use crate::limits::limit::Limit;
use crate::resilience::retry::is_idempotent;
use crate::telemetry::trace::Trace;
use crate::telemetry::trace::context::Formats;
use crate::telemetry::trace::ids::SpanId;
use crate::upstream::Fields;

use super::access;
use super::activity::Activity;
use super::apart::Apart;
use super::body_rule::{BodyFault, BodyRule};
use super::budget;
use super::choice::Choice;
use super::connection::Peer;
use super::countdown::Countdown;
use super::error::ExchangeError;
use super::extended::Extended;
use super::http1;
use super::http2::Hints;
use super::hygiene::{self, Sender, Wishes};
use super::incoming::{Incoming, Switch};
use super::limited;
use super::pace::Rate;
use super::request_body::{RequestBody, Side, Upload};
use super::spill::Spilling;
use super::steered::Steered;
use super::visit::Visit;
use super::worker::{View, Worker};

/// The request as endpoints see it.
pub(super) struct Outgoing<'h> {
    /// The same for every attempt.
    pub(super) head: &'h Parts,
    /// Fields that follow those of the head.
    pub(super) added: Fields,
    /// What an endpoint is told anew with each attempt.
    told: Telling,
    /// The body, which several attempts may read in turn.
    pub(super) upload: Upload,
    /// Acting twice does what acting once does.
    pub(super) idempotent: bool,
    /// Who hears of interim answers.
    hears: Hears,
    /// The client's side of a connection that is to switch protocols.
    pub(super) upgrade: Option<Switch>,
    /// The client asks in the words of HTTP/2 (RFC 8441).
    pub(super) extended: bool,
    /// What keeps its connections apart from those of others, where something does.
    pub(super) apart: Option<Box<Apart>>,
    /// What decides where it goes, besides the endpoints, where something does.
    pub(super) steered: Option<Box<Steered>>,
    /// Whether it is sent beside another attempt.
    side: Side,
    /// Memory that the exchange may need.
    pub(super) held: Arc<Paid>,
}

/// Who hears of answers of status 1xx that come before the final one.
enum Hears {
    /// A client of HTTP/1.0 must not (RFC 9110 §15.2).
    Nobody,
    Http1(Rc<Activity>),
    Http2(Rc<Hints>),
}

/// What an endpoint is told anew with each attempt.
#[derive(Clone)]
struct Telling {
    /// How it is told of the trace, where there is tracing.
    formats: Option<Formats>,
    /// How it is told how long it has, where it is.
    countdown: Option<Box<Countdown>>,
    /// The first of the fields that tell it: they stand behind all others, since they are others
    /// with each attempt.
    from: usize,
}

impl<'h> Outgoing<'h> {
    /// Makes the request of the client's, whose head has this size.
    ///
    /// # Errors
    /// When the body is larger than allowed, memory is used up, or the target does not fit the endpoint's protocol.
    pub(super) fn prepare(
        worker: &Worker,
        peer: &Peer,
        view: &View,
        choice: &Choice<'_>,
        (head, size): (&'h mut Parts, u64),
        mut body: Incoming,
        visit: &mut Visit,
    ) -> Result<Self, ExchangeError> {
        let most = largest(worker, choice, &body)?;
        let upgrade = body.switch.take();
        let held = hold(peer, choice, (head, size), &body)?;
        let hears = match body.hints.take() {
            Some(hints) => Hears::Http2(hints),
            None if head.version == Version::HTTP_11 => Hears::Http1(Rc::clone(&peer.activity)),
            None => Hears::Nobody,
        };
        let extended = head.extensions.remove::<Extended>().is_some();
        head.extensions.clear();
        let naming = &view.table.naming;
        let mut wishes = hygiene::clean_request(&mut head.headers, &view.owned);
        wishes.upgrade = wishes.upgrade.filter(|_| upgrade.is_some());
        let steering = choice.pool.steering.as_deref();
        let steered = steering.map(|steering| Steered::of(steering, choice, head, (peer, &*visit)));
        // Then it is there still, and says just that.
        let is_named = choice.named_by == Some(&naming.forward_as) && wishes.nominated.is_empty();
        // Before the route has its say: what it tells endpoints is not what the client says.
        let countdown =
            Countdown::told((&mut *head, wishes.trailers), choice, &mut wishes.nominated);
        let size = body.size_hint().upper();
        let asked = (&*head, size);
        let upload = Upload::new(body, || {
            body_rule(worker, peer, (view, choice), asked, most, &mut wishes, visit)
        });

        check_trace(head, &upload)?;
        // RFC 9112 §3.2.2 prefers the target's.
        let named = target_host(&head.uri);
        let host = named.clone().or_else(|| head.headers.get(HOST).cloned());
        let sender = Sender { peer, told: visit.told(), host, request_id: visit.request_id() };
        let mut added = hygiene::introduce(head.version, sender);
        if !is_named {
            hygiene::name_tenant(&mut head.headers, &naming.forward_as, choice.tenant.id());
        }
        edit(head, &mut added, view, choice, visit);
        let formats = visit.traced().map(Trace::formats);
        let formats = formats.map(|formats| formats.without(|name| choice.decides(name)));
        let told = Telling { formats, countdown, from: added.len() };

        let switching = address(head, named, choice, &wishes)?;
        if extended && !switching {
            return Err(ExchangeError::Method(Method::CONNECT)); // the pool speaks HTTP/2
        }
        frame(head, &upload);
        let idempotent = is_idempotent(&head.method, &head.headers);
        let upgrade = upgrade.filter(|_| switching);
        let parties = (&**choice.pool, choice.tenant.slot());
        let apart = choice.pool.spec.keeps_apart().then(|| Apart::of(peer, parties, visit));
        Ok(Self {
            head,
            added,
            told,
            hears,
            upload,
            idempotent,
            upgrade,
            extended,
            apart,
            steered,
            side: Side::Own,
            held,
        })
    }

    /// Tells the endpoint of an attempt how long it has until `end`, of the trace, where there is one, and
    /// of the attempt's span, where that is kept.
    pub(super) fn tell(
        &mut self,
        end: Option<Instant>,
        trace: Option<&Trace>,
        attempt: Option<SpanId>,
    ) {
        self.added.truncate(self.told.from);
        if let (Some(formats), Some(trace)) = (self.told.formats, trace) {
            let told = trace.outgoing(attempt, formats);
            told.fields(|name, value| self.added.push((name, value)));
        }
        if let Some(countdown) = &self.told.countdown {
            countdown.tell(end, &mut self.added);
        }
    }

    /// How an endpoint is told how long it has, where it is.
    pub(super) fn countdown(&self) -> Option<&Countdown> {
        self.told.countdown.as_deref()
    }

    /// Passes on an answer of status 1xx that comes before the final one (RFC 9110 §15.2). A client that
    /// waits for a 100 hears it from us, once its body is wanted.
    pub(super) fn interim(&self, mut answer: AnswerHead) {
        if answer.status() == StatusCode::CONTINUE && self.head.headers.contains_key(EXPECT) {
            return;
        }
        match &self.hears {
            Hears::Nobody => {}
            Hears::Http1(client) => {
                hygiene::clean_answer(&mut answer);
                client.tell(&http1::interim(&answer));
            }
            Hears::Http2(client) => {
                hygiene::clean_answer(&mut answer);
                client.tell(*answer);
            }
        }
    }

    /// The same for an attempt beside the one under way. Its client hears of no interim answer: it could
    /// be of the one that loses.
    pub(super) fn twin(&self) -> Self {
        Self {
            head: self.head,
            added: self.added.clone(),
            told: self.told.clone(),
            upload: self.upload.clone(),
            idempotent: self.idempotent,
            hears: Hears::Nobody,
            upgrade: None,
            extended: self.extended,
            apart: self.apart.clone(),
            steered: None, // it has been picked for
            side: Side::Beside,
            held: Arc::clone(&self.held),
        }
    }

    /// The body from its start, for this attempt, if it can be had.
    pub(super) fn reader(&self) -> Option<RequestBody> {
        self.upload.reader(self.side)
    }

    /// Whether it is sent beside another attempt.
    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// When the endpoint of this attempt last took a part of the body.
    pub(super) fn taken(&self) -> Option<Instant> {
        self.upload.taken(self.side)
    }

    /// Whether an attempt may be made beside another one: no connection is to be the client's own.
    pub(super) fn may_have_twin(&self) -> bool {
        self.upgrade.is_none() && !self.extended
    }

    /// Whether another attempt can be made.
    pub(super) fn is_repeatable(&self) -> bool {
        self.upload.is_replayable()
    }
}

/// How large the request's body may be, and which limit says so.
fn largest(
    worker: &Worker,
    choice: &Choice<'_>,
    body: &Incoming,
) -> Result<(u64, Option<Limit>), ExchangeError> {
    let (mut max, mut by) = (worker.gateway.downstream.max_body.0, None);
    if choice.tenant.is_limited() {
        (max, by) = limited::largest_body(choice, max);
    }
    match body.size_hint().lower() > max {
        true => Err(BodyFault::TooLarge { limit: max, by }.into()),
        false => Ok((max, by)),
    }
}

/// Takes memory for the exchange.
fn hold(
    peer: &Peer,
    choice: &Choice<'_>,
    head_and_size: (&Parts, u64),
    body: &Incoming,
) -> Result<Arc<Paid>, ExchangeError> {
    let need = budget::exchange(head_and_size, &body.size_hint(), choice.pool.spec.protocol);
    Ok(Arc::new(peer.purse().begin(Refused::Request, need)?))
}

/// What tracing, a caller's identity and the route change.
fn edit(head: &mut Parts, added: &mut Fields, view: &View, choice: &Choice<'_>, visit: &Visit) {
    if let Some(trace) = visit.traced() {
        trace.clean(&mut head.headers);
    }
    if let Some(caller) = visit.caller() {
        access::introduce(caller, &view.table.naming.identity, head, added);
    }
    choice.edit_request(&mut head.headers, added);
}

/// What bounds the request's body, which may be so large.
fn body_rule(
    worker: &Worker,
    peer: &Peer,
    (view, choice): (&View, &Choice<'_>),
    (head, size): (&Parts, Option<u64>),
    (max, by): (u64, Option<Limit>),
    wishes: &mut Wishes,
    visit: &mut Visit,
) -> BodyRule {
    let limits = &worker.gateway.downstream;
    BodyRule {
        max,
        by,
        silence: limits.body_timeout,
        rate: Rate { bytes: limits.min_body_rate.0, window: limits.body_rate_window },
        replay: choice.retry_rule().replay,
        memory: worker.spools.as_ref().map_or(MOST_IN_MEMORY.0, |(_, memory)| *memory),
        spilling: match &worker.spools {
            // Most bodies have room in memory.
            Some(spools) if size.is_none_or(|size| size > spools.1) => {
                spilling(spools, worker, choice, head)
            }
            _ => None,
        },
        allowance: Arc::clone(choice.tenant.allowance()),
        purse: Arc::clone(peer.purse()),
        owned: Rc::clone(&view.owned),
        nominated: std::mem::take(&mut wishes.nominated),
        uploading: Some(peer.activity.upload()),
        pacer: visit.take_upload_pacer(),
    }
}

/// Where a body goes that is too large for memory, and that may be wanted again.
#[cold]
fn spilling(
    (spools, memory): &(Arc<Spools>, u64),
    worker: &Worker,
    choice: &Choice<'_>,
    head: &Parts,
) -> Option<Box<Spilling>> {
    let may_resend = choice.retry_rule().may_resend(is_idempotent(&head.method, &head.headers));
    may_resend.then(|| {
        Box::new(Spilling {
            spools: Arc::clone(spools),
            memory: *memory,
            meter: Rc::clone(&worker.meter),
            pool: choice.pool.label.clone(),
        })
    })
}

/// RFC 9110 §9.3.8: a `TRACE` has no body. Nobody may send one, and so we may not pass it on.
fn check_trace(head: &Parts, upload: &Upload) -> Result<(), ExchangeError> {
    if head.method == Method::TRACE && !upload.is_empty() {
        return Err(ExchangeError::BadRequest("a TRACE has no body"));
    }
    Ok(())
}

fn target_host(target: &Uri) -> Option<HeaderValue> {
    target.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
}

/// Sets target, host and what else differs by the endpoint's protocol. `named` is the host that the
/// client's target names. Tells whether the request asks the endpoint to switch protocols.
fn address(
    head: &mut Parts,
    named: Option<HeaderValue>,
    choice: &Choice<'_>,
    wishes: &Wishes,
) -> Result<bool, ExchangeError> {
    let http1_down = head.version < Version::HTTP_2;
    // RFC 9110 §7.8: of HTTP/1.0 it is ignored.
    let may_switch = head.version != Version::HTTP_10;
    if head.version == Version::HTTP_10 {
        head.headers.remove(EXPECT); // RFC 9110 §10.1.1: ignored as well
    }
    let host = choice.route.and_then(|route| route.rewrite.host.clone());
    // Where neither says otherwise the client's own field stands.
    let host = host.or(named);
    let asterisk = is_server_wide(head).then(|| PathAndQuery::from_static("*"));
    let target = choice.target.clone().or(asterisk);
    if wishes.trailers {
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    match choice.pool.spec.protocol {
        Protocol::H1 => {
            head.version = Version::HTTP_11;
            if target.is_some() || head.uri.authority().is_some() {
                head.uri = Uri::from(target.unwrap_or_else(|| own_target(&head.uri)));
            }
            if let Some(host) = host {
                head.headers.insert(HOST, host);
            } else if !head.headers.contains_key(HOST) {
                // RFC 9112 §3.2: an HTTP/1.0 client may have named none, and we must send the field.
                head.headers.insert(HOST, HeaderValue::from_static(""));
            }
            if !http1_down {
                hygiene::join_cookies(&mut head.headers);
            }
            let upgrade = wishes.upgrade.clone().filter(|_| may_switch);
            // RFC 9112 §9.6: it is said before, so that the endpoint is the one that closes.
            let last = choice.pool.spec.proxy_protocol.is_some();
            let connection = match (&upgrade, wishes.trailers) {
                (Some(_), true) => Some("upgrade, te"), // RFC 9110 §10.1.4
                (Some(_), false) => Some("upgrade"),
                (None, true) if last => Some("te, close"),
                (None, true) => Some("te"),
                (None, false) => last.then_some("close"),
            };
            if let Some(connection) = connection {
                head.headers.insert(CONNECTION, HeaderValue::from_static(connection));
            }
            let switching = upgrade.is_some();
            if let Some(upgrade) = upgrade {
                head.headers.insert(UPGRADE, upgrade);
            }
            Ok(switching)
        }
        Protocol::H2 => {
            head.version = Version::HTTP_2;
            let own = head.headers.remove(HOST);
            let host = host.or(own);
            head.uri = absolute(choice, target.unwrap_or_else(|| own_target(&head.uri)), host)?;
            Ok(false)
        }
    }
}

/// Says how a body is framed where the client did not need to: a head that says nothing has no body
/// (RFC 9112 §6.3). An empty POST of HTTP/2 says nothing of its length, and servers of HTTP/1 may insist on it (RFC 9110 §8.6).
fn frame(head: &mut Parts, upload: &Upload) {
    let has_none = upload.is_empty();
    let insists = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    let says = head.version == Version::HTTP_11 && (!has_none || insists);
    if !says || head.headers.contains_key(CONTENT_LENGTH) {
        return;
    }
    if has_none {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    } else {
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

fn own_target(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// RFC 9112 §3.2.4: a URI without a path and a query asks for the server as a whole. The library
/// makes such a path a `/`, which then is not the one byte that stands behind the authority.
fn is_server_wide(head: &Parts) -> bool {
    if head.method != Method::OPTIONS || head.version == Version::HTTP_2 {
        return false;
    }
    let (Some(authority), Some(target)) = (head.uri.authority(), head.uri.path_and_query()) else {
        return false;
    };
    let (authority, target) = (authority.as_str(), target.as_str());
    let came_with_it = authority.as_ptr().wrapping_add(authority.len()) == target.as_ptr();
    target == "/" && !came_with_it
}

/// HTTP/2 names scheme and authority apart from the path (RFC 9113 §8.3.1).
fn absolute(
    choice: &Choice<'_>,
    target: PathAndQuery,
    host: Option<HeaderValue>,
) -> Result<Uri, ExchangeError> {
    const BAD_HOST: ExchangeError = ExchangeError::BadRequest("the Host field is not a valid host");
    let host = host.ok_or(ExchangeError::BadRequest("the Host field is missing"))?;
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| BAD_HOST)?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if choice.pool.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).map_err(|_| BAD_HOST)
}
