//! What endpoints are shown and asked for, and what becomes of it when the files change.

use std::fs;

use tenantry::control::generation::ReloadResult;
use tokio::time::sleep;

use crate::world::config::{NO_RETRY, one_tenant_with};
use crate::world::demanding::Demanding;
use crate::world::gateway::Gateway;
use crate::world::origin::{Origin, Step};
use crate::world::pki::{Authority, Pair};
use crate::world::{STEP, eventually, within};

const NAME: &str = "app.internal";

async fn origin(demanding: &Demanding) -> Origin {
    Origin::start_tls(demanding.config.clone(), [Step::ok("hello")]).await
}

/// The routes to an origin that is shown this pair, if any.
fn routes(origin: &Origin, ca: &str, own: Option<&Pair>, more: &str) -> String {
    let own = own.map_or_else(String::new, |own| {
        format!(", cert = \"{}\", key = \"{}\"", own.cert.display(), own.key.display())
    });
    let tls = format!("tls = {{ ca = \"{ca}\", server-name = \"{NAME}\"{own} }}");
    one_tenant_with(&[origin.address], &format!("{NO_RETRY}\n{tls}\n{more}"))
}

/// Asks until an answer has this status; fails where it never comes.
async fn becomes(gateway: &Gateway, status: u16) {
    let answered = async {
        while gateway.get("/").await.status != status {
            sleep(STEP).await;
        }
    };
    within("the other status", answered).await;
}

#[tokio::test]
async fn endpoints_that_demand_a_certificate_are_shown_the_one_of_the_pool() {
    let authority = Authority::new();
    let demanding = authority.demanding(&[NAME]);
    let origin = origin(&demanding).await;
    let own = authority.server(&["gateway.internal"]);
    let gateway = Gateway::start(&routes(&origin, &authority.file(), Some(&own), "")).await;

    let shown = gateway.get("/").await;
    gateway.reload(&routes(&origin, &authority.file(), None, "")).await;
    let none = gateway.get("/").await;
    let foreign = Authority::new().server(&["gateway.internal"]);
    gateway.reload(&routes(&origin, &authority.file(), Some(&foreign), "")).await;
    let unknown = gateway.get("/").await;

    assert_eq!((shown.status, shown.text().as_str()), (200, "hello"));
    assert_eq!(none.status, 502);
    assert_eq!(unknown.status, 502);
    assert_eq!(demanding.shown(), std::slice::from_ref(&own.certificate));
    assert!(demanding.names().iter().all(|name| name.as_deref() == Some(NAME)), "SNI");
    assert_eq!(origin.asked().len(), 1);
}

#[tokio::test]
async fn health_checks_show_the_certificate_too_and_a_renewed_one_from_then_on() {
    let authority = Authority::new();
    let demanding = authority.demanding(&[NAME]);
    let origin = origin(&demanding).await;
    let own = authority.server(&["gateway.internal"]);
    // A check may take as long as the interval: time for a handshake where cores are rare.
    let health = "health = { http = \"/up\", interval = \"300ms\" }";
    let gateway = Gateway::start(&routes(&origin, &authority.file(), Some(&own), health)).await;
    let up = format!("tenantry_endpoint_up{{pool=\"app\",endpoint=\"{}\"}}", origin.address);
    gateway.metric_becomes(&up, 1.0).await;

    let new = authority.made_for(&["gateway.internal"]);
    own.replace(&new);
    eventually(
        "the new certificate",
        || demanding.shown(),
        // The fourth check begins when the third has ended: as many as would bring it down.
        |shown| shown.iter().filter(|one| **one == new.certificate).count() >= 4,
    )
    .await;

    gateway.metric_becomes(&up, 1.0).await;
    assert_eq!(gateway.get("/").await.status, 200);
}

#[tokio::test]
async fn a_renewed_client_certificate_is_shown_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let demanding = authority.demanding(&[NAME]);
    let origin = origin(&demanding).await;
    let own = authority.server(&["gateway.internal"]);
    let gateway = Gateway::start(&routes(&origin, &authority.file(), Some(&own), "")).await;
    assert_eq!(gateway.get("/").await.status, 200);

    fs::write(&own.key, "nothing").expect("write a bad file");
    gateway.metric_becomes("tenantry_config_problems", 1.0).await;
    assert_eq!(gateway.get("/").await.status, 200);
    let told = gateway.admin("/api/v1/config").await.text();
    assert!(told.contains("pools.app.tls.key") && told.contains("has no private key"), "{told}");

    let new = authority.made_for(&["gateway.internal"]);
    own.write(&new);
    gateway.metric_becomes("tenantry_config_problems", 0.0).await;
    assert_eq!(gateway.get("/").await.status, 200);
    assert_eq!(demanding.shown(), [own.certificate.clone(), new.certificate]);
}

#[tokio::test]
async fn another_authority_of_the_endpoints_is_trusted_once_its_file_says_so() {
    let (old, new) = (Authority::new(), Authority::new());
    let demanding = new.demanding(&[NAME]);
    let origin = origin(&demanding).await;
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    fs::copy(old.file(), &ca).expect("copy the authority");
    let own = new.server(&["gateway.internal"]);
    let text = routes(&origin, &ca.display().to_string(), Some(&own), "");
    let gateway = Gateway::start(&text).await;
    let before = gateway.get("/").await;

    fs::copy(new.file(), &ca).expect("copy the other authority");
    becomes(&gateway, 200).await;

    assert_eq!((before.status, before.problem().as_deref()), (502, Some("tls-failed")));
}

#[tokio::test]
async fn routes_that_wait_for_a_file_go_live_when_it_comes() {
    let authority = Authority::new();
    let demanding = authority.demanding(&[NAME]);
    let origin = origin(&demanding).await;
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    let own = authority.server(&["gateway.internal"]);
    let gateway = Gateway::start("# nobody yet\n").await;

    let text = routes(&origin, &ca.display().to_string(), Some(&own), "");
    let refused = gateway.reload(&text).await;
    fs::copy(authority.file(), &ca).expect("copy the authority");
    becomes(&gateway, 200).await;

    assert!(matches!(refused, ReloadResult::Refused { .. }), "{refused:?}");
    let ends = "tenantry_certificate_expiry_timestamp_seconds";
    for (file, role) in [(&own.cert, "pool_client"), (&ca, "pool_authorities")] {
        let series = format!("{ends}{{file=\"{}\",use=\"{role}\"}}", file.display());
        assert!(gateway.metric(&series).await.is_some(), "{series}");
    }
}
