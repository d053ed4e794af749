//! A TLS listener with the development certificates that `certs/make` writes.

use std::path::Path;
use std::process::Command;

use crate::world::gateway::Gateway;
use crate::world::process::run;
use crate::world::{curl, eventually, free_port, origin};

#[test]
fn a_tls_listener_is_verified_by_the_development_authority() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make");
    assert!(run(Command::new(script).arg(folder.path())).status.success());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (port, endpoint) = (free_port(), origin::answering("127.0.0.1:0", "over TLS"));

    let listener = format!(
        "[[listeners]]\naddress = \"127.0.0.1:{port}\"\ntls = {{ cert = \"{}\", key = \"{}\" }}\n",
        file("leaf.pem"),
        file("leaf.key")
    );
    let gateway = Gateway::start_with(
        &listener,
        &format!("[pools.shop]\nendpoints = [\"{endpoint}\"]\n\n[tenants.acme]\npool = \"shop\"\n"),
    );
    eventually("plain HTTP", || gateway.get("acme", "/", &[]).status, |status| *status == 200);

    for (version, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let answer = curl(&[
            version,
            "--cacert",
            &file("ca.pem"),
            "--header",
            "X-Tenant-ID: acme",
            "--write-out",
            "%{http_version}\n%{http_code}",
            &format!("https://localhost:{port}/"),
        ]);
        assert_eq!((answer.status, answer.body), (200, format!("over TLS{spoken}")));
    }
}
