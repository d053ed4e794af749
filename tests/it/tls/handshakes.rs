//! What is agreed on in a handshake: the protocol, the version, the key exchange.

use rustls::{AlertDescription, NamedGroup, ProtocolVersion};

use crate::world::client::{Client, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::origin::Origin;
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
