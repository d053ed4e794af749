//! Proxies in front: whose word is believed about whom a request is for, and what endpoints hear.

use tokio::net::TcpSocket;

use crate::world::client::{Client, Frames, Hyper, ask, head};
use crate::world::config::one_tenant;
use crate::world::eventually;
use crate::world::gateway::Gateway;
use crate::world::message::Asked;
use crate::world::origin::Origin;

/// The test itself is a trusted proxy, and so are the networks of documentation that it names.
const TRUSTED: &str = "trusted-proxies = [\"127.0.0.1\", \"10.0.0.0/8\", \"fd00::/8\"]\n";
const STANDARD: &str =
    "trusted-proxies = { from = [\"127.0.0.1\", \"10.0.0.0/8\"], field = \"forwarded\" }\n";

struct World {
    origin: Origin,
    gateway: Gateway,
}

impl World {
    async fn start(more: &str) -> Self {
        let origin = Origin::saying("hello").await;
        let gateway = Gateway::start_with(more, &one_tenant(&[origin.address])).await;
        Self { origin, gateway }
    }

    /// A request with these fields, as the endpoint got it.
    async fn through(&self, fields: &[&str]) -> Asked {
        let seen = self.origin.asked().len();
        let fields = [&["Host: shop.example", "X-Tenant-ID: acme"], fields].concat();
        let answer = ask(self.gateway.address(), "GET /", &fields).await;
        assert_eq!(answer.status, 200, "{fields:?}: {answer:?}");
        self.origin.wait_for(seen + 1).await.remove(seen)
    }

    /// Waits for the access log to name these clients, in this order.
    async fn logged(&self, clients: &[&str]) {
        let log = || {
            let text = std::fs::read_to_string(self.gateway.path("access.log")).unwrap_or_default();
            let client = |line: &str| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                line["client"].as_str().map(str::to_owned)
            };
            text.lines().filter_map(client).collect::<Vec<_>>()
        };
        eventually("the clients in the log", log, |log| log == clients).await;
    }
}

fn faults(reason: &str) -> String {
    format!("tenantry_downstream_forwarded_faults_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn the_client_is_the_rightmost_address_that_is_no_trusted_proxy() {
    let world = World::start(TRUSTED).await;
    let cases: [(&[&str], &str, &str); 7] = [
        (&[], "127.0.0.1", "127.0.0.1"),
        (&["X-Forwarded-For: 192.0.2.1"], "192.0.2.1", "192.0.2.1, 127.0.0.1"),
        (
            &["X-Forwarded-For: 6.6.6.6, 192.0.2.1,10.0.0.9"],
            "192.0.2.1",
            "6.6.6.6, 192.0.2.1, 10.0.0.9, 127.0.0.1",
        ),
        (
            &["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 192.0.2.2:4711, [fd00::1]:80"],
            "192.0.2.2",
            "6.6.6.6, 192.0.2.2:4711, [fd00::1]:80, 127.0.0.1",
        ),
        (&["X-Forwarded-For: 10.0.0.2, 10.0.0.1"], "10.0.0.2", "10.0.0.2, 10.0.0.1, 127.0.0.1"),
        (&["X-Forwarded-For: 2001:db8::1"], "2001:db8::1", "2001:db8::1, 127.0.0.1"),
        (&["X-Real-IP: 6.6.6.6", "X_Forwarded_For: 6.6.6.6"], "127.0.0.1", "127.0.0.1"),
    ];
    for (fields, client, chain) in cases {
        let asked = world.through(fields).await;
        assert_eq!(asked.all("x-real-ip"), [client], "{fields:?}");
        assert_eq!(asked.all("x-forwarded-for"), [chain], "{fields:?}");
        assert_eq!(asked.all("forwarded"), [""; 0]);
    }
    world.logged(&cases.map(|(_, client, _)| client)).await;
}

#[tokio::test]
async fn scheme_host_and_port_are_believed_of_a_trusted_proxy() {
    let world = World::start(TRUSTED).await;
    let asked = world
        .through(&[
            "X-Forwarded-Proto: http",
            "X-Forwarded-Proto: ftp, HTTPS",
            "X-Forwarded-Host: evil.example, www.example:8443",
            "X-Forwarded-Port: 8443",
            "X-Forwarded-Prefix: /evil",
        ])
        .await;
    assert_eq!(asked.all("x-forwarded-proto"), ["https"]);
    assert_eq!(asked.all("x-forwarded-host"), ["www.example:8443"]);
    assert_eq!(asked.all("x-forwarded-port"), ["8443"]);
    assert_eq!(asked.all("x-forwarded-prefix"), [""; 0]);
    assert_eq!(
        asked.all("host"),
        ["shop.example"],
        "routing and endpoints go by the request's own"
    );

    let asked = world.through(&["X-Forwarded-Proto: wss"]).await;
    assert_eq!(asked.all("x-forwarded-proto"), ["https"]);
    let bad = ["X-Forwarded-Proto: x", "X-Forwarded-Host: a b/\"", "X-Forwarded-Port: 65536"];
    let asked = world.through(&bad).await;
    assert_eq!(asked.all("x-forwarded-proto"), ["http"]);
    assert_eq!(asked.all("x-forwarded-host"), ["shop.example"]);
    assert_eq!(asked.all("x-forwarded-port"), [""; 0]);
}

#[tokio::test]
async fn who_is_no_trusted_proxy_is_the_client_whatever_it_says() {
    let world = World::start("trusted-proxies = [\"127.0.0.2\"]").await;
    let forged = [
        "X-Forwarded-For: 127.0.0.2",
        "X-Forwarded-For: 6.6.6.6, 127.0.0.2",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 1",
        "X-Real-IP: 6.6.6.6",
        "Forwarded: for=6.6.6.6;host=evil.example;proto=https",
    ];

    let asked = world.through(&forged).await;

    assert_eq!(asked.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(asked.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(asked.all("x-forwarded-proto"), ["http"]);
    assert_eq!(asked.all("x-forwarded-host"), ["shop.example"]);
    let text = format!("{:?}", asked.headers);
    assert!(!text.contains("6.6.6.6") && !text.contains("evil"), "{text}");
    world.logged(&["127.0.0.1"]).await;

    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("bind");
    let proxy = socket.connect(world.gateway.address()).await.expect("connect");
    let fields = ["Host: a", "X-Tenant-ID: acme", "X-Forwarded-For: 192.0.2.1"];
    assert_eq!(Client::over(proxy).ask(head("GET /", &fields)).await.status, 200);
    let asked = world.origin.wait_for(2).await.remove(1);
    assert_eq!(asked.all("x-forwarded-for"), ["192.0.2.1, 127.0.0.2"]);
}

#[tokio::test]
async fn a_broken_or_endless_chain_fails_no_request_and_makes_nobody_believed() {
    let world = World::start(TRUSTED).await;
    let cases = [
        ("6.6.6.6, unknown".to_owned(), "127.0.0.1", 1),
        ("6.6.6.6, \"x, 10.0.0.1".to_owned(), "10.0.0.1", 2),
        (format!("6.6.6.6, {}10.0.0.1", "10.0.0.2,".repeat(999)), "10.0.0.2", 33),
        ("1".repeat(9000), "127.0.0.1", 1),
        ("\u{e9},\t, ,".to_owned(), "127.0.0.1", 1),
    ];
    for (chain, client, length) in &cases {
        let asked = world.through(&[&format!("X-Forwarded-For: {chain}")]).await;
        assert_eq!(asked.all("x-real-ip"), [*client]);
        let passed_on = asked.one("x-forwarded-for").expect("a chain");
        assert!(passed_on.ends_with("127.0.0.1") && !passed_on.contains("6.6.6.6"), "{passed_on}");
        assert_eq!(passed_on.split(", ").count(), *length, "{passed_on}");
    }
    world.gateway.metric_becomes(&faults("malformed"), 4.0).await;
    world.gateway.metric_becomes(&faults("too_long"), 1.0).await;

    let world = World::start(STANDARD).await;
    for (line, passed_on, scheme) in [
        ("for=6.6.6.6, for=unknown", "for=6.6.6.6, for=unknown, ", "http"),
        ("for=6.6.6.6, for=_x;proto=https", "for=6.6.6.6, for=_x;proto=https, ", "https"),
        ("for=6.6.6.6;proto=https, for=_x", "for=6.6.6.6;proto=https, for=_x, ", "http"),
        ("for=6.6.6.6, for=\"", "", "http"),
    ] {
        let asked = world.through(&[&format!("Forwarded: {line}")]).await;
        assert_eq!(asked.all("x-real-ip"), ["127.0.0.1"], "{line}");
        assert_eq!(asked.all("x-forwarded-for"), ["127.0.0.1"], "{line}");
        assert_eq!(asked.all("x-forwarded-proto"), [scheme], "{line}");
        let own = "for=127.0.0.1;host=\"shop.example\";proto=http";
        assert_eq!(asked.all("forwarded"), [format!("{passed_on}{own}")]);
    }
    world.gateway.metric_becomes(&faults("malformed"), 1.0).await;
}

#[tokio::test]
async fn elements_of_rfc_7239_are_believed_where_they_are_asked_for() {
    let world = World::start(STANDARD).await;

    let asked = world
        .through(&[
            "Forwarded: for=6.6.6.6;host=evil.example",
            "Forwarded: For=\"[2001:db8::1]:4711\";Host=\"www.example:81\";proto=HTTPS, for=10.0.0.1",
        ])
        .await;

    assert_eq!(asked.all("x-real-ip"), ["2001:db8::1"]);
    assert_eq!(asked.all("x-forwarded-for"), ["6.6.6.6, 2001:db8::1, 10.0.0.1, 127.0.0.1"]);
    assert_eq!(asked.all("x-forwarded-proto"), ["https"]);
    assert_eq!(asked.all("x-forwarded-host"), ["www.example:81"]);
    let elements = "for=6.6.6.6;host=evil.example, \
                    For=\"[2001:db8::1]:4711\";Host=\"www.example:81\";proto=HTTPS, for=10.0.0.1, \
                    for=127.0.0.1;host=\"shop.example\";proto=http";
    assert_eq!(asked.all("forwarded"), [elements]);
    world.logged(&["2001:db8::1"]).await;
}

#[tokio::test]
async fn only_the_field_that_the_proxies_write_is_believed() {
    let both = [
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: one.example",
        "Forwarded: for=192.0.2.2;host=two.example",
    ];
    let world = World::start(TRUSTED).await;
    let asked = world.through(&both).await;
    assert_eq!(asked.all("x-real-ip"), ["192.0.2.1"]);
    assert_eq!(asked.all("forwarded"), [""; 0]);

    let world = World::start(STANDARD).await;
    let asked = world.through(&both).await;
    assert_eq!(asked.all("x-real-ip"), ["192.0.2.2"]);
    assert_eq!(asked.all("x-forwarded-for"), ["192.0.2.2, 127.0.0.1"]);
    assert_eq!(asked.all("x-forwarded-proto"), ["http"]);
    assert_eq!(asked.all("x-forwarded-host"), ["two.example"]);
}

#[tokio::test]
async fn the_address_that_a_proxy_header_names_is_the_peer_that_is_judged() {
    let more = "proxy-protocol = { from = [\"127.0.0.1\"] }\ntrusted-proxies = [\"10.0.0.0/8\"]\n";
    let world = World::start(more).await;
    let fields = ["Host: a", "X-Tenant-ID: acme", "X-Forwarded-For: 192.0.2.1"];
    for (at, (peer, client, chain)) in
        [("10.0.0.1", "192.0.2.1", "192.0.2.1, 10.0.0.1"), ("192.0.2.9", "192.0.2.9", "192.0.2.9")]
            .into_iter()
            .enumerate()
    {
        let line = format!("PROXY TCP4 {peer} 10.0.0.2 4711 80\r\n");
        let mut proxy = Client::connect(world.gateway.address()).await;
        assert_eq!(proxy.ask(line + &head("GET /", &fields)).await.status, 200);
        let asked = world.origin.wait_for(at + 1).await.remove(at);
        assert_eq!(asked.all("x-real-ip"), [client]);
        assert_eq!(asked.all("x-forwarded-for"), [chain]);
    }
}

#[tokio::test]
async fn each_request_of_a_proxys_http2_connection_has_its_own_client() {
    let world = World::start(TRUSTED).await;
    let mut proxy = Hyper::h2(world.gateway.address()).await;
    for (at, client) in ["192.0.2.1", "192.0.2.2"].into_iter().enumerate() {
        let mut request = proxy.request("GET", "acme", "/", Frames::default());
        request.headers_mut().insert("x-forwarded-for", client.parse().expect("a value"));
        assert_eq!(proxy.ask(request).await.status, 200);
        let asked = world.origin.wait_for(at + 1).await.remove(at);
        assert_eq!(asked.all("x-real-ip"), [client]);
    }
}

#[tokio::test]
async fn a_redirect_leads_to_where_the_client_came_by() {
    let routes = "[tenants.acme]\n[[tenants.acme.routes]]\n\
                  redirect = { to = \"{scheme}://{host}/new\" }\n";
    let gateway = Gateway::start_with(TRUSTED, routes).await;
    let fields = [
        "Host: inner.example",
        "X-Tenant-ID: acme",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: www.example",
    ];
    let answer = ask(gateway.address(), "GET /", &fields).await;
    assert_eq!(answer.one("location").as_deref(), Some("https://www.example/new"));
}

#[tokio::test]
async fn proxies_of_all_listeners_are_believed_where_a_listener_does_not_say() {
    let origin = Origin::saying("hello").await;
    let folder = tempfile::tempdir().expect("a folder");
    let routes = one_tenant(&[origin.address]);
    std::fs::write(folder.path().join("routes.toml"), routes).expect("write the routes");
    let text = "trusted-proxies = [\"127.0.0.1\"]\nroutes = \"routes.toml\"\nworkers = 1\n\
                access-log = { output = \"off\" }\nadmin = { address = \"off\" }\n\
                [[listeners]]\naddress = \"127.0.0.1:0\"\n\
                [[listeners]]\naddress = \"127.0.0.1:0\"\ntrusted-proxies = []\n";
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, text).expect("write gateway.toml");
    let spec = tenantry::config::load_gateway(&path).expect("a good file");
    let metrics = std::sync::Arc::new(tenantry::telemetry::registry::Metrics::new());
    let app = Box::pin(tenantry::app::App::start(spec, metrics)).await.expect("a start");
    let fields = ["Host: a", "X-Tenant-ID: acme", "X-Forwarded-For: 192.0.2.1"];
    for address in app.addresses() {
        assert_eq!(ask(*address, "GET /", &fields).await.status, 200);
    }

    let asked = origin.wait_for(2).await;

    assert_eq!(asked[0].all("x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
    assert_eq!(asked[1].all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(asked[1].all("x-real-ip"), [""; 0], "a listener that trusts nobody is as ever");
}
