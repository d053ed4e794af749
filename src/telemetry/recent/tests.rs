//! What is shown of the last minutes, under a clock that the tests turn.

use super::*;
use crate::model::ids::Label;
use crate::telemetry::delta::One;

fn label(slot: u32) -> Label {
    Label { name: format!("t{slot}").into(), slot }
}

/// A request of a tenant to the pool of the same number.
fn request(delta: &mut Delta, slot: u32, status: u16, milliseconds: u64) {
    let (label, took) = (label(slot), Duration::from_millis(milliseconds));
    delta.tenants.hear(slot, || label.clone());
    delta.pools.at(&label).first_byte.observe(took);
    delta.request(Some(slot), Some(slot), &One::of(status, took, (0, 0)));
}

fn requests(slots: impl IntoIterator<Item = u32>) -> Delta {
    let mut delta = Delta::default();
    slots.into_iter().for_each(|slot| request(&mut delta, slot, 200, 20));
    delta
}

async fn turn(recent: &mut Recent) {
    tokio::time::advance(POINT).await;
    recent.turn();
}

#[tokio::test(start_paused = true)]
async fn rates_are_of_the_last_twenty_seconds_at_most() {
    let mut recent = Recent::new();
    let mut delta = Delta::default();
    for number in 0..60 {
        request(&mut delta, 3, if number % 3 == 0 { 503 } else { 200 }, 20);
        request(&mut delta, 4, 404, 300);
    }
    delta.answers.add("no-route", 60);
    recent.add(&delta);
    turn(&mut recent).await;
    turn(&mut recent).await;

    let one = recent.tenant(3);
    assert_eq!((one.requests_per_second, one.errors_per_second), (6.0, 2.0));
    assert!(one.p99_ms.is_some_and(|time| (10.0..=25.0).contains(&time)), "{one:?}");
    assert_eq!(recent.tenant(4).client_errors_per_second, 6.0);
    assert_eq!((recent.pool(4).requests_per_second, recent.pool(3).errors_per_second), (6.0, 2.0));
    assert_eq!((recent.total().requests_per_second, recent.own_answers()), (12.0, 6.0));
    assert_eq!(recent.tenant(5), Rates::default(), "nobody has heard of this one");

    turn(&mut recent).await;
    turn(&mut recent).await;
    assert_eq!(recent.total().requests_per_second, 0.0, "that was long ago");
    assert_eq!((recent.own_answers(), recent.tenant(3).p50_ms), (0.0, None));
}

#[tokio::test(start_paused = true)]
async fn the_order_is_by_what_was_asked_for() {
    let mut recent = Recent::new();
    let mut delta = requests([1, 1, 1]);
    request(&mut delta, 2, 500, 20);
    request(&mut delta, 3, 200, 3000);
    recent.add(&delta);

    let first = |recent: &Recent, sort| (1..=3).max_by_key(|slot| recent.tenant_key(*slot, sort));
    assert_eq!(first(&recent, Sort::Requests), Some(1));
    assert_eq!(first(&recent, Sort::Errors), Some(2));
    assert_eq!(first(&recent, Sort::P99), Some(3));
    assert_eq!(recent.tenant_key(9, Sort::P99), 0);
}

#[tokio::test(start_paused = true)]
async fn the_total_and_those_who_lead_have_a_history_before_anybody_looks() {
    let mut recent = Recent::new();
    for _ in 0..4 {
        recent.add(&requests([7, 7, 7, 7, 7, 7, 7, 7, 7, 7]));
        turn(&mut recent).await;
    }

    assert_eq!(recent.total_chart().requests, [2.0; 4]);
    let chart = recent.tenant_chart(7);
    assert_eq!(chart.requests, [2.0; 4], "the window that it first led in counts, too");
    assert_eq!((chart.errors.len(), chart.p99_ms.len()), (4, 4));
    assert_eq!(recent.pool_chart(7).requests, [2.0; 4]);

    assert_eq!(recent.tenant_chart(8), Chart::default(), "nobody looked at this one before");
    turn(&mut recent).await;
    assert_eq!(recent.tenant_chart(8).requests, [0.0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_bounded_whoever_comes_and_is_looked_at() {
    let mut recent = Recent::new();
    for round in 0..10u32 {
        recent.add(&requests(round * 1000..round * 1000 + 1000));
        for slot in 0..500 {
            drop(recent.tenant_chart(slot));
        }
        turn(&mut recent).await;
        turn(&mut recent).await;
        assert!(recent.tenants.tracks() <= TRACKS, "{}", recent.tenants.tracks());
        assert!(recent.tenants.touched() <= 2000, "{}", recent.tenants.touched());
    }
    for _ in 0..POINTS + 4 {
        turn(&mut recent).await;
    }
    assert_eq!((recent.tenants.tracks(), recent.tenants.touched()), (0, 0), "nobody wants them");
    assert_eq!(recent.total_chart().requests.len(), POINTS);
}
