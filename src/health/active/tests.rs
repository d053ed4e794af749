//! The check of a pool on a paused clock, with a probe whose answers the test sets.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::time::{Instant, sleep};

use crate::config::spec::{CheckTlsSpec, EjectSpec, ProbeSpec};
use crate::health::passive;
use crate::model::address::Address;
use crate::model::members::Found;

use super::*;

/// Says what the test has set, and notes when it was asked.
#[derive(Debug, Default)]
struct Scripted {
    down: Mutex<HashSet<Address>>,
    hangs: Mutex<HashSet<Address>>,
    panics: Mutex<HashSet<Address>>,
    out_of_files: AtomicBool,
    asked: Mutex<Vec<(Address, Instant)>>,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Scripted {
    fn set_down(&self, addresses: &[Address]) {
        *self.down.lock().unwrap() = addresses.iter().cloned().collect();
    }

    fn asked(&self, address: Address) -> Vec<Instant> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(who, _)| *who == address).map(|(_, at)| *at).collect()
    }
}

impl Probe for Scripted {
    fn check(
        &self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = Result<(), ProbeError>> + Send + '_>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push((address.clone(), Instant::now()));
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            let hangs = self.hangs.lock().unwrap().contains(&address);
            assert!(!self.panics.lock().unwrap().remove(&address), "on purpose");
            sleep(if hangs { FOREVER } else { Duration::from_millis(10) }).await;
            self.running.fetch_sub(1, Ordering::SeqCst);
            if self.out_of_files.load(Ordering::SeqCst) {
                return Err(ProbeError::OutOfFiles);
            }
            match self.down.lock().unwrap().contains(&address) {
                true => Err(ProbeError::Refused),
                false => Ok(()),
            }
        })
    }
}

const FOREVER: Duration = Duration::from_secs(1 << 30);
const EVERY: Duration = Duration::from_secs(5);
const FAST: Duration = Duration::from_millis(500);

fn address(host: u16) -> Address {
    let [high, low] = host.to_be_bytes();
    ([10, 0, high, low], 80).into()
}

fn found(hosts: impl IntoIterator<Item = u16>) -> Vec<Found> {
    let found = |host| Found::new(address(host), "test");
    hosts.into_iter().map(found).collect()
}

struct World {
    members: Arc<Members>,
    probe: Arc<Scripted>,
    tasks: Tasks,
}

fn check(members: &Arc<Members>, probe: &Arc<Scripted>, slots: usize) -> Check {
    let spec = HealthSpec {
        probe: ProbeSpec::Tcp,
        port: None,
        tls: CheckTlsSpec::None,
        interval: EVERY,
        fast_interval: FAST,
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    };
    Check {
        pool: PoolId("shop".into()),
        members: Arc::clone(members),
        spec: Arc::new(spec),
        probe: Arc::clone(probe) as Arc<dyn Probe>,
        slots: Arc::new(Semaphore::new(slots)),
        metrics: Arc::default(),
        downs: Arc::default(),
    }
}

impl World {
    fn start(members: Members, slots: usize) -> Self {
        let (members, probe) = (Arc::new(members), Arc::new(Scripted::default()));
        let mut tasks = Tasks::new("test");
        let check = check(&members, &probe, slots);
        tasks.spawn(|stop| run(check, stop));
        Self { members, probe, tasks }
    }

    fn of(hosts: &[u16]) -> Self {
        let members = Members::new(1, Health::Pending, 0.5);
        members.replace(&found(hosts.iter().copied()));
        Self::start(members, 512)
    }

    fn endpoint(&self, host: u16) -> Arc<Endpoint> {
        let set = self.members.load();
        let member = set.all.iter().find(|member| member.endpoint.address == address(host));
        Arc::clone(&member.unwrap().endpoint)
    }

    fn eligible(&self) -> usize {
        self.members.load().eligible.endpoints.len()
    }
}

/// A little more than `count` intervals, jitter included.
async fn intervals(count: u32) {
    sleep(EVERY.mul_f64(1.2) * count + Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_is_checked_at_once_and_its_first_answer_decides() {
    let world = World::of(&[1, 2]);
    world.probe.set_down(&[address(2)]);

    sleep(Duration::from_millis(100)).await;

    assert_eq!(world.endpoint(1).health(), Health::Up);
    assert_eq!(world.endpoint(2).health(), Health::Down);
    assert_eq!(world.endpoint(2).reason().unwrap().as_str(), "connect refused");

    world.members.replace(&found([1, 2, 3]));
    sleep(Duration::from_millis(100)).await;

    assert_eq!(world.endpoint(3).health(), Health::Up);
}

#[tokio::test(start_paused = true)]
async fn three_failures_take_an_endpoint_out_and_two_passes_bring_it_back() {
    let world = World::of(&[1, 2]);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(world.eligible(), 2);

    world.probe.set_down(&[address(2)]);
    let before = world.probe.asked(address(2)).len();
    while world.eligible() == 2 {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.probe.asked(address(2)).len() - before, 3);

    world.probe.set_down(&[]);
    let before = world.probe.asked(address(2)).len();
    while world.eligible() == 1 {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.probe.asked(address(2)).len() - before, 2);
    assert_eq!(world.endpoint(2).reason(), None);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_is_down_because_it_is_slow() {
    let world = World::of(&[1, 2]);
    world.probe.hangs.lock().unwrap().insert(address(1));

    sleep(Duration::from_millis(1100)).await;

    assert_eq!(world.endpoint(1).health(), Health::Down);
    assert_eq!(world.endpoint(1).reason().unwrap().as_str(), "no answer within 1s");
    assert_eq!(world.endpoint(2).health(), Health::Up);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_without_files_learns_nothing_of_its_endpoints() {
    let world = World::of(&[1, 2]);
    world.probe.set_down(&[address(2)]);
    sleep(Duration::from_millis(100)).await;
    let before = world.probe.asked(address(1)).len();

    world.probe.out_of_files.store(true, Ordering::SeqCst);
    intervals(10).await;

    assert!(world.probe.asked(address(1)).len() > before + 3);
    assert_eq!(world.endpoint(1).health(), Health::Up);
    assert_eq!(world.endpoint(1).reason(), None);
    assert_eq!(world.endpoint(2).health(), Health::Down);
    assert_eq!(world.endpoint(2).reason().unwrap().as_str(), "connect refused");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_traffic_asked_for_and_that_found_no_file_is_made_again_soon() {
    let world = World::of(&[1]);
    sleep(Duration::from_millis(100)).await;
    world.probe.set_down(&[address(1)]);
    world.probe.out_of_files.store(true, Ordering::SeqCst);
    world.endpoint(1).suspicion().raise();
    sleep(FAST + Duration::from_millis(100)).await;
    world.probe.out_of_files.store(false, Ordering::SeqCst);

    sleep(FAST * 4).await;

    assert_eq!(world.endpoint(1).health(), Health::Down, "not after an interval or two");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_check_has_panicked_is_asked_again() {
    let world = World::of(&[1, 2]);
    intervals(1).await;
    world.probe.panics.lock().unwrap().insert(address(1));
    intervals(1).await;
    assert!(world.probe.panics.lock().unwrap().is_empty());
    assert_eq!(world.endpoint(1).health(), Health::Up, "nothing is known against it");

    world.probe.set_down(&[address(1)]);
    intervals(3).await;

    assert_eq!(world.endpoint(1).health(), Health::Down);
}

#[tokio::test(start_paused = true)]
async fn checks_of_one_endpoint_are_spread_by_a_fifth_of_the_interval() {
    let world = World::of(&[1]);

    sleep(EVERY * 100).await;

    let asked = world.probe.asked(address(1));
    let gaps: Vec<f64> = asked.windows(2).map(|at| (at[1] - at[0]).as_secs_f64()).collect();
    assert!(gaps.len() > 80);
    assert!(gaps.iter().all(|gap| (3.99..=6.01).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap < 4.6) && gaps.iter().any(|gap| *gap > 5.4));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_left_is_not_asked_any_more() {
    let world = World::of(&[1, 2]);
    sleep(Duration::from_millis(100)).await;

    world.members.replace(&found([1]));
    intervals(3).await;

    assert_eq!(world.probe.asked(address(2)).len(), 1);
    assert!(world.probe.asked(address(1)).len() >= 3);
}

#[tokio::test(start_paused = true)]
async fn no_more_probes_run_at_once_than_there_are_slots() {
    let members = Members::new(1, Health::Pending, 0.5);
    members.replace(&found(0..1000));
    let world = World::start(members, 8);

    sleep(Duration::from_secs(4)).await;

    assert_eq!(world.probe.most.load(Ordering::SeqCst), 8);
    assert_eq!(world.eligible(), 1000);
}

/// Each is asked eight times in a row, of which each takes a second: one tenant's endpoints would have the slots of all.
#[tokio::test(start_paused = true)]
async fn endpoints_that_hang_keep_the_checks_of_others_waiting_no_longer_than_regular_ones_do() {
    let members = Members::new(1, Health::Pending, 0.5);
    members.replace(&found(0..40));
    let world = World::start(members, 8);
    intervals(2).await;
    world.probe.hangs.lock().unwrap().extend((0..32).map(address));
    sleep(EVERY).await;

    let began = Instant::now();
    for host in 32..40 {
        let asked = world.probe.asked(address(host)).len();
        world.endpoint(host).suspicion().raise();
        while world.probe.asked(address(host)).len() == asked {
            sleep(Duration::from_millis(10)).await;
        }
    }

    let waited = began.elapsed() / 8;
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_from_before_stays_until_checks_say_otherwise() {
    let members = Members::new(1, Health::Pending, 0.5);
    members.replace(&found([1, 2, 3]));
    let words = [Health::Up, Health::Down, Health::Unchecked];
    for (member, word) in members.load().all.iter().zip(words) {
        member.endpoint.set_health(word, None);
    }
    let world = World::start(members, 512);
    world.probe.set_down(&[address(1), address(3)]);

    sleep(Duration::from_millis(100)).await;
    assert_eq!([1, 2, 3].map(|host| world.endpoint(host).health()), words);

    intervals(3).await;
    let after = [Health::Down, Health::Up, Health::Down];
    assert_eq!([1, 2, 3].map(|host| world.endpoint(host).health()), after);
}

#[tokio::test(start_paused = true)]
async fn it_stops_cleanly_and_a_pool_without_a_check_is_forgotten() {
    let world = World::of(&[1, 2]);
    world.probe.hangs.lock().unwrap().insert(address(1));
    world.probe.set_down(&[address(2)]);
    sleep(Duration::from_millis(100)).await;
    let (members, probe) = (world.members, world.probe);

    assert_eq!(world.tasks.stop(Duration::from_secs(5)).await, Stopped::Cleanly);
    forget(&members);
    let asked = probe.asked.lock().unwrap().len();
    intervals(3).await;

    assert_eq!(probe.asked.lock().unwrap().len(), asked);
    assert!(members.load().all.iter().all(|member| {
        member.endpoint.health() == Health::Unchecked && member.endpoint.reason().is_none()
    }));
    assert_eq!(members.load().eligible.endpoints.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_members_are_only_put_together_anew_when_a_word_changes() {
    let world = World::of(&[1]);
    intervals(1).await;
    let version = world.members.load().eligible.version;

    intervals(10).await;

    assert_eq!(world.members.load().eligible.version, version);
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_traffic_takes_a_dead_endpoint_down_within_a_few_fast_checks() {
    let world = World::of(&[1, 2]);
    intervals(2).await;
    world.probe.set_down(&[address(1)]);
    let (asked, began) = (world.probe.asked(address(1)).len(), Instant::now());

    world.endpoint(1).suspicion().raise();
    while world.endpoint(1).health() == Health::Up {
        sleep(Duration::from_millis(10)).await;
    }

    assert!(began.elapsed() <= 3 * FAST, "{:?}", began.elapsed());
    assert_eq!(world.probe.asked(address(1)).len(), asked + 3, "as many as ever");
    sleep(5 * FAST + EVERY.mul_f64(0.7)).await;
    assert_eq!(world.probe.asked(address(1)).len(), asked + 3 + 5, "then at the usual pace");
}

/// Nothing tells traffic that an endpoint hangs before requests run out of time there.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_is_down_soon_after_the_first_check_without_a_word_of_traffic() {
    let world = World::of(&[1, 2]);
    intervals(2).await;
    world.probe.hangs.lock().unwrap().insert(address(1));
    let asked = world.probe.asked(address(1)).len();
    while world.probe.asked(address(1)).len() == asked {
        sleep(Duration::from_millis(10)).await;
    }
    let began = Instant::now();

    while world.endpoint(1).health() == Health::Up {
        sleep(Duration::from_millis(10)).await;
    }

    // As many timeouts as checks that may fail, and no interval between them.
    assert!(began.elapsed() <= Duration::from_millis(3100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_was_away_for_a_moment_is_back_within_a_few_fast_checks() {
    let world = World::of(&[1, 2]);
    intervals(2).await;
    world.probe.set_down(&[address(1)]);
    world.endpoint(1).suspicion().raise();
    while world.endpoint(1).health() == Health::Up {
        sleep(Duration::from_millis(10)).await;
    }

    world.probe.set_down(&[]);
    let began = Instant::now();
    while world.endpoint(1).health() == Health::Down {
        sleep(Duration::from_millis(10)).await;
    }

    assert!(began.elapsed() <= 3 * FAST, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_was_down_for_long_is_back_one_fast_check_after_the_first_that_passes() {
    let world = World::of(&[1, 2]);
    intervals(1).await;
    world.probe.set_down(&[address(1)]);
    intervals(10).await;
    assert_eq!(world.endpoint(1).health(), Health::Down);

    world.probe.set_down(&[]);
    let asked = world.probe.asked(address(1)).len();
    while world.probe.asked(address(1)).len() == asked {
        sleep(Duration::from_millis(10)).await;
    }
    let began = Instant::now();
    while world.endpoint(1).health() == Health::Down {
        sleep(Duration::from_millis(10)).await;
    }

    assert!(began.elapsed() <= FAST + Duration::from_millis(50), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_is_down_after_as_many_timeouts_as_may_fail() {
    let world = World::of(&[1, 2]);
    intervals(2).await;
    world.probe.hangs.lock().unwrap().insert(address(1));
    let began = Instant::now();

    world.endpoint(1).suspicion().raise();
    while world.endpoint(1).health() == Health::Up {
        sleep(Duration::from_millis(10)).await;
    }

    // Each of them takes its timeout, 1 s; none waits for more after that.
    assert!(began.elapsed() <= Duration::from_millis(3600), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn traffic_that_fails_while_checks_pass_doubles_them_at_most() {
    let world = World::of(&[1]);
    for _ in 0..100 * 50 {
        world.endpoint(1).suspicion().raise();
        sleep(EVERY / 50).await;
    }

    let asked = world.probe.asked(address(1));

    assert!((150..=220).contains(&asked.len()), "{}", asked.len());
    assert!(asked.windows(2).all(|at| at[1] - at[0] >= FAST), "never faster than is allowed");
    assert_eq!(world.endpoint(1).health(), Health::Up);
}

const EJECT: EjectSpec = EjectSpec { trials: 0, success_rate: None, ..EjectSpec::USUAL };

#[tokio::test(start_paused = true)]
async fn checks_that_pass_end_the_first_ejection() {
    let world = World::of(&[1, 2]);
    intervals(1).await;
    let endpoint = world.endpoint(1);
    endpoint.set_ejections(1);
    endpoint.eject(Duration::from_secs(300));
    world.members.refresh();
    assert_eq!(world.eligible(), 1);
    let began = Instant::now();

    while world.eligible() == 1 {
        sleep(Duration::from_millis(100)).await;
        passive::release(&world.members, &EJECT);
    }

    assert!(began.elapsed() >= EVERY.mul_f64(0.8), "one pass is not enough");
    assert!(began.elapsed() <= EVERY * 3, "{:?}", began.elapsed());
    assert_eq!(endpoint.ejections(), 1, "the next one is longer all the same");

    endpoint.set_ejections(2);
    endpoint.eject(Duration::from_secs(300));
    world.members.refresh();
    intervals(5).await;
    assert_eq!(world.eligible(), 1, "the second one is served out");
}
