//! What testssl.sh finds at a TLS listener, all that it can look for: with a key for elliptic curves and
//! with one for RSA, in front of an application whose security headers its route adds.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::tls::make;
use crate::world::gateway::Gateway;
use crate::world::process::run;
use crate::world::{free_port, origin};

/// Findings that are neither good nor low, and whose they are.
const ARGUED: [(&str, &str, &str); 4] = [
    (
        "cert_revocation",
        "HIGH",
        "the test's: its authority has neither a list of the revoked nor OCSP",
    ),
    ("engine_problem", "WARN", "the tool's: its OpenSSL has no engine for the suites of GOST"),
    (
        "sessionresumption_ticket",
        "WARN",
        "the tool's: on a busy machine it ends before its ticket of TLS 1.3 has come, and has none to show; \
         that tickets resume sessions is in `tls`",
    ),
    ("sessionresumption_ID", "WARN", "the tool's, as of the ticket"),
];

/// What it does unless it is told otherwise is all but these: suites by protocol, and odd hellos.
const THE_REST: [&str; 2] = ["-E", "-g"];

/// A gateway with a listener for each kind of key.
struct World {
    folder: TempDir,
    ports: [u16; 2],
    _gateway: Gateway,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        make(folder.path());
        make_rsa(folder.path());
        let ports = [free_port(), free_port()];
        let listener = |(name, port): (&str, u16)| {
            let file = |end| folder.path().join(format!("{name}.{end}")).display().to_string();
            format!(
                "[[listeners]]\naddress = \"127.0.0.1:{port}\"\n\
                 tls = {{ cert = \"{}\", key = \"{}\" }}\n",
                file("pem"),
                file("key")
            )
        };
        let listeners = [("leaf", ports[0]), ("rsa", ports[1])].map(listener).concat();
        let endpoint = origin::answering("127.0.0.1:0", "over TLS");
        let routes = ROUTES.replace("ENDPOINT", &endpoint);
        let gateway = Gateway::start_with(&listeners, &routes);
        Self { folder, ports, _gateway: gateway }
    }

    /// What it has to say of a listener.
    fn findings(&self, port: u16, checks: &[&str]) -> Vec<Finding> {
        let file = |name: String| self.folder.path().join(name).display().to_string();
        let report = file(format!("report{port}{}.json", checks.len()));
        let said = run(Command::new("timeout")
            .args(["1200", "testssl", "--quiet", "--color", "0", "--warnings", "off"])
            .env("HEADER_MAXSLEEP", "60") // for an answer, on a busy machine
            .args(["--nodns", "none", "--add-ca", &file("ca.pem".to_owned())])
            .args(["--jsonfile", &report])
            .args(checks)
            .arg(format!("127.0.0.1:{port}")));
        let report = fs::read_to_string(report).unwrap_or_default();
        let said = String::from_utf8_lossy(&said.stdout);
        let findings: Vec<Finding> = serde_json::from_str(&report).unwrap_or_else(|error| {
            panic!("no report ({error}): tests/run installs testssl\n{said}")
        });
        let ended = findings.last().is_some_and(|last| last.id == "scanTime");
        assert!(ended, "it did not get to its end:\n{said}");
        findings
    }
}

/// The application says nothing of security; its route does.
const ROUTES: &str = r#"
[tenant]
from = [{ default = "acme" }]

[pools.shop]
endpoints = ["ENDPOINT"]

[tenants.acme]

[[tenants.acme.routes]]
path = "/*"
pool = "shop"

[tenants.acme.routes.response-headers]
set = { Strict-Transport-Security = "max-age=31536000", X-Content-Type-Options = "nosniff", X-Frame-Options = "DENY" }
"#;

/// A certificate for a key of RSA, by the authority of the others.
fn make_rsa(folder: &Path) {
    let made = run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90", "-sha256"])
        .args(["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "rsa.key", "-out", "rsa.pem"])
        .args(["-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", "keyUsage=critical,digitalSignature,keyEncipherment"])
        .args(["-addext", "extendedKeyUsage=serverAuth"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .current_dir(folder));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// One line of its report.
#[derive(Debug, serde::Deserialize)]
struct Finding {
    id: String,
    severity: String,
    finding: String,
}

impl Finding {
    fn is_good_or_argued(&self) -> bool {
        let argued =
            |(id, severity, _): &(&str, &str, &str)| *id == self.id && *severity == self.severity;
        ["OK", "INFO", "LOW"].contains(&self.severity.as_str()) || ARGUED.iter().any(argued)
    }
}

#[test]
fn testssl_finds_nothing_above_low_whatever_the_key() {
    let world = World::start();
    let [ec, rsa] = world.ports;

    // Side by side, since most of it waits.
    let (ec, rsa, rest) = std::thread::scope(|scope| {
        let ec = scope.spawn(|| world.findings(ec, &[]));
        let rest = scope.spawn(|| world.findings(rsa, &THE_REST));
        let rsa = world.findings(rsa, &[]);
        (ec.join().expect("its findings"), rsa, rest.join().expect("its findings"))
    });

    for (key, findings) in [("an elliptic curve", &ec), ("RSA", &rsa), ("RSA, the rest", &rest)] {
        let grave: Vec<_> = findings.iter().filter(|found| !found.is_good_or_argued()).collect();
        assert!(grave.is_empty(), "{key}: {grave:#?}");
    }
    for findings in [&ec, &rsa] {
        saw_what_is_there(findings);
    }
    let found = |id: &str| rest.iter().any(|found| found.id == id && found.severity != "WARN");
    assert!(found("GREASE") && found("cipher-tls1_3_x1301"), "{rest:#?}");
}

/// A check that does not look finds nothing, either.
fn saw_what_is_there(findings: &[Finding]) {
    let found = |id: &str| {
        let finding = findings.iter().find(|finding| finding.id == id);
        finding.unwrap_or_else(|| panic!("nothing of {id} in {findings:#?}"))
    };
    for id in [
        "TLS1_2",
        "TLS1_3",
        "ALPN_HTTP2",
        "PFS",
        "cipher_order",
        "cert_chain_of_trust",
        "HSTS_time",
        "X-Frame-Options",
        "X-Content-Type-Options",
        "heartbleed",
        "ROBOT",
        "secure_client_renego",
        "LUCKY13",
    ] {
        assert_eq!(found(id).severity, "OK", "{id}: {}", found(id).finding);
    }
    for id in ["SSLv2", "SSLv3", "TLS1", "TLS1_1"] {
        assert!(found(id).finding.starts_with("not offered"), "{id}: {}", found(id).finding);
    }
    let simulated = findings.iter().filter(|finding| finding.id.starts_with("clientsimulation-"));
    assert!(simulated.count() > 20, "{findings:#?}");
    assert!(
        found("HTTP_status_code").finding.contains("200"),
        "{}",
        found("HTTP_status_code").finding
    );
}
