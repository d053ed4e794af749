//! Pools in trouble and pools that only look so, second by second.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A second in which so many were late, after a second each, and so many served within about so many milliseconds.
fn second(late: u64, served: u64, millis: u64) -> Look {
    let time = Duration::from_millis(millis);
    let waited = time * u32::try_from(served).unwrap();
    let (in_vain, half) = (Duration::from_secs(late), (late > 0).then_some(SECOND));
    Look { late, in_vain, half, served, quarter: (served > 0).then_some(time), waited, queued: 0 }
}

/// The same, but those who were late have waited for so long.
fn left_after(time: Duration, look: Look) -> Look {
    Look { in_vain: time * u32::try_from(look.late).unwrap(), half: Some(time), ..look }
}

/// One that has served a thousand a second within 50 ms, so that 50 wait for an answer.
fn well() -> Watch {
    let mut watch = Watch::new();
    (0..30).for_each(|_| assert_eq!(watch.look(&second(0, 1_000, 50)), Step::Stays));
    watch
}

/// One that is bound by now.
fn bound() -> Watch {
    let mut watch = well();
    assert_eq!(watch.look(&second(600, 100, 900)), Step::Stays);
    assert_eq!(watch.look(&second(600, 100, 900)), Step::Binds(100));
    watch
}

/// The first thing that is done in so many such seconds, and in which of them.
fn first(watch: &mut Watch, look: Look, seconds: u32) -> Option<(u32, Step)> {
    (1..=seconds).map(|nth| (nth, watch.look(&look))).find(|(_, step)| *step != Step::Stays)
}

#[test]
fn a_pool_that_is_overrun_is_bound_to_twice_as_many_as_usual_after_two_looks() {
    bound();
    let mut small = Watch::new();
    first(&mut small, second(0, 40, 50), 30);
    assert_eq!(first(&mut small, second(30, 10, 900), 5), Some((2, Step::Binds(LEAST))));
}

#[test]
fn it_is_bound_though_nobody_is_served_any_more_if_those_were_slow_who_were_last() {
    let mut watch = well();
    watch.look(&second(0, 500, 900));
    let told = first(&mut watch, second(2_000, 0, 0), 5);
    assert_eq!(told, Some((2, Step::Binds(100))), "who waited there is not usual");
}

#[test]
fn a_pool_some_of_whose_endpoints_or_requests_hang_is_not_bound_while_others_are_served_as_ever() {
    let mut watch = well();
    assert_eq!(first(&mut watch, second(5_000, 500, 50), 600), None, "half of them hang");
    assert_eq!(first(&mut watch, second(5_000, 1, 60), 600), None, "nearly all of them do");
    assert_eq!(first(&mut watch, second(5_000, 0, 0), 600), None, "all of them do");
    assert_eq!(first(&mut watch, second(0, 0, 0), 600), None, "nobody asks");
    // The others have more to do for it, and are slower, but not by as much as those wait that hang.
    let hang = left_after(15 * SECOND, second(5_000, 500, 400));
    assert_eq!(first(&mut watch, hang, 600), None);
}

#[test]
fn a_pool_that_is_slow_and_loses_nobody_is_not_bound() {
    let mut watch = well();
    assert_eq!(first(&mut watch, second(0, 1_000, 5_000), 600), None);
    let mut watch = well();
    assert_eq!(first(&mut watch, second(1_000, 1_000, 5_000), 600), None, "half of them");
}

#[test]
fn a_pool_of_long_polls_that_clients_leave_is_not_bound() {
    let mut watch = Watch::new();
    assert_eq!(first(&mut watch, second(30, 100, 10_000), 60), None);
    // Nobody has any news: those who do not leave are told so after 30 s, if any do.
    assert_eq!(first(&mut watch, second(130, 3, 30_000), 600), None);
    let mut shorter = Watch::new();
    first(&mut shorter, second(30, 100, 5_000), 60);
    assert_eq!(first(&mut shorter, second(130, 8, 30_000), 600), None);
}

#[test]
fn a_crowd_after_a_quiet_hour_finds_as_much_room_as_the_one_before() {
    let mut watch = well();
    first(&mut watch, second(0, 25, 50), 300);
    let told = first(&mut watch, second(600, 100, 900), 5);
    assert!(matches!(told, Some((2, Step::Binds(80..)))), "{told:?}");
}

#[test]
fn who_leaves_by_habit_counts_among_those_that_wait() {
    let mut watch = Watch::new();
    let leave = left_after(30 * SECOND, second(40, 100, 100));
    first(&mut watch, leave, 30);
    assert_eq!(first(&mut watch, second(600, 100, 900), 5), Some((2, Step::Binds(2_420))));
}

/// A second of one that is well, at which so many leave besides who have waited for so long.
fn burst(count: u64, seconds: u64) -> Look {
    left_after(Duration::from_secs(seconds), second(count, 1_000, 50))
}

#[test]
fn who_waits_for_minutes_and_leaves_at_one_moment_does_not_count_as_if_it_were_so_always() {
    let mut watch = well();
    for _ in 0..60 {
        watch.look(&burst(100, 15)); // 25 at once, on average
        first(&mut watch, second(0, 1_000, 50), 59);
    }
    let told = first(&mut watch, second(600, 100, 900), 5);
    assert!(matches!(told, Some((2, Step::Binds(150..=250)))), "{told:?}");

    let mut watch = well();
    watch.look(&burst(1, 86_400));
    first(&mut watch, second(0, 1_000, 50), 60);
    let told = first(&mut watch, second(600, 100, 900), 5);
    assert!(matches!(told, Some((2, Step::Binds(100..=160)))), "a wait of a day: {told:?}");
}

#[test]
fn a_few_who_leave_after_minutes_by_habit_do_not_speak_for_those_who_leave_after_a_second() {
    let mut watch = well();
    let all = second(600, 100, 900);
    let few = Look { late: 610, in_vain: all.in_vain + 10 * 300 * SECOND, ..all };
    assert_eq!(first(&mut watch, few, 5), Some((2, Step::Binds(100))));
    // Nor do few who leave at once speak for many who wait for something that hangs.
    let many = Look { late: 610, in_vain: 400 * 15 * SECOND, half: Some(15 * SECOND), ..all };
    assert_eq!(first(&mut well(), many, 600), None);
}

#[test]
fn a_crowd_that_stays_is_learned_within_minutes() {
    let mut watch = well();
    first(&mut watch, second(0, 4_000, 50), 120);
    let told = first(&mut watch, second(3_000, 100, 900), 5);
    assert!(matches!(told, Some((2, Step::Binds(360..=400)))), "{told:?}");
}

#[test]
fn one_that_is_slower_than_it_was_and_serves_all_is_not_bound_for_good() {
    let slower = second(0, 500, 200);
    assert_eq!(first(&mut bound(), slower, 60), Some((CALM, Step::Frees)));
    let half = Look { late: 600, ..second(0, 1_000, 60) };
    assert_eq!(first(&mut bound(), half, 60), Some((CALM, Step::Frees)), "one of two hangs");
}

#[test]
fn who_is_late_is_at_fault_itself_once_others_are_quick() {
    let mut watch = bound();
    assert!(watch.excuses());
    watch.look(&second(600, 1_000, 60));
    assert!(!watch.excuses());
    watch.look(&Look::default());
    assert!(!watch.excuses(), "nothing was counted: workers do not tell of it to the tick");
    watch.look(&second(600, 100, 900));
    assert!(watch.excuses());
    assert!(!well().excuses());
}

#[test]
fn answers_that_come_all_at_once_do_not_keep_a_bound_for_good() {
    let mut watch = bound();
    let clump = Look { queued: 50, ..second(60, 40, 12_000) };
    let between = Look { queued: 50, ..Look::default() };
    let given_up = (0..100).find(|nth| {
        let step = watch.look(if nth % 15 == 0 { &clump } else { &between });
        step == Step::GivesUp
    });
    assert_eq!(given_up, Some(VAIN - 1));
}

#[test]
fn one_sound_look_among_many_slow_ones_does_not_keep_a_bound_for_good() {
    let mut watch = bound();
    let slow = Look { queued: 50, ..second(10, 500, 300) };
    let sound = Look { queued: 50, ..second(10, 500, 200) };
    let given_up =
        (0..100).any(|nth| watch.look(if nth % 10 == 9 { &sound } else { &slow }) == Step::GivesUp);
    assert!(given_up);
}

#[test]
fn a_handful_of_answers_in_the_midst_of_it_end_no_bound_and_are_no_usual_time() {
    let mut watch = bound();
    let mut steps = (0..100).map(|_| watch.look(&Look { queued: 50, ..second(600, 4, 900) }));
    assert_eq!(steps.find(|step| matches!(step, Step::Frees | Step::GivesUp)), Some(Step::GivesUp));
    for _ in 0..5 {
        first(&mut watch, second(600, 100, 900), 2_000);
        let silent = Look { queued: 50, ..second(600, 0, 0) };
        first(&mut watch, silent, MOST_VAIN);
        first(&mut watch, silent, MOST_VAIN);
    }
    assert!(watch.usual.quarter > 0.0);
}

#[test]
fn a_few_answers_say_nothing_of_how_long_a_quarter_take() {
    let mut watch = well();
    assert_eq!(first(&mut watch, second(600, 4, 900), 600), None);
    first(&mut watch, second(0, 500, 900), 1);
    first(&mut watch, second(0, 0, 0), OLD + 1);
    assert_eq!(first(&mut watch, second(600, 0, 900), 600), None, "it was long ago");
}

#[test]
fn a_pool_of_few_requests_or_of_which_nothing_is_known_is_not_bound() {
    let mut watch = well();
    assert_eq!(first(&mut watch, second(19, 1, 9_000), 600), None);
    let mut new = Watch::new();
    assert_eq!(first(&mut new, second(600, 100, 900), 600), None);
}

#[test]
fn a_pool_that_serves_within_milliseconds_is_not_bound_for_milliseconds() {
    let mut watch = Watch::new();
    first(&mut watch, second(0, 1_000, 1), 30);
    assert_eq!(first(&mut watch, second(2_000, 1_000, 90), 600), None);
}

#[test]
fn one_look_is_not_enough() {
    let mut watch = well();
    for _ in 0..100 {
        assert_eq!(watch.look(&second(600, 100, 900)), Step::Stays);
        assert_eq!(watch.look(&second(0, 1_000, 50)), Step::Stays);
    }
}

#[test]
fn the_bound_goes_after_ten_calm_looks_in_a_row() {
    let mut watch = bound();
    assert_eq!(first(&mut watch, second(0, 1_000, 60), CALM - 1), None);
    let waits = Look { queued: 1, ..second(0, 1_000, 60) };
    assert_eq!(watch.look(&waits), Step::Moves(113), "it is not over");
    assert_eq!(first(&mut watch, second(0, 1_000, 60), 60), Some((CALM, Step::Frees)));

    let mut idle = bound();
    assert_eq!(first(&mut idle, Look::default(), 60), Some((CALM, Step::Frees)));
}

#[test]
fn a_bound_that_is_too_small_grows_while_requests_are_quick_and_falls_once_they_are_not() {
    let mut watch = bound();
    let quick = Look { queued: 30, ..second(0, 2_000, 60) };
    assert_eq!(watch.look(&quick), Step::Moves(113));
    assert_eq!(watch.look(&quick), Step::Moves(128));
    let slow = Look { queued: 30, ..second(0, 2_000, 300) };
    assert_eq!(watch.look(&slow), Step::Moves(112));
    first(&mut watch, slow, 3);
    assert_eq!(first(&mut watch, Look { late: 9, ..slow }, 5), None, "it is at its least");
    watch.look(&quick);
    assert_eq!(watch.look(&second(600, 100, 900)), Step::Moves(100));
}

#[test]
fn a_bound_that_does_not_help_goes_and_is_tried_ever_more_seldom() {
    let mut watch = bound();
    let slow = second(600, 100, 900);
    let mut pauses = Vec::new();
    for _ in 0..5 {
        assert_eq!(first(&mut watch, slow, 100), Some((VAIN, Step::GivesUp)));
        pauses.push(first(&mut watch, slow, 2_000).map(|(nth, _)| nth));
    }
    assert_eq!(pauses, [Some(60), Some(120), Some(240), Some(480), None], "it is usual by now");
}

#[test]
fn a_bound_that_did_not_help_hours_ago_is_no_reason_to_wait_for_longer() {
    let mut watch = bound();
    let slow = second(600, 100, 900);
    for _ in 0..10 {
        assert_eq!(first(&mut watch, slow, 100), Some((VAIN, Step::GivesUp)));
        assert_eq!(first(&mut watch, second(0, 1_000, 50), FORGIVEN), None);
        assert_eq!(first(&mut watch, slow, 5), Some((2, Step::Binds(100))));
    }
    first(&mut watch, slow, 100);
    assert_eq!(first(&mut watch, slow, 100), Some((PAUSE, Step::Binds(100))));
}

#[test]
fn what_is_slow_for_good_becomes_usual() {
    let mut watch = well();
    first(&mut watch, second(0, 1_000, 500), 600);
    assert_eq!(first(&mut watch, second(600, 100, 900), 60), None);
    // And what is quick again is usual soon enough.
    first(&mut watch, second(0, 1_000, 50), 120);
    assert!(matches!(first(&mut watch, second(600, 100, 900), 5), Some((2, Step::Binds(_)))));
}

#[test]
fn what_is_counted_for_two_looks_at_once_counts_for_two() {
    let mut watch = Watch::new();
    for _ in 0..40 {
        watch.look(&second(0, 2_000, 50));
        watch.look(&Look::default());
    }
    let told = first(&mut watch, second(600, 100, 900), 5);
    // The first of them had none before it.
    assert!(matches!(told, Some((2, Step::Binds(100..=106)))), "{told:?}");
}

fn any_look() -> impl Strategy<Value = Look> {
    (0_u64..3_000, 0_u64..3_000, 0_u64..20_000, 0_usize..200)
        .prop_map(|(late, served, millis, queued)| Look { queued, ..second(late, served, millis) })
}

proptest! {
    /// Whatever comes: no bound is below the least or comes where there is one, none goes where there is none.
    #[test]
    fn bounds_come_and_go_in_turns(looks in prop::collection::vec(any_look(), 0..400)) {
        let (mut watch, mut is_bound) = (Watch::new(), false);
        for look in looks {
            let step = watch.look(&look);
            match step {
                Step::Stays => {}
                Step::Binds(limit) | Step::Moves(limit) => {
                    prop_assert!(limit >= LEAST);
                    prop_assert_eq!(is_bound, matches!(step, Step::Moves(_)));
                    is_bound = true;
                }
                Step::Frees | Step::GivesUp => {
                    prop_assert!(is_bound);
                    is_bound = false;
                }
            }
        }
    }

    /// None comes where as many are served as are late, or where a quarter are served as soon as usual.
    #[test]
    fn no_bound_comes_where_answers_are_sound(
        looks in prop::collection::vec((any_look(), any::<bool>()), 0..400),
    ) {
        let mut watch = well();
        for (look, is_quick) in looks {
            let sound = if is_quick && look.served > 0 {
                Look { quarter: Some(Duration::from_millis(50)), ..look }
            } else {
                Look { late: look.late.min(look.served), ..look }
            };
            prop_assert_eq!(watch.look(&sound), Step::Stays);
        }
    }

    /// However many leave at one moment, and how often they do: what is learned is how many wait on average, or twice as many.
    #[test]
    fn bursts_are_learned_by_their_mean(
        (period, count, seconds) in (1_u64..=60, 1_u64..=200, 1_u64..=300),
    ) {
        let mut watch = well();
        for nth in 0..1_800 {
            watch.look(&if nth % period == 0 { burst(count, seconds) } else { second(0, 1_000, 50) });
        }
        let mean = (count * seconds) as f64 / period as f64;
        prop_assert!(watch.usual.waiting <= 51.0 + 2.4 * mean, "{:?}", watch.usual);
    }

    /// However slowly: more come than are served, all wait longer each second, and none leaves before his time is over.
    #[test]
    fn an_overload_that_comes_slowly_is_bounded_to_what_was_usual_before(
        (longer, most) in (80_u64..2_000, 2_000_u64..=15_000),
    ) {
        let mut watch = well();
        for nth in 1..=most / longer {
            prop_assert_eq!(watch.look(&second(0, 1_000, 50 + nth * longer)), Step::Stays);
        }
        let overrun = left_after(Duration::from_millis(most), second(600, 100, most * 3 / 4));
        let told = first(&mut watch, overrun, 5);
        prop_assert!(matches!(told, Some((2, Step::Binds(100..=125)))), "{:?}", told);
    }

    /// However a pool goes on, as long as it does so: its bound goes.
    #[test]
    fn no_pool_stays_bound(look in any_look(), demand in 0_u32..1_000) {
        let mut watch = bound();
        let goes = (0..200).any(|_| {
            let State::Bound(Bound { limit, .. }) = watch.state else { return true };
            let queued = demand.saturating_sub(limit) as usize;
            matches!(watch.look(&Look { queued, ..look }), Step::Frees | Step::GivesUp)
        });
        prop_assert!(goes);
    }

    /// Whatever has happened, ten calm seconds end it.
    #[test]
    fn ten_calm_seconds_end_any_bound(looks in prop::collection::vec(any_look(), 0..400)) {
        let mut watch = well();
        for look in &looks {
            watch.look(look);
        }
        for _ in 0..CALM {
            watch.look(&Look::default());
        }
        prop_assert!(!watch.has_bound());
    }
}
