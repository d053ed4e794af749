//! From where clients may come, what they may ask for, and what pages of other origins may use.

use crate::world::client::{Frames, Hyper, ask};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::{Origin, Step};

use super::MadeKey;

/// A tenant `acme` with these keys, and one without any.
fn routes(origin: &Origin, keys: &str) -> String {
    let pool = pool("app", &[origin.address], "");
    format!("{pool}[tenants.open]\npool = \"app\"\n[tenants.acme]\npool = \"app\"\n{keys}\n")
}

async fn world(keys: &str) -> (Origin, Gateway) {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&routes(&origin, keys)).await;
    (origin, gateway)
}

const ACME: &str = "X-Tenant-ID: acme";
const APP: &str = "Origin: https://app.example.com";

async fn send(gateway: &Gateway, line: &str, fields: &[&str]) -> Answer {
    ask(gateway.address(), line, &[&["Host: a", ACME], fields].concat()).await
}

#[tokio::test]
async fn only_clients_of_the_right_networks_come_in() {
    let (origin, gateway) = world("").await;
    let cases = [
        ("allow = [\"127.0.0.0/8\"]", 200),
        ("allow = [\"10.0.0.0/8\", \"::1\"]", 403),
        ("allow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.1\"]", 403),
        ("deny = [\"10.0.0.0/8\"]", 200),
        ("deny = [\"127.0.0.1\"]", 403),
        ("allow = [\"unix\"]", 403),
    ];
    for (keys, status) in cases {
        gateway.reload(&routes(&origin, keys)).await;
        let answer = send(&gateway, "GET /", &["X-Forwarded-For: 10.0.0.1"]).await;
        assert_eq!(answer.status, status, "{keys}");
        let problem = (status == 403).then(|| "network-refused".to_owned());
        assert_eq!(answer.problem(), problem, "{keys}");
        let other = ask(gateway.address(), "GET /", &["Host: a", "X-Tenant-ID: open"]).await;
        assert_eq!(other.status, 200, "it is that tenant's alone");
    }
    let refused = "tenantry_access_refused_total{reason=\"network\"}";
    gateway.metric_becomes(refused, 4.0).await;
}

#[tokio::test]
async fn behind_proxies_that_are_trusted_it_is_the_client_whom_they_name() {
    let origin = Origin::saying("hello").await;
    let trusting = "trusted-proxies = [\"127.0.0.1\"]";
    let routes = routes(&origin, "allow = [\"192.0.2.0/24\"]");
    let gateway = Gateway::start_with(trusting, &routes).await;

    for (chain, status) in [
        ("X-Forwarded-For: 192.0.2.7", 200),
        ("X-Forwarded-For: 198.51.100.1", 403),
        ("X-Forwarded-For: 192.0.2.7, 198.51.100.1", 403),
        ("X-Forwarded-For: 198.51.100.1, 192.0.2.7", 200),
        ("X-Other: 192.0.2.7", 403),
    ] {
        assert_eq!(send(&gateway, "GET /", &[chain]).await.status, status, "{chain}");
    }
}

#[tokio::test]
async fn a_method_that_the_tenant_does_not_serve_is_answered_405() {
    let (origin, gateway) = world("methods = [\"GET\", \"POST\"]").await;

    for (line, status) in
        [("GET /", 200), ("HEAD /", 200), ("DELETE /", 405), ("OPTIONS /", 405), ("get /", 405)]
    {
        let answer = send(&gateway, line, &[]).await;
        assert_eq!(answer.status, status, "{line}");
        let allowed = (status == 405).then(|| "GET, POST, HEAD".to_owned());
        assert_eq!(answer.one("allow"), allowed, "{line}");
    }
    let mut h2 = Hyper::h2(gateway.address()).await;
    let put = h2.request("PUT", "acme", "/", Frames::default());
    assert_eq!(h2.ask(put).await.problem().as_deref(), Some("method-not-allowed"));
    assert_eq!(origin.asked().len(), 2);
}

const CORS: &str = "cors = { origins = [\"https://app.example.com\", \"https://*.shop.example\"], \
                    methods = [\"PUT\"], headers = [\"Content-Type\"], expose = [\"X-Total\"], \
                    credentials = true, max-age = \"1h\" }";

#[tokio::test]
async fn a_browser_that_asks_before_is_answered_by_the_gateway() {
    let key = MadeKey::new();
    let keys = format!(
        "authenticate = [\"api-key\"]\nkeys.a = {{ {} }}\nmethods = [\"PUT\"]\n{CORS}",
        key.hash
    );
    let (origin, gateway) = world(&keys).await;
    let asks = "Access-Control-Request-Method: PUT";

    let yes = send(&gateway, "OPTIONS /x", &[APP, asks]).await;
    let no = send(&gateway, "OPTIONS /x", &["Origin: https://evil.example", asks]).await;
    let twice = send(&gateway, "OPTIONS /x", &[APP, APP, asks]).await;
    let plain = send(&gateway, "OPTIONS /x", &[APP]).await;

    assert_eq!((yes.status, no.status, twice.status, plain.status), (204, 204, 204, 401));
    assert_eq!(yes.one("access-control-allow-origin").as_deref(), Some("https://app.example.com"));
    assert_eq!(yes.one("access-control-allow-methods").as_deref(), Some("PUT"));
    assert_eq!(yes.one("access-control-allow-headers").as_deref(), Some("content-type"));
    assert_eq!(yes.one("access-control-allow-credentials").as_deref(), Some("true"));
    assert_eq!(yes.one("access-control-max-age").as_deref(), Some("3600"));
    assert!(yes.all("vary").contains(&"origin".to_owned()), "{:?}", yes.headers);
    for refused in [no, twice] {
        let names = refused.headers.keys().filter(|name| name.as_str().starts_with("access-"));
        assert_eq!(names.count(), 0, "{:?}", refused.headers);
    }
    // A page reads why it was refused.
    assert_eq!(
        plain.one("access-control-allow-origin").as_deref(),
        Some("https://app.example.com")
    );
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn what_endpoints_say_of_other_origins_is_replaced() {
    let (origin, gateway) = world(CORS).await;
    origin.rescript([Step::raw(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVary: Accept\r\nAccess-Control-Allow-Origin: *\r\n\
         Access-Control-Allow-Origin: https://evil.example\r\nAccess-Control-Allow-Credentials: true\r\n\
         Access-Control-Expose-Headers: x-secret\r\nAccess-Control-Allow-Methods: DELETE\r\n\r\n",
    )]);

    let cases = [
        (APP, Some("https://app.example.com")),
        ("Origin: https://a.shop.example", Some("https://a.shop.example")),
        ("Origin: https://a.b.shop.example", None),
        ("Origin: https://app.example.com.evil.example", None),
        ("Origin: http://app.example.com", None),
        ("Origin: https://app.example.com, https://evil.example", None),
        ("Origin: null", None),
        ("X-Other: 1", None),
    ];
    for (field, allowed) in cases {
        let answer = send(&gateway, "GET /", &[field]).await;
        assert_eq!(answer.one("access-control-allow-origin").as_deref(), allowed, "{field}");
        let told = allowed.map(|_| "true".to_owned());
        assert_eq!(answer.one("access-control-allow-credentials"), told, "{field}");
        let exposed = allowed.map(|_| "x-total".to_owned());
        assert_eq!(answer.one("access-control-expose-headers"), exposed, "{field}");
        assert_eq!(answer.one("access-control-allow-methods"), None, "{field}");
        assert_eq!(answer.all("vary"), ["Accept", "origin"], "{field}");
    }
    let other = ask(gateway.address(), "GET /", &["Host: a", "X-Tenant-ID: open", APP]).await;
    assert_eq!(
        other.all("access-control-allow-origin").len(),
        2,
        "that tenant leaves it to endpoints"
    );
    gateway.reload(&routes(&origin, "cors = { origins = [\"*\"] }")).await;
    let all = send(&gateway, "GET /", &["Origin: https://evil.example"]).await;
    assert_eq!(all.one("access-control-allow-origin").as_deref(), Some("*"));
    assert_eq!(all.one("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn a_client_that_hides_behind_what_no_proxy_wrote_is_of_no_network() {
    let origin = Origin::saying("hello").await;
    let trusting = "trusted-proxies = { from = [\"127.0.0.1\"], field = \"forwarded\" }";
    for networks in ["allow = [\"127.0.0.0/8\"]", "deny = [\"198.51.100.0/24\"]"] {
        let gateway = Gateway::start_with(trusting, &routes(&origin, networks)).await;
        // The proxy has written the last element; the client has opened a quotation before it.
        for (line, status) in [
            ("for=\", for=198.51.100.1", 403),
            ("for=198.51.100.1, for=unknown", 403),
            ("for=198.51.100.1", 403),
            ("for=127.0.0.1", 200),
        ] {
            let answer = send(&gateway, "GET /", &[&format!("Forwarded: {line}")]).await;
            assert_eq!(answer.status, status, "{networks}: {line}");
        }
        assert_eq!(send(&gateway, "GET /", &[]).await.status, 200, "the proxy itself");
    }
}

#[tokio::test]
async fn what_a_browser_asks_before_takes_nothing_of_the_tenant_s_limits() {
    let limits = "limits = { requests = \"1/h\", burst = 1, quota = \"2/month\" }";
    let cors = "cors = { origins = [\"https://app.example.com\"] }";
    let (_origin, gateway) = world(&format!("{limits}\n{cors}")).await;

    for _ in 0..3 {
        let asks = [APP, "Access-Control-Request-Method: GET"];
        assert_eq!(send(&gateway, "OPTIONS /", &asks).await.status, 204);
    }

    assert_eq!(send(&gateway, "GET /", &[APP]).await.status, 200);
    assert_eq!(send(&gateway, "GET /", &[APP]).await.status, 429);
}
