//! Requests at once, by one thread and by several.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::time::timeout;

use super::*;

fn inside(gate: &Arc<Gate>, limit: u32) -> Option<Permit> {
    match gate.enter(limit, 0) {
        Entry::Inside(permit) => Some(permit),
        _ => None,
    }
}

fn queued(gate: &Arc<Gate>, limit: u32, waiting: u32) -> Queued {
    match gate.enter(limit, waiting) {
        Entry::Queued(queued) => queued,
        other => panic!("{other:?}"),
    }
}

async fn has_turn(queued: &mut Queued) -> Option<Permit> {
    timeout(Duration::from_millis(1), queued.turn()).await.ok()
}

/// On a thread of its own: one that waited for the lock would not come back.
#[test]
fn who_enters_and_leaves_while_nobody_waits_takes_no_lock() {
    let gate = Arc::new(Gate::default());
    drop(inside(&gate, 2)); // so that the limit is known
    let held = gate.queue();
    let (done, is_done) = std::sync::mpsc::channel();
    let other = Arc::clone(&gate);
    let thread = std::thread::spawn(move || {
        for _ in 0..100 {
            let both = (inside(&other, 2), inside(&other, 2));
            assert!(both.0.is_some() && both.1.is_some());
        }
        done.send(other.inside()).ok();
    });

    let without_lock = is_done.recv_timeout(Duration::from_secs(60));

    drop(held);
    thread.join().unwrap();
    assert_eq!(without_lock, Ok(0));
}

#[test]
fn so_many_are_inside_and_who_leaves_makes_room() {
    let gate = Arc::new(Gate::default());
    let mut all: Vec<Permit> = (0..3).filter_map(|_| inside(&gate, 3)).collect();
    assert_eq!(all.len(), 3);
    assert!(matches!(gate.enter(3, 0), Entry::Full));

    all.pop();
    assert!(inside(&gate, 3).is_some(), "and it left again at once");
    assert_eq!(gate.inside(), 2);
    drop(all);
    assert!(!gate.is_used());
}

#[tokio::test(start_paused = true)]
async fn who_waits_enters_in_the_order_of_coming() {
    let gate = Arc::new(Gate::default());
    let first = inside(&gate, 1).unwrap();
    let (mut second, mut third) = (queued(&gate, 1, 2), queued(&gate, 1, 2));
    assert!(matches!(gate.enter(1, 2), Entry::Full), "two wait");
    assert!(has_turn(&mut second).await.is_none());

    drop(first);
    let second = has_turn(&mut second).await.unwrap();
    assert!(has_turn(&mut third).await.is_none());
    assert!(matches!(gate.enter(1, 0), Entry::Full), "nobody passes who waits");

    drop(second);
    assert!(has_turn(&mut third).await.is_some());
    assert!(!gate.is_used());
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_frees_its_place_also_where_its_turn_has_come() {
    let gate = Arc::new(Gate::default());
    let first = inside(&gate, 1).unwrap();
    let (second, third) = (queued(&gate, 1, 2), queued(&gate, 1, 2));
    drop(second);
    let mut fourth = queued(&gate, 1, 2);

    drop(first); // the third's turn has come, and it does not hear of it
    assert!(has_turn(&mut fourth).await.is_none());
    drop(third);

    assert!(has_turn(&mut fourth).await.is_some());
    assert!(!gate.is_used());
}

#[tokio::test(start_paused = true)]
async fn a_larger_limit_lets_in_who_waits() {
    let gate = Arc::new(Gate::default());
    let _first = inside(&gate, 1).unwrap();
    let mut second = queued(&gate, 1, 1);

    let third = inside(&gate, 3);

    assert!(has_turn(&mut second).await.is_some());
    assert!(third.is_some());
}

#[test]
fn over_all_threads_never_more_are_inside_and_all_have_their_turn() {
    const LIMIT: u32 = 3;
    let gate = Arc::new(Gate::default());
    let (now, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (gate, now, most, done) = (&gate, &now, &most, &done);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    let one = |round: usize| async move {
                        let permit = match gate.enter(LIMIT, 1000) {
                            Entry::Inside(permit) => permit,
                            Entry::Queued(queued) if (round + number).is_multiple_of(7) => {
                                return drop(queued);
                            }
                            Entry::Queued(mut queued) => queued.turn().await,
                            Entry::Full => panic!("there is room to wait"),
                        };
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        now.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                        done.fetch_add(1, Ordering::SeqCst);
                    };
                    for round in 0..500 {
                        // Two at once, so that a thread also waits for its own.
                        tokio::join!(one(round), one(round + 1));
                    }
                });
            });
        }
    });

    assert!(most.into_inner() <= LIMIT as usize);
    assert!(done.into_inner() > 2000);
    assert!(!gate.is_used());
    assert_eq!(gate.queue().len(), 0);
}
