//! What each role gets of the API, by every path and every method.

use super::super::endpoints::ENDPOINTS;
use super::super::roles::{Caller, Verdict};
use super::*;
use crate::base::role::Role;

const TOKENS: &str = "root admin 0000000000000000\nops operator 1111111111111111\n\
                      eye viewer 2222222222222222\nshop tenant:acme 3333333333333333\n";
const METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"];

async fn world() -> World {
    let tokens = Tokens::parse(TOKENS).unwrap();
    World::guarded(LIMITS, Reach::ThisMachine, (Some(tokens), false)).await
}

/// What the holder of a token gets. Bodies are none, so that nothing comes of what is allowed.
async fn status(world: &World, token: char, method: &str, path: &str) -> (u16, String) {
    let token: String = [token; 16].iter().collect();
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
    let answer = world.ask_with(method, path, &headers).await;
    let kind = match answer.status {
        403 | 404 if method != "HEAD" => answer.problem()["type"].as_str().unwrap().to_owned(),
        _ => String::new(),
    };
    (answer.status, kind.rsplit(':').next().unwrap().to_owned())
}

/// All paths that there are, and some that there are not.
fn paths() -> Vec<String> {
    let known = ENDPOINTS.iter().map(|endpoint| endpoint.path);
    let known = known.flat_map(|path| ["acme", "globex"].map(|id| path.replace("{id}", id)));
    let odd = [
        "/nowhere",
        "/api/v1/tenants/",
        "/api/v1/tenants/acme/",
        "/api/v1/tenants/acme/../globex",
        "/api/v1/tenants/acme%2f..%2fglobex",
        "/api/v1/tenants/%61cme%00",
        "/api/v1/tenants/acme/more",
        "/api/v1/tenants/ACME",
        "/api/v1/tenants/acme?id=globex",
        "//api/v1/tenants/globex",
    ];
    let mut paths: Vec<String> = known.chain(odd.map(str::to_owned)).collect();
    paths.dedup();
    paths
}

fn is_open(path: &str) -> bool {
    ["/", "/dashboard.css", "/dashboard.js", "/healthz", "/readyz"].contains(&path)
}

#[tokio::test]
async fn a_tenant_s_token_gets_its_own_tenant_and_nothing_else() {
    let world = world().await;
    let mut granted = Vec::new();
    for path in paths().iter().filter(|path| !is_open(path)) {
        for method in METHODS {
            let (status, kind) = status(&world, '3', method, path).await;
            let is_refused = match status {
                403 => *method == "HEAD" || kind == "forbidden",
                // Nobody is there, too: for who asks, both are the same.
                404 => *method == "HEAD" || kind == "unknown-tenant",
                _ => false,
            };
            if !is_refused {
                granted.push(format!("{method} {path}"));
            }
            assert_ne!(status, 401, "{method} {path}");
        }
    }

    // No tenant is there to be read, which is answered as what is hidden is: the next test has all of the list.
    let paths = ["/api/v1/tenants/acme", "/api/v1/tenants/acme?id=globex"];
    let expected =
        paths.map(|path| ["PUT", "PATCH"].map(|method| format!("{method} {path}"))).concat();
    assert_eq!(granted, expected);
}

/// Exactly what the table of roles in `docs/admin.md` has, beside what is there for everybody.
#[test]
fn a_tenant_s_token_is_granted_this_list_and_nothing_else() {
    let caller = Caller {
        name: Some("shop".into()),
        role: Role::Tenant("acme".into()),
        from: "127.0.0.1".parse().unwrap(),
        shown: None,
    };
    let mut granted = Vec::new();
    for (method, endpoint) in
        METHODS.iter().flat_map(|method| ENDPOINTS.iter().map(move |endpoint| (*method, endpoint)))
    {
        let named = method.parse().unwrap();
        for tenant in [Some("acme"), Some("globex"), None] {
            if caller.may(&named, Some(endpoint.path), tenant) == Verdict::Granted {
                granted.push(format!("{method} {} of {}", endpoint.path, tenant.unwrap_or("none")));
            }
        }
        assert_ne!(caller.may(&named, None, None), Verdict::Granted, "{method}");
    }

    assert_eq!(
        granted,
        [
            "GET /api/v1/tenants/{id} of acme",
            "GET /api/v1/tenants/{id}/usage of acme",
            "HEAD /api/v1/tenants/{id} of acme",
            "HEAD /api/v1/tenants/{id}/usage of acme",
            "PUT /api/v1/tenants/{id} of acme",
            "PATCH /api/v1/tenants/{id} of acme",
        ]
    );
}

#[tokio::test]
async fn another_tenant_is_for_a_tenant_s_token_as_if_there_were_none() {
    let world = world().await;
    let get = async |path: &str, token: &str| {
        let headers = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
        let answer = world.ask_with("GET", path, &headers).await;
        (answer.status, answer.problem()["detail"].as_str().unwrap().to_owned())
    };

    let hidden = get("/api/v1/tenants/globex", "3333333333333333").await;
    let missing = get("/api/v1/tenants/globex", "0000000000000000").await;

    assert_eq!(hidden, missing);
}

#[tokio::test]
async fn a_viewer_reads_all_and_changes_nothing() {
    let world = world().await;
    for path in paths().iter().filter(|path| !is_open(path) && !path.contains("events")) {
        for method in METHODS {
            let (status, kind) = status(&world, '2', method, path).await;
            match *method {
                "GET" | "HEAD" => {
                    assert!(status != 403 && status != 401, "{method} {path}: {status}")
                }
                // It asks, and has its question in a body.
                "POST" if path == "/api/v1/explain" => assert_eq!(status, 415),
                _ => assert_eq!((status, &*kind), (403, "forbidden"), "{method} {path}"),
            }
        }
    }
}

#[tokio::test]
async fn an_operator_does_what_running_a_gateway_takes() {
    let world = world().await;
    let (mut granted, paths) = (Vec::new(), paths());
    for path in paths.iter().filter(|path| !is_open(path) && !path.contains("events")) {
        for method in METHODS.iter().filter(|method| !["GET", "HEAD"].contains(method)) {
            // A reload would be waited for.
            if path != "/api/v1/reload" && status(&world, '1', method, path).await.0 != 403 {
                granted.push(path.as_str());
            }
        }
    }
    granted.sort_unstable();
    granted.dedup();

    assert_eq!(
        granted,
        [
            "/api/v1/endpoints/drain",
            "/api/v1/endpoints/undrain",
            "/api/v1/explain",
            "/api/v1/log-level",
            "/api/v1/splits/{split}/reset"
        ]
    );
    let metrics = {
        let headers = "Host: localhost\r\nAuthorization: Bearer 1111111111111111\r\n";
        world.ask_with("GET", "/metrics", headers).await.body
    };
    assert!(metrics.contains("tenantry_admin_refused_total{reason=\"role\"}"), "{metrics}");
}
