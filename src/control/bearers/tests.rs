//! Tenants with certificates of their own, by their files.

use std::fs;

use tempfile::TempDir;

use crate::base::tasks::Tasks;
use crate::config::{Files as Routes, Known, check_routes};
use crate::tls::tenants::Found;

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
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            renew(&folder, name, &made(name));
        }
        let text: String = names.iter().map(|name| tenant(name)).collect();
        let metrics = Arc::new(Metrics::new());
        let (mut keeper, follow) = Keeper::new(FileEvents::new(), Arc::clone(&metrics));
        follow.live(&loaded(&folder, &text));
        keeper.begin().await;
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
    let spec = check_routes(&files, &Known { balancers: &["least-request"] }).unwrap();
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
            keeper.renew(Wish::Changed).await;
            assert_eq!(keeper.live().count, 0, "it may be half of a renewal");
        }
        keeper.renew(Wish::Asked).await;
        assert_eq!(keeper.live().count, 1, "found before: {is_found_before}");
    }
}
