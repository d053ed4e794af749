//! `tenantry check`: every problem at once, nothing started.

use std::process::Command;

use crate::world::PROGRAM;
use crate::world::gateway::Gateway;
use crate::world::process::run;

fn check(routes: &str, options: &[&str]) -> (Option<i32>, String) {
    let gateway = Gateway::prepare("", routes);
    let output =
        run(Command::new(PROGRAM).arg("check").arg("--config").arg(gateway.config()).args(options));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.into_owned())
}

#[test]
fn a_good_config_passes() {
    let (code, text) = check("[pools.shop]\nendpoints = [\"127.0.0.1:1\"]\n", &[]);

    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn all_problems_are_told_with_their_place() {
    let broken = "[pools.shop]\nendpoint = [\"127.0.0.1:1\"]\n\n[tenants.acme]\npool = \"shpo\"\n";

    let (code, text) = check(broken, &[]);

    assert_eq!(code, Some(1), "{text}");
    for part in ["routes.toml:2:", "routes.toml:5:", "endpoints", "shop"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn problems_for_machines_are_json() {
    let (code, text) = check("[tenants.acme]\npool = \"nowhere\"\n", &["--format", "json"]);

    assert_eq!(code, Some(1), "{text}");
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
}

#[test]
fn a_start_says_in_the_same_words_what_a_check_has_found() {
    let more = "tls = { cert = \"none.pem\", key = \"none.key\" }\n\
                [access-log]\nfile = \"none/access.log\"";
    let mut gateway = Gateway::prepare(more, "# nobody yet\n");

    let checked = run(Command::new(PROGRAM).arg("check").arg("--config").arg(gateway.config()));
    gateway.launch();
    let started = gateway.wait();

    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!((checked.status.code(), started.code()), (Some(1), Some(1)), "{text}");
    let told: Vec<&str> = text.lines().filter(|line| line.contains("gateway.toml:")).collect();
    let keys = ["listeners[0].tls.cert", "listeners[0].tls.key", "access-log.file"];
    assert_eq!(told.len(), keys.len(), "{text}");
    for (line, key) in told.iter().zip(keys) {
        assert!(line.contains(key), "{key} is not in {line}");
        assert!(gateway.log().contains(line), "{line} is not in:\n{}", gateway.log());
    }
}

#[test]
fn a_system_without_authorities_is_told_before_a_start_finds_it() {
    let routes = "[pools.a]\ndns = \"a.test:443\"\ntls = true\n[pools.b]\ndns = \"b.test:80\"\n";
    let gateway = Gateway::prepare("", routes);
    let mut command = Command::new(PROGRAM);
    command.arg("check").arg("--config").arg(gateway.config());
    let nowhere = gateway.config().with_file_name("nowhere");

    let output = run(command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", nowhere));

    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("routes.toml:3:1: pools.a.tls: the system has no"), "{text}");
    assert!(text.ends_with("\n1 problem\n"), "{text}");
}
