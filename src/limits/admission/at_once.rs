//! How many requests may be under way at once: of a client first, then of a subject, of a route and of a tenant.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crate::config::spec::{EachLimitSpec, LimitFields, Overflow};
use crate::limits::Shared;
use crate::limits::crowds::{self, Crowds, Member};
use crate::limits::gate::{Entry, Gate, Permit, Queued};
use crate::limits::limit::Limit;
use crate::limits::told::Told;

use super::{Asker, Refused, Scope, Waiting, client_hash, subject_hash};

/// One limit of requests at once that applies to a request.
#[derive(Debug)]
pub struct Room<'s> {
    /// Which one.
    pub limit: Limit,
    /// What becomes of a request beyond it.
    pub overflow: Overflow,
    most: u32,
    tells: bool,
    whose: Whose<'s>,
}

#[derive(Debug)]
enum Whose<'s> {
    /// Of all requests.
    All(&'s Arc<Gate>),
    /// Of those of one client, or of one subject, with how many of all of them wait.
    One(&'s Arc<Crowds>, Member, &'s AtomicU32),
}

/// A request's place among those that are under way. It is free when this is dropped.
#[derive(Debug)]
pub enum Place {
    /// Among all of the tenant or the route.
    All(Permit),
    /// Among those of a client or of a subject.
    One(crowds::Place),
}

/// A place among those that wait for one.
#[derive(Debug)]
pub enum Line<'s> {
    /// As above.
    All(Queued),
    /// As above, and among those of all that wait.
    One(crowds::Place, Waiting<'s>),
}

/// What became of who wished to enter.
#[derive(Debug)]
pub enum Entered<'s> {
    /// It is inside.
    Inside(Place),
    /// It waits for its turn.
    Waits(Line<'s>),
    /// There is no room, and none among those that wait.
    Full,
}

/// Those that apply to a request, the closest first. Most have none, and pay nothing for it.
pub fn rooms<'s>(shared: &'s Shared, scopes: &[Scope<'s>], asker: Asker<'_>) -> Vec<Room<'s>> {
    let of_clients = scopes.iter().filter_map(|scope| {
        let hash = || Some(client_hash(shared, scope.cell, asker.client?));
        let (names, spec) = (scope.names.client_concurrency, scope.spec.client.as_ref());
        scope.room_of_one(shared, (names, spec), (false, hash))
    });
    let of_subjects = scopes.iter().filter_map(|scope| {
        let subject = asker.caller.map(|caller| (caller.proof, &*caller.subject));
        let hash = || Some(subject_hash(shared, scope.cell, subject));
        let (names, spec) = (scope.names.subject_concurrency, scope.spec.subject.as_ref());
        scope.room_of_one(shared, (names, spec), (true, hash))
    });
    of_clients.chain(of_subjects).chain(scopes.iter().filter_map(Scope::room)).collect()
}

impl<'s> Scope<'s> {
    /// Of all requests; `None` where any number may be under way.
    fn room(&self) -> Option<Room<'s>> {
        let (limit, most) = (self.names.concurrency, self.spec.concurrency?);
        Some(self.room_of((limit, most, self.spec.overflow()), Whose::All(self.cell.gate())))
    }

    fn room_of_one(
        &self,
        shared: &'s Shared,
        (limit, spec): (Limit, Option<&EachLimitSpec>),
        (is_subject, hash): (bool, impl Fn() -> Option<u64>),
    ) -> Option<Room<'s>> {
        let (spec, most) = (spec?, spec?.concurrency?);
        let member = Member { is_subject, limit: self.cell.identity, who: hash()? };
        let in_line = match is_subject {
            true => &self.cell.subjects_in_line,
            false => &self.cell.clients_in_line,
        };
        let whose = Whose::One(&shared.crowds, member, in_line);
        Some(self.room_of((limit, most, spec.overflow()), whose))
    }

    fn room_of(
        &self,
        (limit, most, overflow): (Limit, u32, Overflow),
        whose: Whose<'s>,
    ) -> Room<'s> {
        Room { limit, overflow, most, tells: self.spec.fields == LimitFields::Always, whose }
    }
}

impl<'s> Room<'s> {
    /// Enters, or waits for that.
    pub fn enter(&self) -> Entered<'s> {
        let (most, waiting) = (self.most, self.overflow.most());
        match self.whose {
            Whose::All(gate) => match gate.enter(most, waiting) {
                Entry::Inside(permit) => Entered::Inside(Place::All(permit)),
                Entry::Queued(queued) => Entered::Waits(Line::All(queued)),
                Entry::Full => Entered::Full,
            },
            Whose::One(crowds, member, in_line) => match crowds.enter(member, most, waiting) {
                crowds::Entry::Inside(place) => Entered::Inside(Place::One(place)),
                crowds::Entry::Queued(place) => {
                    match Waiting::enter(in_line, waiting.max(MOST_IN_LINE)) {
                        Some(waiting) => Entered::Waits(Line::One(place, waiting)),
                        None => Entered::Full, // its place in the queue is free again
                    }
                }
                crowds::Entry::Full => Entered::Full,
            },
        }
    }

    /// What is told where there is no room.
    pub fn full(&self) -> Box<Refused> {
        let mut told = Told::default();
        told.concurrency(self.limit, self.most, 0);
        // Nobody knows when the next one leaves.
        let (allows, retry_after) = (format!("{} at once", self.most), Duration::from_secs(1));
        Box::new(Refused { limit: self.limit, allows, retry_after, told })
    }

    /// Adds what answers tell of it.
    pub fn tell(&self, told: &mut Told) {
        if self.tells {
            let inside = match &self.whose {
                Whose::All(gate) => gate.inside(),
                Whose::One(crowds, member, _) => crowds.state(*member).0,
            };
            told.concurrency(self.limit, self.most, self.most.saturating_sub(inside));
        }
    }
}

impl Line<'_> {
    /// Waits for its turn.
    pub async fn turn(self) -> Place {
        match self {
            Self::All(mut queued) => Place::All(queued.turn().await),
            Self::One(mut place, _waiting) => {
                place.turn().await;
                Place::One(place)
            }
        }
    }
}

/// 1,000: of all clients, or of all subjects, of one limit; with 16 KiB each that is 16 MiB of `memory.buffers`. A limit
/// that has more of one wait has as many of all.
pub(super) const MOST_IN_LINE: u32 = 1000;
