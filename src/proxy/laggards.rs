//! Handshakes that wait for their clients, and which of them is to end where others wait for a turn.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::turnstile::Hold;

/// The handshakes that wait for their clients.
#[derive(Debug, Default)]
pub(super) struct Laggards {
    /// In the order in which they began to, by their numbers.
    all: BTreeMap<u64, Laggard>,
    of_client: HashMap<u128, BTreeMap<u64, Rc<Hold>>>,
    /// The client that had the most when one was last added.
    heaviest: u128,
    begun: u64,
}

/// A handshake that waits for its client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Laggard {
    client: u128,
    number: u64,
    since: Instant,
}

impl Laggards {
    /// One that begins to wait now.
    pub(super) fn begin(&mut self, client: u128) -> Laggard {
        self.begun += 1;
        Laggard { client, number: self.begun, since: Instant::now() }
    }

    /// It waits, and has a turn.
    pub(super) fn add(&mut self, laggard: Laggard, hold: Rc<Hold>) {
        self.all.insert(laggard.number, laggard);
        let own = self.of_client.entry(laggard.client).or_default();
        own.insert(laggard.number, hold);
        let count = own.len();
        if count >= self.count(self.heaviest) {
            self.heaviest = laggard.client;
        }
    }

    /// It waits no more.
    pub(super) fn remove(&mut self, laggard: Laggard) -> Option<Rc<Hold>> {
        self.all.remove(&laggard.number)?;
        let own = self.of_client.get_mut(&laggard.client)?;
        let hold = own.remove(&laggard.number);
        if own.is_empty() {
            self.of_client.remove(&laggard.client);
        }
        hold
    }

    /// The turn of the oldest of a client that keeps far more of them waiting than `newcomer`, if there is
    /// one. It waits no more.
    pub(super) fn greedy(&mut self, newcomer: u128) -> Option<Rc<Hold>> {
        let own = self.of_client.get(&self.heaviest)?;
        if own.len() <= GREEDY * (self.count(newcomer) + 1) {
            return None;
        }
        let oldest = own.first_key_value().and_then(|(number, _)| self.all.get(number));
        oldest.copied().and_then(|oldest| self.remove(oldest))
    }

    /// The turn of the oldest, if that is slow, which waits no more then; else when to look again.
    ///
    /// # Errors
    /// That time.
    pub(super) fn slow(&mut self) -> Result<Rc<Hold>, Instant> {
        let now = Instant::now();
        let Some((_, &oldest)) = self.all.first_key_value() else { return Err(now + AGAIN) };
        let slow = oldest.since + PATIENCE;
        let hold = if slow > now { None } else { self.remove(oldest) };
        hold.ok_or(slow.min(now + AGAIN))
    }

    fn count(&self, client: u128) -> usize {
        self.of_client.get(&client).map_or(0, BTreeMap::len)
    }
}

/// 2.5 s between what a client says: many round trips of one at the other end of the world. Who keeps
/// handshakes waiting and comes back whenever one of them is ended costs the more the shorter this
/// is; a client that has none under way waits for nobody that has many.
pub(super) const PATIENCE: Duration = Duration::from_millis(2500);
/// 1 ms for each that ends: more than mean it, and the coming back of thousands is spread.
pub(super) const PAUSE: Duration = Duration::from_millis(1);
/// 20 ms: those that were being answered may wait for their clients by then.
const AGAIN: Duration = Duration::from_millis(20);
/// 8: a client opens some connections at once, and an office of them has one address.
pub(super) const GREEDY: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn add(laggards: &mut Laggards, client: u128) -> (Laggard, Rc<Hold>) {
        let (laggard, hold) = (laggards.begin(client), Rc::<Hold>::default());
        laggards.add(laggard, Rc::clone(&hold));
        (laggard, hold)
    }

    fn left(laggards: &Laggards) -> Vec<u128> {
        laggards.all.values().map(|laggard| laggard.client).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_who_has_far_more_ends_at_once_and_nobody_else() {
        let mut laggards = Laggards::default();
        let _calm = add(&mut laggards, 1);
        let flood: Vec<_> = (0..=GREEDY).map(|_| add(&mut laggards, 2)).collect();

        let greedy = laggards.greedy(3);
        assert!(greedy.is_some_and(|hold| Rc::ptr_eq(&hold, &flood[0].1)));

        assert_eq!(left(&laggards).first(), Some(&1));
        assert!(!laggards.all.contains_key(&flood[0].0.number));
        assert_eq!(laggards.all.len(), GREEDY + 1);
        assert!(laggards.greedy(3).is_none(), "it has not far more now");
        assert_eq!(laggards.all.len(), GREEDY + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn of_equals_one_ends_once_it_is_slow() {
        let mut laggards = Laggards::default();
        let (first, hold) = add(&mut laggards, 1);
        tokio::time::advance(PATIENCE / 2).await;
        let (second, _) = add(&mut laggards, 2);
        assert_eq!(laggards.slow().unwrap_err() - Instant::now(), AGAIN);
        assert_eq!(left(&laggards), [1, 2]);

        tokio::time::advance(PATIENCE / 2).await;
        assert!(Rc::ptr_eq(&laggards.slow().unwrap(), &hold));

        assert_eq!(left(&laggards), [2]);
        assert_eq!(laggards.slow().unwrap_err() - Instant::now(), AGAIN);
        assert!(laggards.remove(first).is_none() && laggards.remove(second).is_some());
        assert!(laggards.all.is_empty() && laggards.of_client.is_empty());
    }
}
