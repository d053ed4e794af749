//! Several certificates behind one listener, and what a connection for one may ask for.

use http::Request;
use rustls::AlertDescription;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::world::client::{Client, Frames, Hyper, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::Origin;
use crate::world::pki::{Authority, Pair, Wishes};

/// A listener that has a certificate for all else, and one for each of these.
fn listener(default: Option<&Pair>, others: &[&str]) -> String {
    let default = default.map_or("", |pair| &pair.keys);
    let others: String =
        others.iter().map(|keys| format!("[[listeners.tls.certificates]]\n{keys}")).collect();
    format!("[listeners.tls]\n{default}{others}")
}

fn presented(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
    chain[0].clone().into_owned()
}

async fn ask(client: &mut Client, host: &str) -> Answer {
    client.ask(head("GET /", &[&format!("Host: {host}"), "X-Tenant-ID: acme"])).await
}

async fn ask_h2(client: &mut Hyper, host: &str) -> Answer {
    let request = Request::get(format!("https://{host}/")).header("x-tenant-id", "acme");
    client.ask(request.body(Frames::default()).expect("a request")).await
}

const MISDIRECTED: &str = "tenantry_gateway_answers_total{problem=\"misdirected\"}";

#[tokio::test]
async fn each_name_is_shown_its_own_certificate() {
    let authority = Authority::new();
    let default = authority.server(&["default.example", "127.0.0.1"]);
    let exact = authority.server(&["shop.example", "www.shop.example"]);
    let below = authority.server(&["*.shop.example"]);
    let named = authority.server(&["api.example", "old.example"]);
    let chosen = format!("{}hosts = [\"API.example\"]\n", named.keys);
    let origin = Origin::saying("hello").await;
    let more = listener(Some(&default), &[&exact.keys, &below.keys, &chosen]);
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let client = Wishes::of(&authority).client();

    for (name, pair) in [
        ("shop.example", &exact),
        ("www.shop.example", &exact),
        ("WWW.Shop.Example", &exact),
        ("a.shop.example", &below),
        ("api.example", &named),
        ("default.example", &default),
        ("127.0.0.1", &default),
    ] {
        let stream = client.connect(gateway.address(), name).await;
        assert!(presented(&stream) == pair.certificate, "{name}");
        let answer = ask(&mut Client::over(stream), name).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{name}");
    }
    // These are shown the default, which is not for them.
    for name in ["old.example", "a.b.shop.example"] {
        assert!(client.distrusts(gateway.address(), name).await, "{name}");
    }
}

#[tokio::test]
async fn without_a_default_only_the_names_of_the_certificates_get_in() {
    let authority = Authority::new();
    let shop = authority.server(&["shop.example", "127.0.0.1"]);
    let origin = Origin::saying("hello").await;
    let more = listener(None, &[&shop.keys]);
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let client = Wishes::of(&authority).client();
    let silent = Wishes { tells_name: false, ..Wishes::of(&authority) }.client();

    let stream = client.connect(gateway.address(), "shop.example").await;
    let mut known = Client::over(stream);
    let unknown = client.refusal(gateway.address(), "other.example").await;
    let nameless = silent.refusal(gateway.address(), "shop.example").await;

    assert_eq!(ask(&mut known, "shop.example").await.status, 200);
    assert_eq!(ask(&mut known, "other.example").await.status, 421);
    assert_eq!(unknown, AlertDescription::UnrecognisedName);
    assert_eq!(nameless, AlertDescription::UnrecognisedName);
    let rejected = "tenantry_downstream_rejected_connections_total{reason=\"tls_unknown_name\"}";
    gateway.metric_becomes(rejected, 2.0).await;
}

#[tokio::test]
async fn a_request_for_a_host_of_another_certificate_is_misdirected() {
    let authority = Authority::new();
    let default = authority.server(&["default.example"]);
    let (one, other) = (authority.server(&["one.example"]), authority.server(&["two.example"]));
    let origin = Origin::saying("hello").await;
    let more = listener(Some(&default), &[&one.keys, &other.keys]);
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let by = |protocols: &'static [&'static str]| {
        let wishes = Wishes { protocols, ..Wishes::of(&authority) };
        let (client, address) = (wishes.client(), gateway.address());
        async move { client.connect(address, "one.example").await }
    };
    let mut by_h1 = Client::over(by(&["http/1.1"]).await);
    let mut by_h2 = Hyper::h2_over(by(&["h2"]).await).await;

    let mut refused = Vec::new();
    for host in ["two.example", "TWO.example.:8443", "default.example", "10.0.0.1"] {
        refused.push(ask(&mut by_h1, host).await);
    }
    for host in ["two.example", "default.example"] {
        refused.push(ask_h2(&mut by_h2, host).await);
    }
    let absolute = head("GET http://two.example/", &["Host: one.example", "X-Tenant-ID: acme"]);
    refused.push(by_h1.ask(absolute).await);

    for answer in &refused {
        let told = (answer.status, answer.problem());
        assert_eq!(told, (421, Some("misdirected".to_owned())));
    }
    assert_eq!(origin.asked().len(), 0);
    gateway.metric_becomes(MISDIRECTED, 7.0).await;
    // Both connections are as good as before.
    assert_eq!(ask(&mut by_h1, "One.example:8443").await.status, 200);
    assert_eq!(ask_h2(&mut by_h2, "one.example").await.status, 200);
}

#[tokio::test]
async fn hosts_of_one_certificate_share_a_connection() {
    let authority = Authority::new();
    let default = authority.server(&["default.example"]);
    let shop = authority.server(&["shop.example", "*.shop.example"]);
    let origin = Origin::saying("hello").await;
    let more = listener(Some(&default), &[&shop.keys]);
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let client = Wishes { protocols: &["h2"], ..Wishes::of(&authority) }.client();

    let shops = client.connect(gateway.address(), "shop.example").await;
    let mut shops = Hyper::h2_over(shops).await;
    let others = client.connect(gateway.address(), "default.example").await;
    let mut others = Hyper::h2_over(others).await;

    for host in ["shop.example", "a.shop.example", "b.shop.example"] {
        assert_eq!(ask_h2(&mut shops, host).await.status, 200, "{host}");
    }
    for host in ["default.example", "anything.example", "10.0.0.1"] {
        assert_eq!(ask_h2(&mut others, host).await.status, 200, "{host}");
    }
    assert_eq!(ask_h2(&mut others, "a.shop.example").await.status, 421);
}

#[tokio::test]
async fn who_asks_for_no_name_gets_the_default_and_its_hosts_alone() {
    let authority = Authority::new();
    let default = authority.server(&["default.example"]);
    let shop = authority.server(&["shop.example"]);
    let origin = Origin::saying("hello").await;
    let more = listener(Some(&default), &[&shop.keys]);
    let gateway = Gateway::start_with(&more, &one_tenant(&[origin.address])).await;
    let silent = Wishes { tells_name: false, ..Wishes::of(&authority) }.client();

    let stream = silent.connect(gateway.address(), "default.example").await;
    let mut client = Client::over(stream);

    assert_eq!(ask(&mut client, "default.example").await.status, 200);
    assert_eq!(ask(&mut client, "shop.example").await.status, 421);
    // A request of HTTP/1.0 may have no host: it is for whom the connection is for.
    let bare = "GET / HTTP/1.0\r\nX-Tenant-ID: acme\r\n\r\n";
    assert_eq!(client.ask(bare).await.status, 200);
}
