//! Whose request it is, as the wire says it; and that an endpoint hears it once, from the gateway.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::world::client::{Client, Frames, Hyper, ask, get, head};
use crate::world::config::{one_tenant, pool};
use crate::world::gateway::Gateway;
use crate::world::h2_origin::H2Origin;
use crate::world::message::Answer;
use crate::world::origin::Origin;

/// Two tenants, a suspended one, and the ways in which a request names them.
fn routes(origin: &Origin, from: &str) -> String {
    let pool = pool("app", &[origin.address], "");
    format!(
        "{pool}\n[tenant]\nfrom = [{from}]\n[tenants.acme]\npool = \"app\"\n\
         [tenants.globex]\npool = \"app\"\n[tenants.gone]\nstate = \"suspended\"\n"
    )
}

async fn world(from: &str) -> (Origin, Gateway) {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&routes(&origin, from)).await;
    (origin, gateway)
}

const BY_HEADER: &str = "{ header = \"X-Tenant-ID\" }";

fn told(answer: &Answer) -> (u16, Option<String>) {
    (answer.status, answer.problem())
}

fn is(status: u16, problem: &str) -> (u16, Option<String>) {
    (status, Some(problem.to_owned()))
}

#[tokio::test]
async fn a_tenant_reaches_its_pool() {
    let (origin, gateway) = world(BY_HEADER).await;

    let answer = gateway.get("/a?b=c").await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let asked = origin.only().await;
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/a?b=c"));
    assert_eq!(asked.all("x-tenant-id"), ["acme"]);
}

#[tokio::test]
async fn a_missing_header_is_refused_and_no_origin_sees_a_byte() {
    let (origin, gateway) = world(BY_HEADER).await;

    let answer = ask(gateway.address(), "GET /", &["Host: a"]).await;

    assert_eq!(told(&answer), is(400, "tenant-missing"));
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_header_that_does_not_name_one_tenant_is_refused_and_no_origin_sees_a_byte() {
    let (origin, gateway) = world(BY_HEADER).await;
    let long = format!("X-Tenant-ID: {}", "a".repeat(129));
    let cases: &[&[&str]] = &[
        &["X-Tenant-ID: acme", "X-Tenant-ID: globex"],
        &["X-Tenant-ID: acme", "x-tenant-id: acme"],
        &["X-Tenant-ID: acme", "X-Tenant-ID:"],
        &["X-Tenant-ID: acme, globex"],
        &["X-Tenant-ID: acme,acme"],
        &["X-Tenant-ID: acme,"],
        &["X-Tenant-ID:"],
        &["X-Tenant-ID:   "],
        &[&long],
        &["X-Tenant-ID: ac me"],
        &["X-Tenant-ID: ac/me"],
        &["X-Tenant-ID: acme;"],
        &["X-Tenant-ID: \"acme\""],
        &["X-Tenant-ID: acm\u{e9}"],
        &["X-Tenant-ID: %61cme"],
        &["X-Tenant-ID: ../acme"],
    ];
    for fields in cases {
        let fields = [&["Host: a"], *fields].concat();
        let answer = ask(gateway.address(), "GET /", &fields).await;
        assert_eq!(told(&answer), is(400, "tenant-ambiguous"), "{fields:?}");
    }
    let mut client = Hyper::h2(gateway.address()).await;
    let mut twice = client.request("GET", "acme", "/", Frames::default());
    twice.headers_mut().append("x-tenant-id", HeaderValue::from_static("acme"));
    let answer = client.ask(twice).await;

    assert_eq!(told(&answer), is(400, "tenant-ambiguous"), "twice in HTTP/2");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn an_unknown_tenant_is_not_found_and_ids_differ_by_case() {
    let (origin, gateway) = world(BY_HEADER).await;
    for tenant in ["nobody", "Acme", "acme.", &"a".repeat(128)] {
        let answer = get(gateway.address(), tenant, "/").await;
        assert_eq!(told(&answer), is(404, "tenant-unknown"), "{tenant}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_suspended_tenant_is_refused() {
    let (origin, gateway) = world(BY_HEADER).await;

    let answer = get(gateway.address(), "gone", "/").await;

    assert_eq!(told(&answer), is(403, "tenant-suspended"));
    assert_eq!(answer.json()["tenant"], "gone");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_domain_of_its_own_names_the_tenant_and_moves_with_a_reload() {
    let origin = Origin::saying("hello").await;
    let routes = |acme: &str, globex: &str| {
        format!(
            "{}\n[tenant]\nfrom = [{{ domain = true }}, {{ header = \"X-Tenant-ID\" }}]\n\
             [tenants.acme]\npool = \"app\"\ndomains = [{acme}]\n\
             [tenants.globex]\npool = \"app\"\ndomains = [{globex}]\n",
            pool("app", &[origin.address], "")
        )
    };
    let first = routes("\"shop.acme.test\", \"*.acme.test\"", "\"www.acme.test\"");
    let gateway = Gateway::start(&first).await;
    for (host, tenant) in [
        ("shop.acme.test", "acme"),
        ("SHOP.Acme.Test.:8443", "acme"),
        ("any.acme.test", "acme"),
        ("www.acme.test", "globex"),
        ("a.any.acme.test", "globex"),
        ("acme.test", "globex"),
    ] {
        let host = format!("Host: {host}");
        // The header is asked where the host is nobody's.
        let answer = ask(gateway.address(), "GET /", &[&host, "X-Tenant-ID: globex"]).await;
        assert_eq!(answer.status, 200, "{host}");
        let asked = origin.asked().pop().expect("a request");
        assert_eq!(asked.all("x-tenant-id"), [tenant], "{host}");
    }
    let twice = ["Host: shop.acme.test", "Host: shop.acme.test"];
    assert_eq!(ask(gateway.address(), "GET /", &twice).await.status, 400);

    gateway.reload(&routes("\"other.test\"", "\"shop.acme.test\"")).await;
    ask(gateway.address(), "GET /", &["Host: shop.acme.test"]).await;
    let asked = origin.asked().pop().expect("a request");
    assert_eq!(asked.all("x-tenant-id"), ["globex"]);
    let gone = ask(gateway.address(), "GET /", &["Host: any.acme.test"]).await;
    assert_eq!(told(&gone), is(400, "tenant-missing"));
}

#[tokio::test]
async fn a_host_names_the_tenant_by_one_label() {
    let (origin, gateway) = world("{ host = \"{tenant}.example.com\" }").await;
    for host in
        ["acme.example.com", "ACME.Example.COM", "acme.example.com:8080", "acme.example.com."]
    {
        let answer = ask(gateway.address(), "GET /", &[&format!("Host: {host}")]).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    for host in ["example.com", "a.acme.example.com", "acme.example.org", "xexample.com"] {
        let answer = ask(gateway.address(), "GET /", &[&format!("Host: {host}")]).await;
        assert_eq!(told(&answer), is(400, "tenant-missing"), "{host}");
    }
    let unknown = ask(gateway.address(), "GET /", &["Host: nobody.example.com"]).await;

    assert_eq!(told(&unknown), is(404, "tenant-unknown"));
    let asked = origin.wait_for(4).await;
    assert!(asked.iter().all(|asked| asked.all("x-tenant-id") == ["acme"]), "{asked:?}");
}

#[tokio::test]
async fn a_path_segment_names_the_tenant_and_is_stripped() {
    let (origin, gateway) = world("{ path = \"strip\" }").await;
    for target in ["/acme/users/7?x=/y", "/acme", "/acme/", "/acme?q", "/acme//x"] {
        assert_eq!(
            ask(gateway.address(), &format!("GET {target}"), &["Host: a"]).await.status,
            200
        );
    }
    let nobody = ask(gateway.address(), "GET /", &["Host: a"]).await;
    let encoded = ask(gateway.address(), "GET /%61cme/x", &["Host: a"]).await;

    let targets: Vec<String> = origin.asked().into_iter().map(|asked| asked.target).collect();
    assert_eq!(targets, ["/users/7?x=/y", "/", "/", "/?q", "//x"]);
    assert_eq!(told(&nobody), is(400, "tenant-missing"));
    assert_eq!(told(&encoded), is(400, "tenant-ambiguous"));
}

#[tokio::test]
async fn a_path_segment_names_the_tenant_and_is_kept() {
    let (origin, gateway) = world("{ path = \"keep\" }").await;

    let answer = ask(gateway.address(), "GET /acme/users?x", &["Host: a"]).await;

    assert_eq!(answer.status, 200);
    let asked = origin.only().await;
    assert_eq!(asked.target, "/acme/users?x");
    assert_eq!(asked.all("x-tenant-id"), ["acme"]);
}

#[tokio::test]
async fn the_first_way_that_is_present_decides_even_if_it_is_wrong() {
    let from = "{ header = \"X-Tenant-ID\" }, { host = \"{tenant}.example.com\" }, \
                { default = \"globex\" }";
    let (origin, gateway) = world(from).await;
    let named = |fields: &'static [&'static str]| ask(gateway.address(), "GET /", fields);

    let by_header = named(&["Host: globex.example.com", "X-Tenant-ID: acme"]).await;
    let by_host = named(&["Host: acme.example.com"]).await;
    let by_default = named(&["Host: other.example"]).await;
    let wrong = named(&["Host: acme.example.com", "X-Tenant-ID: a,b"]).await;
    let unknown = named(&["Host: acme.example.com", "X-Tenant-ID: nobody"]).await;

    assert_eq!([by_header.status, by_host.status, by_default.status], [200; 3]);
    let used: Vec<_> = origin.asked().iter().map(|asked| asked.all("x-tenant-id")).collect();
    assert_eq!(used, [["acme"], ["acme"], ["globex"]]);
    assert_eq!(told(&wrong), is(400, "tenant-ambiguous"));
    assert_eq!(told(&unknown), is(404, "tenant-unknown"));
}

#[tokio::test]
async fn a_header_of_ones_own_names_the_tenant_and_carries_it_to_the_endpoint() {
    let (origin, gateway) = world("{ header = \"X-Customer\" }, { path = \"strip\" }").await;

    let by_header = ask(gateway.address(), "GET /x", &["Host: a", "X-Customer: acme"]).await;
    let by_path = ask(gateway.address(), "GET /globex/x", &["Host: a"]).await;

    assert_eq!([by_header.status, by_path.status], [200; 2]);
    let used: Vec<_> = origin.asked().iter().map(|asked| asked.all("x-customer")).collect();
    assert_eq!(used, [["acme"], ["globex"]]);
}

#[tokio::test]
async fn a_header_that_names_nobody_here_is_replaced_by_the_tenant_that_was_used() {
    let (origin, gateway) = world("{ host = \"{tenant}.example.com\" }").await;
    let fields = ["Host: acme.example.com", "X-Tenant-ID: globex", "X-Tenant-ID: evil"];

    let answer = ask(gateway.address(), "GET /", &fields).await;

    assert_eq!(answer.status, 200);
    assert_eq!(origin.only().await.all("x-tenant-id"), ["acme"]);
}

#[tokio::test]
async fn look_alikes_of_the_header_never_reach_an_origin() {
    let (origin, gateway) = world(BY_HEADER).await;
    let fields = [
        "Host: a",
        "X-Tenant-ID: acme",
        "X_Tenant_ID: globex",
        "x-tenant_id: globex",
        "X_TENANT-ID: globex",
        "X_Forwarded_For: 9.9.9.9",
        "X-Mine_Own: kept",
    ];

    ask(gateway.address(), "GET /", &fields).await;

    let head = origin.heads().concat().to_ascii_lowercase();
    assert!(!head.contains("globex") && !head.contains("9.9.9.9"), "{head}");
    assert_eq!(head.matches("tenant").count(), 2, "the header and Via: {head}");
    assert!(head.contains("x-mine_own: kept"), "{head}");
}

#[tokio::test]
async fn a_connection_field_cannot_take_the_tenant_away_or_pass_for_it() {
    let (origin, gateway) = world(BY_HEADER).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "Connection: X-Tenant-ID, X-Other", "X-Other: 1"];

    let answer = ask(gateway.address(), "GET /", &fields).await;

    assert_eq!(answer.status, 200);
    let asked = origin.only().await;
    assert_eq!(asked.all("x-tenant-id"), ["acme"]);
    assert_eq!(asked.all("connection"), [""; 0]);
    assert_eq!(asked.all("x-other"), [""; 0]);
}

#[tokio::test]
async fn a_tenant_in_the_trailers_of_http1_never_reaches_an_origin() {
    let (origin, gateway) = world(BY_HEADER).await;
    let fields = [
        "Host: a",
        "X-Tenant-ID: acme",
        "Transfer-Encoding: chunked",
        "Trailer: X-Tenant-ID, X_Tenant_ID, X-Sum",
    ];
    let request = head("POST /", &fields)
        + "3\r\nabc\r\n0\r\nX-Tenant-ID: globex\r\nX_Tenant_ID: globex\r\nX-Sum: 1\r\n\r\n";

    let answer = Client::connect(gateway.address()).await.ask(request).await;

    assert_eq!(answer.status, 200);
    let asked = origin.only().await;
    assert_eq!(asked.body, b"abc");
    assert_eq!(asked.all("x-tenant-id"), ["acme"]);
    assert!(!format!("{:?}", asked.trailers).contains("globex"), "{:?}", asked.trailers);
    assert_eq!(asked.trailers.get("x-sum").map(HeaderValue::as_bytes), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_tenant_in_the_trailers_of_http2_never_reaches_an_origin() {
    let origin = H2Origin::saying("hello").await;
    let routes = one_tenant(&[origin.address]).replace("[tenants", "protocol = \"h2\"\n[tenants");
    let gateway = Gateway::start(&routes).await;
    let mut client = Hyper::h2(gateway.address()).await;
    let mut trailers = HeaderMap::new();
    for (name, value) in [("x-tenant-id", "globex"), ("x_tenant_id", "globex"), ("x-sum", "1")] {
        trailers.insert(name, HeaderValue::from_static(value));
    }
    let body = Frames::sized(Bytes::from_static(b"abc")).with_trailers(trailers);

    let answer = client.ask(client.request("POST", "acme", "/", body)).await;

    assert_eq!(answer.status, 200);
    let asked = origin.only().await;
    assert_eq!(asked.all("x-tenant-id"), ["acme"]);
    assert_eq!(asked.trailers.len(), 1, "{:?}", asked.trailers);
    assert!(asked.trailers.contains_key("x-sum"));
}

#[tokio::test]
async fn an_absolute_target_decides_over_the_host_field() {
    let (origin, gateway) = world("{ host = \"{tenant}.example.com\" }").await;
    let line = "GET http://acme.example.com:81/x?y";

    let answer = ask(gateway.address(), line, &["Host: globex.example.com"]).await;

    assert_eq!(answer.status, 200);
    let asked = origin.only().await;
    assert_eq!(asked.target, "/x?y");
    assert_eq!(asked.all("host"), ["acme.example.com:81"]);
    assert_eq!(asked.all("x-tenant-id"), ["acme"]);
    assert_eq!(asked.all("x-forwarded-host"), ["acme.example.com:81"]);
}

#[tokio::test]
async fn two_hosts_are_refused_before_a_tenant_is_named() {
    let (origin, gateway) = world("{ host = \"{tenant}.example.com\" }").await;
    let fields = ["Host: acme.example.com", "Host: globex.example.com"];

    let answer = ask(gateway.address(), "GET /", &fields).await;

    assert_eq!(told(&answer), is(400, "bad-request"));
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn tenants_beyond_the_cap_of_the_metrics_are_counted_as_one() {
    let origin = Origin::saying("hello").await;
    let tenants = |ids: &[&str]| -> String {
        let tenant = |id: &&str| format!("[tenants.{id}]\npool = \"app\"\n");
        pool("app", &[origin.address], "") + &ids.iter().map(tenant).collect::<String>()
    };
    let more = "[metrics]\ntenants = 2";
    let gateway = Gateway::start_with(more, &tenants(&["a", "b", "c", "d"])).await;
    let requests = |tenant: &str, pool: &str| {
        format!("tenantry_requests_total{{tenant=\"{tenant}\",pool=\"{pool}\",class=\"2xx\"}}")
    };
    for tenant in ["a", "b"] {
        get(gateway.address(), tenant, "/").await;
        gateway.metric_becomes(&requests(tenant, "app"), 1.0).await;
    }

    for tenant in ["c", "d", "c", "a"] {
        get(gateway.address(), tenant, "/").await;
    }
    gateway.metric_becomes(&requests("_other", "_other"), 3.0).await;
    gateway.metric_becomes(&requests("a", "app"), 2.0).await;
    assert_eq!(gateway.metric("tenantry_metrics_folded_tenants").await, Some(2.0));
    assert_eq!(gateway.metric(&requests("c", "app")).await, None);

    gateway.reload(&tenants(&["b", "c", "d"])).await;
    assert_eq!(gateway.metric(&requests("a", "app")).await, None, "its series end with it");
    get(gateway.address(), "d", "/").await;
    gateway.metric_becomes(&requests("_other", "_other"), 4.0).await;
    assert_eq!(gateway.metric(&requests("b", "app")).await, Some(1.0), "who has series keeps them");
    // Shown for a while before anything is counted there: else a rate would miss what it begins with.
    gateway.metric_becomes(&requests("d", "app"), 0.0).await;
}
