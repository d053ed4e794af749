//! The table of clients, beside a model with a word for each.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::base::units::Rate;

use super::*;

fn rate(count: u32, per: u64, burst: u32) -> Pace {
    pace(&RateSpec { rate: Rate { count, per: Duration::from_secs(per) }, burst })
}

/// A table of one set.
fn one_set() -> Clients {
    Clients::new(1, Account::unlimited())
}

/// A client of one of few limits, each of a class of its own.
fn client(limit: u64, number: u64) -> Key {
    Key::of(limit << (64 - CLASS_BITS), number << 1)
}

const A_SECOND: u64 = 1_000_000;

proptest! {
    #[test]
    fn nobody_gets_more_than_its_limit_whoever_crowds_it_out(
        sets in 1_u64..3,
        steps in proptest::collection::vec((0_u64..3, 0_u64..12, 0_u64..500_000, 0_u8..8), 1..400),
    ) {
        let clients = Clients::new(sets * 64, Account::unlimited());
        let paces = [rate(2, 1, 3), rate(1, 60, 2), rate(100, 1, 50)];
        let longest = [0, 30 * A_SECOND, 0];
        // As if there were a word for everybody.
        let mut words: HashMap<(u64, u64), u64> = HashMap::new();
        let mut now = A_SECOND;
        for (limit, number, gap, step) in steps {
            now += gap;
            if step == 0 {
                (0..SEGMENTS).for_each(|segment| clients.sweep(segment, now));
            }
            let (pace, longest) = (paces[limit as usize], longest[limit as usize]);
            let word = words.entry((limit, number)).or_default();
            let own = pace.judge(*word, now, longest);
            match clients.take(client(limit, number), pace, now, longest) {
                Ok(grant) => {
                    let own = own.ok();
                    prop_assert!(own.is_some(), "more than its limit");
                    prop_assert!(own.is_some_and(|own| own.at <= grant.at), "before its turn");
                    *word = own.map_or(0, |own| own.left);
                    if step == 1 {
                        clients.give_back(client(limit, number), pace, grant, now);
                        // It may stay as it is where nobody knows how much of it is its own.
                        *word = pace.undo(*word, Grant { left: *word, ..grant }, now).unwrap_or(*word);
                    }
                }
                Err(Later(later)) => prop_assert!(later > 0),
            }
        }
    }

    #[test]
    fn with_room_for_all_each_client_gets_just_its_limit(
        steps in proptest::collection::vec((0_u64..8, 0_u64..900_000), 1..200),
    ) {
        let clients = one_set();
        let pace = rate(2, 1, 3);
        let (mut words, mut now) = ([0; 8], A_SECOND);
        for (number, gap) in steps {
            now += gap;
            let own = pace.judge(words[number as usize], now, 0);
            prop_assert_eq!(clients.take(client(1, number), pace, now, 0), own);
            if let Ok(own) = own {
                words[number as usize] = own.left;
            }
        }
    }
}

#[test]
fn a_crowd_of_one_limit_takes_nothing_from_the_clients_of_another() {
    let clients = one_set();
    let (slow, quick) = (rate(1, 3600, 1), rate(10, 1, 5));
    let now = A_SECOND;
    assert!(clients.take(client(2, 1), quick, now, 0).is_ok());
    for number in 0..100 {
        clients.take(client(1, number), slow, now + number, 0).ok();
    }

    let now = now + 1000;
    let known = (0..5).filter(|_| clients.take(client(2, 1), quick, now, 0).is_ok()).count();
    let new = (0..6).filter(|_| clients.take(client(2, 2), quick, now, 0).is_ok()).count();

    assert_eq!((known, new), (4, 5), "its own word is there, and there is room for another one");
    let crowd = clients.take(client(1, 200), slow, now, 0);
    assert!(crowd.is_err(), "who is new in the crowd waits as the crowd does");
}

#[test]
fn a_look_finds_what_a_request_would_and_makes_nothing() {
    let memory = crate::base::memory::Memory::new(1 << 30, 1);
    let clients = Clients::new(1, memory.account(0));
    let slow = rate(1, 3600, 2);
    let key = client(1, 1);
    assert_eq!((clients.look(key, A_SECOND), memory.held()), (0, 0));

    let grant = clients.take(key, slow, A_SECOND, 0).unwrap();
    for _ in 0..2 {
        assert_eq!(clients.look(key, A_SECOND), grant.left);
    }
    assert_eq!(clients.look(client(2, 1), A_SECOND), 0);
    for number in 2..20 {
        clients.take(client(1, number), slow, A_SECOND, 0).ok();
    }
    assert!(clients.look(client(1, 100), A_SECOND) > A_SECOND, "who is new begins at the floor");
}

#[test]
fn a_word_tells_its_time_for_hours_and_is_swept_once_it_says_nothing() {
    let clients = one_set();
    let hourly = rate(1, 3600, 1);
    let mut now = A_SECOND;
    for _ in 0..100 {
        assert!(clients.take(client(1, 1), hourly, now, 0).is_ok());
        assert!(clients.take(client(1, 1), hourly, now + 3599 * A_SECOND, 0).is_err());
        (0..SEGMENTS).for_each(|segment| clients.sweep(segment, now));
        assert!(clients.take(client(1, 1), hourly, now + 3599 * A_SECOND, 0).is_err());
        now += 5 * 3600 * A_SECOND;
    }
    (0..SEGMENTS).for_each(|segment| clients.sweep(segment, now));
    let words = clients.segments.iter().filter_map(OnceLock::get).flat_map(|part| &part.sets);
    assert!(words.flat_map(|set| &set.0).all(|word| word.load(Ordering::Relaxed) == 0));
}

#[test]
fn over_all_threads_each_client_gets_just_its_limit() {
    let clients = Clients::new(1 << 16, Account::unlimited());
    let pace = rate(1000, 1, 40);
    for round in 0..20_u64 {
        let admitted: Vec<usize> = std::thread::scope(|scope| {
            let take = || {
                let one = |number| {
                    let taken = |_: &u32| clients.take(number, pace, A_SECOND, 0).is_ok();
                    (0..30).filter(taken).count()
                };
                let spread = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                (0..50).map(|number| one(Key::of(1, spread(round * 50 + number)))).collect()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            let counts = threads.into_iter().map(|thread| thread.join().unwrap());
            counts.fold(vec![0; 50], |sum, count: Vec<usize>| {
                sum.iter().zip(count).map(|(sum, count)| sum + count).collect()
            })
        });
        assert!(admitted.iter().all(|count| *count == 40), "{admitted:?}");
    }
}

#[test]
fn memory_is_taken_as_it_is_needed_and_never_beyond_the_bound() {
    let memory = crate::base::memory::Memory::new(1 << 30, 1);
    let clients = Clients::new(1 << 20, memory.account(0));
    assert_eq!(memory.held(), 0);
    let pace = rate(1, 1, 1);
    clients.take(Key::of(1, 1 << 40), pace, A_SECOND, 0).unwrap();
    assert_eq!(memory.held(), (1 << 20) / SEGMENTS);

    for number in 0..100_000_u64 {
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        clients.take(Key::of(1, spread), pace, A_SECOND, 0).ok();
    }
    assert_eq!(memory.held(), 1 << 20);
}
