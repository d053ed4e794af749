//! Storms, herds and states that stay, in virtual time: the code that balances, retries, limits, breaks and ejects is the
//! gateway's own; endpoints are queues and users come by chance. docs/simulation.md says what is modelled and what is not.
//!
//! Each run is made by a seed and repeats exactly. `TENANTRY_SIMULATION=100 cargo test --release --test simulation` tries a
//! hundred of them for each case, and as many cases that are drawn; a failure names its seed and shows each second of it.
//! `TENANTRY_RENEW=1` writes the figures of the page anew.

#![expect(clippy::expect_used, reason = "a run that cannot be set up has failed")]

mod book;
mod cases;
mod chance;
mod dice;
mod effort;
mod gateway;
mod page;
mod race;
mod report;
mod server;
mod timeline;
mod timing;
mod users;
mod waiting;
mod world;

use cases::{ALL, Breaks, Case, Group, TEN, secs};
use users::Users;

#[test]
fn one_slow_endpoint_of_ten_costs_users_little_and_leaves_nothing_behind() {
    keep(Group::Slow);
}

#[test]
fn a_storm_of_retries_at_full_load_ends_where_a_pool_is_bounded_as_it_is_by_default_while_it_is_overrun()
 {
    keep(Group::Storm);
}

#[test]
fn a_pool_that_fails_as_a_whole_is_not_asked_many_times_over() {
    keep(Group::Outage);
}

#[test]
fn the_herd_after_a_partition_is_served() {
    keep(Group::Herd);
}

#[test]
fn a_tenth_of_a_thousand_endpoints_may_go_each_second() {
    keep(Group::Churn);
}

#[test]
fn goodput_returns_whatever_was_broken() {
    // Three for each seed that is asked for: they are small.
    for seed in 1..=3 * seeds() {
        try_one(&chance::case(seed), seed);
    }
}

#[test]
fn a_crowd_is_served_as_far_as_endpoints_can_and_the_others_are_refused_at_once() {
    keep(Group::Crowd);
}

#[test]
fn who_waits_out_an_outage_is_served_and_the_herd_at_its_end_brings_nobody_down() {
    keep(Group::Wait);
}

/// What is drawn is drawn in the same order each time, also while endpoints fail, are ejected and come back.
#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_does_not() {
    let short = Case {
        users: Users { retries: 1, pause: secs(1), ..Users::calm(600.0) },
        tune: cases::bounded,
        breaks: Breaks::Unreachable(4),
        fault: (secs(2), secs(5)),
        end: secs(14),
        ..TEN
    };

    let [one, again, other] = [7, 7, 8].map(|seed| world::run(&short, seed));

    assert_eq!(one.trace, again.trace);
    assert_eq!(one, again);
    assert_ne!(one.trace, other.trace);
}

/// Runs all cases of a group, by as many seeds as are asked for.
fn keep(group: Group) {
    for case in ALL.iter().filter(|case| case.of == group) {
        (1..=seeds()).for_each(|seed| try_one(case, seed));
    }
}

fn try_one(case: &Case, seed: u64) {
    case.promise.check(&world::run(case, seed));
}

fn seeds() -> u64 {
    let asked = std::env::var("TENANTRY_SIMULATION").ok();
    asked.and_then(|count| count.parse().ok()).unwrap_or(1)
}
