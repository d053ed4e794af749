//! Certificates of listeners that are renewed while the gateway runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustls::{AlertDescription, HandshakeKind};
use serde_json::Value;

use crate::world::client::{Client, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::handshakes::Handshakes;
use crate::world::origin::Origin;
use crate::world::pki::{Authority, Pair, Wishes};
use crate::world::{STEP, within};

const HOST: &str = "shop.example";
const OK: &str = "tenantry_certificate_reloads_total{result=\"ok\"}";
const REFUSED: &str = "tenantry_certificate_reloads_total{result=\"refused\"}";
const PROBLEMS: &str = "tenantry_certificate_problems";

async fn gateway(workers: usize, listener: &str) -> (Origin, Gateway) {
    let origin = Origin::saying("hello").await;
    let routes = one_tenant(&[origin.address]);
    let gateway = Gateway::start_with_workers(workers, listener, &routes).await;
    (origin, gateway)
}

fn tls(pair: &Pair) -> String {
    format!("[listeners.tls]\n{}", pair.keys)
}

async fn certificates(gateway: &Gateway) -> Value {
    gateway.status().await["certificates"].clone()
}

async fn get(client: &mut Client) -> u16 {
    let fields = [&format!("Host: {HOST}"), "X-Tenant-ID: acme"];
    client.ask(head("GET /", &fields)).await.status
}

#[tokio::test]
async fn renewals_under_load_fail_no_handshake_and_close_no_connection() {
    let authority = Authority::new();
    let pair = authority.server(&[HOST]);
    let (_origin, gateway) = gateway(2, &tls(&pair)).await;
    let client = Wishes::of(&authority).client();
    let mut open = Client::over(client.connect(gateway.address(), HOST).await);
    assert_eq!(get(&mut open).await, 200);
    let clients = [(); 3].map(|()| Wishes::of(&authority).forgetful_client());
    let load = Handshakes::start(clients, gateway.address(), HOST);

    for round in 0..6 {
        let new = authority.made_for(&[HOST]);
        // In turn: one after the other and in place, and renamed over.
        if round % 2 == 0 {
            pair.write(&new)
        } else {
            pair.replace(&new)
        }
        client.comes_to_see(gateway.address(), HOST, &new.certificate).await;
        assert_eq!(get(&mut open).await, 200);
        load.makes(10).await;
    }

    load.stop().await;
    assert_eq!(gateway.metric(OK).await, Some(6.0));
    assert_eq!(gateway.metric(REFUSED).await, Some(0.0));
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_certificate_and_is_told_until_a_good_one_comes() {
    let authority = Authority::new();
    let pair = authority.server(&[HOST]);
    let (_origin, gateway) = gateway(1, &tls(&pair)).await;
    let client = Wishes::of(&authority).client();
    let other = authority.made_for(&[HOST]);

    let bad: [(&Path, &str, &str); 4] = [
        (&pair.cert, "nothing", "has no certificate in it"),
        (&pair.cert, &other.cert, "is not the one of the certificate"),
        (
            &pair.key,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "cannot be used",
        ),
        (&pair.key, "", "has no private key in it"),
    ];
    for (number, (path, text, what)) in bad.into_iter().enumerate() {
        let good = fs::read(path).expect("the good file");
        fs::write(path, text).expect("write a bad file");
        gateway.metric_becomes(PROBLEMS, 1.0).await;

        assert_eq!(client.is_shown(gateway.address(), HOST).await, pair.certificate, "{what}");
        let told = certificates(&gateway).await;
        let problem = &told["problems"][0];
        let (said, hint) = (problem["what"].as_str().unwrap(), problem["hint"].as_str().unwrap());
        assert!(said.contains(&path.display().to_string()) && said.contains(what), "{said}");
        assert!(!hint.is_empty() && told["failed_since"].is_string(), "{told}");
        assert!(problem["file"].as_str().unwrap().ends_with("gateway.toml"), "{told}");
        assert_eq!(gateway.metric(REFUSED).await, Some(number as f64 + 1.0));

        fs::write(path, good).expect("write the good file");
        gateway.metric_becomes(PROBLEMS, 0.0).await;
        assert!(certificates(&gateway).await["failed_since"].is_null());
    }
    fs::remove_file(&pair.cert).expect("remove the certificate");
    gateway.metric_becomes(PROBLEMS, 1.0).await;
    assert_eq!(client.is_shown(gateway.address(), HOST).await, pair.certificate);
    pair.replace(&other);
    client.comes_to_see(gateway.address(), HOST, &other.certificate).await;
    gateway.metric_becomes(PROBLEMS, 0.0).await;
}

#[tokio::test]
async fn one_bad_certificate_does_not_hold_up_the_renewal_of_another() {
    let authority = Authority::new();
    let (one, other) = (authority.server(&[HOST]), authority.server(&["other.example"]));
    let entry = |pair: &Pair| format!("[[listeners.tls.certificates]]\n{}", pair.keys);
    let (_origin, gateway) = gateway(1, &format!("{}{}", entry(&one), entry(&other))).await;
    let client = Wishes::of(&authority).client();

    fs::write(&one.cert, "nothing").expect("write a bad file");
    let new = authority.made_for(&["other.example"]);
    other.replace(&new);

    client.comes_to_see(gateway.address(), "other.example", &new.certificate).await;
    assert_eq!(client.is_shown(gateway.address(), HOST).await, one.certificate);
    gateway.metric_becomes(PROBLEMS, 1.0).await;
}

#[tokio::test]
async fn a_renewed_certificate_takes_no_name_of_another_entry() {
    let authority = Authority::new();
    let (one, other) = (authority.server(&[HOST]), authority.server(&["other.example"]));
    let entry = |pair: &Pair| format!("[[listeners.tls.certificates]]\n{}", pair.keys);
    let demand = authority.demand("required");
    let listener = format!("{}{}{demand}", entry(&one), entry(&other));
    let (_origin, gateway) = gateway(1, &listener).await;

    one.replace(&authority.made_for(&[HOST, "other.example"]));
    gateway.metric_becomes(PROBLEMS, 1.0).await;

    let client = Wishes::of(&authority).client();
    assert_eq!(client.is_shown(gateway.address(), HOST).await, one.certificate);
    let alert = client.refusal(gateway.address(), "other.example").await;
    assert_eq!(alert, AlertDescription::CertificateRequired);
}

#[tokio::test]
async fn a_swap_of_links_as_kubernetes_does_it_is_followed() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let publish = |version: &str| {
        let made = authority.made_for(&[HOST]);
        fs::create_dir(at(version)).expect("a folder");
        fs::write(at(version).join("tls.crt"), &made.cert).expect("write a certificate");
        fs::write(at(version).join("tls.key"), &made.key).expect("write a key");
        symlink(version, at("..data_tmp")).expect("a link");
        fs::rename(at("..data_tmp"), at("..data")).expect("swap the links");
        made.certificate
    };
    publish("..1");
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), at(name)).expect("a link");
    }
    let (cert, key) = (at("tls.crt"), at("tls.key"));
    let listener =
        format!("tls = {{ cert = \"{}\", key = \"{}\" }}\n", cert.display(), key.display());
    let (_origin, gateway) = gateway(1, &listener).await;
    let client = Wishes::of(&authority).client();

    for version in ["..2", "..3", "..4"] {
        let new = publish(version);
        client.comes_to_see(gateway.address(), HOST, &new).await;
    }
    assert_eq!(gateway.metric(REFUSED).await, Some(0.0));
}

#[tokio::test]
async fn a_reload_on_request_reads_the_certificates_and_tells_what_is_wrong() {
    let authority = Authority::new();
    let pair = authority.server(&[HOST]);
    let (_origin, gateway) = gateway(1, &tls(&pair)).await;
    let client = Wishes::of(&authority).client();
    let reload = || within("a reload", gateway.app.reload());

    fs::write(&pair.key, "nothing").expect("write a bad file");
    let refused = format!("{:?}", reload().await);
    let new = authority.made_for(&[HOST]);
    pair.replace(&new);
    let good = format!("{:?}", reload().await);

    assert!(refused.contains("has no private key in it"), "{refused}");
    assert!(good.contains("Live"), "{good}");
    assert_eq!(client.is_shown(gateway.address(), HOST).await, new.certificate);
}

#[tokio::test]
async fn other_authorities_of_clients_end_the_sessions_of_the_old_ones() {
    let (servers, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clients.pem");
    fs::copy(old.file(), &file).expect("copy the authority");
    let demand = format!(
        "client-certificates = {{ mode = \"required\", authorities = \"{}\" }}\n",
        file.display()
    );
    let listener = format!("{}{demand}", tls(&servers.server(&[HOST])));
    let (_origin, gateway) = gateway(1, &listener).await;
    let of = |authority: &Authority| {
        let shown = Some(authority.client_named("acme"));
        Wishes { shown, ..Wishes::of(&servers) }.client()
    };
    let (client, newcomer) = (of(&old), of(&new));
    let mut kinds = Vec::new();
    let mut open = Client::over(client.connect(gateway.address(), HOST).await);
    assert_eq!(get(&mut open).await, 200);
    let again = client.connect(gateway.address(), HOST).await;
    kinds.extend(again.get_ref().1.handshake_kind());
    drop(again);

    fs::copy(new.file(), &file).expect("copy the other authority");
    within("the other authority", async {
        while !newcomer.is_served(gateway.address(), HOST).await {
            tokio::time::sleep(STEP).await;
        }
    })
    .await;
    let alert = client.refusal(gateway.address(), HOST).await;

    assert_eq!(kinds, [HandshakeKind::Resumed], "its tickets were good");
    assert_eq!(alert, AlertDescription::UnknownCA);
    assert_eq!(get(&mut open).await, 200, "a connection that is open stays");
    fs::write(&file, "nothing").expect("write a bad file");
    gateway.metric_becomes(PROBLEMS, 1.0).await;
    assert!(newcomer.is_served(gateway.address(), HOST).await);
    assert_eq!(client.refusal(gateway.address(), HOST).await, AlertDescription::UnknownCA);
}

#[tokio::test]
async fn when_certificates_end_is_in_the_metrics_and_the_status() {
    let authority = Authority::new();
    let pair = authority.server(&[HOST]);
    let listener = format!("{}{}", tls(&pair), authority.demand("optional"));
    let (_origin, gateway) = gateway(1, &listener).await;
    let series = format!(
        "tenantry_certificate_expiry_timestamp_seconds{{file=\"{}\",use=\"listener\"}}",
        pair.cert.display()
    );
    let mut params = rcgen::CertificateParams::new([HOST.to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);

    let before = gateway.metric(&series).await;
    pair.replace(&authority.made(params));
    gateway.metric_becomes(&series, 1_577_836_800.0).await;

    assert!(before.is_some_and(|end| end > 1_577_836_800.0), "{before:?}");
    let told = certificates(&gateway).await;
    assert!(told["warnings"][0]["what"].as_str().unwrap().ends_with("has expired"), "{told}");
    let uses: Vec<&Value> =
        told["in_use"].as_array().unwrap().iter().map(|one| &one["use"]).collect();
    assert_eq!(uses.len(), 2);
    assert!(uses.iter().any(|one| *one == "client_authorities"), "{told}");
    assert!(
        told["in_use"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["ends"] == "2020-01-01T00:00:00.000Z")
    );
}
