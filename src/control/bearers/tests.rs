//! Tenants with certificates of their own, by their files.

use std::fs;
use std::path::Path;
use std::sync::{Condvar, Mutex};

use tempfile::TempDir;
use tokio::time::sleep;

use crate::base::tasks::Tasks;
use crate::config::{Files as Routes, Known, check_routes, pem};
use crate::tls::tenants::Found;

use super::each::Ended;
use super::rounds::Reading;
use super::*;

/// A keeper at work, with the files of its tenants.
struct World {
    folder: TempDir,
    bearers: Bearers,
    metrics: Arc<Metrics>,
    follow: Follow,
    _tasks: Tasks,
}

const SHARED: &str = "[tenant]\nfrom = [{ domain = true }]\n[pools.p]\ndns = \"a:1\"\n";

impl World {
    /// With tenants of these names, each with a domain and a certificate in files of its name.
    async fn start(names: &[&str]) -> Self {
        Self::start_on(&Arc::default(), names).await
    }

    /// With files on a share.
    async fn start_on(share: &Arc<Share>, names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            renew(&folder, name, &made(name));
        }
        let text: String = names.iter().map(|name| tenant(name)).collect();
        let metrics = Arc::new(Metrics::new());
        let (mut keeper, follow) = Keeper::new(FileEvents::new(), Arc::clone(&metrics));
        keeper.reader = share.reader();
        follow.live(&loaded(&folder, &text));
        match share.is_silent() {
            true => passing(keeper.begin()).await,
            false => keeper.begin().await,
        }
        let bearers = keeper.bearers();
        let mut tasks = Tasks::new("test");
        tasks.spawn(|stop| keeper.run(stop));
        Self { folder, bearers, metrics, follow, _tasks: tasks }
    }

    /// The routes say this from now on.
    fn edit(&self, text: &str) {
        self.follow.live(&loaded(&self.folder, text));
    }

    fn leaf(&self, name: &str) -> Option<Vec<u8>> {
        match self.bearers.shown.load().exact(&format!("{name}.test")) {
            Found::Entry(entry) => Some(entry.leaf().to_vec()),
            _ => None,
        }
    }

    fn metric(&self, name: &str) -> f64 {
        let all = self.metrics.render().unwrap();
        let series = format!("tenantry_tenant_certificate{name} ");
        all.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }
}

fn tenant(name: &str) -> String {
    format!(
        "[tenants.{name}]\npool = \"p\"\ndomains = [\"{name}.test\"]\n\
         [[tenants.{name}.certificates]]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\n"
    )
}

fn loaded(folder: &TempDir, text: &str) -> Loaded {
    let files = Routes::of_text(folder.path().join("routes.toml"), &format!("{SHARED}{text}"));
    let spec = check_routes(&files, &Known { balancers: &["least-request"], keyed: &[] }).unwrap();
    Loaded { files, spec: Arc::new(spec), doubts: [].into(), quarantine: Default::default() }
}

fn made(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([format!("{name}.test")]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn renew(folder: &TempDir, name: &str, (cert, key): &(String, String)) {
    fs::write(folder.path().join(format!("{name}.key")), key).unwrap();
    fs::write(folder.path().join(format!("{name}.pem")), cert).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_of_one_tenant_and_the_others_are_not_read() {
    let world = World::start(&["a", "b"]).await;
    let before = (world.leaf("a"), world.leaf("b"));
    let held = world.bearers.live.load().of("b").cloned();

    renew(&world.folder, "a", &made("a"));
    sleep(Duration::from_secs(10)).await;

    assert!(world.leaf("a").is_some() && world.leaf("a") != before.0);
    assert_eq!(world.leaf("b"), before.1);
    let now = world.bearers.live.load().of("b").cloned();
    assert!(Arc::ptr_eq(&held.unwrap(), &now.unwrap()));
    assert_eq!((world.metric("s"), world.metric("_problems")), (2.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn half_of_a_renewal_is_not_told_and_what_stays_wrong_is_told_once() {
    let world = World::start(&["a", "b"]).await;
    let before = world.leaf("a");
    let (cert, key) = made("a");

    fs::write(world.folder.path().join("a.pem"), &cert).unwrap();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!((world.leaf("a"), world.metric("_problems")), (before.clone(), 0.0));
    sleep(Duration::from_secs(10)).await;

    assert_eq!((world.leaf("a"), world.metric("_problems")), (before.clone(), 1.0));
    assert_eq!(world.metric("_reloads_total{result=\"refused\"}"), 1.0);
    let live = world.bearers.live.load();
    assert_eq!(live.problems[0].key.as_deref(), Some("tenants.a.certificates[0].key"));
    assert_eq!(live.problems[0].line, Some(10));
    assert!(live.problems[0].what.contains("is not the one of the certificate"));
    let since = live.failed_since;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.bearers.live.load().failed_since, since);

    fs::write(world.folder.path().join("a.key"), &key).unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_ne!(world.leaf("a"), before);
    assert_eq!(world.metric("_problems"), 0.0);
    assert_eq!(world.bearers.live.load().failed_since, None);
    assert_eq!(world.metric("_reloads_total{result=\"refused\"}"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn tenants_come_and_go_with_their_certificates() {
    let world = World::start(&["a"]).await;
    let bare = "[tenants.c]\npool = \"p\"\ndomains = [\"c.test\"]\n";
    renew(&world.folder, "b", &made("b"));

    world.edit(&format!("{}{}{bare}", tenant("a"), tenant("b")));
    sleep(Duration::from_secs(1)).await;
    assert!(world.leaf("a").is_some() && world.leaf("b").is_some());
    assert!(matches!(world.bearers.shown.load().exact("c.test"), Found::Bare));

    world.edit(&format!("{}{bare}", tenant("b")));
    sleep(Duration::from_secs(1)).await;
    assert!(world.leaf("a").is_none() && world.leaf("b").is_some());
    assert!(world.bearers.live.load().of("a").is_none());

    world.edit(bare);
    sleep(Duration::from_secs(1)).await;
    assert!(world.bearers.shown.load().is_empty(), "nobody has any");
    assert_eq!(world.metric("s"), 0.0);

    world.edit(&format!("{}{bare}", tenant("a")));
    sleep(Duration::from_secs(1)).await;
    assert!(world.leaf("a").is_some());
    assert!(matches!(world.bearers.shown.load().exact("c.test"), Found::Bare));
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_told_at_once_and_a_start_with_a_broken_file_serves_the_others() {
    let world = World::start(&["a", "b"]).await;
    fs::write(world.folder.path().join("a.pem"), "nothing").unwrap();
    let told = world.follow.read().await;
    assert!(told[0].what.contains("a.pem has no certificate in it"), "{told:?}");
    assert!(world.leaf("a").is_some(), "it stays in use");
    assert_eq!(world.follow.read().await.len(), 1);

    let (mut keeper, follow) = Keeper::new(FileEvents::new(), Arc::new(Metrics::new()));
    follow.live(&loaded(&world.folder, &format!("{}{}", tenant("a"), tenant("b"))));
    keeper.begin().await;
    let bearers = keeper.bearers();
    assert!(matches!(bearers.shown.load().exact("a.test"), Found::Bare));
    assert!(matches!(bearers.shown.load().exact("b.test"), Found::Entry(_)));
    assert_eq!(bearers.live.load().count, 1);
}

#[tokio::test(start_paused = true)]
async fn two_tenants_may_name_one_file_and_both_are_renewed() {
    let world = World::start(&["a"]).await;
    let shared = tenant("b").replace("b.pem", "a.pem").replace("b.key", "a.key");
    let both = |name: &str| {
        let names = ["a.test".to_owned(), "b.test".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        renew(&world.folder, name, &(made.cert.pem(), made.signing_key.serialize_pem()));
    };
    both("a");
    world.edit(&format!("{}{shared}", tenant("a")));
    sleep(Duration::from_secs(10)).await;
    let before = world.leaf("b");
    assert!(before.is_some() && before == world.leaf("a"));

    both("a");
    sleep(Duration::from_secs(10)).await;
    assert!(world.leaf("b") != before && world.leaf("b") == world.leaf("a"));

    world.edit(&shared);
    sleep(Duration::from_secs(1)).await;
    both("a");
    sleep(Duration::from_secs(10)).await;
    assert!(world.leaf("a").is_none() && world.leaf("b").is_some());
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_told_of_a_broken_file_whether_or_not_the_watcher_has_found_it_before() {
    for is_found_before in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        renew(&folder, "a", &made("a"));
        let (mut keeper, follow) = Keeper::new(FileEvents::new(), Arc::new(Metrics::new()));
        follow.live(&loaded(&folder, &tenant("a")));
        keeper.begin().await;
        fs::write(folder.path().join("a.pem"), "nothing").unwrap();
        if is_found_before {
            keeper.due.look(keeper.files.all().cloned(), Wish::Changed);
            while keeper.is_busy() {
                keeper.work(AT_ONCE).await;
            }
            assert_eq!(keeper.live().count, 0, "it may be half of a renewal");
        }
        keeper.ask();
        keeper.finish(AT_ONCE, ANSWER, false).await;
        assert_eq!(keeper.live().count, 1, "found before: {is_found_before}");
    }
}

/// A keeper whose tenant `a` had a host and a star, and their certificate; and what it shows for both.
async fn one_with_a_star(folder: &TempDir) -> (Keeper, Follow) {
    renew(folder, "a", &of_both());
    let (mut keeper, follow) = Keeper::new(FileEvents::new(), Arc::new(Metrics::new()));
    follow.live(&loaded(folder, &with_a_star("a")));
    keeper.begin().await;
    (keeper, follow)
}

fn of_both() -> (String, String) {
    let names = ["a.test".to_owned(), "*.a.test".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn with_a_star(id: &str) -> String {
    tenant(id).replace(&format!("\"{id}.test\""), "\"a.test\", \"*.a.test\"")
}

fn shown(keeper: &Keeper) -> [Option<Vec<u8>>; 2] {
    let shown = keeper.bearers.shown.load();
    let exact = match shown.exact("a.test") {
        Found::Entry(entry) => Some(entry),
        Found::Bare | Found::Nothing => None,
    };
    [exact, shown.below("a.test")].map(|entry| entry.map(|entry| entry.leaf().to_vec()))
}

#[tokio::test(start_paused = true)]
async fn a_host_that_changes_hands_is_never_without_a_certificate_while_the_next_one_is_read() {
    for is_good in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (mut keeper, follow) = one_with_a_star(&folder).await;
        let before = shown(&keeper);
        if is_good {
            renew(&folder, "b", &of_both());
        }

        follow.live(&loaded(&folder, &with_a_star("b")));
        keeper.take(Wish::Changed).await;
        assert_eq!(shown(&keeper), before, "nothing was read yet");
        assert!(before.iter().all(Option::is_some) && keeper.live().of("a").is_none());
        keeper.work(AT_ONCE).await;

        let now = shown(&keeper);
        assert!(now != before && now.iter().all(|leaf| leaf.is_some() == is_good), "{is_good}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_is_not_shown_the_certificate_of_before_where_nobody_knows_when_the_next_is_read() {
    let bare = "[tenants.b]\npool = \"p\"\ndomains = [\"a.test\", \"*.a.test\"]\n";
    for text in [bare.to_owned(), with_a_star("b")] {
        let folder = tempfile::tempdir().unwrap();
        let (mut keeper, follow) = one_with_a_star(&folder).await;
        keeper.hanging.begin(Path::new("/elsewhere"), [TenantId::new("c").unwrap()]);

        follow.live(&loaded(&folder, &text));
        keeper.take(Wish::Changed).await;

        assert_eq!(shown(&keeper), [None, None], "{text}");
    }
}

#[tokio::test]
async fn a_host_is_shown_the_certificate_of_before_no_more_once_another_file_begins_to_hang() {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, follow) = one_with_a_star(&folder).await;
    let share = Arc::new(Share::default());
    keeper.reader = share.reader();
    share.hang("b.pem");
    ["b", "z"].iter().for_each(|name| renew(&folder, name, &made(name)));

    follow.live(&loaded(&folder, &format!("{}{}", tenant("b"), with_a_star("z"))));
    keeper.take(Wish::Changed).await;
    assert!(shown(&keeper).iter().all(Option::is_some), "it is soon read");
    // One thread, which does not come to the files of `z`.
    passing(keeper.work(1)).await;

    assert!(keeper.due.tenants().any(|id| id.as_str() == "z"), "it waits still");
    assert_eq!(shown(&keeper), [None, None]);
    share.answer();
}

#[tokio::test(start_paused = true)]
async fn what_is_told_stands_where_the_files_say_it_now() {
    let world = World::start(&["a"]).await;
    fs::write(world.folder.path().join("a.pem"), "nothing").unwrap();
    let line = world.follow.read().await[0].line.unwrap();
    world.edit(&format!("# one\n# two\n{}", tenant("a")));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.bearers.live.load().problems[0].line, Some(line + 2));
}

/// A file system of which some files do not answer.
#[derive(Default)]
struct Share {
    state: Mutex<ShareState>,
    answers: Condvar,
}

#[derive(Default)]
struct ShareState {
    /// The names of files that do not, or that do for one reading more.
    silent: BTreeSet<&'static str>,
    read: BTreeMap<String, usize>,
}

impl Share {
    fn hang(&self, name: &'static str) {
        self.state.lock().unwrap().silent.insert(name);
    }

    fn answer(&self) {
        self.state.lock().unwrap().silent.clear();
        self.answers.notify_all();
    }

    /// Answers those that wait, and nobody who comes later.
    fn answer_once(&self, name: &'static str) {
        self.answer();
        self.hang(name);
    }

    fn is_silent(&self) -> bool {
        !self.state.lock().unwrap().silent.is_empty()
    }

    fn take_read(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.state.lock().unwrap().read)
    }

    fn reader(self: &Arc<Self>) -> Reader {
        let share = Arc::clone(self);
        Reader::of(move |path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let mut state = share.state.lock().unwrap();
            *state.read.entry(name.clone()).or_default() += 1;
            if state.silent.contains(name.as_str()) {
                // One wait: who is answered is so whatever is silent then. It ends where the test fails.
                state = share.answers.wait_timeout(state, Duration::from_secs(60)).unwrap().0;
            }
            drop(state);
            pem::read(path)
        })
    }
}

/// Has time pass ten times as fast meanwhile, also while a thread hangs, which holds a paused clock.
async fn passing<T>(work: impl Future<Output = T>) -> T {
    tokio::time::pause();
    let pass = async {
        loop {
            // Real time, for threads that get on.
            let moment = || std::thread::park_timeout(Duration::from_millis(1));
            crate::base::tasks::in_background(moment).await.unwrap();
            tokio::time::advance(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = pass => unreachable!("time passes without an end"),
    };
    tokio::time::resume();
    done
}

/// Waits until it is so.
async fn until(is_so: impl Fn() -> bool) {
    let soon = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), soon).await.expect("it shall be so");
}

#[tokio::test]
async fn a_start_with_a_file_that_hangs_serves_the_others_and_says_which_it_is() {
    let share = Arc::new(Share::default());
    share.hang("b.key");
    let world = World::start_on(&share, &["a", "b", "c"]).await;

    assert!(world.leaf("a").is_some() && world.leaf("b").is_none() && world.leaf("c").is_some());
    let told = world.bearers.live.load().problems.clone();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].key.as_deref(), Some("tenants.b.certificates[0].key"));
    assert!(told[0].what.contains("b.key does not answer"), "{told:?}");

    share.answer();
    until(|| world.leaf("b").is_some()).await;
    until(|| world.bearers.live.load().count == 0).await;
}

#[tokio::test]
async fn a_start_waits_for_a_share_that_answers_after_more_than_a_moment() {
    let share = Arc::new(Share::default());
    share.hang("a.pem");
    let folder = tempfile::tempdir().unwrap();
    ["a", "b"].iter().for_each(|name| renew(&folder, name, &made(name)));
    let (mut keeper, follow) = Keeper::new(FileEvents::new(), Arc::new(Metrics::new()));
    keeper.reader = share.reader();
    follow.live(&loaded(&folder, &format!("{}{}", tenant("a"), tenant("b"))));
    let bearers = keeper.bearers();
    let answering = async {
        until(|| bearers.live.load().count == 1).await;
        assert!(matches!(bearers.shown.load().exact("a.test"), Found::Bare));
        share.answer();
    };

    passing(async { tokio::join!(keeper.begin(), answering) }).await;

    assert!(matches!(bearers.shown.load().exact("a.test"), Found::Entry(_)));
    assert_eq!(bearers.live.load().count, 0);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_another_tenant_has_read_meanwhile_is_not_lost_by_who_waited_for_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["a.test".to_owned(), "b.test".to_owned()];
    let renew_both = || {
        let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        renew(&folder, "a", &(made.cert.pem(), made.signing_key.serialize_pem()));
    };
    renew_both();
    let shared = tenant("b").replace("b.pem", "a.pem").replace("b.key", "a.key");
    let (mut keeper, follow) = Keeper::new(FileEvents::new(), Arc::new(Metrics::new()));
    follow.live(&loaded(&folder, &format!("{}{shared}", tenant("a"))));
    keeper.begin().await;
    let (id, spec) = (TenantId::new("a").unwrap(), keeper.spec.clone().unwrap());
    let reading = Reading::of(&id, spec.tenant("a").unwrap());
    // It has read what was there before, and ends late.
    let fresh = reading.read(keeper.means.as_ref().unwrap(), &keeper.reader, &|_| {});
    let file = folder.path().join("a.pem");
    keeper.hanging.begin(&file, [id]);
    renew_both();
    keeper.hanging.end(&file);
    keeper.due.look(keeper.files.all().cloned(), Wish::Asked);
    keeper.finish(AT_ONCE, ANSWER, false).await;
    keeper.hanging.begin(&file, [TenantId::new("a").unwrap()]);

    let ended = Ended { at: file, outcome: Some(fresh) };
    keeper.take_late(Late::Read(reading, ended), Wish::Changed).await;
    while keeper.is_busy() {
        keeper.work(AT_ONCE).await;
    }

    let shown = keeper.bearers.shown.load();
    let leaf = |host: &str| match shown.exact(host) {
        Found::Entry(entry) => entry.leaf().to_vec(),
        _ => panic!("it has one"),
    };
    assert_eq!(leaf("a.test"), leaf("b.test"));
}

#[tokio::test(start_paused = true)]
async fn an_edit_waits_for_no_second_look_at_files_that_change() {
    let folder = tempfile::tempdir().unwrap();
    renew(&folder, "a", &made("a"));
    let (mut keeper, follow) = Keeper::new(FileEvents::new(), Arc::new(Metrics::new()));
    follow.live(&loaded(&folder, &tenant("a")));
    keeper.begin().await;
    renew(&folder, "a", &made("a"));
    follow.live(&loaded(&folder, ""));
    let began = Instant::now();

    keeper.due.look(keeper.files.all().cloned(), Wish::Changed);
    keeper.work(AT_ONCE).await;

    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(!keeper.due.is_empty(), "they are looked at afterwards");
}

#[tokio::test(start_paused = true)]
async fn the_routes_are_gone_through_for_places_once_until_they_are_others() {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, follow) = Keeper::new(FileEvents::new(), Arc::new(Metrics::new()));
    follow.live(&loaded(&folder, &tenant("a")));
    keeper.begin().await;
    let places = keeper.places.clone().unwrap();
    keeper.ask();
    keeper.finish(AT_ONCE, ANSWER, false).await;
    assert!(Arc::ptr_eq(&places, keeper.places.as_ref().unwrap()));

    follow.live(&loaded(&folder, &format!("# one\n{}", tenant("a"))));
    keeper.take(Wish::Changed).await;

    assert!(!Arc::ptr_eq(&places, keeper.places.as_ref().unwrap()), "it is told again where");
}

#[tokio::test]
async fn a_file_that_hangs_holds_up_no_renewal_no_edit_and_nobody_who_asks() {
    let share = Arc::new(Share::default());
    let world = World::start_on(&share, &["a", "b"]).await;
    let before = (world.leaf("a"), world.leaf("b"));
    share.hang("b.pem");

    let told = world.follow.read().await;
    assert!(told[0].what.contains("b.pem does not answer"), "{told:?}");
    renew(&world.folder, "a", &made("a"));
    until(|| world.leaf("a") != before.0).await;
    renew(&world.folder, "c", &made("c"));
    world.edit(&format!("{}{}{}", tenant("a"), tenant("b"), tenant("c")));
    until(|| world.leaf("c").is_some()).await;
    assert_eq!(world.leaf("b"), before.1, "what was in use stays");

    renew(&world.folder, "b", &made("b"));
    share.answer();
    until(|| world.leaf("b") != before.1).await;
}

#[tokio::test]
async fn a_tenant_with_a_file_that_hangs_is_helped_by_another_file() {
    let share = Arc::new(Share::default());
    share.hang("a.pem");
    let world = World::start_on(&share, &["a"]).await;
    renew(&world.folder, "x", &made("a"));

    world.edit(&tenant("a").replace("a.pem", "x.pem").replace("a.key", "x.key"));

    until(|| world.leaf("a").is_some()).await;
    until(|| world.bearers.live.load().count == 0).await;
    let before = world.leaf("a");
    share.answer();
    renew(&world.folder, "x", &made("a"));
    until(|| world.leaf("a") != before).await;
}

#[tokio::test]
async fn what_a_slow_file_says_is_in_use_though_each_reading_takes_too_long() {
    let share = Arc::new(Share::default());
    share.hang("a.pem");
    let world = World::start_on(&share, &["a"]).await;
    assert!(world.leaf("a").is_none());

    share.answer_once("a.pem");

    until(|| world.leaf("a").is_some()).await;
    share.answer();
}

/// Does all that is due, and has all files watched.
async fn settle(keeper: &mut Keeper) {
    loop {
        while keeper.is_busy() {
            keeper.work(AT_ONCE).await;
        }
        keeper.watch();
        if keeper.watching.is_free() {
            return;
        }
        let files = keeper.watching.rang().await;
        keeper.due.look(files.iter().cloned(), Wish::Changed);
    }
}

#[tokio::test]
async fn an_edit_of_one_tenant_has_no_files_of_others_read() {
    let names: Vec<String> = (0..20).map(|number| format!("t{number}")).collect();
    let folder = tempfile::tempdir().unwrap();
    names.iter().for_each(|name| renew(&folder, name, &made(name)));
    let all: String = names.iter().map(|name| tenant(name)).collect();
    let share = Arc::new(Share::default());
    let (mut keeper, follow) = Keeper::new(FileEvents::new(), Arc::new(Metrics::new()));
    keeper.reader = share.reader();
    follow.live(&loaded(&folder, &all));
    keeper.begin().await;
    settle(&mut keeper).await;
    assert_eq!(share.take_read().len(), 40);

    renew(&folder, "new", &made("new"));
    follow.live(&loaded(&folder, &format!("{all}{}", tenant("new"))));
    keeper.take(Wish::Changed).await;
    settle(&mut keeper).await;

    assert_eq!(keeper.live().bearers.len(), 21);
    let read: Vec<String> = share.take_read().into_keys().collect();
    assert_eq!(read, ["new.key", "new.pem"]);
    assert_eq!((keeper.files.len(), keeper.watching.len()), (42, 42));
}

#[tokio::test(start_paused = true)]
async fn tenants_that_come_and_go_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    renew(&folder, "a", &made("a"));
    let (mut keeper, follow) = Keeper::new(FileEvents::new(), Arc::new(Metrics::new()));
    for number in 0..200 {
        let name = format!("t{number}");
        let text = tenant("a").replace("tenants.a", &format!("tenants.{name}"));
        follow.live(&loaded(&folder, &text));
        keeper.take(Wish::Changed).await;
        keeper.watch();
        while keeper.is_busy() {
            keeper.work(AT_ONCE).await;
        }
        assert!(matches!(keeper.bearers.shown.load().exact("a.test"), Found::Entry(_)));
        assert_eq!((keeper.files.len(), keeper.live().bearers.len()), (2, 1));
        assert!(keeper.watching.len() <= 4);
    }
    follow.live(&loaded(&folder, ""));
    keeper.take(Wish::Changed).await;
    keeper.watch();
    assert_eq!((keeper.files.len(), keeper.watching.len(), keeper.live().bearers.len()), (0, 0, 0));
    assert!(keeper.due.is_empty() && keeper.failing.is_empty() && keeper.unsettled.is_empty());
    assert_eq!(keeper.live().sum(), Sum::default());
    keeper.retired.sweep();
    assert!(keeper.retired.is_empty());
}
