//! Judges endpoints from traffic: one that fails several times in a row gets none for a while.
//! Called on the way of each request, so it takes no lock and, while all goes well, writes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::spec::EjectSpec;
use crate::model::endpoint::Endpoint;
use crate::model::members::Members;

/// What an attempt at an endpoint says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered, and not with a 5xx.
    Success,
    /// It took the request, and then a reset, nothing in time, or a 5xx: the request may be to blame.
    Failure,
    /// It answered with a 5xx, and said after what time to come again: it knows how it is, and a check
    /// would come before that.
    Busy,
    /// There was no connection, whoever asks.
    Unreachable,
}

/// One attempt at an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// How it went.
    pub verdict: Verdict,
    /// The place of the tenant whose request it was.
    pub tenant: u32,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub now: Instant,
}

/// What became of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It gets no traffic for a while.
    Ejected(Ejected),
    /// It has failed often enough, and one tenant alone, while it serves others.
    Spared,
    /// It has passed its trial and gets all of its traffic.
    Recovered,
}

/// What an endpoint is ejected for: the closed set of a label. Never rename one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Failures in a row.
    Failures,
    /// It has failed when it came back from an ejection.
    Trial,
    /// More of its requests fail than of the others'.
    SuccessRate,
    /// It fails more of its requests than the pool's breaker allows.
    FailureShare,
    /// It takes much longer than the others.
    Latency,
}

impl Cause {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Trial => "trial",
            Self::SuccessRate => "success_rate",
            Self::FailureShare => "failure_share",
            Self::Latency => "latency",
        }
    }

    /// The end of a sentence that tells it.
    pub fn why(self) -> &'static str {
        match self {
            Self::Failures => "after failures in a row",
            Self::Trial => "anew: it failed when it came back",
            Self::SuccessRate => "since it fails more of its requests than the others",
            Self::FailureShare => "since it fails too many of its requests",
            Self::Latency => "since it is much slower than the others",
        }
    }
}

/// An endpoint was ejected just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// For how long.
    pub time: Duration,
    /// The how-manieth ejection in a row this is, from 1; the time grows with it.
    pub count: u32,
    /// For what.
    pub cause: Cause,
}

/// Takes the verdict of one attempt. Tells when it ejected the endpoint; of several workers that
/// see the same failures, one does and is told. No tenant can take an endpoint from the others by
/// requests that fail: those are the application's answer to it.
pub fn observe(
    members: &Members,
    endpoint: &Endpoint,
    spec: &EjectSpec,
    attempt: Attempt,
) -> Option<Judged> {
    if attempt.verdict == Verdict::Success {
        endpoint.serves(attempt.tenant, attempt.now);
        if endpoint.is_in_doubt() {
            return relieved(members, endpoint, spec, attempt);
        }
        return None;
    }
    failed(members, endpoint, spec, attempt)
}

/// A success after failures or broken answers, or on trial. It is the head of an answer alone that came well: while
/// those before broke off, that says little.
#[cold]
#[inline(never)]
fn relieved(
    members: &Members,
    endpoint: &Endpoint,
    spec: &EjectSpec,
    attempt: Attempt,
) -> Option<Judged> {
    endpoint.clear_failures();
    if endpoint.breaks() > 0 && spec.failures > 0 {
        return broken(members, endpoint, spec, attempt.now);
    }
    if !endpoint.is_on_trial() || !endpoint.passes(attempt.tenant, attempt.began) {
        return None;
    }
    endpoint.end_trial();
    endpoint.set_quiet_since(attempt.now);
    members.refresh();
    Some(Judged::Recovered)
}

/// Judges an endpoint of which no answer has ended whole since some broke off.
fn broken(
    members: &Members,
    endpoint: &Endpoint,
    spec: &EjectSpec,
    now: Instant,
) -> Option<Judged> {
    if endpoint.breaks() < spec.failures || endpoint.ejected_for().is_some() {
        return None;
    }
    if endpoint.breaks_one_tenant_alone(now) {
        endpoint.forget_breaks();
        return Some(Judged::Spared);
    }
    let cause = if endpoint.is_on_trial() { Cause::Trial } else { Cause::Failures };
    eject(members, endpoint, spec, cause).map(Judged::Ejected)
}

fn failed(
    members: &Members,
    endpoint: &Endpoint,
    spec: &EjectSpec,
    Attempt { verdict, tenant, began, now }: Attempt,
) -> Option<Judged> {
    if verdict != Verdict::Busy {
        endpoint.suspicion().raise();
    }
    let tenant = (verdict != Verdict::Unreachable).then_some(tenant);
    if endpoint.is_on_trial() {
        endpoint.add_failure(tenant);
        let lost = endpoint.fails(tenant, began, now);
        let ejected = lost.then(|| eject(members, endpoint, spec, Cause::Trial));
        return ejected.flatten().map(Judged::Ejected);
    }
    if spec.failures == 0 {
        return None;
    }
    // Under way when it was ejected, from a panicking pool, or a retry that found nobody else. It is
    // out already; retries take it for one that may be back, up to its first failure.
    if endpoint.ejected_for().is_some() {
        endpoint.add_failure(tenant);
        return None;
    }
    // Each `failures` more it is tried again, where the share did not allow it before.
    if !endpoint.add_failure(tenant).is_multiple_of(spec.failures) {
        return None;
    }
    if endpoint.fails_one_tenant_alone(now) {
        return Some(Judged::Spared);
    }
    eject(members, endpoint, spec, Cause::Failures).map(Judged::Ejected)
}

/// Readmits endpoints whose time is over, on trial where `spec` asks for one, and ejects those anew
/// whose trial is lost: tells which. An endpoint that then stays in for `base` (at least 10 s) has its
/// next ejection shortened by one `base`, and so on. To be called about every 100 ms; costs nothing
/// while nobody has been ejected.
pub fn release(members: &Members, spec: &EjectSpec) -> Vec<(Arc<Endpoint>, Ejected)> {
    let mut lost = Vec::new();
    if !members.is_watchful() {
        return lost;
    }
    let Some(turn) = members.try_turn() else { return lost };
    let (now, spell) = (Instant::now(), spec.base.max(SHORTEST_SPELL));
    let (mut changed, mut watched) = (false, 0);
    for member in &members.load().all {
        let endpoint = &member.endpoint;
        match endpoint.ejected_for() {
            Some(Duration::ZERO) => {
                endpoint.clear_failures();
                endpoint.forget_breaks();
                if spec.trials > 0 {
                    endpoint.begin_trial(spec.trials);
                }
                endpoint.readmit();
                endpoint.set_quiet_since(now);
                changed = true;
            }
            Some(_) => {
                watched += 1;
                continue;
            }
            // Who came back just now is counted with the next look.
            None if !changed
                && is_lost(members, endpoint, now)
                && has_room(members, endpoint, spec) =>
            {
                lost.push((Arc::clone(endpoint), put_out(endpoint, spec, Cause::Trial)));
                (changed, watched) = (true, watched + 1);
                continue;
            }
            None if endpoint.is_on_trial() && spec.trials == 0 => {
                endpoint.end_trial(); // the files ask for none any more
                changed = true;
            }
            None if endpoint.ejections() == 0 && !endpoint.is_on_trial() => continue,
            None => {}
        }
        if endpoint.is_on_trial() {
            watched += 1; // what is not sure yet counts for nothing
        } else if decay(endpoint, spell) {
            watched += 1;
        }
    }
    // In the turn: an ejection after this sets it again, and knows who is on trial.
    members.set_watchful(watched > 0);
    if changed {
        members.refresh();
    }
    drop(turn);
    lost
}

/// Whether an endpoint has lost its trial: it has failed a tenant, and there is no other in the pool that could say
/// whether that is the tenant's own. Where there is one, the trial goes on until it comes.
fn is_lost(members: &Members, endpoint: &Endpoint, now: Instant) -> bool {
    endpoint.trial_unopposed(now).is_some_and(|tenant| {
        let set = members.load();
        !set.all.iter().any(|member| member.endpoint.serves_another(tenant, now))
    })
}

/// Ejects a member, unless it is out already or the share is used up.
pub fn eject(
    members: &Members,
    endpoint: &Endpoint,
    spec: &EjectSpec,
    cause: Cause,
) -> Option<Ejected> {
    // Somebody else ejects or readmits right now: the next failures will tell.
    let turn = members.try_turn()?;
    if endpoint.ejected_for().is_some() || !has_room(members, endpoint, spec) {
        return None;
    }
    let ejected = put_out(endpoint, spec, cause);
    members.set_watchful(true);
    drop(turn);
    members.refresh();
    Some(ejected)
}

/// Ejects an endpoint; the caller has the turn and refreshes the members.
fn put_out(endpoint: &Endpoint, spec: &EjectSpec, cause: Cause) -> Ejected {
    let count = endpoint.ejections().saturating_add(1);
    let time = spec.base.saturating_mul(count).min(spec.max);
    endpoint.set_ejections(count);
    endpoint.end_trial();
    endpoint.clear_failures();
    endpoint.forget_breaks();
    endpoint.eject(time);
    Ejected { time, count, cause }
}

/// Whether one more may be ejected. The only endpoint of a pool never is: there is nobody else to
/// send its traffic to. Those that are drained get none anyway, and one that gets one request at a time has
/// its place among those that are out; not one on trial that is down, or stands by, and gets no request at all.
fn has_room(members: &Members, endpoint: &Endpoint, spec: &EjectSpec) -> bool {
    let set = members.load();
    let is_member = set.all.iter().any(|member| member.endpoint.id == endpoint.id);
    let present = || set.all.iter().filter(|member| !member.endpoint.is_drained());
    let tried = |other: &Endpoint| set.eligible.on_trial.iter().any(|one| one.id == other.id);
    let is_out = |other: &Endpoint| other.ejected_for().is_some() || tried(other);
    let others = present().filter(|member| member.endpoint.id != endpoint.id);
    let out = others.filter(|member| is_out(&member.endpoint)).count();
    let count = present().count();
    is_member && count > 1 && out < allowed(count, spec)
}

/// How many of a pool of `members` may be ejected at once.
fn allowed(members: usize, spec: &EjectSpec) -> usize {
    // The small addend makes up for shares that are no exact binary numbers (30 % of 10 is 3).
    let share = (members as f64 * spec.share.share() + 1e-9) as usize;
    share.max(1)
}

/// Takes off one ejection for each spell without one. Tells whether there is something left to
/// take off.
fn decay(endpoint: &Endpoint, spell: Duration) -> bool {
    let since = endpoint.quiet_since();
    let passed = since.elapsed().as_millis() / spell.as_millis().max(1);
    let passed = u32::try_from(passed).unwrap_or(u32::MAX);
    let left = endpoint.ejections().saturating_sub(passed);
    if passed > 0 {
        endpoint.set_ejections(left);
        endpoint.set_quiet_since(since + spell.saturating_mul(passed));
    }
    left > 0
}

/// 10 s: a shorter spell would forget a flapping endpoint's past between two failures.
const SHORTEST_SPELL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
