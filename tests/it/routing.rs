//! Which route takes a request, and what it does with it, seen from both wires.

use std::collections::HashMap;

use crate::world::client::{Hyper, ask};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};

/// A tenant's route; `more` are its further keys.
fn route(path: &str, more: &str) -> String {
    format!("[[tenants.acme.routes]]\npath = \"{path}\"\n{more}\n")
}

/// One origin, which is the pool `app` of the tenant `acme`, and these routes of his.
async fn world(routes: &str) -> (Origin, Gateway) {
    let origin = Origin::saying("app").await;
    let pool = pool("app", &[origin.address], "");
    let text = format!("{pool}\n[tenants.acme]\npool = \"app\"\n{routes}");
    let gateway = Gateway::start(&text).await;
    (origin, gateway)
}

fn says(word: &str) -> String {
    format!("respond = {{ body = \"{word}\" }}")
}

async fn send(gateway: &Gateway, line: &str, fields: &[&str]) -> String {
    let fields = [&["X-Tenant-ID: acme"], fields].concat();
    ask(gateway.address(), line, &fields).await.text()
}

#[tokio::test]
async fn the_most_specific_route_wins_whatever_the_order_in_the_file() {
    let routes = [
        route("/users/*", &says("open")),
        route("/users/{id}", &says("parameter")),
        route("/users/me", &says("literal")),
        route("/a", &says("exact")),
        route("/a/*", &says("below")),
        route("/x", &format!("headers = {{ X-A = \"1\" }}\n{}", says("header"))),
        route("/x", &format!("methods = [\"POST\"]\n{}", says("method"))),
        route("/x", &format!("query = {{ page = \"1\" }}\n{}", says("query"))),
        route("/*", &format!("host = \"*.example.com\"\n{}", says("wide host"))),
        route("/*", &format!("host = \"shop.example.com\"\n{}", says("host"))),
    ];
    let (_origin, gateway) = world(&routes.concat()).await;
    let cases: &[(&str, &[&str], &str)] = &[
        ("GET /users/me", &["Host: a"], "literal"),
        ("GET /users/7", &["Host: a"], "parameter"),
        ("GET /users/7/pets", &["Host: a"], "open"),
        ("GET /users/", &["Host: a"], "open"),
        ("GET /a", &["Host: a"], "exact"),
        ("GET /a/", &["Host: a"], "below"),
        ("GET /ab", &["Host: a"], "app"),
        ("GET /A", &["Host: a"], "app"),
        ("GET /x", &["Host: a"], "app"),
        ("GET /x", &["Host: a", "X-A: 1"], "header"),
        ("GET /x", &["Host: a", "X-A: 2"], "app"),
        ("GET /x?page=1&page=2", &["Host: a"], "query"),
        ("POST /x?page=1", &["Host: a", "X-A: 1"], "method"),
        ("GET /users/me", &["Host: Shop.Example.com:80"], "host"),
        ("GET /users/me", &["Host: a.b.example.com"], "wide host"),
        ("GET /users/me", &["Host: example.com"], "literal"),
    ];
    for (line, fields, expected) in cases {
        assert_eq!(send(&gateway, line, fields).await, *expected, "{line} {fields:?}");
    }
}

#[tokio::test]
async fn a_route_set_is_shared_by_the_tenants_that_use_it() {
    let (one, two) = (Origin::saying("one").await, Origin::saying("two").await);
    let text = format!(
        "{}{}[[route-sets.standard.routes]]\npath = \"/set\"\n{}\n\
         [[route-sets.standard.routes]]\npath = \"/own\"\n{}\n\
         [[route-sets.standard.routes]]\npath = \"/pool\"\nrewrite = {{ strip = \"/pool\" }}\n\
         [tenants.acme]\npool = \"one\"\nuse = [\"standard\"]\n\
         [[tenants.acme.routes]]\npath = \"/own\"\n{}\n\
         [tenants.globex]\npool = \"two\"\nuse = [\"standard\"]\n",
        pool("one", &[one.address], ""),
        pool("two", &[two.address], ""),
        says("set"),
        says("set's own"),
        says("own"),
    );
    let gateway = Gateway::start(&text).await;
    let cases = [
        ("acme", "/set", "set"),
        ("globex", "/set", "set"),
        ("acme", "/own", "own"),
        ("globex", "/own", "set's own"),
        ("acme", "/pool", "one"),
        ("globex", "/pool", "two"),
    ];
    for (tenant, path, expected) in cases {
        let tenant_field = format!("X-Tenant-ID: {tenant}");
        let fields = ["Host: a", &tenant_field];
        let answer = ask(gateway.address(), &format!("GET {path}"), &fields).await;
        assert_eq!(answer.text(), expected, "{tenant} {path}");
    }
}

#[tokio::test]
async fn a_split_sends_equal_values_to_the_same_pool_and_follows_the_weights() {
    let (stable, canary) = (Origin::saying("stable").await, Origin::saying("canary").await);
    let text = format!(
        "{}{}[tenants.acme]\n[[tenants.acme.routes]]\npath = \"/user\"\n\
         split = {{ pools = {{ stable = 75, canary = 25 }}, by = {{ header = \"X-User\" }} }}\n\
         [[tenants.acme.routes]]\npath = \"/id\"\n\
         split = {{ pools = {{ stable = 75, canary = 25 }} }}\n",
        pool("stable", &[stable.address], ""),
        pool("canary", &[canary.address], ""),
    );
    let gateway = Gateway::start(&text).await;
    let mut client = Hyper::h1(gateway.address()).await;
    let mut chosen: HashMap<(&str, usize), String> = HashMap::new();
    for round in 0..2 {
        for (path, field) in [("/user", "x-user"), ("/id", "x-request-id")] {
            for value in 0..100 {
                let mut request = client.request("GET", "acme", path, Default::default());
                let text = format!("value-{value}").try_into().expect("a value");
                request.headers_mut().insert(field, text);
                let pool = client.ask(request).await.text();
                let first = chosen.entry((path, value)).or_insert_with(|| pool.clone());
                assert_eq!(*first, pool, "round {round} of {path} {value}");
            }
        }
    }
    for path in ["/user", "/id"] {
        let canaries = chosen.iter().filter(|(key, pool)| key.0 == path && *pool == "canary");
        let count = canaries.count();
        assert!((10..=40).contains(&count), "{count} of 100 went to a quarter's pool");
    }
}

#[tokio::test]
async fn a_redirect_fills_in_what_was_asked_for() {
    let routes = [
        route("/old/*", "redirect = { to = \"{scheme}://{host}/new{path}{query}\", status = 301 }"),
        route("/me", "redirect = { to = \"/of/{tenant}\" }"),
    ];
    let (origin, gateway) = world(&routes.concat()).await;
    let fields = ["Host: a.example:81", "X-Tenant-ID: acme"];

    let moved = ask(gateway.address(), "GET /old/x?a=b", &fields).await;
    let short = ask(gateway.address(), "POST /me?a=b", &fields).await;

    assert_eq!(moved.status, 301);
    assert_eq!(moved.one("location").as_deref(), Some("http://a.example:81/new/old/x?a=b"));
    assert!(moved.whole && moved.body.is_empty());
    assert_eq!((short.status, short.one("location").as_deref()), (308, Some("/of/acme")));
    assert!(short.one("x-request-id").is_some());
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn the_answers_of_a_route_itself_are_edited_too() {
    let challenge = "response-headers = { set = { WWW-Authenticate = \"Basic\" }, remove = [\"Content-Type\"] }";
    let secure = "response-headers = { add = { Strict-Transport-Security = \"max-age=9\" } }";
    let routes = [
        route("/closed", &format!("respond = {{ status = 401 }}\n{challenge}")),
        route("/old", &format!("redirect = {{ to = \"/new\" }}\n{secure}")),
    ];
    let (_origin, gateway) = world(&routes.concat()).await;

    let closed = gateway.get("/closed").await;
    let old = gateway.get("/old").await;

    assert_eq!((closed.status, closed.one("www-authenticate").as_deref()), (401, Some("Basic")));
    assert_eq!(closed.one("content-type"), None);
    assert_eq!((old.status, old.one("location").as_deref()), (308, Some("/new")));
    assert_eq!(old.one("strict-transport-security").as_deref(), Some("max-age=9"));
}

#[tokio::test]
async fn a_path_cannot_make_a_redirect_lead_to_another_host() {
    let (_origin, gateway) = world(&route("/*", "redirect = { to = \"{path}\" }")).await;
    let fields = ["Host: a.example", "X-Tenant-ID: acme"];
    for target in ["//elsewhere.example/x", "///elsewhere.example", "/\\elsewhere.example"] {
        let answer = ask(gateway.address(), &format!("GET {target}"), &fields).await;
        let location = answer.one("location").unwrap_or_default();
        let leads_away = location.starts_with("//") || location.starts_with("/\\");
        assert!(!leads_away, "{target} leads to {location}");
    }
}

#[tokio::test]
async fn a_fixed_response_is_given_as_it_is_written() {
    let routes = [
        route(
            "/teapot",
            "respond = { status = 418, content-type = \"text/html\", body = \"<p>\" }",
        ),
        route("/none", "respond = { status = 204 }"),
    ];
    let (origin, gateway) = world(&routes.concat()).await;

    let teapot = gateway.get("/teapot").await;
    let head = ask(gateway.address(), "HEAD /teapot", &["Host: a", "X-Tenant-ID: acme"]).await;
    let none = gateway.get("/none").await;

    assert_eq!((teapot.status, teapot.text().as_str()), (418, "<p>"));
    assert_eq!(teapot.one("content-type").as_deref(), Some("text/html"));
    assert_eq!((head.status, head.one("content-length").as_deref()), (418, Some("3")));
    assert_eq!((none.status, none.one("content-length")), (204, None));
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_prefix_is_stripped_or_replaced_on_a_segments_border() {
    let routes = [
        route("/api/*", "rewrite = { strip = \"/api\" }"),
        route("/apis/*", "rewrite = { strip = \"/api\" }"),
        route("/v1/*", "rewrite = { prefix = \"/v1/users\", with = \"/v2/people\" }"),
    ];
    let (origin, gateway) = world(&routes.concat()).await;
    let cases = [
        ("/api/users?q=/api", "/users?q=/api"),
        ("/api", "/"),
        ("/api/", "/"),
        ("/api?q", "/?q"),
        ("/apis/x", "/apis/x"),
        ("/v1/users/7", "/v2/people/7"),
        ("/v1/users", "/v2/people"),
        ("/v1/usersx", "/v1/usersx"),
        ("/api/a%2Fb%20c", "/a%2Fb%20c"),
    ];
    for (at, (target, expected)) in cases.iter().enumerate() {
        assert_eq!(gateway.get(target).await.status, 200, "{target}");
        assert_eq!(origin.wait_for(at + 1).await[at].target, *expected, "{target}");
    }
}

#[tokio::test]
async fn the_endpoint_sees_the_clients_host_or_the_one_that_is_written() {
    let (origin, gateway) = world(&route("/in/*", "rewrite = { host = \"inside.example\" }")).await;

    send(&gateway, "GET /out", &["Host: Shop.example:81"]).await;
    send(&gateway, "GET /in/x", &["Host: Shop.example:81"]).await;

    let asked = origin.wait_for(2).await;
    assert_eq!(asked[0].all("host"), ["Shop.example:81"]);
    assert_eq!(asked[1].all("host"), ["inside.example"]);
    assert_eq!(asked[1].all("x-forwarded-host"), ["Shop.example:81"]);
}

#[tokio::test]
async fn fields_are_edited_both_ways_remove_then_set_then_add() {
    let edits = "request-headers = { set = { X-Set = \"new\" }, add = { X-Add = \"more\" }, \
                 remove = [\"Cookie\"] }\n\
                 response-headers = { set = { Cache-Control = \"no-store\" }, \
                 add = { X-Add = \"more\" }, remove = [\"Server\"] }";
    let (origin, gateway) = world(&route("/*", edits)).await;
    origin.rescript([Step::raw(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: x\r\nCache-Control: a\r\n\
         Cache-Control: b\r\nX-Add: one\r\n\r\n",
    )]);
    let fields =
        ["Host: a", "X-Tenant-ID: acme", "Cookie: a=b", "X-Set: old", "X-Set: older", "X-Add: one"];

    let answer = ask(gateway.address(), "GET /", &fields).await;

    let asked = origin.only().await;
    assert_eq!(asked.all("x-set"), ["new"]);
    assert_eq!(asked.all("x-add"), ["one", "more"]);
    assert_eq!(asked.all("cookie"), [""; 0]);
    assert_eq!(answer.all("cache-control"), ["no-store"]);
    assert_eq!(answer.all("x-add"), ["one", "more"]);
    assert_eq!(answer.all("server"), [""; 0]);
}

#[tokio::test]
async fn the_root_and_odd_paths_pass_unchanged() {
    let (origin, gateway) = world("").await;
    let targets = ["/", "/?", "/a//b", "/a/%2e%2e%2e", "/%C3%A9?x=%zz", "/a;b=c,d", "/~a/'()"];
    for (at, target) in targets.iter().enumerate() {
        assert_eq!(gateway.get(target).await.status, 200, "{target}");
        assert_eq!(origin.wait_for(at + 1).await[at].target, *target);
    }
}

#[tokio::test]
async fn every_form_of_a_target_arrives_as_an_origin_form() {
    let (origin, gateway) = world("").await;
    let cases = [
        ("GET http://a.example", "/"),
        ("GET http://a.example/", "/"),
        ("GET http://a.example?x=y", "/?x=y"),
        ("GET HTTPS://a.example:1/p/q", "/p/q"),
        ("OPTIONS *", "*"),
        ("PROPFIND /dav", "/dav"),
        ("get /lower", "/lower"),
    ];
    for (at, (line, expected)) in cases.iter().enumerate() {
        assert_eq!(send(&gateway, line, &["Host: a.example"]).await, "app", "{line}");
        let asked = &origin.wait_for(at + 1).await[at];
        assert_eq!(asked.target, *expected, "{line}");
        assert_eq!(asked.method, line.split(' ').next().unwrap_or_default());
    }
}

#[tokio::test]
async fn a_target_that_is_no_path_does_not_break_what_looks_at_paths() {
    let origin = Origin::saying("app").await;
    let text = format!(
        "{}[tenant]\nfrom = [{{ path = \"strip\" }}, {{ default = \"acme\" }}]\n\
         [tenants.acme]\npool = \"app\"\n{}{}",
        pool("app", &[origin.address], ""),
        route("/old/*", "redirect = { to = \"/new{path}{query}\" }"),
        route("/*", "rewrite = { prefix = \"/x\", with = \"/in\" }"),
    );
    let gateway = Gateway::start(&text).await;
    for line in ["OPTIONS *", "GET http://a.example", "GET http://a.example/acme/x", "GET /acme"] {
        let answer = ask(gateway.address(), line, &["Host: a.example"]).await;
        assert_eq!(answer.status, 200, "{line}: {answer:?}");
    }
}
