//! A TLS listener with the development certificates that `certs/make` writes.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::world::gateway::Gateway;
use crate::world::process::run;
use crate::world::{curl, eventually, free_port, origin};

/// A gateway that serves one tenant by TLS, too.
struct Secure {
    gateway: Gateway,
    port: u16,
    folder: TempDir,
}

impl Secure {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make");
        assert!(run(Command::new(script).arg(folder.path())).status.success());
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (port, endpoint) = (free_port(), origin::answering("127.0.0.1:0", "over TLS"));
        let listener = format!(
            "[[listeners]]\naddress = \"127.0.0.1:{port}\"\n\
             tls = {{ cert = \"{}\", key = \"{}\" }}\n",
            file("leaf.pem"),
            file("leaf.key")
        );
        let pool = format!("[pools.shop]\nendpoints = [\"{endpoint}\"]\n");
        let gateway =
            Gateway::start_with(&listener, &format!("{pool}\n[tenants.acme]\npool = \"shop\"\n"));
        Self { gateway, port, folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

#[test]
fn a_tls_listener_is_verified_by_the_development_authority() {
    let secure = Secure::start();
    let plain = || secure.gateway.get("acme", "/", &[]).status;
    eventually("plain HTTP", plain, |status| *status == 200);

    for (version, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let answer = curl(&[
            version,
            "--cacert",
            &secure.file("ca.pem"),
            "--header",
            "X-Tenant-ID: acme",
            "--write-out",
            "%{http_version}\n%{http_code}",
            &format!("https://localhost:{}/", secure.port),
        ]);
        assert_eq!((answer.status, answer.body), (200, format!("over TLS{spoken}")));
    }
}

/// Findings that come of a certificate made for a test, not of how the gateway speaks TLS.
const OF_THE_CERTIFICATE: &[&str] = &[
    "cert_revocation", // an authority of development has neither a list of the revoked nor OCSP
];

/// Protocols, suites, forward secrecy, their order and the certificate; then known vulnerabilities.
/// Side by side, since most of it waits.
const CHECKS: [&[&str]; 2] = [&["-p", "-s", "-f", "-P", "-S"], &["-U"]];

#[test]
fn testssl_finds_nothing_above_low() {
    let secure = Secure::start();

    let findings: Vec<Finding> = std::thread::scope(|scope| {
        let running = CHECKS.map(|checks| scope.spawn(|| testssl(&secure, checks)));
        running.into_iter().flat_map(|one| one.join().expect("the findings")).collect()
    });

    let grave: Vec<&Finding> = findings
        .iter()
        .filter(|finding| !OF_THE_CERTIFICATE.contains(&finding.id.as_str()))
        .filter(|finding| !["OK", "INFO", "LOW", "WARN"].contains(&finding.severity.as_str()))
        .collect();
    assert!(grave.is_empty(), "{grave:?}");
    // It got as far as the end, and saw what is there.
    let found = |id: &str| findings.iter().find(|finding| finding.id == id);
    for id in ["TLS1_2", "TLS1_3", "cert_chain_of_trust", "cipher_order", "heartbleed", "ROBOT"] {
        let severity = found(id).map(|finding| finding.severity.as_str());
        assert_eq!(severity, Some("OK"), "{id} in {findings:?}");
    }
    for id in ["SSLv2", "SSLv3", "TLS1", "TLS1_1"] {
        let finding = found(id).map_or("", |finding| &finding.finding);
        assert!(finding.starts_with("not offered"), "{id}: {finding}");
    }
}

/// One line of testssl's report.
#[derive(Debug, serde::Deserialize)]
struct Finding {
    id: String,
    severity: String,
    finding: String,
}

fn testssl(secure: &Secure, checks: &[&str]) -> Vec<Finding> {
    let report = secure.file(&format!("report{}.json", checks[0]));
    let said = run(Command::new("timeout")
        .args(["300", "testssl", "--quiet", "--color", "0", "--warnings", "off", "--fast"])
        .args(["--nodns", "none"])
        .args(["--add-ca", &secure.file("ca.pem"), "--jsonfile", &report])
        .args(checks)
        .arg(format!("127.0.0.1:{}", secure.port)));
    let report = fs::read_to_string(report).unwrap_or_default();
    serde_json::from_str(&report).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&said.stdout);
        panic!("no report ({error}): tests/run installs testssl\n{said}")
    })
}
