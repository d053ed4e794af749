//! The gate with its clock and with real threads.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn gate(limit: u32) -> Handle {
    Handle::of(&Arc::new(Gate::new(limit)))
}

fn kind() -> Kind {
    Kind::named("")
}

fn claim(flow: u32) -> Claim {
    let until = Instant::now() + SECOND;
    Claim { flow, weight: 1, class: Class::Normal, most: 10, until, cost: 1_000 }
}

fn enter(gate: &Handle) -> Option<Permit> {
    gate.try_enter(kind(), Instant::now())
}

fn wait(gate: &Handle, flow: u32) -> Waiting {
    match gate.come(kind(), &claim(flow), Instant::now()) {
        Came::Waits(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

fn state(gate: &Handle) -> (u32, usize) {
    let state = gate.0.gate.state();
    (state.inside, state.waiting)
}

#[tokio::test(start_paused = true)]
async fn so_many_come_in_and_the_next_has_the_place_of_who_leaves() {
    let gate = gate(2);
    let (first, second) = (enter(&gate).unwrap(), enter(&gate).unwrap());
    assert!(enter(&gate).is_none());
    let third = wait(&gate, 1);
    assert_eq!(state(&gate), (2, 1));

    drop(first);

    assert_eq!(state(&gate), (2, 0), "the place was handed over");
    assert!(enter(&gate).is_none());
    let third = third.turn().await.unwrap();
    drop((second, third));
    assert_eq!(state(&gate), (0, 0));
    assert!(enter(&gate).is_some());
}

/// On a thread of its own: one that waited for the lock would not come back.
#[test]
fn who_comes_and_leaves_while_there_is_room_takes_no_lock() {
    let gate = Arc::new(Gate::new(2));
    let held = gate.lock();
    let (done, is_done) = std::sync::mpsc::channel();
    let other = Arc::clone(&gate);
    let thread = std::thread::spawn(move || {
        let handle = Handle::of(&other);
        for _ in 0..100 {
            let both = (enter(&handle), enter(&handle));
            assert!(both.0.is_some() && both.1.is_some());
            assert!(enter(&handle).is_none(), "who finds no room needs none to know that");
        }
        done.send(state(&handle)).ok();
    });

    let without_lock = is_done.recv_timeout(Duration::from_secs(60));

    drop(held);
    thread.join().unwrap();
    assert_eq!(without_lock, Ok((0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_moved_from_what_it_is_known_to_be_alone() {
    let gate = gate(1);
    let inside = enter(&gate).unwrap();
    let (second, third) = (wait(&gate, 1), wait(&gate, 1));

    assert!(!gate.0.gate.move_limit(5, 9), "somebody else has set it");
    assert_eq!(state(&gate), (1, 2));
    assert!(gate.0.gate.move_limit(1, 2));
    assert_eq!(state(&gate), (2, 1), "one that waited comes in");
    assert!(gate.0.gate.move_limit(2, 1));
    drop(inside);
    assert_eq!(state(&gate), (1, 1), "nobody comes in until enough have left");

    drop(second.turn().await.unwrap());
    assert!(third.turn().await.is_some());
    gate.0.gate.open();
    assert!(!gate.0.gate.move_limit(1, 2), "an open gate stays open");
}

#[tokio::test(start_paused = true)]
async fn how_many_of_a_flow_wait_is_told_while_somebody_else_holds_the_lock() {
    let gate = gate(1);
    let inside = enter(&gate).unwrap();
    let (first, second, other) = (wait(&gate, 1), wait(&gate, 1), wait(&gate, 2));
    let told = || [1, 2, 3].map(|flow| gate.0.gate.waiting_of(flow));

    let held = gate.0.gate.lock();
    assert_eq!(told(), [2, 1, 0]);
    drop(held);

    drop(second);
    assert_eq!(told(), [1, 1, 0]);
    drop(inside);
    assert_eq!(told().iter().sum::<usize>(), 1, "one has had its turn");
    drop((first, other));
    assert_eq!(told(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn nobody_passes_those_who_wait() {
    let gate = gate(1);
    let first = enter(&gate).unwrap();
    let (second, third) = (wait(&gate, 1), wait(&gate, 2));
    drop(first);

    let second = second.turn().await.unwrap();

    assert!(enter(&gate).is_none());
    drop(second);
    assert!(enter(&gate).is_none(), "the place is the third's");
    assert!(third.turn().await.is_some());
    assert!(enter(&gate).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_in_time_and_leaves_no_trace() {
    let gate = gate(1);
    let permit = enter(&gate).unwrap();
    let began = Instant::now();

    assert!(wait(&gate, 1).turn().await.is_none());

    let waited = began.elapsed(); // in a timer's ticks
    assert!(SECOND <= waited && waited <= SECOND + Duration::from_millis(2), "{waited:?}");
    assert_eq!(state(&gate), (1, 0));
    drop(permit);
    assert_eq!(state(&gate), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_comes_too_late_goes_to_the_next() {
    let gate = gate(1);
    let permit = enter(&gate).unwrap();
    let late = wait(&gate, 1);
    tokio::time::advance(2 * SECOND).await; // its task had no turn meanwhile
    let next = wait(&gate, 1);

    drop(permit);

    assert!(late.turn().await.is_none());
    assert!(next.turn().await.is_some());
    assert_eq!(state(&gate), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_place_for_who_has_left_goes_to_the_next() {
    let gate = gate(1);
    let permit = enter(&gate).unwrap();
    let mut waiting: Vec<Waiting> = (0..5).map(|flow| wait(&gate, flow)).collect();
    let last = waiting.pop().unwrap();
    drop(permit); // the place is the first's

    drop(waiting); // each hands it on

    assert_eq!(state(&gate), (1, 0));
    assert!(last.turn().await.is_some());
    assert_eq!(state(&gate), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_found_behind_thousands_who_are_late() {
    let gate = gate(1);
    let permit = enter(&gate).unwrap();
    let late: Vec<Waiting> = (0..5_000).map(|flow| wait(&gate, flow)).collect();
    tokio::time::advance(2 * SECOND).await;
    let next = wait(&gate, 9_999);

    drop(permit);

    assert!(next.turn().await.is_some());
    drop(late);
    assert_eq!(state(&gate), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn too_many_of_one_flow_are_turned_away_and_others_are_not() {
    let gate = gate(1);
    let _permit = enter(&gate).unwrap();
    let _waiting: Vec<Waiting> = (0..10).map(|_| wait(&gate, 1)).collect();

    let came = gate.come(kind(), &claim(1), Instant::now());

    assert!(matches!(came, Came::Full));
    drop(wait(&gate, 2));
    assert_eq!(state(&gate), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn another_limit_holds_at_once() {
    let gate = gate(1);
    let first = enter(&gate).unwrap();
    let mut waiting: Vec<Waiting> = (0..200).map(|flow| wait(&gate, flow)).collect();

    gate.0.gate.set_limit(151);
    assert_eq!(state(&gate), (151, 50));
    gate.0.gate.set_limit(10);
    drop(first);
    assert_eq!(state(&gate), (150, 50), "there are more in than may be");
    gate.0.gate.open();

    assert_eq!(state(&gate), (200, 0));
    assert_eq!(gate.0.gate.state().limit, None);
    for one in waiting.drain(..) {
        assert!(one.turn().await.is_some(), "nobody is lost");
    }
    assert_eq!(state(&gate), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_gate_learns_from_what_has_ended_well() {
    let gate = gate(1);
    let mut permit = enter(&gate);
    for _ in 0..100 {
        let waiting = wait(&gate, 1);
        drop(permit.take());
        let mut next = waiting.turn().await.unwrap();
        tokio::time::advance(Duration::from_millis(3)).await;
        next.done();
        permit = Some(next);
    }
    assert!(gate.cost(kind()).abs_diff(3_000) < 1_000, "{}", gate.cost(kind()));
    let learned = gate.cost(kind());

    let waiting = wait(&gate, 1);
    drop(permit);
    let cut = waiting.turn().await.unwrap();
    tokio::time::advance(SECOND).await;
    drop(cut);

    assert!(gate.cost(kind()).abs_diff(learned) < 500, "{}", gate.cost(kind()));
}

/// Two flows that always have work waiting, the one of a kind that takes ten times as long as that of the other.
#[tokio::test(start_paused = true)]
async fn two_kinds_are_learned_apart_and_flows_have_equal_work_of_them() {
    let gate = gate(1);
    let kinds = [("slow", 40), ("quick", 4)]
        .map(|(name, takes)| (Kind::named(name), Duration::from_millis(takes)));
    assert_ne!(kinds[0].0, kinds[1].0);
    let mut permit = enter(&gate);
    for (kind, takes) in [kinds; 50].concat() {
        let Came::Waits(waiting) = gate.come(kind, &claim(1), Instant::now()) else { panic!() };
        drop(permit.take());
        let mut next = waiting.turn().await.unwrap();
        tokio::time::advance(takes).await;
        next.done();
        permit = Some(next);
    }
    let [slow, quick] = kinds.map(|(kind, _)| gate.cost(kind));
    assert!(slow.abs_diff(40_000) < 4_000 && quick.abs_diff(4_000) < 400, "{slow} {quick}");

    let order = Rc::new(std::cell::RefCell::new(Vec::new()));
    let all = tokio::task::LocalSet::new();
    for (flow, (kind, takes)) in [(1, kinds[0]); 12].into_iter().chain([(2, kinds[1]); 120]) {
        let until = Instant::now() + Duration::from_secs(3600);
        let claim = Claim { most: 200, until, cost: gate.cost(kind), ..claim(flow) };
        let Came::Waits(waiting) = gate.come(kind, &claim, Instant::now()) else { panic!() };
        let order = Rc::clone(&order);
        all.spawn_local(async move {
            let mut permit = waiting.turn().await.unwrap();
            order.borrow_mut().push(flow);
            tokio::time::sleep(takes).await;
            permit.done();
        });
    }
    drop(permit);
    all.await;

    let slow = order.borrow()[..66].iter().filter(|flow| **flow == 1).count();
    assert!((5..=7).contains(&slow), "of 66 turns 6 are as much work as the other 60: {slow}");
}

/// Threads that come, wait, lose patience and leave: never more are in than may be, everybody has an
/// end, and nothing is left behind.
#[test]
fn threads_that_crowd_a_gate_lose_no_place() {
    let gate = Arc::new(Gate::new(LIMIT));
    let (inside, served) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (gate, inside, served) = (&gate, &inside, &served);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                runtime.unwrap().block_on(async {
                    let handle = Handle::of(gate);
                    all((0..8_u64).map(|client| {
                        let rng = fastrand::Rng::with_seed(thread * 8 + client);
                        crowd(handle.clone(), rng, inside, served)
                    }))
                    .await;
                });
            });
        }
    });
    let gate = Handle::of(&gate);
    assert_eq!(state(&gate), (0, 0));
    assert!(served.into_inner() > 1_000);
    let all: Vec<Permit> = (0..LIMIT).filter_map(|_| enter(&gate)).collect();
    assert_eq!(all.len(), LIMIT as usize, "the common way is open again");
}

const LIMIT: u32 = 3;

/// Comes again and again.
async fn crowd(gate: Handle, mut rng: fastrand::Rng, inside: &AtomicU32, served: &AtomicU32) {
    for _ in 0..300 {
        if let Some(mut permit) = come(&gate, &mut rng).await {
            assert!(inside.fetch_add(1, Ordering::SeqCst) < LIMIT, "too many are in");
            for _ in 0..rng.u8(..3) {
                tokio::task::yield_now().await;
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            served.fetch_add(1, Ordering::SeqCst);
            permit.done();
        }
        tokio::task::yield_now().await;
    }
}

async fn come(gate: &Handle, rng: &mut fastrand::Rng) -> Option<Permit> {
    let now = Instant::now();
    if let Some(permit) = gate.try_enter(kind(), now) {
        return Some(permit);
    }
    let until = now + Duration::from_micros(rng.u64(..3_000));
    let claim = Claim { until, most: 4, ..claim(rng.u32(..5)) };
    match gate.come(kind(), &claim, now) {
        Came::In(permit) => Some(permit),
        Came::Full => None,
        Came::Waits(waiting) if rng.u8(..4) == 0 => {
            tokio::task::yield_now().await;
            drop(waiting); // its client has left
            None
        }
        Came::Waits(waiting) => waiting.turn().await,
    }
}

/// Waits for all of them at once.
async fn all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
