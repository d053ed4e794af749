//! Certificates of tenants' own: who is shown which, whatever others bring, and renewed each by itself.

use std::fs;
use std::net::SocketAddr;

use http::Request;
use rustls::{AlertDescription, HandshakeKind};
use serde_json::Value;

use crate::world::client::{Client, Frames, Hyper, head};
use crate::world::config::pool;
use crate::world::gateway::Gateway;
use crate::world::handshakes::Handshakes;
use crate::world::message::Answer;
use crate::world::origin::Origin;
use crate::world::pki::{Authority, Pair, Visitor, Wishes};

const PROBLEMS: &str = "tenantry_tenant_certificate_problems";
const IN_USE: &str = "tenantry_tenant_certificates";

fn listener(default: &Pair) -> String {
    format!("[listeners.tls]\n{}", default.keys)
}

fn shared(origin: SocketAddr) -> String {
    let naming = "[tenant]\nfrom = [{ domain = true }]\n";
    format!("{naming}{}", pool("app", &[origin], ""))
}

/// A tenant with these domains, and certificates.
fn tenant(id: &str, domains: &[&str], certificates: &[&Pair]) -> String {
    let certificate = |pair: &&Pair| format!("[[tenants.{id}.certificates]]\n{}", pair.keys);
    let certificates: String = certificates.iter().map(certificate).collect();
    format!("[tenants.{id}]\npool = \"app\"\ndomains = {domains:?}\n{certificates}")
}

async fn ask(client: &mut Client, host: &str) -> Answer {
    client.ask(head("GET /", &[&format!("Host: {host}")])).await
}

async fn config(gateway: &Gateway) -> Value {
    let config = gateway.admin("/api/v1/config").await.text();
    serde_json::from_str::<Value>(&config).expect("JSON")["tenant_certificates"].clone()
}

async fn told(gateway: &Gateway, tenant: &str) -> Value {
    let told = gateway.admin(&format!("/api/v1/tenants/{tenant}")).await.text();
    serde_json::from_str::<Value>(&told).expect("JSON")["certificates"].clone()
}

#[tokio::test]
async fn each_name_is_shown_the_most_precise_certificate_and_the_listeners_before_a_tenants() {
    let authority = Authority::new();
    let default = authority.server(&["default.test"]);
    let (own, star) = (authority.server(&["own.ours.test"]), authority.server(&["*.ours.test"]));
    let acme = authority.server(&["shop.acme.test", "*.acme.org", "own.ours.test", "a.ours.test"]);
    let globex = authority.server(&["globex.test", "shop.acme.test", "victim.test", "*.acme.org"]);
    let listener = format!(
        "{}[[listeners.tls.certificates]]\n{}[[listeners.tls.certificates]]\n{}",
        listener(&default),
        own.keys,
        star.keys
    );
    let origin = Origin::saying("hello").await;
    let routes = format!(
        "{}{}{}{}",
        shared(origin.address),
        tenant("acme", &["shop.acme.test", "*.acme.org", "own.ours.test", "a.ours.test"], &[&acme]),
        // Whatever stands in it, it is for the tenant's own domains.
        tenant("globex", &["globex.test", "x.acme.org"], &[&globex]),
        tenant("initech", &["victim.test", "y.acme.org"], &[]),
    );
    let gateway = Gateway::start_with(&listener, &routes).await;
    let client = Wishes::of(&authority).client();

    for (name, pair) in [
        ("shop.acme.test", &acme),
        ("SHOP.acme.test", &acme),
        ("any.acme.org", &acme),
        ("globex.test", &globex),
        ("x.acme.org", &globex),
        ("own.ours.test", &own),
        ("a.ours.test", &acme),
        ("b.ours.test", &star),
        ("default.test", &default),
    ] {
        assert!(client.is_shown(gateway.address(), name).await == pair.certificate, "{name}");
    }
    for (name, status) in [("shop.acme.test", 200), ("any.acme.org", 200), ("globex.test", 200)] {
        let mut client = Client::over(client.connect(gateway.address(), name).await);
        assert_eq!(ask(&mut client, name).await.status, status, "{name}");
    }
    // These are shown the default, which is not for them: an unknown name, tenants without a certificate, one of them
    // below a star of another one's, and more labels than a star stands for.
    for name in ["unknown.test", "victim.test", "y.acme.org", "a.b.acme.org", "acme.org"] {
        assert!(client.distrusts(gateway.address(), name).await, "{name}");
    }
    let silent = Wishes { tells_name: false, ..Wishes::of(&authority) }.client();
    assert_eq!(silent.is_shown(gateway.address(), "default.test").await, default.certificate);
    let (config, told) = (config(&gateway).await, told(&gateway, "acme").await);
    assert_eq!((config["tenants"].as_u64(), config["in_use"].as_u64()), (Some(2), Some(2)));
    assert!(config["next_end"].is_string() && config["failed_since"].is_null(), "{config}");
    let hosts = ["*.acme.org", "a.ours.test", "own.ours.test", "shop.acme.test"];
    assert_eq!(told["in_use"][0]["hosts"], serde_json::json!(hosts), "{told}");
    gateway.metric_becomes(IN_USE, 2.0).await;
}

#[tokio::test]
async fn without_a_default_the_names_of_tenants_get_in_beside_the_listeners() {
    let authority = Authority::new();
    let (ours, acme) = (authority.server(&["ours.test"]), authority.server(&["acme.test"]));
    let origin = Origin::saying("hello").await;
    let routes = format!("{}{}", shared(origin.address), tenant("acme", &["acme.test"], &[&acme]));
    let listener = format!("[[listeners.tls.certificates]]\n{}", ours.keys);
    let gateway = Gateway::start_with(&listener, &routes).await;
    let client = Wishes::of(&authority).client();

    let mut known = Client::over(client.connect(gateway.address(), "acme.test").await);

    assert_eq!(ask(&mut known, "acme.test").await.status, 200);
    assert_eq!(ask(&mut known, "ours.test").await.status, 421);
    let unknown = client.refusal(gateway.address(), "other.test").await;
    assert_eq!(unknown, AlertDescription::UnrecognisedName);
}

#[tokio::test]
async fn a_connection_for_one_tenant_carries_no_request_for_another() {
    let authority = Authority::new();
    let default = authority.server(&["default.test"]);
    let acme = authority.server(&["acme.test", "www.acme.test"]);
    let globex = authority.server(&["globex.test"]);
    let origin = Origin::saying("hello").await;
    let routes = format!(
        "{}{}{}",
        shared(origin.address),
        tenant("acme", &["acme.test", "www.acme.test"], &[&acme]),
        tenant("globex", &["globex.test"], &[&globex]),
    );
    let gateway = Gateway::start_with(&listener(&default), &routes).await;
    let client = Wishes { protocols: &["h2"], ..Wishes::of(&authority) }.client();
    for (name, asked) in [
        (
            "acme.test",
            &[
                ("acme.test", 200),
                ("www.acme.test", 200),
                ("globex.test", 421),
                ("default.test", 421),
            ][..],
        ),
        // The last one may come by this connection, and names no tenant.
        ("default.test", &[("globex.test", 421), ("acme.test", 421), ("nobodys.test", 400)][..]),
    ] {
        let stream = client.connect(gateway.address(), name).await;
        let mut client = Hyper::h2_over(stream).await;
        for (host, status) in asked {
            let request = Request::get(format!("https://{host}/")).body(Frames::default());
            let answer = client.ask(request.expect("a request")).await;
            assert_eq!(answer.status, *status, "{name}: {host}");
        }
    }
}

#[tokio::test]
async fn what_is_asked_of_clients_is_the_listeners_to_say() {
    let authority = Authority::new();
    let (default, star) = (authority.server(&["default.test"]), authority.server(&["*.ours.test"]));
    let acme = authority.server(&["acme.test", "a.ours.test"]);
    let listener = format!(
        "{}[[listeners.tls.certificates]]\n{}{}",
        listener(&default),
        star.keys,
        authority.demand("required")
    );
    let origin = Origin::saying("hello").await;
    let tenants = tenant("acme", &["acme.test", "a.ours.test"], &[&acme]);
    let routes = format!("{}{tenants}", shared(origin.address));
    let gateway = Gateway::start_with(&listener, &routes).await;
    let client = || Wishes::of(&authority);
    let address = gateway.address();

    let bare = client().client();
    assert_eq!(bare.is_shown(address, "acme.test").await, acme.certificate);
    let refusal = bare.refusal(address, "a.ours.test").await;
    assert_eq!(refusal, AlertDescription::CertificateRequired);
    let shown = Some(authority.client_named("somebody"));
    let known = Wishes { shown, ..client() }.client();
    assert_eq!(known.is_shown(address, "a.ours.test").await, acme.certificate);
    // A connection without the demand is no way around it, though the certificate is the same.
    let mut without = Client::over(bare.connect(address, "acme.test").await);
    assert_eq!(ask(&mut without, "a.ours.test").await.status, 421);
    let kinds =
        [visit(&known, address, "a.ours.test").await, visit(&known, address, "a.ours.test").await];
    assert_eq!(kinds[1], Some(HandshakeKind::Resumed));
}

/// Visits once: how the handshake went. Tickets have come by then.
async fn visit(client: &Visitor, address: SocketAddr, host: &str) -> Option<HandshakeKind> {
    let stream = client.connect(address, host).await;
    let kind = stream.get_ref().1.handshake_kind();
    let fields = [&format!("Host: {host}"), "Connection: close"];
    assert_eq!(Client::over(stream).ask(head("GET /", &fields)).await.status, 200);
    kind
}

#[tokio::test]
async fn a_session_goes_on_over_a_renewal_and_ends_where_a_host_changes_hands() {
    let authority = Authority::new();
    let default = authority.server(&["default.test"]);
    let (acme, globex) = (authority.server(&["shop.test"]), authority.server(&["shop.test"]));
    let origin = Origin::saying("hello").await;
    let routes = |id: &str, pair: &Pair| {
        let other = if id == "acme" { "globex" } else { "acme" };
        let rest = tenant(other, &["other.test"], &[]);
        format!("{}{}{rest}", shared(origin.address), tenant(id, &["shop.test"], &[pair]))
    };
    let gateway = Gateway::start_with(&listener(&default), &routes("acme", &acme)).await;
    let address = gateway.address();
    let watcher = Wishes::of(&authority).forgetful_client();

    for version in rustls::ALL_VERSIONS {
        let client = Wishes { versions: &[version], ..Wishes::of(&authority) }.client();
        visit(&client, address, "shop.test").await;
        let new = authority.made_for(&["shop.test"]);
        acme.replace(&new);
        watcher.comes_to_see(address, "shop.test", &new.certificate).await;
        let renewed = visit(&client, address, "shop.test").await;
        gateway.reload(&routes("globex", &globex)).await;
        watcher.comes_to_see(address, "shop.test", &globex.certificate).await;
        let moved = visit(&client, address, "shop.test").await;
        gateway.reload(&routes("acme", &acme)).await;
        watcher.comes_to_see(address, "shop.test", &new.certificate).await;

        let expected = (Some(HandshakeKind::Resumed), Some(HandshakeKind::Full));
        assert_eq!((renewed, moved), expected, "{version:?}");
    }
}

#[tokio::test]
async fn renewals_and_edits_under_load_fail_no_handshake_and_close_no_connection() {
    let authority = Authority::new();
    let default = authority.server(&["default.test"]);
    let (acme, globex) = (authority.server(&["acme.test"]), authority.server(&["globex.test"]));
    let origin = Origin::saying("hello").await;
    let first = format!("{}{}", shared(origin.address), tenant("acme", &["acme.test"], &[&acme]));
    let both = format!("{first}{}", tenant("globex", &["globex.test"], &[&globex]));
    let gateway = Gateway::start_with_workers(2, &listener(&default), &first).await;
    let client = Wishes::of(&authority).client();
    let mut open = Client::over(client.connect(gateway.address(), "acme.test").await);
    assert_eq!(ask(&mut open, "acme.test").await.status, 200);
    let clients = [(); 2].map(|()| Wishes::of(&authority).forgetful_client());
    let load = Handshakes::start(clients, gateway.address(), "acme.test");

    for round in 0..4 {
        let new = authority.made_for(&["acme.test"]);
        if round % 2 == 0 {
            acme.write(&new)
        } else {
            acme.replace(&new)
        }
        gateway.edit(if round % 2 == 0 { &both } else { &first });
        client.comes_to_see(gateway.address(), "acme.test", &new.certificate).await;
        let other = if round % 2 == 0 { &globex } else { &default };
        let seen = Wishes::of(&authority).client();
        if round % 2 == 0 {
            // Until then it is shown the default, which is not for it.
            gateway.metric_becomes(IN_USE, 2.0).await;
            assert!(seen.is_shown(gateway.address(), "globex.test").await == other.certificate);
        } else {
            gateway.metric_becomes(IN_USE, 1.0).await;
            assert!(seen.distrusts(gateway.address(), "globex.test").await);
        }
        assert_eq!(ask(&mut open, "acme.test").await.status, 200);
        load.makes(5).await;
    }

    load.stop().await;
    assert_eq!(gateway.metric(PROBLEMS).await, Some(0.0));
}

#[tokio::test]
async fn a_broken_renewal_keeps_the_old_certificate_and_harms_nobody_else() {
    let authority = Authority::new();
    let default = authority.server(&["default.test"]);
    let (acme, globex) = (authority.server(&["acme.test"]), authority.server(&["globex.test"]));
    let origin = Origin::saying("hello").await;
    let routes = format!(
        "{}{}{}",
        shared(origin.address),
        tenant("acme", &["acme.test"], &[&acme]),
        tenant("globex", &["globex.test"], &[&globex]),
    );
    let gateway = Gateway::start_with(&listener(&default), &routes).await;
    let client = Wishes::of(&authority).client();

    let foreign = authority.made_for(&["globex.test"]);
    acme.replace(&foreign);
    gateway.metric_becomes(PROBLEMS, 1.0).await;

    assert_eq!(client.is_shown(gateway.address(), "acme.test").await, acme.certificate);
    assert_eq!(client.is_shown(gateway.address(), "globex.test").await, globex.certificate);
    let (config, told) = (config(&gateway).await, told(&gateway, "acme").await);
    for problem in [&config["problems"][0], &told["problems"][0]] {
        assert_eq!(problem["key"], "tenants.acme.certificates[0].cert");
        let what = problem["what"].as_str().expect("a text");
        assert!(what.contains("is for none of the tenant's domains"), "{what}");
        assert!(problem["file"].as_str().is_some_and(|file| file.ends_with("routes.toml")));
    }
    assert!(config["failed_since"].is_string(), "{config}");
    assert!(!gateway.admin("/api/v1/config").await.text().contains("PRIVATE KEY"));
    // Another one is renewed all the same.
    let new = authority.made_for(&["globex.test"]);
    globex.write(&new);
    client.comes_to_see(gateway.address(), "globex.test", &new.certificate).await;
    // And so is this one, by a good file.
    let new = authority.made_for(&["acme.test"]);
    acme.replace(&new);
    client.comes_to_see(gateway.address(), "acme.test", &new.certificate).await;
    gateway.metric_becomes(PROBLEMS, 0.0).await;
}

#[tokio::test]
async fn tenants_of_a_broken_file_keep_their_certificates() {
    let authority = Authority::new();
    let default = authority.server(&["default.test"]);
    let (acme, globex) = (authority.server(&["acme.test"]), authority.server(&["globex.test"]));
    let origin = Origin::saying("hello").await;
    let folder = tempfile::tempdir().expect("a folder");
    let routes = folder.path().join("routes.toml");
    fs::create_dir(&routes).expect("make the folder of routes");
    let texts = [
        ("shared", shared(origin.address)),
        ("acme", tenant("acme", &["acme.test"], &[&acme])),
        ("globex", tenant("globex", &["globex.test"], &[&globex])),
    ];
    for (name, text) in &texts {
        fs::write(routes.join(format!("{name}.toml")), text).expect("write a file");
    }
    let gateway = Gateway::start_in(folder, 1, &listener(&default)).await.expect("it starts");
    let client = Wishes::of(&authority).client();
    let file = gateway.path("routes.toml").join("acme.toml");

    fs::write(&file, texts[1].1.replace("\"app\"", "\"none\"")).expect("break a file");
    gateway.metric_becomes("tenantry_config_quarantined_tenants", 1.0).await;
    assert_eq!(client.is_shown(gateway.address(), "acme.test").await, acme.certificate);
    // It is renewed while it is held.
    let new = authority.made_for(&["acme.test"]);
    acme.replace(&new);
    client.comes_to_see(gateway.address(), "acme.test", &new.certificate).await;

    // An edit of one file takes effect for its tenant.
    let other = authority.server(&["globex.test"]);
    let text = tenant("globex", &["globex.test"], &[&other]);
    fs::write(gateway.path("routes.toml").join("globex.toml"), text).expect("edit a file");
    client.comes_to_see(gateway.address(), "globex.test", &other.certificate).await;
    assert_eq!(client.is_shown(gateway.address(), "acme.test").await, new.certificate);
}

#[tokio::test]
async fn the_api_names_no_files_of_the_gateways_machine() {
    let authority = Authority::new();
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start(&shared(origin.address)).await;
    let pair = authority.server(&["acme.test"]);
    let files = serde_json::json!({"cert": pair.cert.to_str(), "key": pair.key.to_str()});
    let body =
        serde_json::json!({"pool": "app", "domains": ["acme.test"], "certificates": [files]});

    let answer = gateway.tell("PUT /api/v1/tenants/acme", &body).await;

    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("a tenant of the API may not"), "{}", answer.text());
}
