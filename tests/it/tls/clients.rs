//! Certificates of clients: who must show one, who may, and which ones are good.

use rcgen::ExtendedKeyUsagePurpose;
use rustls::AlertDescription;

use crate::world::client::{Client, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::origin::Origin;
use crate::world::pki::{Authority, Shown, Wishes};

const HOST: &str = "shop.example";
const MISSING: &str =
    "tenantry_downstream_rejected_connections_total{reason=\"tls_no_client_certificate\"}";
const BAD: &str =
    "tenantry_downstream_rejected_connections_total{reason=\"tls_bad_client_certificate\"}";

async fn status(stream: impl crate::world::wire::Stream + 'static, host: &str) -> u16 {
    let fields = [&format!("Host: {host}"), "X-Tenant-ID: acme"];
    Client::over(stream).ask(head("GET /", &fields)).await.status
}

#[tokio::test]
async fn where_one_is_required_nobody_comes_in_without_a_good_one() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let origin = Origin::saying("hello").await;
    let keys = ours.server(&[HOST]).keys;
    let listener = format!("[listeners.tls]\n{keys}{}", ours.demand("required"));
    let gateway = Gateway::start_with(&listener, &one_tenant(&[origin.address])).await;
    let client =
        |version, shown| Wishes { versions: &[version], shown, ..Wishes::of(&ours) }.client();

    for version in rustls::ALL_VERSIONS {
        let none = client(version, None).refusal(gateway.address(), HOST).await;
        let foreign = client(version, Some(theirs.client_named("acme")));
        let foreign = foreign.refusal(gateway.address(), HOST).await;
        let expired = ours.client(|params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        });
        let expired = client(version, Some(expired)).refusal(gateway.address(), HOST).await;
        let servers = ours.client(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let servers = client(version, Some(servers)).refusal(gateway.address(), HOST).await;
        let good = client(version, Some(ours.client_named("acme")));
        let good = good.connect(gateway.address(), HOST).await;

        assert_eq!(none, AlertDescription::CertificateRequired, "{version:?}");
        assert_eq!(foreign, AlertDescription::UnknownCA, "{version:?}");
        assert_eq!(expired, AlertDescription::CertificateExpired, "{version:?}");
        assert_eq!(servers, AlertDescription::UnsupportedCertificate, "{version:?}");
        assert_eq!(status(good, HOST).await, 200, "{version:?}");
    }

    assert_eq!(origin.asked().len(), 2);
    gateway.metric_becomes(MISSING, 2.0).await;
    gateway.metric_becomes(BAD, 6.0).await;
}

#[tokio::test]
async fn where_one_is_optional_who_shows_one_shows_a_good_one() {
    let ours = Authority::new();
    let origin = Origin::saying("hello").await;
    let keys = ours.server(&[HOST]).keys;
    let listener = format!("[listeners.tls]\n{keys}{}", ours.demand("optional"));
    let gateway = Gateway::start_with(&listener, &one_tenant(&[origin.address])).await;
    let client = |shown| Wishes { shown, ..Wishes::of(&ours) }.client();
    let expired = ours.client(|params| {
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });

    let none = client(None).connect(gateway.address(), HOST).await;
    let good = client(Some(ours.client_named("acme"))).connect(gateway.address(), HOST).await;
    let expired = client(Some(expired)).refusal(gateway.address(), HOST).await;

    assert_eq!((status(none, HOST).await, status(good, HOST).await), (200, 200));
    assert_eq!(expired, AlertDescription::CertificateExpired);
    gateway.metric_becomes(BAD, 1.0).await;
}

/// Each host has its own demand, and a connection that met one is no way around another.
#[tokio::test]
async fn each_host_has_a_demand_of_its_own() {
    let (servers, one, other) = (Authority::new(), Authority::new(), Authority::new());
    let origin = Origin::saying("hello").await;
    let host = |name: &str, demand: &str| {
        format!("[[listeners.tls.certificates]]\n{}{demand}", servers.server(&[name]).keys)
    };
    let listener = format!(
        "[listeners.tls]\n{}{}{}{}{}",
        servers.server(&["127.0.0.1", "default.example"]).keys,
        one.demand("required"),
        host("as-listener.example", ""),
        host("other.example", &other.demand("required")),
        host("open.example", "client-certificates = { mode = \"off\" }\n"),
    );
    let gateway = Gateway::start_with(&listener, &one_tenant(&[origin.address])).await;
    let client = |shown: Option<Shown>| Wishes { shown, ..Wishes::of(&servers) }.client();
    let nobody = client(None);
    let of_one = client(Some(one.client_named("acme")));
    let of_other = client(Some(other.client_named("acme")));
    let required = AlertDescription::CertificateRequired;

    for name in ["default.example", "127.0.0.1", "as-listener.example", "other.example"] {
        assert_eq!(nobody.refusal(gateway.address(), name).await, required, "{name}");
    }
    for (client, name) in [(&of_one, "other.example"), (&of_other, "as-listener.example")] {
        let alert = client.refusal(gateway.address(), name).await;
        assert_eq!(alert, AlertDescription::UnknownCA, "{name}");
    }
    for (client, name) in [
        (&nobody, "open.example"),
        (&of_one, "open.example"),
        (&of_one, "default.example"),
        (&of_one, "as-listener.example"),
        (&of_other, "other.example"),
    ] {
        let stream = client.connect(gateway.address(), name).await;
        assert_eq!(status(stream, name).await, 200, "{name}");
    }
    let stream = nobody.connect(gateway.address(), "open.example").await;
    assert_eq!(status(stream, "other.example").await, 421);
    let stream = of_one.connect(gateway.address(), "default.example").await;
    assert_eq!(status(stream, "other.example").await, 421);
}
