//! What a worker was told of requests, for those that show and ask the same.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use foldhash::fast::RandomState;
use http::request::Parts;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::spec::AuthorizerSpec;
use crate::proxy::hygiene::X_REQUEST_ID;

use super::verdict::Verdict;

/// A digest of all that a service is told of a request, but for the request's own id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(spec: &AuthorizerSpec, tenant: &str, asked: &Parts) -> Self {
        let mut context = Context::new(&SHA256);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_le_bytes()); // so that no two are written alike
            context.update(part);
        };
        add(spec.name.as_bytes());
        add(spec.path.as_str().as_bytes());
        add(tenant.as_bytes());
        // What is read of an answer is a part of what it means.
        for name in spec.tell.iter().chain(&spec.subject).chain(&spec.tenant) {
            add(name.as_str().as_bytes());
        }
        add(&[u8::from(spec.subject.is_some()), u8::from(spec.tenant.is_some())]);
        for (name, value) in asked.headers.iter().filter(|(name, _)| **name != X_REQUEST_ID) {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
        let mut key = [0; 32];
        key.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(key)
    }
}

/// What one worker was told.
#[derive(Default)]
pub(in crate::proxy) struct Verdicts(RefCell<Known>);

impl fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verdicts({})", self.0.borrow().by_key.len())
    }
}

#[derive(Default)]
struct Known {
    by_key: HashMap<Key, Entry, RandomState>,
    /// In the order in which they came; some are gone already.
    order: VecDeque<(Key, u64)>,
    next: u64,
}

struct Entry {
    number: u64,
    what: What,
}

enum What {
    Verdict(Rc<Verdict>, Instant),
    Asked(Flight),
}

/// Hears what somebody else is told.
type Flight = watch::Receiver<Option<Rc<Verdict>>>;

/// What is known of a request.
pub(super) enum Found<'v> {
    /// What was said of one like it.
    Known(Rc<Verdict>),
    /// Somebody asks.
    Asked(Flight),
    /// Nobody has asked: whoever looked has to.
    Nobody(Lead<'v>),
}

/// Asks for all that come meanwhile. Dropped, the next one asks.
pub(super) struct Lead<'v> {
    verdicts: &'v Verdicts,
    key: Key,
    number: u64,
    tell: watch::Sender<Option<Rc<Verdict>>>,
}

impl Verdicts {
    pub(super) fn find(&self, key: &Key, now: Instant) -> Found<'_> {
        let mut known = self.0.borrow_mut();
        match known.by_key.get(key).map(|entry| &entry.what) {
            Some(What::Verdict(verdict, until)) if *until > now => {
                return Found::Known(Rc::clone(verdict));
            }
            Some(What::Asked(flight)) if flight.has_changed().is_ok() => {
                return Found::Asked(flight.clone());
            }
            _ => {}
        }
        let (tell, flight) = watch::channel(None);
        let number = known.put(*key, What::Asked(flight));
        Found::Nobody(Lead { verdicts: self, key: *key, number, tell })
    }
}

impl Known {
    fn put(&mut self, key: Key, what: What) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_key.insert(key, Entry { number, what });
        self.order.push_back((key, number));
        while self.by_key.len() > MOST || self.order.len() > 2 * MOST {
            let Some((key, number)) = self.order.pop_front() else { break };
            if self.by_key.get(&key).is_some_and(|entry| entry.number == number) {
                self.by_key.remove(&key);
            }
        }
        number
    }
}

impl Lead<'_> {
    /// Tells all who wait, and, for as long as it lasts, all who come.
    pub(super) fn land(self, verdict: &Rc<Verdict>, now: Instant, lasts: Duration) {
        self.tell.send_replace(Some(Rc::clone(verdict)));
        if !lasts.is_zero() {
            let until = now + lasts;
            self.verdicts.0.borrow_mut().put(self.key, What::Verdict(Rc::clone(verdict), until));
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut known = self.verdicts.0.borrow_mut();
        if known.by_key.get(&self.key).is_some_and(|entry| entry.number == self.number) {
            known.by_key.remove(&self.key);
        }
    }
}

/// 4,096 of a worker: with what they tell 16 MiB at most.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::super::verdict::Fault;
    use super::*;

    fn key(number: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Key(key)
    }

    fn verdict() -> Rc<Verdict> {
        Rc::new(Verdict::Failed(Fault::NoEndpoint))
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_meanwhile_hears_what_the_first_is_told_and_later_ones_while_it_lasts() {
        let (verdicts, now) = (Verdicts::default(), Instant::now());
        let Found::Nobody(lead) = verdicts.find(&key(1), now) else { panic!("it is known") };
        let Found::Asked(mut flight) = verdicts.find(&key(1), now) else { panic!("nobody asks") };

        lead.land(&verdict(), now, Duration::from_secs(5));

        assert!(flight.wait_for(Option::is_some).await.is_ok());
        let after = |seconds| verdicts.find(&key(1), now + Duration::from_secs(seconds));
        assert!(matches!(after(4), Found::Known(_)));
        assert!(matches!(after(5), Found::Nobody(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_first_leaves_the_next_one_asks() {
        let (verdicts, now) = (Verdicts::default(), Instant::now());
        let Found::Nobody(lead) = verdicts.find(&key(1), now) else { panic!("it is known") };
        let Found::Asked(mut flight) = verdicts.find(&key(1), now) else { panic!("nobody asks") };

        drop(lead);

        assert!(flight.wait_for(Option::is_some).await.is_err());
        let Found::Nobody(lead) = verdicts.find(&key(1), now) else { panic!("somebody asks") };
        lead.land(&verdict(), now, Duration::ZERO);
        assert!(matches!(verdicts.find(&key(1), now), Found::Nobody(_)), "it was for once");
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let (verdicts, now) = (Verdicts::default(), Instant::now());
        for number in 0..3 * MOST {
            if let Found::Nobody(lead) = verdicts.find(&key(number), now) {
                lead.land(&verdict(), now, Duration::from_secs(60));
            }
        }
        for _ in 0..3 * MOST {
            drop(verdicts.find(&key(usize::MAX), now)); // somebody who always leaves
        }

        let known = verdicts.0.borrow();
        assert!(known.by_key.len() <= MOST && known.order.len() <= 2 * MOST);
    }
}
