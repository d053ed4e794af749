//! Judges endpoints from traffic: one that fails several times in a row gets none for a while.
//! Called on the way of each request, so it takes no lock and, while all goes well, writes nothing.

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
}

/// An endpoint was ejected just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// For how long.
    pub time: Duration,
    /// The how-manieth ejection in a row this is, from 1; the time grows with it.
    pub count: u32,
}

/// Takes the verdict of one attempt. Tells when it ejected the endpoint; of several workers that
/// see the same failures, one does and is told. No tenant can take an endpoint from the others by
/// requests that fail: those are the application's answer to it.
pub fn observe(
    members: &Members,
    endpoint: &Endpoint,
    spec: &EjectSpec,
    Attempt { verdict, tenant, now }: Attempt,
) -> Option<Judged> {
    if verdict == Verdict::Success {
        endpoint.clear_failures();
        endpoint.serves(tenant, now);
        return None;
    }
    if verdict != Verdict::Busy {
        endpoint.suspicion().raise();
    }
    let tenant = (verdict != Verdict::Unreachable).then_some(tenant);
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
    eject(members, endpoint, spec).map(Judged::Ejected)
}

/// Readmits endpoints whose time is over and tells how many. An endpoint that then stays in for
/// `base` (at least 10 s) has its next ejection shortened by one `base`, and so on. To be called
/// about every 100 ms; costs nothing while nobody has been ejected.
pub fn release(members: &Members, spec: &EjectSpec) -> usize {
    if !members.is_watchful() {
        return 0;
    }
    let Some(turn) = members.try_turn() else { return 0 };
    let spell = spec.base.max(SHORTEST_SPELL);
    let (mut readmitted, mut watched) = (0, 0);
    for member in &members.load().all {
        let endpoint = &member.endpoint;
        match endpoint.ejected_for() {
            Some(Duration::ZERO) => {
                endpoint.clear_failures();
                endpoint.readmit();
                endpoint.set_quiet_since(Instant::now());
                readmitted += 1;
            }
            Some(_) => {
                watched += 1;
                continue;
            }
            None if endpoint.ejections() == 0 => continue,
            None => {}
        }
        if decay(endpoint, spell) {
            watched += 1;
        }
    }
    // In the turn: an ejection after this sets it again.
    members.set_watchful(watched > 0);
    drop(turn);
    if readmitted > 0 {
        members.refresh();
    }
    readmitted
}

fn eject(members: &Members, endpoint: &Endpoint, spec: &EjectSpec) -> Option<Ejected> {
    // Somebody else ejects or readmits right now: the next failures will tell.
    let turn = members.try_turn()?;
    if endpoint.ejected_for().is_some() || !has_room(members, endpoint, spec) {
        return None;
    }
    let count = endpoint.ejections().saturating_add(1);
    let time = spec.base.saturating_mul(count).min(spec.max);
    endpoint.set_ejections(count);
    endpoint.clear_failures();
    endpoint.eject(time);
    members.set_watchful(true);
    drop(turn);
    members.refresh();
    Some(Ejected { time, count })
}

/// Whether one more may be ejected. The only endpoint of a pool never is: there is nobody else to
/// send its traffic to. Those that are drained get none anyway.
fn has_room(members: &Members, endpoint: &Endpoint, spec: &EjectSpec) -> bool {
    let set = members.load();
    let is_member = set.all.iter().any(|member| member.endpoint.id == endpoint.id);
    let present = || set.all.iter().filter(|member| !member.endpoint.is_drained());
    let ejected = present().filter(|member| member.endpoint.ejected_for().is_some()).count();
    let count = present().count();
    is_member && count > 1 && ejected < allowed(count, spec)
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
