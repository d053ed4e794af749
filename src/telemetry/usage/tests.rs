//! What is counted for whom, and in which hour.

use std::time::Duration;

use proptest::prelude::*;

use crate::telemetry::delta::One;

use super::*;

fn label(slot: u32) -> Label {
    Label { name: format!("t{slot}").into(), slot }
}

/// Requests of these tenants to a pool, told by a worker that has told of them before, or has not.
fn delta(slots: &[u32], is_new: bool) -> Delta {
    let mut delta = Delta::default();
    for slot in slots {
        if is_new {
            delta.tenants.hear(*slot, || label(*slot));
        }
        let one = One::of(200, Duration::from_millis(2), (1, 10));
        delta.request(Some(*slot), Some(0), &one);
    }
    delta
}

fn at(hour: u64) -> Usage {
    let mut usage = Usage::new();
    usage.hour = Hour(hour);
    usage.keep_hours();
    usage
}

fn requests(lines: &Lines) -> Vec<(String, u64)> {
    lines.iter().map(|(name, counts)| (name.to_string(), counts.requests())).collect()
}

fn closed(usage: &mut Usage) -> (u64, Vec<(String, u64)>) {
    match usage.next(None) {
        Next::Closed(closed) => (closed.hour.0, requests(&closed.rows.sorted())),
        other => panic!("{other:?}"),
    }
}

fn of(usage: &Usage, tenant: &str) -> [u64; 3] {
    let used = usage.of(tenant).unwrap_or_default();
    [used.hour.requests(), used.day.requests(), used.since_start.requests()]
}

#[test]
fn an_hour_a_day_and_all_of_it_are_counted_apart() {
    let mut usage = at(46);
    usage.add(&delta(&[1, 1, 2], true), Hour(46));
    assert_eq!(of(&usage, "t1"), [2, 2, 2]);

    usage.add(&delta(&[1], false), Hour(47));
    assert_eq!(of(&usage, "t1"), [1, 3, 3]);
    assert_eq!(of(&usage, "t2"), [0, 1, 1]);
    assert_eq!(closed(&mut usage), (46, vec![("t1".into(), 2), ("t2".into(), 1)]));

    usage.add(&delta(&[1], false), Hour(48));
    assert_eq!(of(&usage, "t1"), [1, 1, 4], "a day has begun");
    assert_eq!(of(&usage, "nobody"), [0; 3]);
}

#[test]
fn compute_is_the_time_of_requests_to_pools_without_their_waits() {
    let mut usage = at(1);
    let mut delta = delta(&[3, 3], true);
    delta.request(Some(3), None, &One::of(429, Duration::from_secs(9), (0, 5)));
    delta.held_back.entry(3).or_default().refused.add("tenant-rate-limited", 1);
    delta.held_back.entry(3).or_default().waited = Duration::from_millis(1);
    delta.queues.entry(3).or_default().waited = Duration::from_micros(500);
    usage.add(&delta, Hour(1));

    let counts = usage.of("t3").unwrap().hour;
    assert_eq!((counts.requests(), counts.bytes_in, counts.bytes_out), (3, 2, 25));
    assert_eq!(counts.answers().collect::<Vec<_>>(), [("2xx", 2), ("4xx", 1)]);
    assert_eq!(counts.lasted, Duration::from_millis(4));
    assert_eq!(counts.computed(), Duration::from_micros(2500));
    assert_eq!(counts.refused().collect::<Vec<_>>(), [("tenant-rate-limited", 1)]);
}

#[test]
fn what_was_kept_counts_in_its_hour_and_day_and_not_since_the_start() {
    let mut usage = at(50);
    usage.add(&delta(&[1], true), Hour(50));
    let mut before = at(50);
    before.add(&delta(&[1, 1, 7], true), Hour(50));
    let Next::Open(hour, rows, _) = before.next(None) else { panic!("nothing was counted") };
    let lines = rows.sorted();

    assert!(usage.restore(hour, &lines));
    assert!(!usage.restore(Hour(49), &lines), "that hour is over");
    usage.restore_day(Hour(48), &lines);
    usage.restore_day(Hour(47), &lines);

    assert_eq!(of(&usage, "t1"), [3, 5, 1]);
    usage.turn(Hour(51));
    assert_eq!(of(&usage, "t1"), [0, 5, 1]);
    assert_eq!(closed(&mut usage), (50, vec![("t1".into(), 3), ("t7".into(), 1)]));
}

#[test]
fn who_has_left_the_table_is_counted_on() {
    let mut usage = at(1);
    usage.add(&delta(&[1, 2], true), Hour(1));
    usage.keep([2].into_iter().collect());
    usage.turn(Hour(2));
    usage.add(&delta(&[1], false), Hour(2));
    assert_eq!(of(&usage, "t1"), [1, 2, 2]);

    // One that was never told of is nobody's, and is still counted.
    usage.add(&delta(&[9], false), Hour(2));
    assert_eq!(of(&usage, REMOVED), [1, 1, 1]);
}

#[test]
fn of_those_that_have_left_so_many_are_kept_and_those_that_are_there_all() {
    let mut usage = at(1);
    let many: Vec<u32> = (0..12_000).collect();
    usage.add(&delta(&many, true), Hour(1));
    usage.keep((0..1000).collect());
    usage.turn(Hour(2));
    usage.add(&delta(&(1000..2000).collect::<Vec<_>>(), false), Hour(2));
    usage.turn(Hour(3));
    usage.turn(Hour(4));

    assert!(usage.tenants.len() <= 1000 + GONE, "{}", usage.tenants.len());
    assert_eq!(of(&usage, "t999"), [0, 1, 1], "it is there");
    assert_eq!(of(&usage, "t1999"), [0, 2, 2], "it has sent something lately");
    usage.add(&delta(&[0, 1999, 11_999], false), Hour(4));
    assert_eq!((of(&usage, "t0")[0], of(&usage, "t1999")[0]), (1, 1));
    assert_eq!(of(&usage, REMOVED)[0], 1, "nothing is lost of one that is forgotten");
}

#[test]
fn hours_that_cannot_be_written_are_added_up_and_told_with_the_next() {
    let mut usage = at(0);
    for hour in 0..30 {
        usage.add(&delta(&[1], hour == 0), Hour(hour));
    }

    assert_eq!(usage.waiting(), WAITING);
    let Next::Closed(first) = usage.next(None) else { panic!("an hour waits") };
    assert_eq!((first.hour, requests(&first.rows.sorted())), (Hour(5), vec![("t1".into(), 6)]));
    assert_eq!(first.with, (0..5).map(Hour).collect::<Vec<_>>());
    usage.give_back(first.clone());
    assert_eq!(usage.next(None), Next::Closed(first));
}

#[test]
fn nothing_is_told_twice_and_nothing_counted_where_nobody_asks() {
    let mut usage = at(1);
    assert_eq!(usage.next(None), Next::Nothing);
    usage.add(&delta(&[1], true), Hour(1));
    let Next::Open(hour, _, change) = usage.next(None) else { panic!("something was counted") };
    assert_eq!(usage.next(Some((hour, change))), Next::Nothing);

    let mut usage = at(1);
    usage.off();
    usage.add(&delta(&[1], true), Hour(1));
    assert_eq!(usage.of("t1"), None);
}

#[test]
fn the_day_of_those_that_files_have_told_of_is_kept_as_long_as_the_day() {
    let many: Vec<u32> = (0..12_000).collect();
    let mut told = at(30);
    told.add(&delta(&many, true), Hour(30));
    let Next::Open(_, rows, _) = told.next(None) else { panic!("nothing was counted") };
    let lines = rows.sorted();

    let mut usage = at(31);
    usage.keep(many.iter().copied().collect());
    usage.restore_day(Hour(30), &lines);
    for hour in 32..48 {
        usage.turn(Hour(hour));
        assert_eq!(usage.tenants.len(), many.len());
    }
    assert_eq!(of(&usage, "t7"), [0, 1, 0]);
    usage.turn(Hour(48));
    assert_eq!(usage.tenants.len(), GONE, "of equals as many as there is room for");
}

#[test]
fn no_tenant_can_be_called_as_those_that_are_removed() {
    assert!(!REMOVED.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
}

#[derive(Clone, Debug)]
enum Event {
    Requests(Vec<u32>),
    /// To another hour, back where the clock is set back.
    Hour(u64),
    Live(Vec<u32>),
    Write,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let slots = || prop::collection::vec(0..6_u32, 0..6);
    let event = prop_oneof![
        4 => slots().prop_map(Event::Requests),
        1 => (20..80_u64).prop_map(Event::Hour),
        1 => slots().prop_map(Event::Live),
        1 => Just(Event::Write),
    ];
    prop::collection::vec(event, 0..80)
}

proptest! {
    /// Whatever the clock does and whoever comes and goes, what is written is what was sent.
    #[test]
    fn each_request_is_written_once(events in events()) {
        let (mut usage, mut hour, mut sent) = (at(40), 40, [0_u64; 6]);
        let (mut told, mut written) = ([false; 6], [0_u64; 6]);
        let mut count = |lines: &Lines| {
            for (slot, sum) in (0..).zip(&mut written) {
                *sum += lines.get(&*label(slot).name).map_or(0, Counts::requests);
            }
        };
        for event in events {
            match event {
                Event::Requests(slots) => {
                    for slot in slots {
                        let is_new = !std::mem::replace(&mut told[slot as usize], true);
                        usage.add(&delta(&[slot], is_new), Hour(hour));
                        sent[slot as usize] += 1;
                    }
                }
                Event::Hour(to) => hour = to,
                Event::Live(slots) => usage.keep(slots.into_iter().collect()),
                Event::Write => if let Next::Closed(closed) = usage.next(None) {
                    count(&closed.rows.sorted());
                }
            }
        }
        while let Next::Closed(closed) = usage.next(None) {
            count(&closed.rows.sorted());
        }
        if let Next::Open(_, rows, _) = usage.next(None) {
            count(&rows.sorted());
        }
        prop_assert_eq!(written, sent);
        for (slot, sent) in (0..).zip(sent) {
            prop_assert_eq!(of(&usage, &label(slot).name)[2], sent);
        }
    }
}
