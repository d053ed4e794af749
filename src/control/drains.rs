//! Endpoints that an operator takes out of the traffic, and lets in again.
//!
//! **Invariant:** nothing but an operator's word ends a drain, short of the end of the process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::base::snapshot::Snapshot;
use crate::config::nearest;
use crate::model::address::Address;
use crate::model::drains::Drained;
use crate::model::members::{MemberSet, Members};

use super::generation::Live;

/// Drains endpoints of the pools that are live.
#[derive(Clone, Debug)]
pub struct Drainer {
    live: Snapshot<Live>,
    /// Held while one is drained: of two that are the last together, one must stay.
    turn: Arc<Mutex<()>>,
}

/// Whether the last endpoint that serves a pool may be drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// It stays: the pool's requests would fail.
    Stays,
    /// It is drained, too.
    MayGo,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it was otherwise before.
    pub changed: bool,
    /// The drain that is in force now.
    pub drained: Option<Drained>,
    /// Requests that the endpoint is still busy with.
    pub in_flight: u32,
    /// How many of the pool's endpoints may be picked now.
    pub eligible: usize,
    /// The source that keeps it out, whatever an operator says.
    pub kept_out_by: Option<Arc<str>>,
}

/// Why an endpoint is not drained, or not let in again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// No pool has this name.
    #[error("there is no pool {name:?}{hint}")]
    NoPool {
        /// The name.
        name: String,
        /// A name that is like it, or none.
        hint: String,
    },
    /// The pool has no such member.
    #[error("the pool {pool:?} has no endpoint {address}; it has {members}")]
    NoEndpoint {
        /// The pool.
        pool: String,
        /// The address.
        address: String,
        /// Those that it has, or the first of them.
        members: String,
    },
    /// Nobody would serve the pool.
    #[error(
        "{address} is the last endpoint that serves the pool {pool:?}: its requests would fail"
    )]
    Last {
        /// The pool.
        pool: String,
        /// The address.
        address: String,
    },
}

impl Drainer {
    /// For the pools of `live`.
    pub fn new(live: Snapshot<Live>) -> Self {
        Self { live, turn: Arc::default() }
    }

    /// Sends an endpoint no new requests. Those under way finish, its idle connections are closed,
    /// its checks go on. One that is drained already keeps its time and its reason.
    ///
    /// # Errors
    /// When there is no such endpoint, or it is the last one and stays.
    pub fn drain(
        &self,
        pool: &str,
        address: &Address,
        reason: Option<Arc<str>>,
        last: Last,
    ) -> Result<Outcome, DrainError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let members = self.members(pool)?;
        if let Some(before) = members.drains().load().get(address).cloned() {
            return Ok(outcome(&members, address, false, Some(before)));
        }
        let set = members.load();
        if !set.all.iter().any(|member| member.endpoint.address == *address) {
            return Err(no_endpoint(pool, address, &set));
        }
        if last == Last::Stays && is_last(&set, address) {
            return Err(DrainError::Last { pool: pool.to_owned(), address: address.to_string() });
        }
        drop(set);
        let drained = Drained { since: SystemTime::now(), reason };
        members.drains().insert(address, &drained);
        let members = self.renew(pool, members);
        let reason = drained.reason.as_deref().unwrap_or("none given");
        tracing::warn!(pool, endpoint = %address, reason, "the endpoint is drained by an operator");
        Ok(outcome(&members, address, true, Some(drained)))
    }

    /// Lets an endpoint in again, whether it is a member at present or not.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub fn undrain(&self, pool: &str, address: &Address) -> Result<Outcome, DrainError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let members = self.members(pool)?;
        if !members.drains().load().contains_key(address) {
            let set = members.load();
            if !set.all.iter().any(|member| member.endpoint.address == *address) {
                return Err(no_endpoint(pool, address, &set));
            }
            return Ok(outcome(&members, address, false, None));
        }
        members.drains().remove(address);
        let members = self.renew(pool, members);
        tracing::info!(pool, endpoint = %address, "the endpoint is no longer drained");
        Ok(outcome(&members, address, true, None))
    }

    fn members(&self, pool: &str) -> Result<Arc<Members>, DrainError> {
        let live = self.live.load();
        let found = live.pools.iter().find(|live| live.name.as_ref() == pool);
        found.map(|live| Arc::clone(&live.members)).ok_or_else(|| {
            let names = live.pools.iter().map(|live| live.name.as_ref());
            let like = nearest::nearest(pool, names);
            let hint = like.map_or_else(String::new, |name| format!("; is it {name:?}?"));
            DrainError::NoPool { name: pool.to_owned(), hint }
        })
    }

    /// Has the members of now know of a drain. A reload may have replaced them meanwhile: those that
    /// it publishes after this look for drains themselves.
    fn renew(&self, pool: &str, members: Arc<Members>) -> Arc<Members> {
        members.refresh();
        match self.members(pool) {
            Ok(now) if !Arc::ptr_eq(&now, &members) => {
                now.refresh();
                now
            }
            _ => members,
        }
    }
}

/// Whether the requests of the pool fail without this endpoint.
fn is_last(set: &MemberSet, address: &Address) -> bool {
    let others = || {
        let others = set.all.iter().filter(|member| member.endpoint.address != *address);
        others.map(|member| &member.endpoint).filter(|endpoint| !endpoint.is_drained())
    };
    let itself = set.all.iter().find(|member| member.endpoint.address == *address);
    if itself.is_some_and(|member| member.endpoint.is_drained()) {
        return false; // its source keeps it out already
    }
    let serves = itself.is_some_and(|member| member.endpoint.is_eligible());
    others().next().is_none() || (serves && !others().any(|other| other.is_eligible()))
}

fn outcome(
    members: &Members,
    address: &Address,
    changed: bool,
    drained: Option<Drained>,
) -> Outcome {
    let set = members.load();
    let member = set.all.iter().find(|member| member.endpoint.address == *address);
    Outcome {
        changed,
        drained,
        in_flight: member.map_or(0, |member| member.endpoint.in_flight()),
        eligible: set.eligible.endpoints.len(),
        kept_out_by: member
            .filter(|member| member.draining.is_some())
            .map(|member| Arc::clone(&member.origin)),
    }
}

fn no_endpoint(pool: &str, address: &Address, set: &MemberSet) -> DrainError {
    let mut members: Vec<&str> =
        set.all.iter().take(SHOWN).map(|member| member.endpoint.label.as_ref()).collect();
    if set.all.len() > SHOWN {
        members.push("others");
    }
    let members = if members.is_empty() { "none".to_owned() } else { members.join(", ") };
    DrainError::NoEndpoint { pool: pool.to_owned(), address: address.to_string(), members }
}

/// 10: enough to see a slip.
const SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use crate::control::generation::LivePool;
    use crate::model::endpoint::Health;
    use crate::model::members::Found;

    use super::*;

    fn drainer(addresses: &[&str]) -> (Drainer, Arc<Members>) {
        let members = Arc::new(Members::new(1, Health::Unchecked, 0.5));
        let found = |address: &&str| Found::new(address.parse::<Address>().unwrap(), "test");
        members.replace(&addresses.iter().map(found).collect::<Vec<Found>>());
        let mut live = Live::none();
        let (name, members_of) = ("shop".into(), Arc::clone(&members));
        live.pools = vec![LivePool {
            name,
            slot: 0,
            members: members_of,
            gate: None,
            overrun: None,
            adaptive: None,
            breakers: None,
            has_own_breaker: false,
            shard: None,
            sources: Vec::new(),
        }];
        (Drainer::new(Snapshot::new(Arc::new(live))), members)
    }

    fn at(address: &str) -> Address {
        address.parse().unwrap()
    }

    #[test]
    fn a_drain_is_kept_with_its_first_reason_until_it_is_undone() {
        let (drainer, members) = drainer(&["10.0.0.1:80", "10.0.0.2:80"]);
        let address = at("10.0.0.1:80");
        let drain =
            |reason: &str| drainer.drain("shop", &address, Some(reason.into()), Last::Stays);

        let first = drain("kernel").unwrap();
        let again = drain("disk").unwrap();

        assert_eq!((first.changed, first.eligible), (true, 1));
        assert_eq!(again, Outcome { changed: false, ..first });
        assert!(members.load().all[0].endpoint.is_drained());

        assert!(drainer.undrain("shop", &address).unwrap().changed);
        assert!(!drainer.undrain("shop", &address).unwrap().changed);
        assert!(!members.load().all[0].endpoint.is_drained());
    }

    #[test]
    fn the_last_endpoint_that_serves_stays_unless_it_is_forced() {
        let (drainer, members) = drainer(&["10.0.0.1:80", "10.0.0.2:80"]);
        let (first, second) = (at("10.0.0.1:80"), at("10.0.0.2:80"));
        members.load().all[1].endpoint.set_health(Health::Down, None);
        members.refresh();

        let refused = drainer.drain("shop", &first, None, Last::Stays);
        assert!(matches!(refused, Err(DrainError::Last { .. })), "{refused:?}");
        // The one that is down serves nobody.
        assert!(drainer.drain("shop", &second, None, Last::Stays).is_ok());
        assert!(matches!(
            drainer.drain("shop", &first, None, Last::Stays),
            Err(DrainError::Last { .. })
        ));
        assert_eq!(drainer.drain("shop", &first, None, Last::MayGo).unwrap().eligible, 0);
    }

    #[test]
    fn who_is_not_there_is_named_beside_those_who_are() {
        let (drainer, _) = drainer(&["10.0.0.1:80"]);

        let pool = drainer.undrain("shpo", &at("10.0.0.1:80")).unwrap_err().to_string();
        let endpoint = drainer.undrain("shop", &at("10.0.0.9:80")).unwrap_err().to_string();

        assert_eq!(pool, "there is no pool \"shpo\"; is it \"shop\"?");
        assert_eq!(endpoint, "the pool \"shop\" has no endpoint 10.0.0.9:80; it has 10.0.0.1:80");
    }

    #[test]
    fn one_that_is_gone_can_be_let_in_again() {
        let (drainer, members) = drainer(&["10.0.0.1:80", "10.0.0.2:80"]);
        drainer.drain("shop", &at("10.0.0.1:80"), None, Last::Stays).unwrap();
        members.replace(&[]);

        assert!(drainer.undrain("shop", &at("10.0.0.1:80")).unwrap().changed);
        assert!(drainer.undrain("shop", &at("10.0.0.1:80")).is_err());
    }
}
