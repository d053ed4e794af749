//! What becomes of pools and of their endpoints when the files change.

use super::*;

#[tokio::test]
async fn an_endpoint_that_stays_keeps_its_live_state_over_a_reload() {
    let world = World::start(SHOP).await;
    let before = Arc::clone(&world.members("shop").load().all[0].endpoint);
    before.eject(Duration::from_secs(300));
    before.set_ejections(3);

    world.edit(&SHOP.replace("\"127.0.0.1:2\"", "\"127.0.0.1:3\"")).await;
    let members = world.members("shop");
    soon("the new endpoint", || addresses(&members) == ["127.0.0.1:1", "127.0.0.1:3"]).await;

    let set = members.load();
    assert!(Arc::ptr_eq(&set.all[0].endpoint, &before));
    assert_eq!(set.all[0].endpoint.ejections(), 3);
    assert_eq!(world.pool_of("acme").members.load().all.len(), 2);
}

#[tokio::test]
async fn pools_that_are_unchanged_are_shared_and_others_come_and_go() {
    let two = format!("{SHOP}\n[pools.extra]\nendpoints = [\"127.0.0.1:9\"]\n");
    let world = World::start(&two).await;
    let shop = world.pool_of("acme");
    let extra = world.members("extra");

    let billing =
        "\n[pools.billing]\nendpoints = [\"127.0.0.1:7\"]\n[tenants.b]\npool = \"billing\"\n";
    world.edit(&format!("{SHOP}{billing}")).await;

    assert!(Arc::ptr_eq(&shop, &world.pool_of("acme")));
    let live = world.live();
    let names: Vec<&str> = live.pools.iter().map(|pool| pool.name.as_ref()).collect();
    assert_eq!(names, ["billing", "shop"]);
    assert_eq!(addresses(&world.pool_of("b").members), ["127.0.0.1:7"]);
    assert_eq!(addresses(&extra), ["127.0.0.1:9"], "requests in flight may still need it");
}

#[tokio::test]
async fn breakers_that_are_open_are_seen_when_a_pool_goes_and_comes_back() {
    let with = SHOP.replace("[tenants", "breaker = {}\n[tenants");
    let world = World::start(&with).await;
    let known = world.pool_of("acme").breakers.clone().unwrap();

    world
        .edit(&SHOP.replace("[pools.shop]", "[pools.other]").replace("\"shop\"", "\"other\""))
        .await;
    assert!(world.pool_of("acme").breakers.is_none());
    world.edit(&with).await;

    assert!(Arc::ptr_eq(&known, world.pool_of("acme").breakers.as_ref().unwrap()));
}

#[tokio::test]
async fn a_new_pool_has_its_endpoints_before_its_table_is_published() {
    let world = World::start(SHOP).await;

    for number in 1..20 {
        world
            .edit(&format!(
                "{SHOP}\n[pools.p{number}]\nendpoints = [\"127.0.0.1:{number}\"]\n\
                 [tenants.t]\npool = \"p{number}\"\n"
            ))
            .await;

        assert_eq!(world.pool_of("t").members.load().eligible.endpoints.len(), 1);
    }
}

#[tokio::test]
async fn another_protocol_makes_another_pool_and_other_settings_do_not() {
    let world = World::start(SHOP).await;
    let first = world.pool_of("acme");

    world.edit(&SHOP.replace("[tenants", "balance = \"random\"\n[tenants")).await;
    let second = world.pool_of("acme");
    world.edit(&SHOP.replace("[tenants", "protocol = \"h2\"\n[tenants")).await;
    let third = world.pool_of("acme");

    assert_eq!(second.spec.balance, "random");
    assert_eq!(second.transport, first.transport);
    assert!(Arc::ptr_eq(&second.members, &first.members));
    assert_ne!(third.transport, first.transport);
    assert!(!Arc::ptr_eq(&third.members, &first.members));
    assert_eq!(third.label, first.label);
    assert_eq!(addresses(&third.members).len(), 2);
    assert_eq!(addresses(&first.members).len(), 2, "requests in flight may still need them");
}

#[tokio::test]
async fn a_pool_of_another_protocol_keeps_the_endpoints_until_its_source_speaks() {
    let world = World::start(SHOP).await;
    let list = world.path("members.json");

    world
        .edit(&format!(
            "[pools.shop]\nprotocol = \"h2\"\nfile = \"{}\"\n[tenants.acme]\npool = \"shop\"\n",
            list.display()
        ))
        .await;

    let members = world.members("shop");
    assert!(Arc::ptr_eq(&members, &world.pool_of("acme").members));
    assert_eq!(addresses(&members), ["127.0.0.1:1", "127.0.0.1:2"]);

    fs::write(&list, "[{\"targets\": [\"127.0.0.1:2\", \"127.0.0.1:5\"]}]").unwrap();
    soon("the new members", || {
        let now = addresses(&members);
        assert!(!now.is_empty());
        now == ["127.0.0.1:2", "127.0.0.1:5"]
    })
    .await;
}

#[tokio::test]
async fn a_pool_is_never_empty_while_its_source_is_swapped() {
    let world = World::start(SHOP).await;
    let members = world.members("shop");
    let list = world.path("members.json");

    world
        .edit(&format!(
            "[pools.shop]\nfile = \"{}\"\n[tenants.acme]\npool = \"shop\"\n",
            list.display()
        ))
        .await;
    let failing = || {
        let pool = world.pool("shop");
        let failed =
            |source: &SourceStatus| matches!(*source.last.load(), SourceResult::Failed { .. });
        pool.sources.iter().any(failed)
    };
    soon("the missing file's report", failing).await;
    assert_eq!(addresses(&members), ["127.0.0.1:1", "127.0.0.1:2"]);

    fs::write(&list, "[{\"targets\": [\"127.0.0.1:5\"]}]").unwrap();
    soon("the new member", || {
        let now = addresses(&members);
        assert!(!now.is_empty());
        now == ["127.0.0.1:5"]
    })
    .await;
}

#[tokio::test]
async fn an_ejection_ends_by_itself_when_its_time_is_over() {
    let world = World::start(SHOP).await;
    let members = world.members("shop");
    let endpoint = Arc::clone(&members.load().all[0].endpoint);

    endpoint.eject(Duration::from_millis(1));
    members.refresh();

    soon("the end of the ejection", || endpoint.ejected_for().is_none()).await;
    soon("the return", || members.load().eligible.on_trial.len() == 1).await;
}

#[tokio::test]
async fn one_that_comes_back_has_its_trial_first_and_then_gets_warm_by_itself() {
    let slow = SHOP.replace("[tenants", "slow-start = { window = \"2s\" }\n[tenants");
    let world = World::start(&slow).await;
    let members = world.members("shop");
    let endpoint = Arc::clone(&members.load().all[0].endpoint);
    endpoint.eject(Duration::from_millis(1));
    members.refresh();
    soon("the trial", || members.load().eligible.on_trial.len() == 1).await;
    assert_eq!(members.load().warming(), 0);

    endpoint.end_trial();
    members.refresh();

    assert_eq!(members.load().warming(), 1);
    soon("all of its share", || members.load().warming() == 0).await;
}

#[tokio::test]
async fn without_health_checks_nobody_stays_down() {
    let checked = SHOP.replace(
        "[tenants",
        "health = { tcp = true, interval = \"50ms\", timeout = \"20ms\", fall = 1 }\n[tenants",
    );
    let world = World::start(&checked).await;
    let members = world.members("shop");
    let all = |health| members.load().all.iter().all(|member| member.endpoint.health() == health);
    soon("the failed checks", || all(Health::Down)).await;

    world.edit(SHOP).await;

    assert!(all(Health::Unchecked));
    assert!(!members.load().eligible.panicking);
}
