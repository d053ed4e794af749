//! Tenants of the API beside those of the files.

use serde_json::{Value, json};

use super::super::history::{By, Cause, Generation, Others};
use super::super::stored;
use super::super::stored::{
    Apart, Changed, Condition, Refusal, RolledBack, StoreError, What, Wish,
};
use super::*;

const POOLS: &str = "[pools.a]\nendpoints = [\"10.0.0.1:80\"]\n[pools.b]\n\
                     endpoints = [\"10.0.0.2:80\"]\n";

fn routes(more: &str) -> String {
    format!("{POOLS}[tenants.filed]\npool = \"a\"\n{more}")
}

fn table(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn put(id: &str, value: Value) -> Wish {
    let what = What::Put(table(value));
    let condition = Condition::default();
    Wish {
        id: id.to_owned(),
        what,
        condition,
        dry_run: false,
        within: None,
        by: By::of(Cause::Operator),
    }
}

fn delete(id: &str) -> Wish {
    Wish { what: What::Delete, ..put(id, json!({})) }
}

impl World {
    async fn change(&self, wish: Wish) -> Result<Changed, Refusal> {
        timeout(DEADLINE, self.control.stored.change(wish)).await.unwrap().unwrap()
    }

    fn has(&self, tenant: &str) -> bool {
        self.control.table.load().tenant(tenant).is_some()
    }

    fn apart(&self) -> Vec<(String, &'static str)> {
        let kept = self.control.stored.kept.load();
        kept.apart.iter().map(|(id, why)| (id.clone(), why.name())).collect()
    }

    fn pool_name(&self, tenant: &str) -> String {
        self.pool_of(tenant).label.name.to_string()
    }
}

#[tokio::test]
async fn a_tenant_is_served_once_it_is_answered_and_after_a_restart() {
    let world = World::start(&routes("")).await;

    let new = world.change(put("acme", json!({"pool": "a"}))).await.unwrap();

    assert_eq!(world.pool_name("acme"), "a");
    assert_eq!(new.generation, world.control.table.load().generation);
    assert!(!new.was_kept);
    let other = world.change(put("acme", json!({"pool": "b"}))).await.unwrap();
    assert_eq!((other.generation, world.pool_name("acme")), (new.generation + 1, "b".to_owned()));
    assert!(world.metric("tenantry_config_generation 3"));
    let world = world.restart().await.unwrap();
    assert_eq!(world.pool_name("acme"), "b");
    assert!(world.metric("tenantry_stored_tenants{state=\"served\"} 1"));

    world.change(delete("acme")).await.unwrap();
    assert!(!world.has("acme") && world.has("filed"));
    let world = world.restart().await.unwrap();
    assert!(!world.has("acme"));
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_keys_and_nothing_is_kept() {
    let world = World::start(&routes("")).await;
    let wrong = json!({
        "pol": "a",
        "limits": {"requests": "many"},
        "routes": [{"path": "/x", "pool": "shop"}],
    });

    let Err(Refusal::Wrong(faults)) = world.change(put("a.b", wrong)).await else { panic!() };

    let told: Vec<_> = faults.iter().map(|fault| fault.key.as_deref().unwrap()).collect();
    assert_eq!(told, ["limits.requests", "pol", "routes[0].pool"]);
    assert_eq!(faults[1].hint.as_deref(), Some("did you mean \"pool\"?"));
    assert!(faults.iter().all(|fault| fault.line.is_none()));
    assert!(matches!(world.change(put("a b", json!({}))).await, Err(Refusal::Id(_))));
    let empty = world.change(put("acme", json!({}))).await;
    assert!(matches!(empty, Err(Refusal::Wrong(faults)) if faults[0].key.is_none()));
    assert_eq!(world.live().generation, 1);
    assert!(matches!(world.change(put("..", json!({}))).await, Err(Refusal::Dots)));
    let world = world.restart().await.unwrap();
    assert!(!world.has("a.b") && world.control.stored.kept.load().tenants.is_empty());
}

#[tokio::test]
async fn what_a_secret_is_shown_as_is_not_taken_and_is_served_where_it_was_kept_before() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("routes.toml"), routes("")).unwrap();
    let with = |stars: &str| {
        let route = json!({"path": "/x", "headers": {"X-Stars": stars}});
        json!({"pool": "a", "routes": [route]})
    };
    let state = folder.path().join("state");
    stored::keep_table(&state, &["acme".to_owned()], table(with("***"))).unwrap();

    let world = World::of(folder, "routes.toml").await.unwrap();
    assert!(world.has("acme") && world.control.stored.kept.load().trouble.is_none());
    let patch = |value: Value| Wish { what: What::Patch(table(value)), ..put("acme", json!({})) };
    world.change(patch(json!({"pool": "b"}))).await.unwrap();
    assert_eq!(world.pool_name("acme"), "b");

    let whole = with("***");
    let routes = json!({"routes": whole["routes"]});
    for wish in [put("acme", whole), patch(routes)] {
        let Err(Refusal::Wrong(faults)) = world.change(wish).await else { panic!() };
        let told: Vec<_> = faults.iter().map(|fault| fault.key.as_deref().unwrap()).collect();
        assert_eq!(told, ["routes[0].headers.X-Stars"]);
    }
}

#[tokio::test]
async fn a_variable_of_the_environment_is_not_for_the_api() {
    let world = World::start(&routes("")).await;
    let page = json!({"pool": "a", "error-pages": {"503": {"body": "${HOME} $${HOME}"}}});

    world.change(put("acme", page.clone())).await.unwrap();

    let live = world.live();
    let spec = live.spec().unwrap().tenant("acme").unwrap();
    assert!(format!("{:?}", spec.error_pages).contains("${HOME} $${HOME}"));
    let kept = world.control.stored.kept.load();
    assert_eq!(Value::Object(kept.tenants.get("acme").unwrap().definition.table()), page);
}

#[tokio::test]
async fn a_dry_run_tells_what_would_change_and_changes_nothing() {
    let world = World::start(&routes("")).await;
    let route = |path: &str, pool: &str| json!({"path": path, "pool": pool});
    let old = json!({"pool": "a", "routes": [route("/x", "a"), route("/y", "a")]});
    world.change(put("acme", old)).await.unwrap();
    let new = json!({"pool": "b", "routes": [route("/y", "b"), route("/z", "a")]});

    let told = world.change(Wish { dry_run: true, ..put("acme", new) }).await.unwrap();

    let diff: Vec<String> = told
        .values
        .iter()
        .map(|one| format!("{} {:?} {:?}", one.key, one.before, one.now))
        .collect();
    assert_eq!(diff[0], "pool Some(\"\\\"a\\\"\") Some(\"\\\"b\\\"\")");
    assert_eq!(told.routes.added, ["/z"]);
    assert_eq!(told.routes.changed, ["/y"]);
    assert_eq!(told.routes.removed, ["/x"]);
    assert_eq!((told.generation, world.live().generation), (2, 2));
    assert_eq!(world.pool_name("acme"), "a");
    let gone = world.change(Wish { dry_run: true, ..delete("acme") }).await.unwrap();
    assert_eq!(gone.routes.removed, ["/x", "/y"]);
    let wrong = world.change(Wish { dry_run: true, ..put("new", json!({"pool": "c"})) }).await;
    assert!(matches!(wrong, Err(Refusal::Wrong(_))));
    let world = world.restart().await.unwrap();
    assert_eq!(world.pool_name("acme"), "a");
}

#[tokio::test]
async fn a_change_is_bound_to_the_state_that_was_seen() {
    let world = World::start(&routes("")).await;
    let names = |tag: &str| Some(vec![tag.to_owned()]);
    let if_match = |tag: &str| Condition { matches: names(tag), matches_none: None };
    let if_none = || Condition { matches: None, matches_none: names("*") };
    let with = |condition, pool: &str| Wish { condition, ..put("acme", json!({ "pool": pool })) };

    assert!(matches!(world.change(with(if_match("*"), "a")).await, Err(Refusal::Condition)));
    let first = world.change(with(if_none(), "a")).await.unwrap().definition.unwrap().tag();
    assert!(matches!(world.change(with(if_none(), "b")).await, Err(Refusal::Condition)));
    let second = world.change(with(if_match(&first), "b")).await.unwrap().definition.unwrap();
    assert!(matches!(world.change(with(if_match(&first), "a")).await, Err(Refusal::Condition)));
    assert_eq!(world.pool_name("acme"), "b");
    let patch = What::Patch(table(json!({"pool": "a", "methods": ["GET"]})));
    let patch = Wish { what: patch, ..with(if_match(&second.tag()), "") };
    let third = world.change(patch).await.unwrap().definition.unwrap();
    assert_eq!(Value::Object(third.table()), json!({"pool": "a", "methods": ["GET"]}));
    let unknown = Wish { what: What::Patch(table(json!({}))), ..delete("nobody") };
    assert!(matches!(world.change(unknown).await, Err(Refusal::Unknown)));
    assert!(matches!(world.change(delete("nobody")).await, Err(Refusal::Unknown)));
}

#[tokio::test]
async fn what_a_file_defines_is_the_file_s() {
    let world = World::start(&routes("")).await;

    let refused = world.change(put("filed", json!({"pool": "b"}))).await;

    let Err(Refusal::InFile { place }) = refused else { panic!("{refused:?}") };
    assert!(place.ends_with("routes.toml:5"), "{place}");
    assert!(matches!(world.change(delete("filed")).await, Err(Refusal::InFile { .. })));

    world.change(put("acme", json!({"pool": "a"}))).await.unwrap();
    world.edit(&routes("[tenants.acme]\npool = \"b\"\n")).await;
    assert_eq!(
        (world.pool_name("acme"), world.apart()),
        ("b".into(), vec![("acme".into(), "shadowed")])
    );
    assert!(world.metric("tenantry_stored_tenants{state=\"shadowed\"} 1"));
    assert!(matches!(world.change(put("acme", json!({}))).await, Err(Refusal::InFile { .. })));
    let world = world.restart().await.unwrap();
    assert_eq!((world.pool_name("acme"), world.apart().len()), ("b".to_owned(), 1));
    world.edit(&routes("")).await;
    assert_eq!((world.pool_name("acme"), world.apart().len()), ("a".to_owned(), 0));

    world.edit(&routes("[tenants]\nacme = { pool = \"b\" }\n")).await;
    world.change(delete("acme")).await.unwrap();
    assert_eq!((world.pool_name("acme"), world.apart().len()), ("b".to_owned(), 0));
    world.edit(&routes("")).await;
    assert!(!world.has("acme"));
}

#[tokio::test]
async fn an_edit_of_the_files_that_breaks_a_tenant_of_the_api_is_refused_and_told_at_it() {
    let world = World::start(&routes("")).await;
    world.change(put("acme", json!({"pool": "b"}))).await.unwrap();
    let without_b = "[pools.a]\nendpoints = [\"10.0.0.1:80\"]\n[tenants.filed]\npool = \"a\"\n";
    world.write(without_b);

    let ReloadResult::Refused { problems, .. } = world.reload().await else { panic!() };

    assert_eq!(problems[0].file, Path::new("api:tenants/acme"));
    assert_eq!(problems[0].key.as_deref(), Some("tenants.acme.pool"));
    assert_eq!(world.pool_name("acme"), "b");

    // Once the tenant is mended, the files are tried again.
    world.change(put("acme", json!({"pool": "a"}))).await.unwrap();
    assert!(world.live().problems.is_empty() && world.pool_name("acme") == "a");
    world.edit(&routes("")).await;
    world.change(put("acme", json!({"pool": "b"}))).await.unwrap();
    world.write(without_b);

    // A start has nothing else to serve: the files are, and the tenant is told.
    let world = world.restart().await.unwrap();
    assert!(world.has("filed") && !world.has("acme") && !world.live().serving_last_good);
    assert_eq!(world.apart(), [("acme".to_owned(), "unfit")]);
    let kept = world.control.stored.kept.load();
    let Some(Apart::Unfit(faults)) = kept.apart.get("acme") else { panic!("{kept:?}") };
    assert!(faults[0].what.contains("there is no pool \"b\""), "{faults:?}");

    assert!(matches!(world.reload().await, ReloadResult::Live { .. }));
    world.change(put("other", json!({"pool": "a"}))).await.unwrap();
    world.edit(&routes("")).await;
    assert_eq!((world.pool_name("acme"), world.apart().len()), ("b".to_owned(), 0));
    assert!(world.has("other"));
}

#[tokio::test]
async fn tenants_of_the_api_are_served_beside_the_last_good_files() {
    let world = World::start(&routes("")).await;
    world.change(put("acme", json!({"pool": "b"}))).await.unwrap();
    let kept = || fs::read_to_string(world.path("state/last-good.json")).unwrap_or_default();
    while !kept().contains("filed") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!kept().contains("acme"), "what the API keeps is kept once");
    world.write("[tenants");

    let world = world.restart().await.unwrap();

    assert!(world.live().serving_last_good && world.has("filed"));
    assert_eq!(world.pool_name("acme"), "b");
    world.change(put("acme", json!({"pool": "a"}))).await.unwrap();
    let live = world.live();
    assert!(live.serving_last_good && !live.problems.is_empty(), "the files are broken still");
    assert_eq!(world.pool_name("acme"), "a");
}

#[tokio::test]
async fn a_damaged_store_is_put_aside_and_the_files_are_served() {
    let world = World::start(&routes("")).await;
    world.change(put("acme", json!({"pool": "a"}))).await.unwrap();
    let World { folder, tasks, .. } = world;
    assert_eq!(tasks.stop(DEADLINE).await, Stopped::Cleanly);
    let path = folder.path().join("state/tenants.redb");
    fs::write(&path, "no store").unwrap();

    let world = World::of(folder, "routes.toml").await.unwrap();

    assert!(world.has("filed") && !world.has("acme"));
    assert!(world.metric("tenantry_store_damaged 1"));
    let trouble = world.control.stored.kept.load().trouble.clone().unwrap();
    assert!(trouble.contains("is damaged") && trouble.contains("put aside as"), "{trouble}");
    let names = fs::read_dir(world.path("state")).unwrap();
    let aside = names.filter(|name| {
        name.as_ref().unwrap().file_name().to_string_lossy().starts_with("tenants.redb.damaged-")
    });
    assert_eq!(aside.count(), 1);
    world.change(put("acme", json!({"pool": "b"}))).await.unwrap();
    assert_eq!(world.pool_name("acme"), "b");
}

#[tokio::test]
async fn who_comes_while_another_gateway_has_the_store_serves_what_is_in_it() {
    let world = World::start(&routes("")).await;
    world.change(put("acme", json!({"pool": "a"}))).await.unwrap();
    let gateway = gateway(world.folder.path(), "routes.toml");
    let mut tasks = Tasks::new("second");
    let second = start(&gateway, Arc::new(Metrics::new()), &mut tasks).await.unwrap();

    assert!(second.table.load().tenant("acme").is_some());
    let refused = second.stored.change(put("acme", json!({"pool": "b"}))).await.unwrap();
    assert!(matches!(refused, Err(Refusal::Store(StoreError::Busy { .. }))), "{refused:?}");
    let dry = Wish { dry_run: true, ..put("acme", json!({"pool": "b"})) };
    let refused = second.stored.change(dry).await.unwrap();
    assert!(matches!(refused, Err(Refusal::Store(StoreError::Busy { .. }))), "{refused:?}");

    world.change(put("late", json!({"pool": "b"}))).await.unwrap();
    assert_eq!(world.tasks.stop(DEADLINE).await, Stopped::Cleanly);
    // Nobody asks for anything: what the first has kept since is served all the same.
    let served = async {
        while second.table.load().tenant("late").is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, served).await.unwrap();
    let done = second.stored.change(put("acme", json!({"pool": "b"}))).await.unwrap();
    assert!(done.is_ok(), "{done:?}");
}

#[tokio::test]
async fn the_history_goes_on_where_one_gateway_takes_over_from_another() {
    let world = World::start(&routes("")).await;
    world.change(put("acme", json!({"pool": "a"}))).await.unwrap();
    world.noted(2).await;
    let gateway = gateway(world.folder.path(), "routes.toml");
    let mut tasks = Tasks::new("second");
    let second = start(&gateway, Arc::new(Metrics::new()), &mut tasks).await.unwrap();
    let number = || second.table.load().generation;
    assert_eq!((number(), second.live.load().generation), (3, 3), "numbers go on");

    // The first uses that number, too, and another one.
    let done = world.change(put("acme", json!({"pool": "b"}))).await.unwrap();
    assert_eq!(done.generation, 3);
    world.change(put("late", json!({"pool": "b"}))).await.unwrap();
    let before = world.history();
    assert_eq!(world.tasks.stop(DEADLINE).await, Stopped::Cleanly);
    let taken = async {
        while second.table.load().tenant("late").is_none() || second.stored.history.last() < 6 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, taken).await.unwrap();

    let all = second.stored.history.all();
    let now: Vec<(u64, Cause)> = all.iter().map(|one| (one.generation, one.by.kind)).collect();
    let kept: Vec<(u64, Cause)> = before.iter().map(|(at, kind, _)| (*at, *kind)).collect();
    assert_eq!(now[..4], kept[..], "what the first has noted stays");
    assert_eq!(now[4].0, 5, "what was live here has a number of its own: {now:?}");
    assert_eq!(number(), all.back().unwrap().generation);
    // And the way back leads to what the first has made.
    let by = By::of(Cause::Operator);
    let back = second.stored.roll_back(2, false, by).await.unwrap().unwrap();
    assert_eq!((back.restored, back.removed), (vec!["acme".to_owned()], vec!["late".to_owned()]));
    let acme = second.table.load().tenant("acme").and_then(|one| one.pool.clone()).unwrap();
    assert_eq!(&*acme.label.name, "a");
}

#[tokio::test]
async fn without_a_state_folder_the_answer_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("routes.toml"), routes("")).unwrap();
    let text =
        "routes = \"routes.toml\"\nstate = \"off\"\n[[listeners]]\naddress = \"127.0.0.1:0\"\n";
    let text = Files::of_text(folder.path().join("gateway.toml"), text);
    let gateway = config::check_gateway(&text).unwrap();
    let mut tasks = Tasks::new("test");
    let control = start(&gateway, Arc::new(Metrics::new()), &mut tasks).await.unwrap();

    let refused = control.stored.change(put("acme", json!({"pool": "a"}))).await.unwrap();

    assert!(matches!(refused, Err(Refusal::Store(StoreError::Off))), "{refused:?}");
}

#[tokio::test]
async fn a_folder_of_files_is_edited_beside_tenants_of_the_api() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("routes.d")).unwrap();
    let path = |name: &str| folder.path().join("routes.d").join(name);
    fs::write(path("_pools.toml"), POOLS).unwrap();
    fs::write(path("filed.toml"), "[tenants.filed]\npool = \"a\"\n").unwrap();
    let edit = path("filed.toml");
    let late = path("acme.toml");
    let world = World::of(folder, "routes.d").await.unwrap();
    for (id, pool) in [("acme", "a"), ("other", "b")] {
        world.change(put(id, json!({ "pool": pool }))).await.unwrap();
    }
    let becomes = async |tenant: &str, pool: &str| {
        let wait = async {
            while world.pool_name(tenant) != pool {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{tenant} is not at {pool}"));
    };

    fs::write(&edit, "[tenants.filed]\npool = \"b\"\n").unwrap();
    becomes("filed", "b").await;
    assert_eq!((world.pool_name("acme"), world.pool_name("other")), ("a".into(), "b".into()));
    fs::write(&late, "[tenants.acme]\npool = \"b\"\n").unwrap();
    becomes("acme", "b").await;
    fs::remove_file(&late).unwrap();
    becomes("acme", "a").await;
    assert_eq!(world.apart(), []);
}

#[tokio::test]
async fn a_file_that_breaks_with_a_header_of_a_tenant_of_the_api_takes_it_from_nobody() {
    let (world, routes) = super::edits::fifty().await;
    world.change(put("moved", json!({"pool": "b"}))).await.unwrap();
    let broken = "[tenants.t1]\npool = \n[tenants.moved]\npool = \"a\"\n";
    fs::write(routes.join("1.toml"), broken).unwrap();

    let ReloadResult::Refused { problems, .. } = world.reload().await else { panic!() };

    assert!(problems.iter().any(|problem| problem.what.contains("take away")), "{problems:?}");
    assert!(world.has("t1") && world.pool_name("moved") == "b");
    world.change(delete("moved")).await.unwrap();
    assert!(!world.has("moved") && world.has("t1"));
    drop(world.reload().await);
    super::quarantine::held(&world, 1).await;
    assert!(!world.has("moved") && world.has("t1"));
}

#[tokio::test]
async fn a_tenant_is_ended_by_the_api_whatever_a_broken_file_says_of_it() {
    let (world, routes) = super::edits::fifty().await;
    let broken = "[tenants.t1]\npool = \n[tenants.moved]\npool = \"a\"\n";
    fs::write(routes.join("1.toml"), broken).unwrap();
    super::quarantine::held(&world, 1).await;
    for id in ["moved", "other"] {
        world.change(put(id, json!({"pool": "a"}))).await.unwrap();
    }

    world.change(delete("moved")).await.unwrap();
    world.change(delete("other")).await.unwrap();

    assert!(!world.has("moved") && !world.has("other") && world.has("t1"));
    drop(world.reload().await);
    assert!(!world.has("moved") && world.has("t1"));
    let text = "[tenants.t1]\npool = \"a\"\n[tenants.moved]\npool = \"a\"\n";
    fs::write(routes.join("1.toml"), text).unwrap();
    super::quarantine::held(&world, 0).await;
    assert!(world.has("moved"), "the file's own now");
}

impl World {
    async fn roll_back(&self, to: u64, dry_run: bool) -> Result<RolledBack, Refusal> {
        let by = By { name: Some("alice".to_owned()), ..By::of(Cause::Operator) };
        let back = self.control.stored.roll_back(to, dry_run, by);
        timeout(DEADLINE, back).await.unwrap().unwrap()
    }

    /// The number of each generation, its cause, and its tenants that are others.
    fn history(&self) -> Vec<(u64, Cause, String)> {
        let all = self.control.stored.history.all();
        let names = |one: &Generation| {
            let Others { added, changed, removed } = &one.diff.tenants;
            let marked = [("+", added), ("~", changed), ("-", removed)];
            let told = marked.iter().flat_map(|(mark, names)| {
                names.first.iter().map(move |name| format!("{mark}{name}"))
            });
            told.collect::<Vec<_>>().join(" ")
        };
        all.iter().map(|one| (one.generation, one.by.kind, names(one))).collect()
    }

    async fn noted(&self, generations: usize) -> Vec<(u64, Cause, String)> {
        let wait = async {
            while self.history().len() < generations {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(DEADLINE, wait).await.unwrap();
        self.history()
    }
}

#[tokio::test]
async fn each_generation_is_noted_with_its_cause_and_what_was_other() {
    let world = World::start(&routes("")).await;
    world.write(&routes("[tenants.late]\npool = \"a\"\n"));
    world.reload().await;
    world.change(put("acme", json!({"pool": "a"}))).await.unwrap();
    world.change(put("acme", json!({"pool": "b"}))).await.unwrap();
    world.change(delete("acme")).await.unwrap();

    let expected = [
        (1, Cause::Start, ""),
        (2, Cause::Signal, "+late"),
        (3, Cause::Operator, "+acme"),
        (4, Cause::Operator, "~acme"),
        (5, Cause::Operator, "-acme"),
    ]
    .map(|(number, cause, tenants)| (number, cause, tenants.to_owned()));
    assert_eq!(world.noted(5).await, expected);

    let world = world.restart().await.unwrap();
    let after = world.noted(6).await;
    assert_eq!(after[..5], expected, "what is kept goes on over a restart");
    assert_eq!((after[5].0, after[5].1, world.live().generation), (6, Cause::Start, 6));
}

#[tokio::test]
async fn tenants_of_the_api_are_again_what_they_were_in_a_generation() {
    let world = World::start(&routes("")).await;
    world.change(put("acme", json!({"pool": "a"}))).await.unwrap(); // 2
    world.change(put("acme", json!({"pool": "b"}))).await.unwrap(); // 3
    world.change(put("new", json!({"pool": "a"}))).await.unwrap(); // 4
    world.edit(&routes("[tenants.late]\npool = \"a\"\n")).await; // 5
    world.change(delete("acme")).await.unwrap(); // 6

    let told = world.roll_back(2, true).await.unwrap();
    assert_eq!(
        (&told.restored, &told.removed),
        (&vec!["acme".to_owned()], &vec!["new".to_owned()])
    );
    assert_eq!(told.returned, told.restored, "it was not there");
    assert_eq!((told.edits_of_files, told.generation, world.has("new")), (1, 6, true));

    let world = world.restart().await.unwrap(); // 7
    let back = world.roll_back(2, false).await.unwrap();
    assert_eq!((back.generation, world.pool_name("acme")), (8, "a".to_owned()));
    assert!(!world.has("new") && world.has("late"), "what files say stays");
    assert_eq!(world.history().last().unwrap().2, "+acme -new");

    let forth = world.roll_back(6, false).await.unwrap();
    assert_eq!((forth.restored, forth.removed), (vec!["new".into()], vec!["acme".into()]));
    assert!(matches!(world.roll_back(99, false).await, Err(Refusal::Forgotten)));
    let nothing = world.roll_back(9, false).await.unwrap();
    assert_eq!((nothing.generation, nothing.restored.len()), (9, 0));
}

#[tokio::test]
async fn going_back_to_what_does_not_fit_any_more_changes_nothing() {
    let world = World::start(&routes("")).await;
    world.change(put("acme", json!({"pool": "b"}))).await.unwrap(); // 2
    world.change(put("acme", json!({"pool": "a"}))).await.unwrap(); // 3
    world.change(put("other", json!({"pool": "a"}))).await.unwrap(); // 4
    let text = "[pools.a]\nendpoints = [\"10.0.0.1:80\"]\n[tenants.filed]\npool = \"a\"\n";
    world.edit(text).await; // 5

    let Err(Refusal::Wrong(faults)) = world.roll_back(2, false).await else { panic!() };

    assert!(faults[0].what.contains("there is no pool \"b\""), "{faults:?}");
    assert_eq!((world.pool_name("acme"), world.live().generation), ("a".to_owned(), 5));
    world.edit(&format!("{text}[tenants.other]\npool = \"a\"\n")).await;
    let told = world.roll_back(3, false).await.unwrap();
    assert_eq!((told.in_files, told.removed), (vec!["other".to_owned()], Vec::<String>::new()));
}

/// A table with a key of this digest.
fn keyed(digest: char) -> Value {
    let hash = format!("sha256:{}", digest.to_string().repeat(64));
    json!({"pool": "a", "keys": {"k": {"hash": hash}}})
}

#[tokio::test]
async fn a_key_that_a_file_has_too_leaves_the_tenant_of_the_api_out_and_the_gateway_starts() {
    let world = World::start(&routes("")).await;
    // In each order of the names, and with one that fits.
    for (id, digest) in [("acme", '1'), ("zeta", '2'), ("good", '3')] {
        world.change(put(id, keyed(digest))).await.unwrap();
    }
    let hash = |digest: &str| format!("k.hash = \"sha256:{}\"", digest.repeat(64));
    let filed = |id: &str, digest: &str| {
        format!("[tenants.{id}]\npool = \"a\"\n[tenants.{id}.keys]\n{}\n", hash(digest))
    };
    let text = routes(&(filed("newcustomer", "1") + &filed("brandnew", "2")));
    let World { folder, tasks, .. } = world;
    assert_eq!(tasks.stop(DEADLINE).await, Stopped::Cleanly);
    fs::write(folder.path().join("routes.toml"), text).unwrap();
    drop(fs::remove_file(folder.path().join("state/last-good.json")));

    let world = World::of(folder, "routes.toml").await.unwrap();

    assert!(world.has("newcustomer") && world.has("brandnew") && world.has("good"));
    assert!(!world.has("acme") && !world.has("zeta"));
    assert!(!world.live().serving_last_good);
    assert_eq!(world.apart(), [("acme".into(), "unfit"), ("zeta".into(), "unfit")]);
}

#[tokio::test]
async fn an_edit_beside_thousands_that_do_not_fit_takes_none_off_that_is_served() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("state")).unwrap();
    let unfit: Vec<String> = (0..1100).map(|id| format!("unfit-{id:04}")).collect();
    stored::keep_all(&folder.path().join("state"), &unfit, "nowhere").unwrap();
    stored::keep(&folder.path().join("state"), "good", "a").unwrap();
    fs::write(folder.path().join("routes.toml"), routes("")).unwrap();
    let world = World::of(folder, "routes.toml").await.unwrap();
    assert!(world.has("good"));

    world.edit(&routes("[tenants.late]\npool = \"a\"\n")).await;

    assert!(world.has("good") && world.has("late"));
    assert_eq!(world.apart().len(), 1100);
    assert!(world.metric("tenantry_stored_tenants{state=\"served\"} 1"));
    assert!(world.metric("tenantry_stored_tenants{state=\"unfit\"} 1100"));
}

#[tokio::test]
async fn a_dry_run_makes_no_file() {
    let world = World::start(&routes("")).await;

    let told = world.change(Wish { dry_run: true, ..put("acme", json!({"pool": "a"})) }).await;

    assert!(told.is_ok(), "{told:?}");
    assert!(!world.path("state/tenants.redb").exists());
}

#[tokio::test]
async fn the_end_of_a_tenant_that_is_not_served_is_in_the_history() {
    let world = World::start(&routes("")).await;
    world.change(put("acme", json!({"pool": "a"}))).await.unwrap();
    world.edit(&routes("[tenants.acme]\npool = \"b\"\n")).await;

    let gone = world.change(delete("acme")).await.unwrap();

    let noted = world.control.stored.history.find(gone.generation).unwrap();
    assert_eq!(noted.kept().collect::<Vec<_>>(), ["acme"]);
    assert_eq!(world.pool_name("acme"), "b");
}
