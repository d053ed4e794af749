//! An issuer over hours and days, by a clock that stands until a test moves it.

use std::sync::{Mutex, PoisonError};

use http::StatusCode;

use crate::base::tasks::Tasks;

use super::*;

/// An issuer that answers by script, and whose clock stands until a test moves it.
struct World {
    ring: Arc<Keyring>,
    status: Snapshot<KeysStatus>,
    started: Instant,
    /// When it was asked, in seconds since the start.
    asked: Arc<Mutex<Vec<u64>>>,
    /// What it says: the name of its key, and for how long that is fresh. `None` = it is down.
    says: Arc<Mutex<Option<(&'static str, u64)>>>,
    kept: Arc<Mutex<Vec<KeySet>>>,
    _tasks: Tasks,
}

fn set(kid: &str) -> KeySet {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let key = format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"{kid}\",\"x\":\"{x}\"}}");
    KeySet::read(format!("{{\"keys\":[{key}]}}").as_bytes()).unwrap()
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl World {
    /// Asked once an hour at least, once a minute at most; keys are used for three hours.
    fn new(says: Option<(&'static str, u64)>, held: Option<(KeySet, SystemTime)>) -> Self {
        let spec = FetchSpec {
            host: "issuer".into(),
            port: 443,
            authority: "issuer".into(),
            path: "/".into(),
            tls: None,
            timeout: seconds(5),
            min_refresh: seconds(60),
            max_refresh: seconds(3600),
            stale: seconds(3 * 3600),
        };
        let at = held.as_ref().map(|(_, at)| *at);
        let ring = held.map(|(set, _)| set).unwrap_or_default();
        let keys = ring.keys().len();
        let ring = Arc::new(Keyring::new("https://issuer", ring));
        let status = Snapshot::new(Arc::new(KeysStatus { keys, at, ..KeysStatus::default() }));
        let kept: Arc<Mutex<Vec<KeySet>>> = Arc::default();
        let keep = {
            let kept = Arc::clone(&kept);
            move |set: &KeySet, _| locked(&kept).push(set.clone())
        };
        let beginning = Beginning {
            name: "login".into(),
            spec: Arc::new(spec),
            ring: Arc::clone(&ring),
            status: status.clone(),
            metrics: Arc::new(Metrics::new()),
            tried: watch::Sender::new(false),
        };
        let keeper = Keeper::new(beginning, keep);
        let (started, asked) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let says = Arc::new(Mutex::new(says));
        let fetch = {
            let (asked, says) = (Arc::clone(&asked), Arc::clone(&says));
            move || {
                locked(&asked).push(started.elapsed().as_secs());
                let said = *locked(&says);
                async move {
                    let (kid, fresh) =
                        said.ok_or(FetchFault::Status(StatusCode::SERVICE_UNAVAILABLE))?;
                    Ok(Fetched { set: set(kid), unusable: vec![], fresh: Some(seconds(fresh)) })
                }
            }
        };
        let mut tasks = Tasks::new("test");
        tasks.spawn(|stop| keeper.run(fetch, stop));
        Self { ring, status, started, asked, says, kept, _tasks: tasks }
    }

    /// Lets time pass, until so many seconds after the start.
    async fn until(&self, second: u64) {
        tokio::time::sleep_until(self.started + seconds(second)).await;
    }

    fn kid(&self) -> Option<String> {
        self.ring.with(|set| set.keys().first().and_then(|key| key.id.clone())).map(Into::into)
    }

    fn asked(&self) -> Vec<u64> {
        locked(&self.asked).clone()
    }

    fn say(&self, says: Option<(&'static str, u64)>) {
        *locked(&self.says) = says;
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_at_once_and_again_when_the_issuer_says_that_they_are_old() {
    let world = World::new(Some(("a", 600)), None);
    world.until(1).await;
    assert_eq!((world.kid().as_deref(), world.asked()), (Some("a"), vec![0]));

    world.say(Some(("b", 1_000_000))); // longer than an hour
    world.until(601).await;
    let second = world.asked()[1];
    assert!((540..=600).contains(&second), "{second}");
    assert_eq!(world.kid().as_deref(), Some("b"));

    world.until(second + 3601).await;
    let third = world.asked()[2] - second;
    assert!((3239..=3600).contains(&third), "{third}");
    assert_eq!(*locked(&world.kept), [set("a"), set("b"), set("b")]);
}

#[tokio::test(start_paused = true)]
async fn the_last_keys_are_used_while_the_issuer_is_down_and_not_for_ever() {
    let world = World::new(Some(("a", 0)), None);
    world.until(1).await;
    world.say(None);

    world.until(3 * 3600 - 1).await;
    assert_eq!(world.kid().as_deref(), Some("a"), "whoever is asked knows them still");
    let asked = world.asked();
    let first = asked[1];
    assert!(asked.windows(2).skip(1).all(|pair| pair[1] - pair[0] <= 61), "{asked:?}");
    assert!(asked.iter().filter(|at| (first..first + 60).contains(at)).count() >= 6, "{asked:?}");
    assert!(asked.len() < 500, "it is asked {} times", asked.len());
    let status = world.status.load();
    assert!(status.error.as_deref().unwrap().contains("503") && status.failed_since.is_some());

    world.until(3 * 3600 + 1).await;
    assert_eq!((world.kid(), world.status.load().keys), (None, 0));

    world.say(Some(("b", 600)));
    world.until(3 * 3600 + 70).await;
    assert_eq!(world.kid().as_deref(), Some("b"));
    assert_eq!(world.status.load().failed_since, None);
}

#[tokio::test(start_paused = true)]
async fn who_names_keys_that_are_not_there_has_the_issuer_asked_once_a_minute_at_most() {
    let world = World::new(Some(("a", 3600)), None);
    world.until(10).await;
    world.say(Some(("b", 3600)));

    world.ring.wish();
    world.until(11).await;
    assert_eq!((world.kid().as_deref(), world.asked()), (Some("b"), vec![0, 10]));

    for second in 11..130 {
        world.until(second).await;
        world.ring.wish();
    }
    assert_eq!(world.asked(), [0, 10, 70]);
    world.until(131).await;
    assert_eq!(world.asked(), [0, 10, 70, 130]);
    world.until(1000).await;
    assert_eq!(world.asked().len(), 4, "nobody has asked since");
}

#[tokio::test(start_paused = true)]
async fn wishes_do_not_press_an_issuer_that_is_down() {
    let world = World::new(None, None);
    for second in 0..300 {
        world.until(second).await;
        world.ring.wish();
    }

    let asked = world.asked();
    assert!(asked.len() < 25, "{asked:?}");
    assert_eq!(world.kid(), None);
}

#[tokio::test(start_paused = true)]
async fn keys_of_an_earlier_start_are_used_for_what_is_left_of_their_time() {
    let an_hour_ago = SystemTime::now() - seconds(3600);
    let world = World::new(None, Some((set("old"), an_hour_ago)));

    world.until(2 * 3600 - 60).await;
    assert_eq!(world.kid().as_deref(), Some("old"));
    world.until(2 * 3600 + 1).await;

    assert_eq!(world.kid(), None);
}
