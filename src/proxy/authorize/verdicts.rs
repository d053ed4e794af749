//! What a worker was told of requests that may go on, for others like them: kept for a time, within a bound that no tenant
//! uses up for the others. Of those that come at once one asks. Denials and failures are for who has asked alone.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::rc::Rc;

use foldhash::fast::RandomState;
use tokio::sync::watch;
use tokio::time::Instant;

use super::question::Key;
use super::verdict::Grant;

/// What one worker was told. Boxed: a worker that asks nobody has a word of it.
#[derive(Default)]
pub(in crate::proxy) struct Verdicts(Box<RefCell<Known>>);

#[derive(Default)]
struct Known {
    by_key: HashMap<Key, Kept, RandomState>,
    /// The keys of each tenant in the order in which they came.
    order: BTreeMap<(u32, u64), Key>,
    /// What tenants hold, in bytes.
    sizes: HashMap<u32, usize, RandomState>,
    /// The same, the largest last.
    by_size: BTreeSet<(usize, u32)>,
    size: usize,
    next: u64,
    /// Questions that somebody asks.
    asked: HashMap<Key, Flight, RandomState>,
    /// How many questions of tenants are under way.
    asking: HashMap<u32, u32, RandomState>,
}

struct Kept {
    grant: Rc<Grant>,
    until: Instant,
    size: usize,
    place: (u32, u64),
}

/// Hears what somebody else is told, where others may use it.
type Flight = watch::Receiver<Option<Rc<Grant>>>;

/// What is known of a request.
pub(super) enum Found<'v> {
    /// One like it may go on.
    Known(Rc<Grant>),
    /// Somebody asks for one like it.
    Asked(Flight),
    /// Nobody asks: whoever looked has to.
    Nobody(Lead<'v>),
}

/// Asks for all that come meanwhile. Dropped, they ask themselves.
pub(super) struct Lead<'v> {
    verdicts: &'v Verdicts,
    key: Key,
    tell: watch::Sender<Option<Rc<Grant>>>,
}

/// A question's place among those of its tenant that are under way.
pub(super) struct Place<'v> {
    verdicts: &'v Verdicts,
    tenant: u32,
}

impl Verdicts {
    /// A place for a question of a tenant, by its number; `None` where so many are under way as there may be.
    pub(super) fn enter(&self, tenant: u32) -> Option<Place<'_>> {
        let mut known = self.0.borrow_mut();
        let under_way = known.asking.entry(tenant).or_default();
        if *under_way >= AT_ONCE {
            return None;
        }
        *under_way += 1;
        Some(Place { verdicts: self, tenant })
    }

    /// What was said of a request like it.
    pub(super) fn known(&self, key: &Key, now: Instant) -> Option<Rc<Grant>> {
        let mut known = self.0.borrow_mut();
        let kept = known.by_key.get(key)?;
        if kept.until > now {
            return Some(Rc::clone(&kept.grant));
        }
        known.forget(key);
        None
    }

    /// The same, or who asks.
    pub(super) fn find(&self, key: &Key, now: Instant) -> Found<'_> {
        if let Some(grant) = self.known(key, now) {
            return Found::Known(grant);
        }
        let mut known = self.0.borrow_mut();
        if let Some(flight) = known.asked.get(key) {
            return Found::Asked(flight.clone());
        }
        let (tell, flight) = watch::channel(None);
        known.asked.insert(*key, flight);
        Found::Nobody(Lead { verdicts: self, key: *key, tell })
    }

    /// Has it used for requests like this one of a tenant, by its number.
    pub(super) fn keep(&self, key: &Key, tenant: u32, grant: &Rc<Grant>, until: Instant) {
        self.0.borrow_mut().keep(key, tenant, grant, until);
    }
}

impl Known {
    fn keep(&mut self, key: &Key, tenant: u32, grant: &Rc<Grant>, until: Instant) {
        self.forget(key);
        let (place, size) = ((tenant, self.next), ENTRY + grant.size());
        self.next += 1;
        self.by_key.insert(*key, Kept { grant: Rc::clone(grant), until, size, place });
        self.order.insert(place, *key);
        self.resize(tenant, |held| held + size);
        while self.size > MOST && self.forget_one() {}
    }

    /// Forgets the oldest of the tenant that has the most: who has less than that loses nothing to it.
    fn forget_one(&mut self) -> bool {
        let Some((_, tenant)) = self.by_size.last().copied() else { return false };
        let oldest = self.order.range((tenant, 0)..=(tenant, u64::MAX)).next();
        let Some(key) = oldest.map(|(_, key)| *key) else { return false };
        self.forget(&key);
        true
    }

    fn forget(&mut self, key: &Key) {
        if let Some(Kept { size, place, .. }) = self.by_key.remove(key) {
            self.order.remove(&place);
            self.resize(place.0, |held| held - size);
        }
    }

    fn resize(&mut self, tenant: u32, change: impl FnOnce(usize) -> usize) {
        let held = self.sizes.remove(&tenant).unwrap_or(0);
        self.by_size.remove(&(held, tenant));
        let now = change(held);
        self.size = self.size - held + now;
        if now > 0 {
            self.sizes.insert(tenant, now);
            self.by_size.insert((now, tenant));
        }
    }
}

impl Lead<'_> {
    /// Tells all who wait.
    pub(super) fn tell(self, grant: &Rc<Grant>) {
        self.tell.send_replace(Some(Rc::clone(grant)));
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.verdicts.0.borrow_mut().asked.remove(&self.key);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut known = self.verdicts.0.borrow_mut();
        if let Entry::Occupied(mut under_way) = known.asking.entry(self.tenant) {
            *under_way.get_mut() -= 1;
            if *under_way.get() == 0 {
                under_way.remove();
            }
        }
    }
}

impl fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verdicts({} bytes)", self.0.borrow().size)
    }
}

/// 4 MiB of a worker: some 10,000 answers that tell little, and 1,000 that tell all they may.
const MOST: usize = 4 << 20;
/// 64: with a service that takes 20 ms, 3,200 requests a second of one tenant at one worker.
const AT_ONCE: u32 = 64;
/// 256 bytes: what an answer takes in the maps besides what it says.
const ENTRY: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn key(tenant: u32, number: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key[8..12].copy_from_slice(&tenant.to_le_bytes());
        Key(key)
    }

    fn grant(size: usize) -> Rc<Grant> {
        let name = HeaderName::from_static("x-user");
        let value = HeaderValue::try_from("a".repeat(size)).unwrap();
        Rc::new(Grant { subject: None, told: Box::new([(name, value)]) })
    }

    fn is_known(verdicts: &Verdicts, key: &Key, now: Instant) -> bool {
        verdicts.known(key, now).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_meanwhile_hears_what_the_first_is_told_and_later_ones_while_it_lasts() {
        let (verdicts, now) = (Verdicts::default(), Instant::now());
        let Found::Nobody(lead) = verdicts.find(&key(0, 1), now) else { panic!("it is known") };
        let Found::Asked(mut flight) = verdicts.find(&key(0, 1), now) else {
            panic!("nobody asks")
        };

        verdicts.keep(&key(0, 1), 0, &grant(3), now + Duration::from_secs(5));
        lead.tell(&grant(3));

        let heard = flight.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(heard, Some(grant(3)));
        assert!(is_known(&verdicts, &key(0, 1), now + Duration::from_secs(4)));
        assert!(!is_known(&verdicts, &key(0, 1), now + Duration::from_secs(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_first_leaves_or_is_told_nothing_of_use_the_others_hear_of_it_at_once() {
        let (verdicts, now) = (Verdicts::default(), Instant::now());
        let Found::Nobody(lead) = verdicts.find(&key(0, 1), now) else { panic!("it is known") };
        let Found::Asked(mut flight) = verdicts.find(&key(0, 1), now) else {
            panic!("nobody asks")
        };

        drop(lead);

        assert!(flight.wait_for(Option::is_some).await.is_err());
        assert!(matches!(verdicts.find(&key(0, 1), now), Found::Nobody(_)));
        assert!(verdicts.0.borrow().asked.is_empty(), "and that one has left, too");
    }

    #[test]
    fn a_tenant_that_asks_too_much_at_once_takes_no_place_of_another() {
        let verdicts = Verdicts::default();
        let mut places: Vec<_> = (0..AT_ONCE).map(|_| verdicts.enter(1).unwrap()).collect();

        assert!(verdicts.enter(1).is_none());
        assert!(verdicts.enter(2).is_some());
        places.pop();
        assert!(verdicts.enter(1).is_some());
        drop(places);
        assert!(verdicts.0.borrow().asking.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_one_tenant_takes_nothing_from_one_that_has_less() {
        let (verdicts, now) = (Verdicts::default(), Instant::now());
        let until = now + Duration::from_secs(60);
        for number in 0..100 {
            verdicts.keep(&key(1, number), 1, &grant(100), until);
        }

        for number in 0..10_000 {
            verdicts.keep(&key(2, number), 2, &grant(4_000), until);
        }

        assert!((0..100).all(|number| is_known(&verdicts, &key(1, number), now)));
        assert!(is_known(&verdicts, &key(2, 9_999), now));
        assert!(!is_known(&verdicts, &key(2, 0), now), "its own oldest make room");
        assert!(verdicts.0.borrow().size <= MOST);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_kept_is_within_its_bound_and_counted_right(
            kept in proptest::collection::vec((0_u32..5, 0_usize..400, 0_usize..4_096), 0..3_000),
        ) {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_time().start_paused(true).build().unwrap();
            let _inside = runtime.enter();
            let (verdicts, now) = (Verdicts::default(), Instant::now());
            for (place, (tenant, number, size)) in kept.into_iter().enumerate() {
                let until = now + Duration::from_secs(1 + place as u64 % 2);
                verdicts.keep(&key(tenant, number), tenant, &grant(size), until);
                let looked = now + Duration::from_millis(1_500);
                drop(verdicts.find(&key(tenant, number / 2), looked));
            }

            let known = verdicts.0.borrow();
            prop_assert!(known.size <= MOST && known.asked.is_empty());
            let all = known.by_key.values();
            prop_assert_eq!(known.size, all.clone().map(|kept| kept.size).sum::<usize>());
            prop_assert_eq!(known.size, known.sizes.values().sum::<usize>());
            prop_assert_eq!(known.order.len(), known.by_key.len());
            let order = all.map(|kept| kept.place).all(|place| known.order.contains_key(&place));
            prop_assert!(order && known.by_size.len() == known.sizes.len());
        }
    }
}
