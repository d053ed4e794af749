//! Requests at once of each client and of each subject. Each that has some under way, or waiting, has a gate of its own,
//! which goes with the last of them: so nothing is ever evicted, and there are no more gates than such requests.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gate::{Entry as Entered, Gate, Permit, Queued};

/// All who have requests under way.
#[derive(Debug)]
pub struct Crowds {
    seeds: RandomState,
    parts: Box<[Mutex<Gates>]>,
}

type Gates = HashMap<Member, Arc<Gate>>;

/// A client or a subject of one limit, by hashes that nobody outside can foretell: of the limit, and of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Of a subject, and of no client.
    pub is_subject: bool,
    /// Of which limit.
    pub limit: u64,
    /// Which one.
    pub who: u64,
}

/// A place among the requests of one of them, or among those that wait for one. It is free when this is dropped.
#[derive(Debug)]
pub struct Place {
    crowds: Arc<Crowds>,
    member: Member,
    held: Option<Held>,
}

#[derive(Debug)]
enum Held {
    Inside { _permit: Permit },
    Queued(Queued),
}

/// What became of who wished to enter.
#[derive(Debug)]
pub enum Entry {
    /// It is inside.
    Inside(Place),
    /// It waits for its turn.
    Queued(Place),
    /// There is no room, and none among those that wait.
    Full,
}

impl Default for Crowds {
    fn default() -> Self {
        Self { seeds: RandomState::new(), parts: (0..PARTS).map(|_| Mutex::default()).collect() }
    }
}

impl Crowds {
    /// Enters where fewer than `limit` of its requests are inside, or waits for that beside at most so many others of its
    /// own.
    pub fn enter(self: &Arc<Self>, member: Member, limit: u32, waiting: u32) -> Entry {
        let gate = Arc::clone(self.part(member).entry(member).or_default());
        let entered = gate.enter(limit, waiting);
        drop(gate); // who leaves looks whether it is the last one
        let place = |held| Place { crowds: Arc::clone(self), member, held: Some(held) };
        match entered {
            Entered::Inside(permit) => Entry::Inside(place(Held::Inside { _permit: permit })),
            Entered::Queued(queued) => Entry::Queued(place(Held::Queued(queued))),
            Entered::Full => {
                self.tidy(member);
                Entry::Full
            }
        }
    }

    /// How many requests of one are inside, and how many wait.
    pub fn state(&self, member: Member) -> (u32, u32) {
        self.part(member).get(&member).map_or((0, 0), |gate| gate.state())
    }

    /// Forgets one that has no request here any more.
    fn tidy(&self, member: Member) {
        let mut part = self.part(member);
        // Whoever is inside, waits or is about to enter holds it.
        if part.get(&member).is_some_and(|gate| Arc::strong_count(gate) == 1) {
            part.remove(&member);
        }
    }

    fn part(&self, member: Member) -> MutexGuard<'_, Gates> {
        let hash = usize::try_from(self.seeds.hash_one(member) >> 32).unwrap_or(0);
        self.parts[hash % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits for its turn, where that has not come. May be given up and asked again.
    pub async fn turn(&mut self) {
        if let Some(Held::Queued(queued)) = &mut self.held {
            let permit = queued.turn().await;
            self.held = Some(Held::Inside { _permit: permit });
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.held = None;
        self.crowds.tidy(self.member);
    }
}

/// 64: workers seldom meet at one.
const PARTS: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn member(who: u64) -> Member {
        Member { is_subject: true, limit: 1, who }
    }

    fn known(crowds: &Crowds) -> usize {
        crowds.parts.iter().map(|part| part.lock().unwrap().len()).sum()
    }

    fn is_inside(entry: &Entry) -> bool {
        matches!(entry, Entry::Inside(_))
    }

    #[test]
    fn each_has_its_own_room_and_is_forgotten_with_its_last_request() {
        let crowds = Arc::<Crowds>::default();
        let enter = |who| crowds.enter(member(who), 2, 0);

        let (one, two, other) = (enter(1), enter(1), enter(2));
        assert!([&one, &two, &other].into_iter().all(is_inside));
        assert!(matches!(enter(1), Entry::Full));
        assert_eq!((crowds.state(member(1)), crowds.state(member(3))), ((2, 0), (0, 0)));
        assert_eq!(known(&crowds), 2, "who only looks is not counted");

        drop(one);
        assert!(is_inside(&enter(1)), "and it has gone again");
        drop((two, other));
        assert_eq!(known(&crowds), 0);
    }

    #[tokio::test]
    async fn who_waits_comes_in_when_another_one_of_its_own_leaves() {
        let crowds = Arc::<Crowds>::default();
        let (first, other) = (crowds.enter(member(1), 1, 1), crowds.enter(member(2), 1, 1));
        let Entry::Queued(mut second) = crowds.enter(member(1), 1, 1) else { panic!("no room") };
        assert!(matches!(crowds.enter(member(1), 1, 1), Entry::Full));

        drop(other);
        assert_eq!(crowds.state(member(1)), (1, 1));
        drop(first);
        second.turn().await;
        assert_eq!(crowds.state(member(1)), (1, 0));

        let Entry::Queued(given_up) = crowds.enter(member(1), 1, 1) else { panic!("no room") };
        drop((given_up, second));
        assert_eq!(known(&crowds), 0);
    }

    #[test]
    fn over_all_threads_not_one_more_is_inside_and_none_is_left() {
        let (crowds, inside) = (Arc::<Crowds>::default(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let Entry::Inside(_place) = crowds.enter(member(7), 2, 0) else { continue };
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(known(&crowds), 0);
    }
}
