//! What tenants of a plan may do, and what an edit of it changes.

use std::fs;

use tenantry::control::generation::ReloadResult;

use crate::world::client::get;
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::origin::Origin;

fn routes(origins: &[Origin], free: &str) -> String {
    let pools: String = (0..)
        .zip(origins)
        .map(|(number, origin)| pool(&format!("p{number}"), &[origin.address], ""))
        .collect();
    format!(
        "{pools}[plans.free]\npool = \"p0\"\n{free}\n\
         [tenants.one]\nplan = \"free\"\n[tenants.two]\nplan = \"free\"\n\
         [tenants.own]\nplan = \"free\"\npool = \"p1\"\nlimits.requests = \"1000/s\"\n"
    )
}

#[tokio::test]
async fn a_plan_holds_each_of_its_tenants_and_what_one_says_itself_goes_before() {
    let origins = [Origin::saying("shared").await, Origin::saying("own").await];
    let gateway =
        Gateway::start(&routes(&origins, "limits = { requests = \"1/h\", burst = 2 }")).await;
    let ask = async |tenant: &str| get(gateway.address(), tenant, "/").await;

    for tenant in ["one", "two"] {
        assert_eq!(ask(tenant).await.text(), "shared");
        assert_eq!(ask(tenant).await.status, 200);
        let refused = ask(tenant).await;
        assert_eq!(refused.problem().as_deref(), Some("tenant-rate-limited"), "{tenant}");
    }
    for _ in 0..5 {
        assert_eq!(ask("own").await.text(), "own");
    }
}

#[tokio::test]
async fn an_edit_of_a_plan_is_live_for_all_of_its_tenants_at_once() {
    let origins = [Origin::saying("shared").await, Origin::saying("own").await];
    let gateway = Gateway::start(&routes(&origins, "")).await;
    assert_eq!(get(gateway.address(), "one", "/").await.status, 200);

    let edited = gateway.reload(&routes(&origins, "methods = [\"POST\"]")).await;

    assert!(matches!(edited, ReloadResult::Live { generation: 2, .. }), "{edited:?}");
    for tenant in ["one", "two", "own"] {
        let answer = get(gateway.address(), tenant, "/").await;
        assert_eq!(answer.problem().as_deref(), Some("method-not-allowed"), "{tenant}");
    }
    let listed = gateway.admin("/api/v1/tenants?sort=id").await.json();
    assert_eq!(listed["tenants"][0]["plan"], "free");
}

#[tokio::test]
async fn a_file_that_is_broken_costs_its_own_tenant_and_nobody_else() {
    let origin = Origin::saying("hello").await;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join("routes.toml").join(name), text).expect("write a file");
    };
    fs::create_dir(folder.path().join("routes.toml")).expect("make the folder of routes");
    write("acme.toml", "[tenants.acme]\nplan = \"fre\"\n");
    write("_shared.toml", &pool("app", &[origin.address], "[plans.free]\npool = \"app\"\n"));
    write("globex.toml", "[tenants.globex]\nplan = \"free\"\n");

    let gateway = Gateway::start_in(folder, 1, "").await.expect("it starts");

    let refused = get(gateway.address(), "acme", "/").await;
    assert_eq!(refused.problem().as_deref(), Some("tenant-quarantined"));
    assert_eq!(get(gateway.address(), "globex", "/").await.status, 200);
    let config = gateway.admin("/api/v1/config").await.json();
    let held = &config["quarantined"][0];
    assert_eq!((&held["served"], &held["tenants"][0]), (&false.into(), &"acme".into()));
    assert_eq!(held["problems"][0]["hint"], "did you mean \"free\"?");
    let acme = gateway.admin("/api/v1/tenants/acme").await.json();
    assert_eq!(acme["state"], "quarantined");
    assert!(acme["quarantined_by"].as_str().is_some_and(|file| file.ends_with("acme.toml")));
}
