//! Handshakes that wait for their clients, and which of them is to end where others wait for a turn.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The handshakes that wait for their clients.
#[derive(Debug, Default)]
pub(super) struct Laggards {
    /// In the order in which they began to, by their numbers.
    all: BTreeMap<u64, Laggard>,
    of_client: HashMap<u128, BTreeMap<u64, Rc<Notify>>>,
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

    /// It waits; `asked` is told where it is to end.
    pub(super) fn add(&mut self, laggard: Laggard, asked: Rc<Notify>) {
        self.all.insert(laggard.number, laggard);
        let own = self.of_client.entry(laggard.client).or_default();
        own.insert(laggard.number, asked);
        let count = own.len();
        if count >= self.count(self.heaviest) {
            self.heaviest = laggard.client;
        }
    }

    /// It waits no more.
    pub(super) fn remove(&mut self, laggard: Laggard) -> Option<Rc<Notify>> {
        self.all.remove(&laggard.number)?;
        let own = self.of_client.get_mut(&laggard.client)?;
        let asked = own.remove(&laggard.number);
        if own.is_empty() {
            self.of_client.remove(&laggard.client);
        }
        asked
    }

    /// Asks the oldest of a client to end that keeps far more of them waiting than `newcomer`; tells whether
    /// there is one.
    pub(super) fn end_greedy(&mut self, newcomer: u128) -> bool {
        let greedy = self.greedy(newcomer);
        if let Some(laggard) = greedy {
            self.end(laggard);
        }
        greedy.is_some()
    }

    /// Asks the oldest to end, if it is slow enough. Gives when to look again.
    pub(super) fn end_slow(&mut self) -> Instant {
        let now = Instant::now();
        let Some((_, &oldest)) = self.all.first_key_value() else { return now + AGAIN };
        let slow = oldest.since + PATIENCE;
        if slow > now {
            return slow.min(now + AGAIN);
        }
        self.end(oldest);
        now + PAUSE
    }

    fn end(&mut self, laggard: Laggard) {
        if let Some(asked) = self.remove(laggard) {
            asked.notify_one();
        }
    }

    fn greedy(&self, newcomer: u128) -> Option<Laggard> {
        let own = self.of_client.get(&self.heaviest)?;
        if own.len() <= GREEDY * (self.count(newcomer) + 1) {
            return None;
        }
        own.first_key_value().and_then(|(number, _)| self.all.get(number)).copied()
    }

    fn count(&self, client: u128) -> usize {
        self.of_client.get(&client).map_or(0, BTreeMap::len)
    }
}

/// 2.5 s between what a client says: many round trips of one at the other end of the world. Who keeps
/// handshakes waiting and comes back whenever one of them is ended costs the more the shorter this
/// is; a client that has none under way waits for nobody that has many.
pub(super) const PATIENCE: Duration = Duration::from_millis(2500);
/// 1 ms between two that end: a thousand a second are more than mean it, and their coming back is spread.
pub(super) const PAUSE: Duration = Duration::from_millis(1);
/// 20 ms: those that were being answered may wait for their clients by then.
const AGAIN: Duration = Duration::from_millis(20);
/// 8: a client opens some connections at once, and an office of them has one address.
pub(super) const GREEDY: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn add(laggards: &mut Laggards, client: u128) -> (Laggard, Rc<Notify>) {
        let (laggard, asked) = (laggards.begin(client), Rc::new(Notify::new()));
        laggards.add(laggard, Rc::clone(&asked));
        (laggard, asked)
    }

    fn left(laggards: &Laggards) -> Vec<u128> {
        laggards.all.values().map(|laggard| laggard.client).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_who_has_far_more_ends_at_once_and_nobody_else() {
        let mut laggards = Laggards::default();
        let _calm = add(&mut laggards, 1);
        let flood: Vec<_> = (0..=GREEDY).map(|_| add(&mut laggards, 2)).collect();

        assert!(laggards.end_greedy(3));

        assert_eq!(left(&laggards).first(), Some(&1));
        assert!(!laggards.all.contains_key(&flood[0].0.number));
        assert_eq!(laggards.all.len(), GREEDY + 1);
        assert!(!laggards.end_greedy(3), "it has not far more now");
        assert_eq!(laggards.all.len(), GREEDY + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn of_equals_one_ends_once_it_is_slow() {
        let mut laggards = Laggards::default();
        let (first, asked) = add(&mut laggards, 1);
        tokio::time::advance(PATIENCE / 2).await;
        let (second, _) = add(&mut laggards, 2);
        assert_eq!(laggards.end_slow() - Instant::now(), AGAIN);
        assert_eq!(left(&laggards), [1, 2]);

        tokio::time::advance(PATIENCE / 2).await;
        assert_eq!(laggards.end_slow() - Instant::now(), PAUSE);

        assert_eq!(left(&laggards), [2]);
        assert_eq!(laggards.end_slow() - Instant::now(), AGAIN);
        asked.notified().await;
        assert!(laggards.remove(first).is_none() && laggards.remove(second).is_some());
        assert!(laggards.all.is_empty() && laggards.of_client.is_empty());
    }
}
