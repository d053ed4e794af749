//! What balancers that ask for keys work out of the eligible endpoints, which takes long. The first request
//! of a pool does it, since most pools have none that asks; after that control does, and until it has,
//! requests go by what was worked out before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::endpoint::Endpoint;
use crate::model::members::Eligible;
use crate::pool::derived::Derived;

use super::table::print;

/// A table of places of endpoints, and whose places these are.
#[derive(Debug)]
pub(super) struct Homes<T> {
    derived: Derived<(T, Box<[Arc<Endpoint>]>)>,
    /// Somebody works out the first one.
    begun: AtomicBool,
}

impl<T> Default for Homes<T> {
    fn default() -> Self {
        Self { derived: Derived::default(), begun: AtomicBool::new(false) }
    }
}

/// The endpoints of a table's places, as far as they are still eligible.
pub(super) struct Placed<'v, 'a> {
    known: &'v [Arc<Endpoint>],
    eligible: &'a Eligible,
    is_of_now: bool,
}

impl<'a> Placed<'_, 'a> {
    /// The endpoint of this place; `None` where it is out.
    pub(super) fn endpoint(&self, place: usize) -> Option<&'a Arc<Endpoint>> {
        if self.is_of_now {
            return self.eligible.endpoints.get(place);
        }
        self.find(self.known.get(place)?)
    }

    #[cold]
    #[inline(never)]
    fn find(&self, known: &Endpoint) -> Option<&'a Arc<Endpoint>> {
        let endpoints = &self.eligible.endpoints;
        let at = endpoints.binary_search_by(|own| own.address.cmp(&known.address)).ok()?;
        endpoints.get(at).filter(|own| own.id == known.id)
    }
}

impl<T> Homes<T> {
    /// Asks the table, of these endpoints or of those of before; `None` where there is none yet.
    pub(super) fn ask<'a>(
        &self,
        eligible: &'a Eligible,
        build: fn(&Eligible) -> T,
        ask: impl FnOnce(&T, &Placed<'_, 'a>) -> Option<&'a Arc<Endpoint>>,
    ) -> Option<&'a Arc<Endpoint>> {
        let mut known = self.derived.load();
        if known.is_none() {
            self.begin(eligible, build);
            known = self.derived.load();
        }
        let known = known.as_ref()?;
        let (table, endpoints) = &*known.value;
        let is_of_now = known.version == eligible.version;
        ask(table, &Placed { known: endpoints, eligible, is_of_now })
    }

    /// The first table, by one of those that ask at once: the others do without.
    #[cold]
    #[inline(never)]
    fn begin(&self, eligible: &Eligible, build: fn(&Eligible) -> T) {
        if !eligible.endpoints.is_empty() && !self.begun.swap(true, Ordering::Relaxed) {
            self.renew(eligible, build);
        }
    }

    /// Works out the table of these endpoints, where one was asked for before and is another one. Tells
    /// whether it was.
    pub(super) fn prepare(&self, eligible: &Eligible, build: fn(&Eligible) -> T) -> bool {
        let is_old = |version: u64| version < eligible.version;
        let is_due = self.derived.load().as_ref().is_some_and(|known| is_old(known.version));
        if is_due {
            self.renew(eligible, build);
        }
        is_due
    }

    fn renew(&self, eligible: &Eligible, build: fn(&Eligible) -> T) {
        let table = |_: Option<&_>| (build(eligible), eligible.endpoints.clone());
        drop(self.derived.at(eligible.version, || print(eligible), table));
    }
}
