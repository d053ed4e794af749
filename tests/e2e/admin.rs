//! The admin API of the built program: by curl, by the program's own commands, and by schemathesis,
//! which makes up requests from the OpenAPI document and looks whether the answers are what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::world::gateway::Gateway;
use crate::world::process::run;
use crate::world::{PROGRAM, curl, eventually};

const ROUTES: &str = "[pools.shop]\nendpoints = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n\
    [[route-sets.common.routes]]\npath = \"/a/*\"\n\
    [tenants.acme]\npool = \"shop\"\nuse = [\"common\"]\n";

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A gateway that asks for a token.
fn guarded(more: &str) -> Gateway {
    let mut gateway = Gateway::prepare("", ROUTES);
    fs::write(gateway.path("tokens"), format!("{TOKEN}\n")).expect("write the tokens");
    gateway.configure_admin(&format!("token-file = \"tokens\"\n{more}"));
    gateway.launch();
    gateway
}

fn post(gateway: &Gateway, method: &str, path: &str, body: &str) -> (u16, Value) {
    let json = "Content-Type: application/json";
    let url = gateway.admin_url() + path;
    let answer = curl(&["--request", method, "--header", json, "--data", body, &url]);
    (answer.status, answer.json())
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

/// One run of schemathesis with fixed draws: whether it is content, and all that it says.
fn schemathesis(gateway: &Gateway, document: &str, options: &[&str]) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = gateway.path("schemathesis.toml");
    // 412 is how a condition is refused that holds no more; the others are its defaults.
    let expected = "[checks.negative_data_rejection]\n\
        expected-statuses = [\"400\", \"401\", \"403\", \"404\", \"405\", \"406\", \"409\", \"412\", \"415\", \"422\", \"428\", \"429\", \"5xx\"]\n\
        [checks.positive_data_acceptance]\n\
        expected-statuses = [\"2xx\", \"3xx\", \"401\", \"403\", \"404\", \"409\", \"412\", \"429\", \"5xx\"]\n";
    // What a tenant's table means hangs on the pools and sets of the files, which no schema knows.
    let of_tenants = ["PUT", "PATCH"].map(|method| {
        format!(
            "[[operations]]\ninclude-name = \"{method} /api/v1/tenants/{{id}}\"\n\
             checks.positive_data_acceptance.enabled = false\n"
        )
    });
    let expected = format!("{expected}{}", of_tenants.concat());
    fs::write(&config, expected).expect("write the configuration");
    let mut command = Command::new(root.join("target/schemathesis/bin/schemathesis"));
    command.arg("--config-file").arg(config).args(["run", document]);
    command.args(["--url", &gateway.admin_url(), "--seed", "1", "--workers", "1"]);
    command.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
    // What it keeps for later goes with the test.
    let output = run(command.args(options).current_dir(gateway.path("")).env("NO_COLOR", "1"));
    (output.status.success(), said(&output))
}

/// The document in a file: it leaves out the document's own path where it is read from there.
fn written(gateway: &Gateway, document: &Value) -> String {
    let file: PathBuf = gateway.path("openapi.json");
    fs::write(&file, document.to_string()).expect("write the document");
    file.display().to_string()
}

fn document(gateway: &Gateway) -> Value {
    let bearer = format!("Authorization: Bearer {TOKEN}");
    curl(&["--header", &bearer, &(gateway.admin_url() + "/api/v1/openapi.json")]).json()
}

#[test]
fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    let mut gateway = guarded("");
    gateway.wait_ready();
    let document = document(&gateway);

    // The one would end the gateway, as it should, and the other is a stream, which does not end.
    let out = ["/api/v1/drain", "/api/v1/events"];
    let excluded = out.iter().flat_map(|path| ["--exclude-path", *path]);
    // It shows hundreds of wrong tokens, and takes nothing for an answer to them but 401 or 403. Who may
    // come in, and that others get 429 in the end, is tested by itself.
    let general = ["--max-examples", "25", "--exclude-checks", "ignored_auth"];
    let options: Vec<&str> = general.into_iter().chain(excluded).collect();
    let (content, told) = schemathesis(&gateway, &written(&gateway, &document), &options);

    assert!(content, "{told}");
    let paths = document["paths"].as_object().expect("paths").values();
    let operations: usize = paths.map(|path| path.as_object().expect("methods").len()).sum();
    assert!(
        told.contains(&format!("Tested: {}\n", operations - out.len())),
        "{operations}: {told}"
    );
    assert!(gateway.ended().is_none(), "{}", gateway.log());
}

#[test]
fn schemathesis_finds_an_answer_that_is_not_as_the_document_says() {
    let mut gateway = guarded("");
    gateway.wait_ready();
    let mut wrong = document(&gateway);
    wrong["components"]["schemas"]["Status"]["properties"]["workers"] = json!({"type": "string"});

    let options = ["--max-examples", "1", "--include-path", "/api/v1/status"];
    let (content, told) = schemathesis(&gateway, &written(&gateway, &wrong), &options);

    assert!(!content, "{told}");
    assert!(told.contains("violates schema"), "{told}");
}

#[test]
fn commands_show_a_token_and_trust_an_authority() {
    let authority = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make");
    assert!(run(Command::new(script).arg(authority.path())).status.success());
    let file = |name: &str| authority.path().join(name).display().to_string();
    let tls =
        format!("tls = {{ cert = \"{}\", key = \"{}\" }}", file("leaf.pem"), file("leaf.key"));
    let gateway = guarded(&tls);
    let admin = gateway.admin_url().replace("http:", "https:");
    let tokens = gateway.path("tokens").display().to_string();
    let asks = |arguments: &[&str], variable: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).args(["--admin", &admin]).env("TENANTRY_ADMIN_TOKEN", variable);
        let output = run(&mut command);
        (output.status.code(), said(&output))
    };
    let explain = ["explain", "GET", "/a/b", "--tenant", "acme", "--ca", &file("ca.pem")];
    let with_file = [&explain[..], &["--token-file", &tokens]].concat();

    let health = ["healthcheck", "--ca", &file("ca.pem")];
    eventually("readiness", || asks(&health, ""), |(code, _)| *code == Some(0));
    let distrusted = asks(&["healthcheck"], "");
    let refused = asks(&explain, "");
    let wrong = asks(&explain, "0123456789abcdef");

    assert_eq!(distrusted.0, Some(1), "{}", distrusted.1);
    assert!(distrusted.1.contains("name its authority by --ca"), "{}", distrusted.1);
    assert!(refused.0 == Some(1) && refused.1.contains("401"), "{}", refused.1);
    assert!(refused.1.contains("come with a token"), "{}", refused.1);
    assert!(wrong.1.contains("is not in the gateway's token file"), "{}", wrong.1);
    for (code, told) in [asks(&explain, TOKEN), asks(&with_file, "")] {
        assert!(code == Some(0) && told.contains("is forwarded to the pool shop"), "{told}");
    }
    let top = ["top", "--once", "--ca", &file("ca.pem")];
    let with_file = [&top[..], &["--token-file", &tokens]].concat();
    let (code, refused) = asks(&top, "");
    assert!(code == Some(1) && refused.contains("does not let in: come with a token"), "{refused}");
    assert!(asks(&["top", "--once"], TOKEN).1.contains("name its authority by --ca"));
    for (code, told) in [asks(&top, TOKEN), asks(&with_file, "")] {
        assert!(code == Some(0) && told.contains("TENANTS 1 of 1"), "{told}");
    }
}

/// A gateway that knows these tokens.
fn with_tokens(lines: &str) -> Gateway {
    let mut gateway = Gateway::prepare("", ROUTES);
    fs::write(gateway.path("tokens"), lines).expect("write the tokens");
    gateway.configure_admin("token-file = \"tokens\"");
    gateway.launch();
    gateway.wait_ready();
    gateway
}

/// What a command of the program says that shows this token, and how it ends.
fn command(gateway: &Gateway, arguments: &[&str], token: &str) -> (Option<i32>, String) {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args(["--admin", &gateway.admin_url()]);
    let output = run(command.env("TENANTRY_ADMIN_TOKEN", token));
    (output.status.code(), said(&output))
}

/// Sends a tenant `globex`; gives the generation that is live then.
fn send_globex(gateway: &Gateway, table: &Value) -> u64 {
    let fields =
        [format!("Authorization: Bearer {TOKEN}"), "Content-Type: application/json".into()];
    let url = gateway.admin_url() + "/api/v1/tenants/globex";
    let (body, [token, json]) = (table.to_string(), &fields);
    let put = ["--request", "PUT", "--header", token, "--header", json, "--data", &body, &url];
    let answer = curl(&put);
    assert!([200, 201].contains(&answer.status), "{}", answer.body);
    answer.json()["generation"].as_u64().expect("a generation")
}

#[test]
fn the_history_of_a_running_gateway_is_listed_and_gone_back_in_by_commands() {
    let viewer = "2222222222222222";
    let gateway = with_tokens(&format!("alice admin {TOKEN}\nbob viewer {viewer}\n"));
    let (plain, routed) = (json!({"pool": "shop"}), json!({"pool": "shop", "use": ["common"]}));
    let first = send_globex(&gateway, &plain);
    let second = send_globex(&gateway, &routed);
    let to = first.to_string();
    let asks = |arguments: &[&str], token: &str| command(&gateway, arguments, token);
    let of = |generation: u64| -> Value {
        let (code, told) = asks(&["history", &generation.to_string()], viewer);
        assert_eq!(code, Some(0), "{told}");
        serde_json::from_str::<Value>(&told).expect("JSON")["tenants"][0].clone()
    };

    let (code, listed) = asks(&["history"], viewer);
    assert_eq!(code, Some(0), "{listed}");
    let lines: Vec<&str> = listed.lines().map(str::trim_start).collect();
    for (line, generation, what) in [(lines[0], second, "~globex"), (lines[1], first, "+globex")] {
        assert!(line.starts_with(&format!("{generation}  ")), "{listed}");
        assert!(line.ends_with(&format!("alice at 127.0.0.1: tenants {what}")), "{listed}");
    }
    assert_eq!((&of(second)["before"], &of(second)["after"]), (&plain, &routed));

    for (token, to, why) in [
        ("0123456789abcdef", to.as_str(), "401"),
        ("", to.as_str(), "401"),
        (viewer, to.as_str(), "403"),
        (TOKEN, "9999", "404"),
    ] {
        let (code, told) = asks(&["rollback", to], token);
        assert!(code == Some(1) && told.contains(why), "{why}: {told}");
    }
    let (code, refused) = asks(&["history"], "0123456789abcdef");
    assert!(code == Some(1) && refused.contains("401"), "{refused}");
    let (code, told) = asks(&["rollback", &to, "--dry-run"], TOKEN);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told, "~ tenants.globex\nnothing was changed: it was a dry run\n");
    let (_, listed) = asks(&["history"], TOKEN);
    assert!(listed.trim_start().starts_with(&format!("{second}  ")), "nothing was: {listed}");

    let (code, told) = asks(&["rollback", &to], TOKEN);

    let third = second + 1;
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told, format!("~ tenants.globex\ngeneration {third} is live\n"));
    assert_eq!((&of(third)["before"], &of(third)["after"]), (&routed, &plain));
}

/// What the admin API answers to who shows this token.
fn as_who(gateway: &Gateway, token: &str, line: &str, body: &Value) -> (u16, Value) {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let (token, body) = (format!("Authorization: Bearer {token}"), body.to_string());
    let json = "Content-Type: application/json";
    let url = gateway.admin_url() + path;
    let fields = ["--request", method, "--header", &token, "--header", json];
    let answer = match method {
        "GET" => curl(&[&fields[..], &[url.as_str()]].concat()),
        _ => curl(&[&fields[..], &["--data", body.as_str(), url.as_str()]].concat()),
    };
    (answer.status, answer.json())
}

#[test]
fn a_kill_forgets_nothing_of_who_has_written_which_number() {
    let plans = "[plans.free]\npool = \"shop\"\nlimits.requests = \"5/s\"\n[plans.pro]\n\
                 pool = \"shop\"\nlimits.requests = \"50/s\"\ntenant-keys = [\"limits.requests\"]\n";
    let mut gateway = Gateway::prepare("", &format!("{ROUTES}{plans}"));
    let own = "3333333333333333";
    let tokens = format!("alice admin {TOKEN}\nglobex tenant:globex {own}\n");
    fs::write(gateway.path("tokens"), tokens).expect("write the tokens");
    gateway.configure_admin("token-file = \"tokens\"");
    gateway.launch();
    gateway.wait_ready();
    send_globex(&gateway, &json!({"plan": "pro"}));
    let patch = "PATCH /api/v1/tenants/globex";
    let limits = json!({"limits": {"requests": "40/s"}});
    assert_eq!(as_who(&gateway, own, patch, &limits).0, 200);

    gateway.signal("KILL");
    gateway.wait();
    gateway.launch();
    gateway.wait_ready();

    let shown = as_who(&gateway, TOKEN, "GET /api/v1/tenants/globex", &json!({})).1;
    assert_eq!(shown["kept"]["set_by_tenant"], json!(["limits.requests"]), "{shown}");
    let (status, told) = as_who(&gateway, TOKEN, patch, &json!({"plan": "free"}));
    assert_eq!((status, &told["type"]), (409, &json!("urn:tenantry:admin:above-plan")), "{told}");
}

#[test]
fn an_edit_beside_a_running_gateway_is_compared_with_what_its_api_keeps() {
    let gateway = with_tokens(&format!("alice admin {TOKEN}\n"));
    send_globex(&gateway, &json!({"pool": "shop"}));
    let edit = ROUTES.replace("[pools.shop]", "[pools.other]").replace("\"shop\"", "\"other\"");
    fs::write(gateway.path("new.toml"), edit).expect("write the edit");
    let file = |name: &str| gateway.path(name).display().to_string();
    let diff = |more: &[&str]| {
        let (old, new) = (file("routes.toml"), file("new.toml"));
        let output = run(Command::new(PROGRAM).args(["diff", &old, &new]).args(more));
        (output.status.code(), said(&output))
    };

    let (alone, told) = diff(&["--exit-code"]);
    let (beside, why) = diff(&["--state", &file("state")]);

    assert!(alone == Some(1) && told.contains("~ tenants.acme.pool"), "{told}");
    assert!(told.contains("tenants that the API keeps are left out"), "{told}");
    // The pool of `globex` goes.
    assert!(beside == Some(1) && why.contains("globex") && why.contains("pool"), "{why}");
}

#[test]
fn what_is_logged_changes_while_it_runs() {
    let gateway = Gateway::start(ROUTES);
    let level = |body: &str| post(&gateway, "PUT", "/api/v1/log-level", body);
    assert!(!gateway.log().contains("DEBUG"));

    let (status, told) = level(r#"{"level": "info,tenantry::control=debug"}"#);
    assert_eq!((status, &told["configured"]), (200, &json!("info")));
    let (bad, why) = level(r#"{"level": "loud"}"#);
    let (other, _) = level("{}");
    let (back, told) = level(r#"{"level": null}"#);

    assert_eq!((bad, other, back), (422, 422, 200));
    assert!(why["detail"].as_str().expect("a reason").contains("error, warn, info"), "{why}");
    assert_eq!(told["level"], "info");
    let changed = "what is logged has changed";
    eventually("the log", || gateway.log().matches(changed).count(), |count| *count == 2);
}

#[test]
fn a_level_is_changed_only_if_it_is_still_what_was_read() {
    let gateway = Gateway::start(ROUTES);
    let url = gateway.admin_url() + "/api/v1/log-level";
    let json = "Content-Type: application/json";
    let change = |tag: &str, to: &str| {
        let (tag, body) = (format!("If-Match: {tag}"), format!("{{\"level\": \"{to}\"}}"));
        let put = ["--request", "PUT", "--header", json, "--header", &tag, "--data", &body, &url];
        curl(&put).status
    };
    let head = curl(&["--dump-header", "-", &url]).body;
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag").trim();

    assert_eq!(change(tag, "warn"), 200);
    assert_eq!(change(tag, "debug"), 412);
    assert_eq!(change("*", "debug"), 200);
    assert_eq!(change("debug", "warn"), 412);
}

#[test]
fn a_drain_that_the_admin_api_is_asked_for_ends_the_process_as_a_signal_does() {
    let mut gateway = Gateway::start_with("[drain]\naccept = \"0s\"\n", ROUTES);

    let (status, told) = post(&gateway, "POST", "/api/v1/drain", r#"{"confirm": true}"#);

    assert_eq!((status, &told["accept_ms"]), (202, &json!(0)));
    assert!(gateway.wait().success(), "{}", gateway.log());
    assert!(gateway.log().contains("asked to drain the gateway"), "{}", gateway.log());
}

#[test]
fn a_start_without_usable_tokens_says_what_to_write() {
    let mut gateway = Gateway::prepare("", ROUTES);
    gateway.configure_admin("token-file = \"tokens\"");
    fs::write(gateway.path("tokens"), "secret\n").expect("write the tokens");

    gateway.launch();

    assert!(!gateway.wait().success());
    let log = gateway.log();
    assert!(
        log.contains("admin.token-file: ") && log.contains("fewer than 16 characters"),
        "{log}"
    );
    assert!(log.contains("openssl rand -hex 32"), "{log}");
}
