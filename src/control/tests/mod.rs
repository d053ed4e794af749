//! What control promises, held against real files; only the endpoints are made up.

mod edits;
mod kept;
mod moved;
mod pools;
mod quarantine;
mod stored;
mod taken;

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tempfile::TempDir;
use tokio::time::timeout;

use crate::base::tasks::Stopped;
use crate::config;
use crate::model::endpoint::Health;
use crate::model::members::Members;
use crate::pool::Pool;
use crate::telemetry::audit_log::AuditLog;

use super::generation::{LivePool, SourceResult, SourceStatus};
use super::*;

/// Long enough for a busy machine; a test that passes never waits for it.
const DEADLINE: Duration = Duration::from_secs(20);

/// Files in a folder of their own, and what control makes of them.
struct World {
    folder: TempDir,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    control: Control,
}

async fn start(
    gateway: &GatewaySpec,
    metrics: Arc<Metrics>,
    tasks: &mut Tasks,
) -> Result<Control, BootError> {
    let presented = Presented::read(&gateway.listeners).unwrap();
    let told = (metrics, AuditLog::off());
    Control::start(gateway, presented, mpsc::channel(1).0, told, tasks).await
}

impl World {
    async fn start(routes: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("routes.toml"), routes).unwrap();
        Self::of(folder, "routes.toml").await.unwrap()
    }

    async fn of(folder: TempDir, routes: &str) -> Result<Self, BootError> {
        let gateway = gateway(folder.path(), routes);
        let metrics = Arc::new(Metrics::new());
        let mut tasks = Tasks::new("test");
        let control = start(&gateway, Arc::clone(&metrics), &mut tasks).await?;
        Ok(Self { folder, metrics, tasks, control })
    }

    async fn restart(self) -> Result<Self, BootError> {
        assert_eq!(self.tasks.stop(DEADLINE).await, Stopped::Cleanly);
        Self::of(self.folder, "routes.toml").await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, routes: &str) {
        fs::write(self.path("routes.toml"), routes).unwrap();
    }

    async fn reload(&self) -> ReloadResult {
        timeout(DEADLINE, self.control.reload()).await.unwrap().unwrap()
    }

    /// Writes, loads, and tells the number of the table then.
    async fn edit(&self, routes: &str) -> u64 {
        self.write(routes);
        match self.reload().await {
            ReloadResult::Live { generation, .. } => generation,
            refused => panic!("{refused:?}"),
        }
    }

    fn live(&self) -> Arc<Live> {
        self.control.live.load()
    }

    fn pool(&self, name: &str) -> LivePool {
        let live = self.live();
        live.pools.iter().find(|pool| pool.name.as_ref() == name).expect("the pool").clone()
    }

    fn members(&self, pool: &str) -> Arc<Members> {
        self.pool(pool).members
    }

    /// The pool of a tenant, as the table has it.
    fn pool_of(&self, tenant: &str) -> Arc<Pool> {
        let table = self.control.table.load();
        Arc::clone(table.tenant(tenant).expect("the tenant").pool.as_ref().expect("its pool"))
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.render().unwrap().lines().any(|found| found == line)
    }
}

fn gateway(folder: &Path, routes: &str) -> GatewaySpec {
    let text = format!(
        "routes = \"{routes}\"\nstate = \"state\"\n\n[[listeners]]\naddress = \"127.0.0.1:0\"\n"
    );
    config::check_gateway(&Files::of_text(folder.join("gateway.toml"), &text)).unwrap()
}

fn addresses(members: &Members) -> Vec<String> {
    members.load().all.iter().map(|member| member.endpoint.label.to_string()).collect()
}

async fn eventually<F: Future<Output = ()>>(
    what: &str,
    check: impl Fn() -> bool,
    wait: impl Fn() -> F,
) {
    let reached = async {
        while !check() {
            wait().await;
        }
    };
    assert!(timeout(DEADLINE, reached).await.is_ok(), "{what} did not happen");
}

/// Waits for a condition that something outside of this test's runtime brings about.
async fn soon(what: &str, check: impl Fn() -> bool) {
    eventually(what, check, || tokio::time::sleep(Duration::from_millis(5))).await;
}

const SHOP: &str = "
[pools.shop]
endpoints = [\"127.0.0.1:1\", \"127.0.0.1:2\"]

[tenants.acme]
pool = \"shop\"
";

/// 300: more than one user has inotify instances by default.
const SOURCES: usize = 300;

const BROKEN: &str = "[tenants.acme]\npool = \"nowhere\"\n";

#[tokio::test]
async fn an_invalid_edit_keeps_the_table_and_shows_what_is_wrong() {
    let world = World::start(SHOP).await;

    world.write(BROKEN);
    let ReloadResult::Refused { generation, problems } = world.reload().await else {
        panic!("broken routes were taken");
    };

    assert_eq!((generation, world.control.table.load().generation), (1, 1));
    assert!(problems.iter().any(|problem| problem.what.contains("nowhere")), "{problems:?}");
    assert_eq!(world.live().problems, problems);
    assert!(world.live().failed_since.is_some());
    assert!(world.metric("tenantry_config_reloads_total{result=\"refused\"} 1"));
    assert!(world.metric("tenantry_config_problems 1"));
    assert_eq!(addresses(&world.members("shop")), ["127.0.0.1:1", "127.0.0.1:2"]);

    assert_eq!(world.edit(SHOP).await, 1);
    assert!(world.live().problems.is_empty() && world.live().failed_since.is_none());
}

#[tokio::test]
async fn emptied_routes_take_no_tenant_away() {
    let world = World::start(SHOP).await;

    world.write("");
    let emptied = world.reload().await;
    let generation = world.live().generation;
    world.write("# nobody\n");
    let on_purpose = world.reload().await;

    assert!(matches!(emptied, ReloadResult::Refused { .. }), "{emptied:?}");
    assert_eq!(generation, 1);
    assert!(matches!(on_purpose, ReloadResult::Live { generation: 2, .. }), "{on_purpose:?}");
}

/// What this thread logs, as text.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_the_time_from_the_first_reading_to_the_published_table() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    // Beside a single subscriber, a line that another test's thread comes to first is asked of that
    // thread alone, which has none, and is off from then on everywhere.
    let _second = tracing::dispatcher::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    let world = World::start(SHOP).await;

    world.write(&SHOP.replace("acme", "globex"));
    let ReloadResult::Live { took, .. } = world.reload().await else {
        panic!("good routes were refused");
    };

    // Two readings that agree lie 10 ms apart, and nothing else passes time here.
    assert!(took >= Duration::from_millis(10), "{took:?}");
    let lines = logged.text();
    let lines: Vec<&str> = lines.lines().filter(|line| line.contains("are live")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(!lines[0].contains("took=0ns"), "{lines:?}");
    assert!(lines[1].contains(&format!("took={took:?}")), "{lines:?}");
}

#[tokio::test]
async fn the_same_meaning_in_other_words_is_no_new_generation() {
    let world = World::start(SHOP).await;
    let table = world.control.table.load();

    assert_eq!(world.edit(SHOP).await, 1);
    assert_eq!(world.edit(&format!("# a comment\n{SHOP}")).await, 1);

    assert!(Arc::ptr_eq(&table, &world.control.table.load()));
    assert_eq!(world.edit(&SHOP.replace("acme", "globex")).await, 2);
}

#[tokio::test]
async fn a_saved_file_is_live_without_being_asked_for() {
    let world = World::start(SHOP).await;

    world.write(BROKEN);
    soon("the refusal", || !world.live().problems.is_empty()).await;
    world.write(&SHOP.replace("acme", "globex"));
    soon("the new table", || world.control.table.load().tenant("globex").is_some()).await;

    assert!(world.live().problems.is_empty());
}

/// How many folders the busiest inotify instance of this process watches.
fn watched_by_one_instance() -> usize {
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    // Files that are closed meanwhile are those of other tests.
    let texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
    texts.map(|text| text.matches("inotify wd:").count()).max().unwrap_or(0)
}

#[tokio::test]
async fn the_routes_and_all_file_sources_share_one_inotify_instance() {
    let folder = tempfile::tempdir().unwrap();
    let lists: Vec<PathBuf> =
        (0..SOURCES).map(|n| folder.path().join(format!("lists/{n}/members.json"))).collect();
    let name_all = |port: u16| {
        for list in &lists {
            fs::write(list, format!("[{{\"targets\": [\"127.0.0.1:{port}\"]}}]")).unwrap();
        }
    };
    let mut routes = String::new();
    for (number, list) in lists.iter().enumerate() {
        fs::create_dir_all(list.parent().unwrap()).unwrap();
        routes += &format!("[pools.p{number}]\nfile = \"{}\"\n", list.display());
    }
    name_all(1);
    fs::write(folder.path().join("routes.toml"), routes).unwrap();
    let world = World::of(folder, "routes.toml").await.unwrap();
    let have = |port: &str| {
        let live = world.live();
        live.pools.len() == SOURCES
            && live.pools.iter().all(|pool| addresses(&pool.members) == [port])
    };
    soon("the first members", || have("127.0.0.1:1")).await;

    name_all(2);
    soon("the new members", || have("127.0.0.1:2")).await;
    assert!(watched_by_one_instance() > SOURCES, "{}", watched_by_one_instance());
}

#[tokio::test]
async fn a_config_map_swap_is_live_without_being_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let publish = |version: &str, routes: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("routes.toml"), routes).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    publish("..1", SHOP);
    symlink("..data/routes.toml", at("routes.toml")).unwrap();
    let gateway = gateway(folder.path(), "routes.toml");
    let mut tasks = Tasks::new("test");
    let control = start(&gateway, Arc::new(Metrics::new()), &mut tasks).await.unwrap();

    for number in 2..5 {
        let tenant = format!("t{number}");
        publish(&format!("..{number}"), &SHOP.replace("acme", &tenant));
        soon("the new table", || control.table.load().tenant(&tenant).is_some()).await;
    }
    assert_eq!(control.live.load().generation, 4);
}

#[tokio::test]
async fn wishes_at_the_same_time_are_all_answered() {
    let world = World::start(SHOP).await;
    world.write(&SHOP.replace("acme", "globex"));

    let results = crate::base::join::all((0..40).map(|_| world.reload())).await;

    for result in results {
        assert!(matches!(result, ReloadResult::Live { generation: 2, .. }), "{result:?}");
    }
}

#[tokio::test]
async fn an_edit_of_one_among_many_tenants_is_quick() {
    let many: String =
        (0..1000).map(|number| format!("[tenants.t{number}]\npool = \"shop\"\n")).collect();
    let world = World::start(&format!("{SHOP}{many}")).await;
    let before = world.control.table.load();

    world.edit(&format!("{SHOP}{many}[tenants.new]\npool = \"shop\"\n")).await;

    let after = world.control.table.load();
    assert_eq!(after.tenants().len(), 1002);
    let same = |id| Arc::ptr_eq(before.tenant(id).unwrap(), after.tenant(id).unwrap());
    assert!(same("t0") && same("t999") && same("acme"));
}

#[tokio::test]
async fn a_replaced_table_is_freed_once_nobody_holds_it() {
    let world = World::start(SHOP).await;
    let held = world.control.table.load();
    let weak = Arc::downgrade(&held);

    world.edit(&SHOP.replace("acme", "globex")).await;
    assert!(held.tenant("acme").is_some());
    drop(held);

    soon("the old table's end", || weak.upgrade().is_none()).await;
}
