//! Sessions that are resumed: on whichever worker, and never past a demand.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, HandshakeKind, NamedGroup};

use crate::world::client::{Client, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::Origin;
use crate::world::pki::{Authority, Visitor, Wishes};

const HOST: &str = "shop.example";

/// Visits once: how the handshake went, and the answer. Tickets have come by then.
async fn visit(
    client: &Visitor,
    address: SocketAddr,
    host: &str,
) -> (Option<HandshakeKind>, Answer) {
    let stream = client.connect(address, host).await;
    let kind = stream.get_ref().1.handshake_kind();
    let fields = [&format!("Host: {host}"), "X-Tenant-ID: acme", "Connection: close"];
    (kind, Client::over(stream).ask(head("GET /", &fields)).await)
}

#[tokio::test]
async fn every_worker_resumes_the_sessions_of_every_other() {
    let authority = Authority::new();
    let origin = Origin::saying("hello").await;
    let listener = format!("[listeners.tls]\n{}", authority.server(&[HOST]).keys);
    let routes = one_tenant(&[origin.address]);
    let gateway = Gateway::start_with_workers(4, &listener, &routes).await;

    for version in rustls::ALL_VERSIONS {
        let client = Wishes { versions: &[version], ..Wishes::of(&authority) }.client();
        let (first, answer) = visit(&client, gateway.address(), HOST).await;
        assert_eq!((first, answer.status), (Some(HandshakeKind::Full), 200), "{version:?}");
        // By then each of four workers has had one, but for one time in a million.
        for number in 0..50 {
            let (kind, answer) = visit(&client, gateway.address(), HOST).await;
            let told = (kind, answer.status);
            assert_eq!(told, (Some(HandshakeKind::Resumed), 200), "{version:?} {number}");
        }
    }
}

#[tokio::test]
async fn listeners_of_one_demand_resume_the_sessions_of_each_other() {
    let authority = Authority::new();
    let origin = Origin::saying("hello").await;
    let keys = authority.server(&[HOST]).keys;
    let tls = format!("[listeners.tls]\n{keys}");
    let listeners = format!("{tls}[[listeners]]\naddress = \"127.0.0.1:0\"\n{tls}");
    let gateway = Gateway::start_with(&listeners, &one_tenant(&[origin.address])).await;
    let client = Wishes::of(&authority).client();

    let (first, _) = visit(&client, gateway.app.addresses()[0], HOST).await;
    let (second, answer) = visit(&client, gateway.app.addresses()[1], HOST).await;

    assert_eq!((first, second), (Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)));
    assert_eq!(answer.status, 200);
}

/// A client that shows its tickets to whom it likes: an attacker would.
#[derive(Debug)]
struct OnePlace(ClientSessionMemoryCache);

impl OnePlace {
    fn name() -> ServerName<'static> {
        ServerName::try_from("one.place").expect("a name")
    }
}

impl ClientSessionStore for OnePlace {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(Self::name(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&Self::name())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(Self::name(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&Self::name())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&Self::name());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(Self::name(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&Self::name())
    }
}

#[tokio::test]
async fn a_session_is_no_way_past_the_demand_of_another_host_or_listener() {
    let authority = Authority::new();
    let origin = Origin::saying("hello").await;
    let keys = authority.server(&[HOST, "other.example"]).keys;
    let off = "client-certificates = { mode = \"off\" }\n";
    let host = |host: &str, demand: &str| {
        format!("[[listeners.tls.certificates]]\nhosts = [\"{host}\"]\n{keys}{demand}")
    };
    let next = "[[listeners]]\naddress = \"127.0.0.1:0\"\n";
    // 0: open, but for one host · 1: whoever likes shows one · 2: everybody shows one
    let listeners = format!(
        "{}{}{next}[listeners.tls]\n{keys}{}{next}[listeners.tls]\n{keys}{}",
        host(HOST, off),
        host("other.example", &authority.demand("required")),
        authority.demand("optional"),
        authority.demand("required"),
    );
    let gateway = Gateway::start_with(&listeners, &one_tenant(&[origin.address])).await;
    let addresses = gateway.app.addresses();

    for version in rustls::ALL_VERSIONS {
        for (from, (to, name)) in [
            (addresses[0], (addresses[0], "other.example")),
            (addresses[0], (addresses[2], HOST)),
            (addresses[1], (addresses[2], HOST)),
            (addresses[1], (addresses[0], "other.example")),
        ] {
            let sessions = Arc::new(OnePlace(ClientSessionMemoryCache::new(16)));
            let wishes = Wishes { versions: &[version], ..Wishes::of(&authority) };
            let client = Wishes { sessions: Some(sessions), ..wishes }.client();

            let (_, answer) = visit(&client, from, HOST).await;
            let (again, _) = visit(&client, from, HOST).await;
            let alert = client.refusal(to, name).await;

            assert_eq!(answer.status, 200);
            assert_eq!(again, Some(HandshakeKind::Resumed), "its tickets are good");
            assert_eq!(alert, AlertDescription::CertificateRequired, "{version:?} {name}");
        }
    }
}

/// A ticket is for the name that it was given for, also where another one has the same demand.
#[tokio::test]
async fn a_session_of_one_name_is_none_of_another() {
    let authority = Authority::new();
    let origin = Origin::saying("hello").await;
    let certificate =
        |name: &str| format!("[[listeners.tls.certificates]]\n{}", authority.server(&[name]).keys);
    let listener = format!("{}{}", certificate(HOST), certificate("other.example"));
    let gateway = Gateway::start_with(&listener, &one_tenant(&[origin.address])).await;
    let sessions = Arc::new(OnePlace(ClientSessionMemoryCache::new(16)));
    let client = Wishes { sessions: Some(sessions), ..Wishes::of(&authority) }.client();

    let (_, first) = visit(&client, gateway.address(), HOST).await;
    let (kind, second) = visit(&client, gateway.address(), "other.example").await;

    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(kind, Some(HandshakeKind::Full));
}
