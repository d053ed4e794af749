//! Listeners' certificates: which are taken, which are not, and what is said of them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};

use crate::config::spec::{ClientCertificatesMode, FileMode, NamedPath};

use super::*;

fn place(key: &str) -> Place {
    Place { file: "gateway.toml".into(), line: 1, column: 1, key: key.into() }
}

fn named(folder: &Path, name: &str, text: &str) -> NamedPath {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    NamedPath { path, place: place(name) }
}

fn spec(folder: &Path, name: &str, (certificate, key): (&str, &str)) -> CertificateSpec {
    CertificateSpec {
        certificate: named(folder, &format!("{name}.pem"), certificate),
        key: named(folder, &format!("{name}.key"), key),
        hosts: Vec::new(),
        clients: None,
    }
}

fn made_for(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn read(default: Option<CertificateSpec>, certificates: Vec<CertificateSpec>) -> Outcome {
    let tls = Some(ListenerTlsSpec { default, certificates, clients: None });
    build(&[ListenerSpec { tls, ..listener() }], &[], &mut Demands::default())
}

fn listener() -> ListenerSpec {
    ListenerSpec {
        address: ([127, 0, 0, 1], 0).into(),
        place: place("listeners[0].address"),
        mode: FileMode(0o660),
        tls: None,
        max_connections: None,
        proxy_protocol: None,
        trusted_proxies: None,
    }
}

/// What is said, each behind the key that it is said of.
fn said(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {}", problem.key, problem.what)).collect()
}

fn hosts(names: &[&str]) -> Vec<NamedHost> {
    names.iter().map(|name| NamedHost { host: host(name), place: place(name) }).collect()
}

#[test]
fn a_certificate_and_its_key_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = made_for(&["localhost"]);

    let outcome = read(Some(spec(folder.path(), "leaf", (&certificate, &key))), vec![]);

    assert_eq!((said(&outcome.problems), said(&outcome.doubts)), (vec![], vec![]));
    assert!(outcome.made[0].as_ref().unwrap().is_one_for_all());
}

#[test]
fn a_key_of_another_certificate_is_refused_with_both_names() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (made_for(&["a"]), made_for(&["a"]));

    let outcome = read(Some(spec(folder.path(), "leaf", (&one.0, &other.1))), vec![]);

    let problem = &outcome.problems[0];
    assert_eq!(problem.key, "leaf.key");
    assert!(problem.what.contains("leaf.pem") && problem.what.contains("leaf.key"), "{problem}");
}

#[test]
fn each_fault_of_a_file_is_told_of_the_file_that_has_it() {
    let (good, key) = made_for(&["a"]);
    let block = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    let check = |certificate: &str, key: &str, expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        let outcome = read(Some(spec(folder.path(), "leaf", (certificate, key))), vec![]);
        let message = &outcome.problems[0].what;
        assert!(message.contains(expected), "{message} is not {expected}");
        let file = expected.split(' ').next();
        assert_eq!(Some(outcome.problems[0].key.as_str()), file);
    };
    check("hello", &key, "leaf.pem has no certificate in it");
    check(&key, &key, "leaf.pem has no certificate in it");
    check("-----BEGIN CERTIFICATE-----\n", &key, "leaf.pem is not a PEM file");
    check(&block("CERTIFICATE"), &key, "leaf.pem cannot be used: ");
    check(&good, &good, "leaf.key has no private key in it");
    check(&good, &block("PRIVATE KEY"), "leaf.key cannot be used: ");
    check(&good, &block("ENCRYPTED PRIVATE KEY"), "leaf.key has an encrypted private key");
    check(&"x".repeat(1 << 21), &key, "leaf.pem is larger than 1 MiB");
}

#[test]
fn a_name_is_found_by_the_most_specific_certificate_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let default = made_for(&["a.example"]);
    let exact = made_for(&["A.example", "10.0.0.1"]);
    let below = made_for(&["*.a.example"]);
    let of = |name, pair: &(String, String)| spec(folder.path(), name, (&pair.0, &pair.1));

    let outcome =
        read(Some(of("default", &default)), vec![of("exact", &exact), of("below", &below)]);

    assert_eq!((said(&outcome.problems), said(&outcome.doubts)), (vec![], vec![]));
    let made = outcome.made[0].as_ref().unwrap();
    let entry = |name: &str| made.find(Some(name)).unwrap();
    let same = |one: &str, other: &str| Arc::ptr_eq(entry(one), entry(other));
    assert!(!same("a.example", "x.a.example") && !same("a.example", "other"));
    assert!(same("x.a.example", "y.a.example"));
    for unknown in ["x.y.a.example", ".a.example", "10.0.0.1", "", "."] {
        assert!(Arc::ptr_eq(entry(unknown), made.find(None).unwrap()), "{unknown}");
    }
    assert!(!made.is_one_for_all());
}

#[test]
fn two_certificates_for_one_name_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (made_for(&["a.example", "b.example"]), made_for(&["a.example"]));
    let of = |name, pair: &(String, String)| spec(folder.path(), name, (&pair.0, &pair.1));
    let parted = CertificateSpec { hosts: hosts(&["b.example"]), ..of("one", &one) };

    let both = read(None, vec![of("one", &one), of("other", &other)]);
    let apart = read(None, vec![parted, of("other", &other)]);

    let expected = ["other.pem: another certificate of this listener is for a.example already"];
    assert_eq!(said(&both.problems), expected);
    assert_eq!(said(&apart.problems), [""; 0]);
    assert!(apart.made[0].as_ref().unwrap().find(Some("c.example")).is_none());
}

#[test]
fn a_certificate_that_nobody_could_ask_for_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = made_for(&["10.0.0.1"]);
    let leaf = spec(folder.path(), "leaf", (&certificate, &key));

    let outcome = read(None, vec![leaf]);

    assert!(said(&outcome.problems)[0].ends_with("leaf.pem has no DNS name in it"));
}

#[test]
fn what_clients_are_going_to_refuse_is_a_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params =
        CertificateParams::new(["a.example".to_owned(), "*.b.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let old = params.self_signed(&key).unwrap();
    let names = ["a.example", "x.b.example", "*.b.example", "b.example", "x.y.b.example"];
    let leaf = spec(folder.path(), "leaf", (&old.pem(), &key.serialize_pem()));
    let leaf = CertificateSpec { hosts: hosts(&names), ..leaf };

    let outcome = read(None, vec![leaf]);

    let path = folder.path().join("leaf.pem").display().to_string();
    assert_eq!(said(&outcome.problems), [""; 0]);
    assert_eq!(
        said(&outcome.doubts),
        [
            format!("leaf.pem: {path} has expired"),
            format!("b.example: {path} is not for b.example"),
            format!("x.y.b.example: {path} is not for x.y.b.example"),
        ]
    );
}

#[test]
fn a_chain_that_does_not_hold_is_a_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(DnType::CommonName, "root");
    let root_pem = root.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(root, key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(["a.example".to_owned()]).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, "leaf");
    let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
    let foreign = made_for(&["other"]).0;
    let check = |chain: &[&str], expected: &[&str]| {
        let pair = (chain.concat(), key.serialize_pem());
        let of = spec(folder.path(), "leaf", (&pair.0, &pair.1));
        let path = of.certificate.path.display().to_string();
        let told = said(&read(Some(of), vec![]).doubts);
        let told: Vec<String> = told.iter().map(|one| one.replace(&path, "it")).collect();
        assert_eq!(told, expected);
    };

    check(&[&leaf, &root_pem], &[]);
    check(
        &[&leaf, &foreign, &root_pem],
        &["leaf.pem: certificate 1 in it was not issued by the one after it"],
    );
    check(
        &[&leaf, &root_pem, &foreign],
        &["leaf.pem: certificate 2 in it was not issued by the one after it"],
    );
}

#[test]
fn authorities_that_several_certificates_share_are_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (made_for(&["a.example"]), made_for(&["b.example"]));
    let authorities = named(folder.path(), "ca.pem", "hello");
    let clients = ClientCertificatesSpec { mode: ClientCertificatesMode::Required, authorities };
    let of = |name, pair: &(String, String)| CertificateSpec {
        clients: Some(clients.clone()),
        ..spec(folder.path(), name, (&pair.0, &pair.1))
    };

    let outcome = read(None, vec![of("one", &one), of("other", &other)]);

    assert_eq!(outcome.problems.len(), 1);
    assert!(said(&outcome.problems)[0].starts_with("ca.pem: "), "{:?}", outcome.problems);
}

/// A clock that a test sets, in Unix time.
#[derive(Debug)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
    }
}

/// Passes bytes to and fro until neither side has more to say.
fn shake(client: &mut ClientConnection, server: &mut ServerConnection) -> io::Result<()> {
    loop {
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said)?;
        }
        let mut answer = Vec::new();
        server.read_tls(&mut said.as_slice())?;
        server.process_new_packets().map_err(io::Error::other)?;
        while server.wants_write() {
            server.write_tls(&mut answer)?;
        }
        if said.is_empty() && answer.is_empty() {
            return Ok(());
        }
        let mut answer = answer.as_slice();
        while !answer.is_empty() {
            client.read_tls(&mut answer)?;
            client.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

#[test]
fn a_session_ends_with_the_certificate_that_it_began_with_and_the_next_is_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let leaf = |end| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "acme");
        params.not_after = end;
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server, server_key) = leaf(rcgen::date_time_ymd(2090, 1, 1));
    let (shown, shown_key) = leaf(rcgen::date_time_ymd(2030, 1, 1));
    let authorities = named(folder.path(), "ca.pem", &ca.pem());
    let clients = ClientCertificatesSpec { mode: ClientCertificatesMode::Required, authorities };
    let pair = (server.pem(), server_key.serialize_pem());
    let spec = spec(folder.path(), "leaf", (&pair.0, &pair.1));
    let mut outcome = read(Some(CertificateSpec { clients: Some(clients), ..spec }), vec![]);
    let certificates = outcome.made.remove(0).unwrap();
    let entry = certificates.find(None).unwrap();
    let clock = Arc::new(Clock(AtomicU64::new(1_893_455_000))); // minutes before 2030
    let entry = entry.with_clock(Arc::clone(&clock) as Arc<dyn TimeProvider>);
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(shown_key.serialize_der()).unwrap();
    let client = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![shown.der().clone()], key)
        .unwrap();
    let client = Arc::new(client);
    let visit = || {
        let name = ServerName::try_from("a.example").unwrap();
        let mut client = ClientConnection::new(Arc::clone(&client), name).unwrap();
        let mut server = ServerConnection::new(entry.config().unwrap()).unwrap();
        let shaken = shake(&mut client, &mut server);
        let identity = shaken.map(|()| entry.identify(&server).unwrap());
        (server.handshake_kind(), identity.map_err(|error| error.to_string()))
    };

    let first = visit();
    let second = visit();
    clock.0.fetch_add(3600, Ordering::Relaxed);
    let third = visit();

    let acme = |identity: Option<crate::model::identity::Identity>| {
        identity.is_some_and(|identity| identity.common_names == ["acme".into()].into())
    };
    assert_eq!((first.0, second.0), (Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)));
    assert!(acme(first.1.unwrap()) && acme(second.1.unwrap()));
    // It is not resumed, so that a client with a new certificate could show it.
    assert_eq!(third.0, Some(HandshakeKind::Full));
    assert!(third.1.as_ref().is_err_and(|error| error.contains("expired")), "{third:?}");
}

#[test]
fn authorities_that_cannot_be_read_any_more_hold_up_no_renewal() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, leaf, next) = (made_for(&["ca"]), made_for(&["a.test"]), made_for(&["a.test"]));
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, &authority.0).unwrap();
    let authorities = NamedPath { path: path.clone(), place: place("ca") };
    let clients = ClientCertificatesSpec { mode: ClientCertificatesMode::Required, authorities };
    let read = |pair: &(String, String), before: &[Option<Arc<Certificates>>]| {
        let own = spec(folder.path(), "leaf", (&pair.0, &pair.1));
        let tls = ListenerTlsSpec {
            default: None,
            certificates: vec![own],
            clients: Some(clients.clone()),
        };
        let listener = ListenerSpec { tls: Some(tls), ..listener() };
        build(&[listener], before, &mut Demands::default())
    };
    let before = read(&leaf, &[]).made;
    assert!(before[0].as_ref().unwrap().otherwise().is_some());
    let found =
        |made: &Made| made[0].as_ref().unwrap().find(Some("a.test")).unwrap().leaf().to_vec();

    std::fs::write(&path, "nothing").unwrap();
    let after = read(&next, &before);

    assert_eq!(after.problems.len(), 1);
    assert_ne!(found(&before), found(&after.made));
    let otherwise = |made: &Made| Arc::clone(made[0].as_ref().unwrap().otherwise().unwrap());
    assert!(Arc::ptr_eq(&otherwise(&before), &otherwise(&after.made)));
    // There is nothing that could be asked of those who are shown a tenant's: they are shown nothing.
    assert!(read(&leaf, &[]).made[0].as_ref().unwrap().otherwise().is_none());
}
