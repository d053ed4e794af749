//! A TLS listener with the development certificates that `certs/make` writes.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::world::gateway::Gateway;
use crate::world::process::run;
use crate::world::{PROGRAM, curl, eventually, free_port, origin};

/// A gateway that serves one tenant by TLS, too.
struct Secure {
    gateway: Gateway,
    port: u16,
    folder: TempDir,
}

impl Secure {
    fn start() -> Self {
        Self::start_by(Command::new(PROGRAM))
    }

    /// By a command that runs the program.
    fn start_by(program: Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        make(folder.path());
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (port, endpoint) = (free_port(), origin::answering("127.0.0.1:0", "over TLS"));
        let listener = format!(
            "[[listeners]]\naddress = \"127.0.0.1:{port}\"\n\
             tls = {{ cert = \"{}\", key = \"{}\" }}\n",
            file("leaf.pem"),
            file("leaf.key")
        );
        let pool = format!("[pools.shop]\nendpoints = [\"{endpoint}\"]\n");
        let routes = format!("{pool}\n[tenants.acme]\npool = \"shop\"\n");
        let mut gateway = Gateway::prepare(&listener, &routes);
        gateway.launch_as(program);
        gateway.wait_ready();
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

#[test]
fn a_certificate_that_the_script_makes_again_is_in_use_and_no_client_notices() {
    let secure = Secure::start();
    let url = format!("https://localhost:{}/", secure.port);
    let ask = || {
        let authority = secure.file("ca.pem");
        curl(&["--cacert", &authority, "--header", "X-Tenant-ID: acme", &url]).status
    };
    eventually("TLS", ask, |status| *status == 200);
    let shown = || openssl(&secure, &["-showcerts"]).split("-----END").next().map(str::to_owned);

    for _ in 0..3 {
        let before = shown();
        make(secure.folder.path());
        let is_new = || (ask(), shown());
        // Whoever asks meanwhile is shown either, and trusts both.
        let seen =
            eventually("the new one", is_new, |(status, now)| *status != 200 || *now != before);
        assert_eq!(seen.0, 200);
    }

    let ok = secure.gateway.metric("tenantry_certificate_reloads_total{result=\"ok\"}");
    assert_eq!(ok, Some(3.0));
    assert_eq!(secure.gateway.metric("tenantry_certificate_problems"), Some(0.0));
}

/// The clock of the gateway is faketime's: its keys of tickets are renewed every six hours.
#[test]
fn tickets_are_good_until_their_key_has_been_renewed_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = folder.path().join("clock");
    let at = |time: &str| fs::write(&clock, time).expect("set the clock");
    at("+0");
    let mut program = Command::new("env");
    program
        .arg("LD_PRELOAD=/usr/$LIB/faketime/libfaketimeMT.so.1")
        .arg(format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()))
        .args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", PROGRAM]);
    let secure = Secure::start_by(program);
    let session = |name: &str| folder.path().join(name).display().to_string();
    let (early, late) = (session("early"), session("late"));
    let resumes = |session: &str| {
        let told = openssl(&secure, &["-sess_in", session]);
        let lines: Vec<&str> = told.lines().filter(|line| line.contains(", TLSv1.2")).collect();
        lines.first().is_some_and(|line| line.starts_with("Reused"))
    };

    openssl(&secure, &["-sess_out", &early]);
    let at_once = resumes(&early);
    at("+7h");
    openssl(&secure, &["-sess_out", &late]);
    let after_one = resumes(&early);
    at("+14h");
    openssl(&secure, &[]);
    let after_two = (resumes(&early), resumes(&late));

    assert!(at_once && after_one, "{at_once} {after_one}");
    assert_eq!(after_two, (false, true));
}

#[test]
fn endpoints_are_trusted_by_the_authorities_of_the_system() {
    let endpoint = Secure::start();
    let routes = format!(
        "[pools.shop]\nendpoints = [\"127.0.0.1:{}\"]\ntls = {{ server-name = \"localhost\" }}\n\
         [tenants.acme]\npool = \"shop\"\n",
        endpoint.port
    );
    let through = |authorities: &str| {
        let mut gateway = Gateway::prepare("", &routes);
        let mut program = Command::new("env");
        program.arg(format!("SSL_CERT_FILE={authorities}")).arg(PROGRAM);
        gateway.launch_as(program);
        gateway.wait_ready();
        gateway.get("acme", "/", &[])
    };

    let trusted = through(&endpoint.file("ca.pem"));
    make(Path::new(&endpoint.file("elsewhere")));
    let foreign = through(&endpoint.file("elsewhere/ca.pem"));

    assert_eq!((trusted.status, trusted.body.as_str()), (200, "over TLS"));
    assert_eq!(foreign.status, 502);
    assert!(foreign.body.contains("tls-failed"), "{}", foreign.body);
}

/// What openssl's client says of a connection.
fn openssl(secure: &Secure, options: &[&str]) -> String {
    let said = run(Command::new("timeout")
        .args(["30", "openssl", "s_client", "-tls1_2", "-servername", "localhost"])
        .args(["-CAfile", &secure.file("ca.pem"), "-verify_return_error"])
        .args(["-connect", &format!("127.0.0.1:{}", secure.port)])
        .args(options)
        .stdin(std::process::Stdio::null()));
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).into_owned()
}

pub(crate) fn make(folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make");
    assert!(run(Command::new(script).arg(folder)).status.success());
}
