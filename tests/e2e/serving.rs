//! Two tenants, their pools, and edits while they are served.

use crate::world::gateway::Gateway;
use crate::world::process::Backend;
use crate::world::{curl, eventually};

fn routes(shop: &Backend, billing: &Backend) -> String {
    format!(
        r#"[pools.shop]
endpoints = ["{}"]

[pools.billing]
endpoints = ["{}"]

[tenants.acme]
pool = "shop"

[[tenants.acme.routes]]
path = "/billing/*"
pool = "billing"

[tenants.globex]
pool = "billing"
"#,
        shop.address, billing.address
    )
}

#[test]
fn each_tenant_reaches_its_own_pool() {
    let (shop, billing) = (Backend::start("shop-1"), Backend::start("billing-1"));
    let gateway = Gateway::start(&routes(&shop, &billing));

    assert_eq!(gateway.backend("acme", "/"), Some("shop-1".to_owned()));
    assert_eq!(gateway.backend("acme", "/billing/x?y=z"), Some("billing-1".to_owned()));
    assert_eq!(gateway.backend("globex", "/"), Some("billing-1".to_owned()));

    let seen = gateway.get("acme", "/a?b=c", &["--data", "12345"]).json();
    assert_eq!(seen["path"], "/a");
    assert_eq!(seen["query"], "b=c");
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["body_bytes"], 5);
    assert_eq!(seen["headers"]["x-tenant-id"], "acme");
}

#[test]
fn a_request_without_a_known_tenant_is_answered_with_a_problem() {
    let (shop, billing) = (Backend::start("shop-1"), Backend::start("billing-1"));
    let gateway = Gateway::start(&routes(&shop, &billing));

    let missing = curl(&[&gateway.url("/")]);
    let twice = gateway.get("acme", "/", &["--header", "X-Tenant-ID: globex"]);
    let unknown = gateway.get("nobody", "/", &[]);

    for (answer, status) in [(&missing, 400), (&twice, 400), (&unknown, 404)] {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.json()["status"], status, "{answer:?}");
        assert!(answer.json()["type"].is_string(), "{answer:?}");
    }
}

#[test]
fn an_edit_takes_effect_and_a_broken_one_does_not() {
    let (shop, billing) = (Backend::start("shop-1"), Backend::start("billing-1"));
    let gateway = Gateway::start(&routes(&shop, &billing));
    let moved = routes(&shop, &billing).replace("pool = \"shop\"", "pool = \"billing\"");

    gateway.edit(&moved);
    eventually(
        "acme's move to billing",
        || gateway.backend("acme", "/"),
        |backend| backend.as_deref() == Some("billing-1"),
    );

    gateway.edit("[tenants.acme]\npol = \"shop\"\n");
    let config = eventually(
        "the problem in the admin API",
        || gateway.admin("/api/v1/config").body,
        |config| config.contains("pol"),
    );
    assert!(config.contains("routes.toml"), "{config}");
    assert_eq!(gateway.backend("acme", "/"), Some("billing-1".to_owned()));
}
