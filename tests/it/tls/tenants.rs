//! Tenants that clients are by their certificates.

use rcgen::{CertificateParams, DnType, SanType};
use rustls::HandshakeKind;

use crate::world::client::{Client, head};
use crate::world::gateway::Gateway;
use crate::world::message::Answer;
use crate::world::origin::Origin;
use crate::world::pki::{Authority, Shown, Visitor, Wishes};

const HOST: &str = "shop.example";

/// Two tenants with an origin each, named in these ways.
struct Shop {
    authority: Authority,
    gateway: Gateway,
    acme: Origin,
    globex: Origin,
}

impl Shop {
    async fn open(mode: &str, from: &str) -> Self {
        let authority = Authority::new();
        let (acme, globex) = (Origin::saying("acme").await, Origin::saying("globex").await);
        let keys = authority.server(&[HOST]).keys;
        let listener = format!("[listeners.tls]\n{keys}{}", authority.demand(mode));
        let routes = format!(
            "[tenant]\nfrom = [{from}]\n\
             [pools.acme]\nendpoints = [\"{}\"]\n[pools.globex]\nendpoints = [\"{}\"]\n\
             [tenants.acme]\npool = \"acme\"\n[tenants.globex]\npool = \"globex\"\n",
            acme.address, globex.address
        );
        let gateway = Gateway::start_with(&listener, &routes).await;
        Self { authority, gateway, acme, globex }
    }

    fn visitor(&self, shown: Option<Shown>) -> Visitor {
        Wishes { shown, ..Wishes::of(&self.authority) }.client()
    }

    async fn ask(&self, shown: Option<Shown>, fields: &[&str]) -> Answer {
        let stream = self.visitor(shown).connect(self.gateway.address(), HOST).await;
        let host = format!("Host: {HOST}");
        let fields: Vec<&str> = [host.as_str()].into_iter().chain(fields.iter().copied()).collect();
        Client::over(stream).ask(head("GET /", &fields)).await
    }
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.problem().unwrap_or_else(|| answer.text()))
}

fn dns(params: &mut CertificateParams, name: &str) {
    params.subject_alt_names.push(SanType::DnsName(name.try_into().expect("a name")));
}

fn uri(params: &mut CertificateParams, uri: &str) {
    params.subject_alt_names.push(SanType::URI(uri.try_into().expect("a URI")));
}

#[tokio::test]
async fn the_certificate_names_the_tenant_and_no_header_does() {
    let ways = "{ certificate-cn = \"{tenant}\" }, { header = \"X-Tenant-ID\" }";
    let shop = Shop::open("required", ways).await;
    let acme = || Some(shop.authority.client_named("acme"));

    let plain = shop.ask(acme(), &[]).await;
    let contradicted = shop.ask(acme(), &["X-Tenant-ID: globex"]).await;
    let claims =
        ["X-Client-CN: globex", "Client-Cert: :Z2xvYmV4:", "X-Forwarded-Client-Cert: CN=globex"];
    let claimed = shop.ask(acme(), &claims).await;

    for answer in [plain, contradicted, claimed] {
        assert_eq!(told(&answer), (200, "acme".into()));
    }
    for asked in shop.acme.wait_for(3).await {
        assert_eq!(asked.all("x-tenant-id"), ["acme"]);
    }
    assert_eq!(shop.globex.connections(), 0);
}

#[tokio::test]
async fn without_a_certificate_the_next_way_is_asked() {
    let ways = "{ certificate-cn = \"{tenant}\" }, { header = \"X-Tenant-ID\" }";
    let shop = Shop::open("optional", ways).await;

    let by_header = shop.ask(None, &["X-Tenant-ID: globex"]).await;
    let by_none = shop.ask(None, &[]).await;
    let nameless = shop.authority.client(|_| ());
    let nameless = shop.ask(Some(nameless), &["X-Tenant-ID: globex"]).await;
    let unknown = shop.ask(Some(shop.authority.client_named("nobody")), &[]).await;

    assert_eq!(told(&by_header), (200, "globex".into()));
    assert_eq!(told(&by_none), (400, "tenant-missing".into()));
    assert_eq!(told(&nameless), (200, "globex".into()));
    assert_eq!(told(&unknown), (404, "tenant-unknown".into()));
}

#[tokio::test]
async fn dns_names_and_uris_name_the_tenant_too() {
    let ways = "{ certificate-dns = \"{tenant}.clients.example\" }, \
                { certificate-uri = \"spiffe://example/ns/{tenant}/sa/app\" }";
    let shop = Shop::open("required", ways).await;
    let check = async |change: &dyn Fn(&mut CertificateParams), status: u16, text: &str| {
        let answer = shop.ask(Some(shop.authority.client(change)), &[]).await;
        assert_eq!(told(&answer), (status, text.to_owned()));
    };

    check(&|params| dns(params, "acme.clients.example"), 200, "acme").await;
    check(&|params| dns(params, "ACME.Clients.Example"), 200, "acme").await;
    check(&|params| uri(params, "spiffe://example/ns/globex/sa/app"), 200, "globex").await;
    // The first way that is present wins; a name that does not fit is not present.
    let both = |params: &mut CertificateParams| {
        uri(params, "spiffe://example/ns/globex/sa/app");
        dns(params, "acme.elsewhere.example");
    };
    check(&both, 200, "globex").await;
    let first = |params: &mut CertificateParams| {
        uri(params, "spiffe://example/ns/globex/sa/app");
        dns(params, "acme.clients.example");
    };
    check(&first, 200, "acme").await;
    for other in ["spiffe://other/ns/acme/sa/app", "spiffe://example/ns/acme/x/sa/app"] {
        check(&|params| uri(params, other), 400, "tenant-missing").await;
    }
    check(&|params| dns(params, "a.acme.clients.example"), 400, "tenant-missing").await;
}

#[tokio::test]
async fn a_certificate_of_no_one_valid_tenant_is_refused_whatever_the_next_way_says() {
    let ways = "{ certificate-dns = \"{tenant}.clients.example\" }, \
                { certificate-cn = \"{tenant}\" }, { default = \"acme\" }";
    let shop = Shop::open("required", ways).await;
    let common_names = |names: &'static [&'static str]| {
        move |params: &mut CertificateParams| {
            for name in names {
                params.distinguished_name.push(DnType::CommonName, *name);
            }
        }
    };
    let two_dns = |params: &mut CertificateParams| {
        dns(params, "acme.clients.example");
        dns(params, "globex.clients.example");
    };
    let ambiguous: [&dyn Fn(&mut CertificateParams); 4] =
        [&common_names(&["ac me"]), &common_names(&["acme/../globex"]), &two_dns, &|params| {
            dns(params, "*.clients.example")
        }];

    for change in ambiguous {
        let answer = shop.ask(Some(shop.authority.client(change)), &[]).await;
        assert_eq!(told(&answer), (400, "tenant-ambiguous".into()));
    }
    assert_eq!((shop.acme.connections(), shop.globex.connections()), (0, 0));
}

#[tokio::test]
async fn a_resumed_session_is_of_the_same_tenant() {
    let shop = Shop::open("required", "{ certificate-cn = \"{tenant}\" }").await;
    for version in rustls::ALL_VERSIONS {
        let shown = Some(shop.authority.client_named("globex"));
        let wishes = Wishes { versions: &[version], shown, ..Wishes::of(&shop.authority) };
        let client = wishes.client();

        for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let stream = client.connect(shop.gateway.address(), HOST).await;
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind), "{version:?}");
            let fields = [&format!("Host: {HOST}"), "Connection: close"];
            let answer = Client::over(stream).ask(head("GET /", &fields)).await;
            assert_eq!(told(&answer), (200, "globex".into()), "{version:?}");
        }
    }
}
