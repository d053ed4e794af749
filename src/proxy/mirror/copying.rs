//! A copy while its body comes: kept up to a bound as the endpoint takes it, and sent once it is whole.

use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::base::fair::State;
use crate::base::memory::Refused;
use crate::config::spec::MirrorSpec;
use crate::pool::Pool;
use crate::pool::balancer::PickKey;
use crate::proxy::apart::Apart;
use crate::proxy::body_rule::BodyFault;
use crate::proxy::breaking;
use crate::proxy::choice::Choice;
use crate::proxy::connection::Peer;
use crate::proxy::outgoing::Outgoing;
use crate::proxy::part::Part;
use crate::proxy::steered;
use crate::proxy::visit::Visit;
use crate::proxy::worker::Worker;
use crate::routing::mirror::Mirror;
use crate::telemetry::mirrors::Outcome;
use crate::upstream::Fields;

use super::kept::Takes;
use super::places::Place;
use super::{Comparison, head};

/// A copy of a request.
pub(super) struct Copy {
    pub(super) worker: Rc<Worker>,
    pub(super) pool: Arc<Pool>,
    /// The id of the tenant whose request it is, and its place.
    pub(super) tenant: (Box<str>, u32),
    pub(super) spec: MirrorSpec,
    pub(super) head: Parts,
    pub(super) added: Fields,
    /// What its pool hashes.
    pub(super) key: PickKey,
    /// What keeps its connections apart from those of others.
    pub(super) apart: Option<Box<Apart>>,
    /// The name of the route, by which the pool learns what its requests cost.
    pub(super) route: Arc<str>,
    pub(super) comparison: Option<Rc<Comparison>>,
    /// Counted when it is dropped.
    pub(super) outcome: Outcome,
    pub(super) takes: Option<Takes>,
}

/// A copy whose body is on its way. Dropped before that has ended, there will be none.
pub(in crate::proxy) struct Copying {
    copy: Box<Copy>,
    parts: Vec<Part>,
    /// Bytes that it may still take.
    left: u64,
}

/// Begins a copy; of a request without a body, sends it. Gives what is to be told of the request's own answer,
/// where both are compared.
#[cold]
#[inline(never)]
pub(super) fn begin(
    worker: &Rc<Worker>,
    peer: &Peer,
    (choice, mirror): (&Choice<'_>, &Mirror),
    outgoing: &mut Outgoing<'_>,
    visit: &Visit,
) -> Option<Rc<Comparison>> {
    let (pool, spec) = (&mirror.pool, &mirror.spec);
    worker.meter.hear_of_pool(&pool.label);
    let copy = prepare(worker, peer, (choice, mirror), outgoing, visit);
    let copy = copy.map_err(|outcome| worker.meter.mirrored(&pool.label, outcome)).ok()?;
    let comparison = copy.comparison.clone();
    if outgoing.upload.is_empty() {
        copy.send(Vec::new());
    } else {
        let left = spec.max_body.0;
        outgoing.upload.copy_to(Box::new(Copying { copy, parts: Vec::new(), left }));
    }
    comparison
}

/// The copy of a request without its body, or why there is none.
fn prepare(
    worker: &Rc<Worker>,
    peer: &Peer,
    (choice, mirror): (&Choice<'_>, &Mirror),
    outgoing: &mut Outgoing<'_>,
    visit: &Visit,
) -> Result<Box<Copy>, Outcome> {
    let (pool, spec) = (&mirror.pool, &mirror.spec);
    if outgoing.upgrade.is_some() || outgoing.extended {
        return Err(Outcome::Upgrade);
    }
    if outgoing.upload.coming() > spec.max_body.0 {
        return Err(Outcome::TooLarge);
    }
    if choice.pool.gate().is_some_and(|gate| is_crowded(gate.state())) {
        return Err(Outcome::Crowded);
    }
    if choice.pool.breakers.is_some() && !breaking::are_closed(worker, choice) {
        return Err(Outcome::Crowded);
    }
    let place = Place::enter(&pool.copies, spec.concurrency).ok_or(Outcome::Busy)?;
    let fields = outgoing.head.headers.iter().chain(outgoing.added.iter().map(|(n, v)| (n, v)));
    let need = COPY + fields.map(size_of_field).sum::<u64>();
    let held = worker.account.ask_spare(Refused::Mirror, need).ok_or(Outcome::Memory)?;
    // It has the mirror's time, and not that of the request.
    outgoing.tell(Some(Instant::now() + spec.timeout), visit.traced(), None);
    let mut head = head::of(outgoing.head, &pool.spec).ok_or(Outcome::Failed)?;
    let steering = pool.steering.as_deref();
    let key = steering.map(|steering| steered::key_of_copy(steering, choice, &mut head, visit));
    let parties = (&**pool, choice.tenant.slot());
    let apart = pool.spec.keeps_apart().then(|| Apart::of(peer, parties, visit));
    let comparison = spec.compare.then(|| Comparison::begin(worker, &pool.label));
    Ok(Box::new(Copy {
        tenant: (choice.tenant.id().into(), choice.tenant.slot()),
        worker: Rc::clone(worker),
        pool: Arc::clone(pool),
        spec: spec.clone(),
        head,
        added: outgoing.added.clone(),
        key: key.unwrap_or_default(),
        apart,
        route: choice.route.map_or_else(|| "".into(), |route| Arc::clone(&route.name)),
        comparison,
        outcome: Outcome::Incomplete,
        takes: Some(Takes { held, _place: place }),
    }))
}

/// Whether a request has to wait for its turn, or is refused: then the gateway does nothing else for it.
fn is_crowded(gate: State) -> bool {
    gate.waiting > 0 || gate.limit.is_some_and(|limit| gate.inside >= limit)
}

fn size_of_field((name, value): (&HeaderName, &HeaderValue)) -> u64 {
    (name.as_str().len() + value.len()) as u64
}

impl Copying {
    /// Takes what was read last of the body, which has ended or not. Gives back what goes on.
    #[cold]
    #[inline(never)]
    pub(in crate::proxy) fn follow(
        copying: Option<Box<Self>>,
        read: Option<&Result<Part, BodyFault>>,
        has_ended: bool,
    ) -> Option<Box<Self>> {
        let copying = match read {
            Some(Ok(part)) => copying?.take(part)?,
            Some(Err(_)) => return None,
            None => copying?,
        };
        if !has_ended {
            return Some(copying);
        }
        (*copying).end();
        None
    }

    /// Takes a part. Gives it back as long as there may be a copy.
    fn take(mut self: Box<Self>, part: &Part) -> Option<Box<Self>> {
        let size = match part {
            Part::Data(data) => data.len() as u64,
            Part::Trailers(trailers) => trailers.iter().map(size_of_field).sum(),
        };
        let Some(left) = self.left.checked_sub(size) else {
            self.copy.outcome = Outcome::TooLarge;
            return None;
        };
        let held = self.copy.takes.as_mut().map(|takes| &mut takes.held);
        if !held.is_some_and(|held| held.ask_more_spare(Refused::Mirror, size)) {
            self.copy.outcome = Outcome::Memory;
            return None;
        }
        self.left = left;
        part.append_to(&mut self.parts);
        Some(self)
    }

    /// All of the body is there.
    fn end(self) {
        let Self { copy, parts, .. } = self;
        copy.send(parts);
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.worker.meter.mirrored(&self.pool.label, self.outcome);
    }
}

/// 24 KiB: the state of an exchange, and what its answer is read into.
const COPY: u64 = 24 << 10;
