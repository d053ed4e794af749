//! What is agreed on in a handshake: the protocol, the version, the key exchange.

use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{AlertDescription, NamedGroup, ProtocolVersion, ServerConfig};

use crate::world::client::{Client, head};
use crate::world::config::{one_tenant, one_tenant_with};
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::pki::{Authority, Wishes};
use crate::world::wire::Wire;

const HOST: &str = "shop.example";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn gateway(authority: &Authority, origin: &Origin) -> Gateway {
    let listener = format!("[listeners.tls]\n{}", authority.server(&[HOST]).keys);
    Gateway::start_with(&listener, &one_tenant(&[origin.address])).await
}

#[tokio::test]
async fn a_client_that_offers_only_other_protocols_is_told_so() {
    let authority = Authority::new();
    let origin = Origin::saying("hello").await;
    let gateway = gateway(&authority, &origin).await;

    for version in rustls::ALL_VERSIONS {
        let client = Wishes {
            protocols: &["spdy/3", "http/1.0"],
            versions: &[version],
            ..Wishes::of(&authority)
        };
        let alert = client.client().refusal(gateway.address(), HOST).await;
        assert_eq!(alert, AlertDescription::NoApplicationProtocol, "{version:?}");
    }

    let rejected = "tenantry_downstream_rejected_connections_total{reason=\"tls_no_protocol\"}";
    gateway.metric_becomes(rejected, 2.0).await;
}

/// What was agreed on is what is spoken: who looks at the handshake alone must not be wrong.
#[tokio::test]
async fn a_client_that_speaks_another_protocol_than_it_agreed_on_is_refused() {
    let authority = Authority::new();
    let origin = Origin::saying("hello").await;
    let gateway = gateway(&authority, &origin).await;
    let request = head("GET /", &[&format!("Host: {HOST}"), "X-Tenant-ID: acme"]);
    let connect = |protocols: &'static [&'static str]| {
        let client = Wishes { protocols, ..Wishes::of(&authority) }.client();
        let address = gateway.address();
        async move { Wire::new(client.connect(address, HOST).await) }
    };

    for (protocols, said) in
        [(&["http/1.1"][..], PREFACE), (&[][..], PREFACE), (&["h2"][..], request.as_bytes())]
    {
        let mut wire = connect(protocols).await;
        drop(wire.write(said).await);
        let heard = crate::world::within("the end", wire.rest()).await;
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(!heard.contains(" 200 ") && !heard.contains("hello"), "{protocols:?}: {heard}");
    }

    assert_eq!(origin.asked().len(), 0);
    let mut client =
        Client::over(Wishes::of(&authority).client().connect(gateway.address(), HOST).await);
    assert_eq!(client.ask(&request).await.status, 200);
}

/// The endpoint has no other key exchange.
#[tokio::test]
async fn endpoints_are_offered_the_hybrid_key_exchange_too() {
    let authority = Authority::new();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519MLKEM768);
    let made = authority.made_for(&["127.0.0.1"]);
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a protocol version")
        .with_no_client_auth()
        .with_single_cert(vec![made.certificate], key)
        .expect("a certificate and its key");
    let origin = Origin::start_tls(Arc::new(config), [Step::ok("hello")]).await;
    let tls = format!("tls = {{ ca = \"{}\" }}", authority.file());
    let gateway = Gateway::start(&one_tenant_with(&[origin.address], &tls)).await;

    let answer = gateway.get("/").await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
}

#[tokio::test]
async fn the_key_exchange_is_a_hybrid_one_where_the_client_can() {
    let authority = Authority::new();
    let origin = Origin::saying("hello").await;
    let gateway = gateway(&authority, &origin).await;

    let stream = Wishes::of(&authority).client().connect(gateway.address(), HOST).await;

    let connection = stream.get_ref().1;
    let group = connection.negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
    assert_eq!(connection.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(
        connection.handshake_kind(),
        Some(rustls::HandshakeKind::Full),
        "at the first go, without a further round trip"
    );
}
