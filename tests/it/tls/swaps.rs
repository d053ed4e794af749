//! Certificates that are swapped while clients begin connections all the time: good ones, broken
//! ones, and one that has ended.

use std::fs;

use rcgen::CertificateParams;

use crate::world::client::{Client, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::handshakes::Handshakes;
use crate::world::origin::Origin;
use crate::world::pki::{Authority, Visitor, Wishes};

const RENEWED: &str = "renewed.example";
const MISMATCHED: &str = "mismatched.example";
const TRUNCATED: &str = "truncated.example";
const PROBLEMS: &str = "tenantry_certificate_problems";
const REFUSED: &str = "tenantry_certificate_reloads_total{result=\"refused\"}";

/// The end of the one that has ended; clients live a month before, so that they would take it.
const END: (i32, u8, u8) = (2020, 1, 1);
const CLOCK: u64 = 1_575_158_400;

fn client(authority: &Authority) -> Visitor {
    Wishes { clock: Some(CLOCK), ..Wishes::of(authority) }.forgetful_client()
}

#[tokio::test]
async fn no_handshake_fails_while_good_broken_and_expired_certificates_come_and_go() {
    let authority = Authority::new();
    let hosts = [RENEWED, MISMATCHED, TRUNCATED];
    let [renewed, mismatched, truncated] = hosts.map(|host| authority.server(&[host]));
    let entries = [&renewed, &mismatched, &truncated]
        .map(|pair| format!("[[listeners.tls.certificates]]\n{}", pair.keys));
    let origin = Origin::saying("hello").await;
    let routes = one_tenant(&[origin.address]);
    let gateway = Gateway::start_with_workers(2, &entries.concat(), &routes).await;
    let at = gateway.address();
    let client = client(&authority);
    let mut open = Client::over(client.connect(at, RENEWED).await);
    let loads = hosts.map(|host| Handshakes::start([self::client(&authority)], at, host));

    let other = authority.made_for(&[MISMATCHED]);
    fs::write(&mismatched.key, &other.key).expect("write the key of another one");
    let whole = fs::read_to_string(&truncated.cert).expect("the certificate");
    fs::write(&truncated.cert, &whole[..whole.len() / 2]).expect("write a half");
    let mut rounds = 0;
    while rounds < 4 || gateway.metric(PROBLEMS).await != Some(2.0) {
        let new = authority.made_for(&[RENEWED]);
        // In turn: one after the other and in place, and renamed over.
        if rounds % 2 == 0 {
            renewed.write(&new)
        } else {
            renewed.replace(&new)
        }
        client.comes_to_see(at, RENEWED, &new.certificate).await;
        for load in &loads {
            load.makes(3).await;
        }
        rounds += 1;
    }
    for (host, pair) in [(MISMATCHED, &mismatched), (TRUNCATED, &truncated)] {
        assert_eq!(client.is_shown(at, host).await, pair.certificate, "{host} keeps the old one");
    }
    let refused = gateway.metric(REFUSED).await.is_some_and(|it| (1.0..=2.0).contains(&it));
    assert!(refused, "each is told once, with the other or alone, however often it was read");

    for (host, pair) in [(MISMATCHED, &mismatched), (TRUNCATED, &truncated)] {
        let new = authority.made_for(&[host]);
        pair.replace(&new);
        client.comes_to_see(at, host, &new.certificate).await;
    }
    gateway.metric_becomes(PROBLEMS, 0.0).await;

    let mut params = CertificateParams::new([RENEWED.to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(END.0, END.1, END.2);
    let ended = authority.made(params);
    renewed.replace(&ended);
    client.comes_to_see(at, RENEWED, &ended.certificate).await;
    let warnings = gateway.status().await["certificates"]["warnings"].clone();
    assert!(
        warnings[0]["what"].as_str().is_some_and(|it| it.ends_with("has expired")),
        "{warnings}"
    );
    assert_eq!(gateway.metric(PROBLEMS).await, Some(0.0), "it is a warning");

    for load in loads {
        load.makes(3).await;
        load.stop().await;
    }
    let request = head("GET /", &[&format!("Host: {RENEWED}"), "X-Tenant-ID: acme"]);
    assert_eq!(open.ask(request).await.status, 200, "the first connection outlives all of it");
    let failed = "tenantry_downstream_rejected_connections_total{reason=\"tls_failed\"}";
    assert!(gateway.metric(failed).await.is_none_or(|failed| failed == 0.0));
}
