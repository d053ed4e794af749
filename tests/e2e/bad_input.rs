//! Every kind of bad input by its name, as an operator meets it: what `check` says, what a start
//! says, and that a gateway that runs loses nothing. docs/mistakes.md has the same list for people.
//!
//! Files that are broken in ways that nobody has thought of are the work of tests/fuzz/broken.rs.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use crate::memory::memory;
use crate::world::gateway::Gateway;
use crate::world::process::run;
use crate::world::{PROGRAM, eventually, origin};

/// A mistake in one of the files.
struct Mistake {
    /// As docs/mistakes.md names it.
    name: &'static str,
    file: InFile,
    /// What the file says.
    text: &'static [u8],
    /// Line and column, and the start of what is said there.
    told: &'static str,
    /// A part of the hint.
    hint: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum InFile {
    Gateway,
    Routes,
}

const fn gateway(
    name: &'static str,
    text: &'static str,
    told: &'static str,
    hint: &'static str,
) -> Mistake {
    Mistake { name, file: InFile::Gateway, text: text.as_bytes(), told, hint }
}

const fn routes(
    name: &'static str,
    text: &'static str,
    told: &'static str,
    hint: &'static str,
) -> Mistake {
    Mistake { name, file: InFile::Routes, text: text.as_bytes(), told, hint }
}

const MISTAKES: &[Mistake] = &[
    routes("empty file", "", "1:1: the routes are empty", "leave a comment in them"),
    gateway("empty file", " \n", "1:1: the file is empty", "a comment to have them all"),
    Mistake {
        name: "not UTF-8",
        file: InFile::Routes,
        text: b"[pools.a]\ndns = \"stra\xdfe:80\"\n",
        told: "2:12: the file is not UTF-8 text: the byte 0xdf",
        hint: "save it as UTF-8",
    },
    Mistake {
        name: "not UTF-8",
        file: InFile::Gateway,
        text: b"\xff\xfew\0",
        told: "1:1: the file is not UTF-8 text",
        hint: "this is UTF-16",
    },
    routes("TOML syntax error", "[pools.a\n", "1:9: unclosed table", "with ]"),
    gateway("TOML syntax error", "workers: 2\n", "1:8: ", "this is YAML"),
    gateway("unknown key", "wokers = 2\n", "1:1: wokers: there is no key", "\"workers\""),
    routes("unknown key", "[pool.a]\n", "1:2: pool: there is no key", "\"pools\""),
    gateway("wrong type", "workers = \"2\"\n", "1:11: workers: the text \"2\"", "1 to 1024"),
    routes("wrong type", "pools = 5\n", "1:9: pools: the number 5", "write a table"),
    gateway(
        "wrong type",
        "dns = [\"10.0.0.2\"]\n",
        "1:7: dns: an array does not fit here",
        "a table, as in { servers = [\"10.0.0.2\"] }",
    ),
    gateway(
        "wrong type",
        "listeners = \"0.0.0.0:80\"\n",
        "1:13: listeners: the text \"0.0.0.0:80\" does not fit here",
        "write [[listeners]]",
    ),
    routes(
        "duplicate name",
        "[pools.a]\ndns = \"a:1\"\n[pools.a]\ndns = \"a:1\"\n",
        "3:8: [pools.a] is there twice",
        "the other is in line 1",
    ),
    routes(
        "dangling pool",
        "[pools.shop]\ndns = \"a:1\"\n[tenants.t]\npool = \"shpo\"\n",
        "4:8: tenants.t.pool: there is no pool \"shpo\"",
        "did you mean \"shop\"?",
    ),
    routes(
        "dangling route set",
        "[tenants.t]\nuse = [\"common\"]\n",
        "2:8: tenants.t.use[0]: there is no route set \"common\"",
        "define it: [route-sets.common]",
    ),
    gateway(
        "zero duration",
        "[downstream]\nidle-timeout = \"0s\"\n",
        "2:16: downstream.idle-timeout: must be above 0",
        "from 1ms to 168h",
    ),
    gateway(
        "negative duration",
        "[drain]\ntimeout = \"-1s\"\n",
        "2:11: drain.timeout: \"-1s\" is not a duration",
        "is not negative",
    ),
    routes(
        "absurd duration",
        "[pools.a]\ndns = \"a:1\"\ntimeouts = { total = \"87600h\" }\n",
        "3:22: pools.a.timeouts.total: \"87600h\" is out of range",
        "from 1ms to 168h",
    ),
    gateway(
        "absurd size",
        "[downstream]\nmax-body = \"1073741824GiB\"\n",
        "2:12: downstream.max-body: \"1073741824GiB\" is not a size",
        "at most 1024GiB",
    ),
    gateway(
        "absurd size",
        "[memory]\nbuffers = \"0B\"\n",
        "2:11: memory.buffers: 0B is out of range",
        "from 1MiB on",
    ),
    gateway(
        "zero size",
        "[downstream]\nmax-body = \"0B\"\n",
        "2:12: downstream.max-body: would refuse every body",
        "from 1B on",
    ),
    routes(
        "invalid header name",
        "[pools.a]\ndns = \"a:1\"\n[tenants.t]\npool = \"a\"\nroutes = [{ headers = { \"X Y\" = true } }]\n",
        "5:25: tenants.t.routes[0].headers.\"X Y\": \"X Y\" is not the name of a header",
        "letters, digits and '-'",
    ),
    routes(
        "invalid header value",
        "[pools.a]\ndns = \"a:1\"\n[tenants.t]\npool = \"a\"\n[[tenants.t.routes]]\nrequest-headers.set = { x = \"a\\nb\" }\n",
        // The value may be a secret, and is not shown.
        "6:29: tenants.t.routes[0].request-headers.set.x: the value has a line break",
        "take out what else is there",
    ),
    routes(
        "invalid header value",
        "[pools.a]\ndns = \"a:1\"\n[tenants.t]\npool = \"a\"\n[[tenants.t.routes]]\nheaders = { x = \"a\\nb\" }\n",
        "6:13: tenants.t.routes[0].headers.x: no header has the value \"a\\nb\"",
        "no line breaks",
    ),
    routes(
        "regular expression",
        "[pools.a]\ndns = \"a:1\"\n[tenants.t]\npool = \"a\"\n[[tenants.t.routes]]\npath = \"/[0-9]+\"\n",
        "6:8: tenants.t.routes[0].path: \"/[0-9]+\" looks like a regular expression",
        "there are no regular expressions here",
    ),
    routes(
        "invalid pattern",
        "[pools.a]\ndns = \"a:1\"\n[tenants.t]\npool = \"a\"\n[[tenants.t.routes]]\npath = \"/*.php\"\n",
        "6:8: tenants.t.routes[0].path: \"/*.php\" has a bad tail",
        "end it with",
    ),
    routes(
        "address without port",
        "[pools.a]\nendpoints = [\"10.0.0.1\"]\n",
        "2:14: pools.a.endpoints[0]: \"10.0.0.1\" is not an address with a port",
        "\"10.0.0.1:8080\"",
    ),
    gateway(
        "address without port",
        "[[listeners]]\naddress = \"127.0.0.1\"\n",
        "2:11: listeners[0].address: \"127.0.0.1\" is not an address with a port",
        "\"127.0.0.1:8080\"",
    ),
    routes(
        "port 0",
        "[pools.a]\nendpoints = [\"10.0.0.1:0\"]\n",
        "2:14: pools.a.endpoints[0]: \"10.0.0.1:0\" has the port 0",
        "from 1 to 65535",
    ),
    gateway(
        "bad CIDR",
        "trusted-proxies = [\"10.0.0.0/33\"]\n",
        "1:20: trusted-proxies[0]: \"10.0.0.0/33\" is not a network",
        "\"10.0.0.0/8\"",
    ),
    gateway(
        "bad CIDR",
        "trusted-proxies = [\"10.0.0.1/8\"]\n",
        "1:20: trusted-proxies[0]: \"10.0.0.1/8\" has an address within the network",
        "\"10.0.0.0/8\" for all of it",
    ),
    gateway(
        "certificate without key",
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"a.pem\" }\n",
        "3:7: listeners[0].tls: needs both cert and key",
        "key = \"key.pem\"",
    ),
    gateway(
        "mismatched key",
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"a.pem\", key = \"b.key\" }\n",
        "3:31: listeners[0].tls.key: the key ",
        "name the key that the certificate was made for",
    ),
];

const GOOD_ROUTES: &str = "[pools.a]\ndns = \"a.test:80\"\n[tenants.t]\npool = \"a\"\n";
const GOOD_GATEWAY: &str =
    "[admin]\naddress = \"127.0.0.1:0\"\n[[listeners]]\naddress = \"127.0.0.1:0\"\n";

/// The program, where it may do no more than a user: also root is refused then.
fn unprivileged() -> Command {
    if !rustix::process::getuid().is_root() {
        return Command::new(PROGRAM);
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", PROGRAM]);
    command
}

fn asked(mut program: Command, verb: &str, config: &Path) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = run(program.arg(verb).arg("--config").arg(config));
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn write(folder: &Path, gateway: &[u8], routes: &[u8]) {
    fs::write(folder.join("gateway.toml"), gateway).expect("write gateway.toml");
    fs::write(folder.join("routes.toml"), routes).expect("write the routes");
}

/// A pair of files and another key.
fn make_certificates(folder: &Path) {
    for name in ["a", "b"] {
        let made = rcgen::generate_simple_self_signed([format!("{name}.test")]).expect("make one");
        fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).expect("write it");
        fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem())
            .expect("write its key");
    }
}

#[test]
fn each_mistake_is_told_by_check_and_by_a_start_with_its_place_and_what_to_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.toml");
    make_certificates(folder.path());
    for Mistake { name, file, text, told, hint } in MISTAKES {
        let place = match file {
            InFile::Gateway => {
                write(folder.path(), text, GOOD_ROUTES.as_bytes());
                format!("gateway.toml:{told}")
            }
            InFile::Routes => {
                write(folder.path(), GOOD_GATEWAY.as_bytes(), text);
                format!("routes.toml:{told}")
            }
        };

        for verb in ["check", "run"] {
            let (code, said) = asked(Command::new(PROGRAM), verb, &config);

            assert_eq!(code, Some(1), "{name}, {verb}: {said}");
            let (_, rest) = said.split_once(&place).unwrap_or_else(|| panic!("{name}: {said}"));
            let (_, hinted) = rest.split_once("hint: ").unwrap_or_else(|| panic!("{name}: {said}"));
            assert!(
                hinted.lines().next().is_some_and(|line| line.contains(hint)),
                "{name}: {said}"
            );
            assert!(!said.contains("panicked"), "{name}: {said}");
        }
    }
}

#[test]
fn no_mistake_in_the_routes_takes_anything_from_a_gateway_that_runs() {
    let endpoint = origin::keeping("127.0.0.1:0", "still here");
    let good =
        format!("[pools.shop]\nendpoints = [\"{endpoint}\"]\n[tenants.acme]\npool = \"shop\"\n");
    let gateway = Gateway::start(&good);
    let file = gateway.config().with_file_name("routes.toml");
    for Mistake { name, text, told, .. } in MISTAKES.iter().filter(|one| one.file == InFile::Routes)
    {
        fs::write(&file, text).expect("write the routes");

        let place = told.split(": ").next().unwrap_or_default();
        refused(&gateway, name, |problem| {
            format!("{}:{}", problem["line"], problem["column"]) == place
        });
    }
    gateway.edit(&good);
    eventually("good routes", || problems(&gateway), Vec::is_empty);
    assert_eq!(gateway.metric("tenantry_config_generation"), Some(1.0));
}

/// What the last load has found wrong.
fn problems(gateway: &Gateway) -> Vec<serde_json::Value> {
    let config = gateway.admin("/api/v1/config").json();
    config["problems"].as_array().cloned().unwrap_or_default()
}

/// The files are refused for such a problem, and what was live serves.
fn refused(gateway: &Gateway, name: &str, is_told: impl Fn(&serde_json::Value) -> bool) {
    eventually(name, || problems(gateway), |problems| problems.iter().any(&is_told));
    assert_eq!(gateway.get("acme", "/", &[]).body, "still here", "{name}");
}

#[test]
fn routes_that_are_gone_huge_or_no_file_are_told_while_those_before_serve() {
    let endpoint = origin::keeping("127.0.0.1:0", "still here");
    let good =
        format!("[pools.shop]\nendpoints = [\"{endpoint}\"]\n[tenants.acme]\npool = \"shop\"\n");
    let gateway = Gateway::start(&good);
    let file = gateway.config().with_file_name("routes.toml");
    let told = |part: &'static str| {
        move |problem: &serde_json::Value| {
            problem["what"].as_str().is_some_and(|what| what.contains(part))
        }
    };

    fs::remove_file(&file).expect("delete the routes");
    refused(&gateway, "deleted", told("there is no such file"));
    File::create(&file).and_then(|file| file.set_len(1 << 30)).expect("make it huge");
    refused(&gateway, "a gibibyte", told("is larger than 64 MiB"));
    fs::remove_file(&file).expect("delete it");
    run(Command::new("mkfifo").arg(&file));
    refused(&gateway, "a pipe", told("is no regular file"));
    fs::remove_file(&file).expect("delete it");
    fs::create_dir(&file).expect("make a folder");
    refused(&gateway, "a folder", told("has no *.toml file"));
    fs::remove_dir(&file).expect("delete it");
    symlink("routes.toml", &file).expect("make a link to itself");
    refused(&gateway, "a loop", told("Too many levels of symbolic links"));
    gateway.edit(&good);
    eventually("good routes", || problems(&gateway), Vec::is_empty);

    let log = gateway.log();
    assert!(log.contains("the routes are refused; what was live stays"), "{log}");
    // Five refusals of up to six readings each would have taken hundreds of megabytes.
    let peak = memory(&gateway, "VmHWM");
    assert!(peak < 300 << 20, "{peak} bytes");
}

#[test]
fn files_that_are_missing_or_may_not_be_read_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.toml");
    write(folder.path(), GOOD_GATEWAY.as_bytes(), GOOD_ROUTES.as_bytes());

    for (file, verb) in
        [("routes", "check"), ("routes", "run"), ("gateway", "check"), ("gateway", "run")]
    {
        let path = folder.path().join(format!("{file}.toml"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("close it");
        let (closed, unreadable) = asked(unprivileged(), verb, &config);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("open it");
        fs::rename(&path, path.with_extension("away")).expect("take it away");
        let (gone, missing) = asked(Command::new(PROGRAM), verb, &config);
        fs::rename(path.with_extension("away"), &path).expect("bring it back");

        assert_eq!((closed, gone), (Some(1), Some(1)), "{unreadable}{missing}");
        let told = format!("{file}.toml:1:1: cannot be read: Permission denied");
        assert!(unreadable.contains(&told) && unreadable.contains("hint: look at"), "{unreadable}");
        let told = format!("{file}.toml:1:1: there is no such file");
        assert!(missing.contains(&told) && missing.contains("hint: create it"), "{missing}");
    }
}

#[test]
fn a_certificate_that_has_expired_is_a_warning_and_is_served() {
    let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("sign it").pem();
    let mut gateway =
        Gateway::prepare("tls = { cert = \"a.pem\", key = \"a.key\" }\n", GOOD_ROUTES);
    let folder = gateway.config();
    let folder = folder.parent().expect("its folder");
    fs::write(folder.join("a.pem"), certificate).expect("write it");
    fs::write(folder.join("a.key"), key.serialize_pem()).expect("write its key");

    let (code, said) = asked(Command::new(PROGRAM), "check", &gateway.config());
    let mut strict = Command::new(PROGRAM);
    strict.arg("check").arg("--strict").arg("--config").arg(gateway.config());
    gateway.launch();
    gateway.wait_ready();

    assert_eq!((code, run(&mut strict).status.code()), (Some(0), Some(1)), "{said}");
    let told = "a.pem has expired";
    assert!(said.contains("gateway.toml:10:16: warning: listeners[0].tls.cert: "), "{said}");
    assert!(said.contains(told) && said.contains("hint: renew it"), "{said}");
    assert!(gateway.log().contains(told), "{}", gateway.log());
}

#[test]
fn a_route_that_is_never_used_is_a_warning_each_time_that_it_is_new() {
    let first = "[[tenants.t.routes]]\nmethods = [\"GET\", \"PUT\"]\n";
    let second = "[[tenants.t.routes]]\nmethods = [\"GET\"]\n";
    let told = "tenants.t.routes[1]: is never used: another route goes before it";
    let gateway = Gateway::start(&format!("{GOOD_ROUTES}{first}{second}"));
    let warned = || gateway.log().matches(told).count();

    let warnings = gateway.admin("/api/v1/config").json()["warnings"].clone();
    assert_eq!(warnings[0]["line"].as_u64(), Some(7), "{warnings}");
    eventually("the line of the log", warned, |warned| *warned == 1);

    gateway.edit(&format!("# moved\n{GOOD_ROUTES}{first}{second}timeout = \"5s\"\n"));
    let line = || gateway.admin("/api/v1/config").json()["warnings"][0]["line"].as_u64();
    eventually("the edit", line, |line| *line == Some(8));
    assert_eq!(warned(), 1, "only its line is another");

    gateway.edit(&format!("{GOOD_ROUTES}{second}{first}"));
    eventually("no warning", line, Option::is_none);
    assert_eq!(warned(), 1);
}

#[test]
fn a_replay_that_the_gateway_cannot_keep_is_a_warning_each_time_that_it_is_new() {
    let asking = |size: &str| {
        format!(
            "{GOOD_ROUTES}[[tenants.t.routes]]\nretry.replay = \"{size}\"\n[pools.b]\ndns = \"b:1\"\n"
        )
    };
    let told =
        "tenants.t.routes[0].retry.replay: is more than is ever kept: as a tenant has a quarter";
    let files = "[replay-files]\nfolder = \"kept\"\nmemory = \"1MiB\"\nspace = \"8MiB\"\n";
    let gateway = Gateway::start_with(files, &asking("4MiB"));
    let warned = || gateway.log().matches(told).count();
    let warnings = || gateway.admin("/api/v1/config").json()["warnings"].clone();

    eventually("the line of the log", warned, |warned| *warned == 1);
    let hint = warnings()[0]["hint"].as_str().unwrap_or_default().to_owned();
    assert_eq!(hint, "write replay = \"3MiB\", or space = \"12MiB\" there");

    gateway.edit(&asking("3MiB"));
    eventually("no warning", warnings, |warnings| *warnings == serde_json::json!([]));
    gateway.edit(&asking("5MiB"));
    eventually("another line of the log", warned, |warned| *warned == 2);
}

#[test]
fn a_port_that_only_root_may_take_is_told_with_what_to_do() {
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let start: u16 = start.ok().and_then(|start| start.trim().parse().ok()).unwrap_or(1024);
    if start == 0 {
        println!("on this machine everybody may take each port");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let text = GOOD_GATEWAY.replacen("127.0.0.1:0\"\n[[", "off\"\n[[", 1);
    let text = text.replace("127.0.0.1:0", &format!("127.0.0.1:{}", start - 1));
    write(folder.path(), text.as_bytes(), GOOD_ROUTES.as_bytes());

    let (code, said) = asked(unprivileged(), "run", &folder.path().join("gateway.toml"));

    assert_eq!(code, Some(1), "{said}");
    let told = format!(
        "gateway.toml:4:11: listeners[0].address: cannot listen on 127.0.0.1:{}: permission denied\n    \
         hint: choose a port",
        start - 1
    );
    assert!(said.contains(&told) && said.contains("CAP_NET_BIND_SERVICE"), "{said}");
}

/// Addresses that cannot be had, each with what is said of it and a part of the hint.
fn lost_addresses(folder: &Path) -> Vec<(String, String, &'static str)> {
    let unix = |name: &str| format!("unix:{}", folder.join(name).display());
    fs::write(folder.join("precious"), "precious").expect("a file");
    fs::create_dir(folder.join("closed")).expect("a folder");
    let closed = fs::Permissions::from_mode(0o500);
    fs::set_permissions(folder.join("closed"), closed).expect("close it");
    let told = |address: &str, why: &str| format!("cannot listen on {address}: {why}");
    [
        ("192.0.2.1:8080".to_owned(), "this machine has no such address", "`ip address` lists"),
        (unix("precious"), "a file is there that is no socket", "remove it"),
        (unix("none/a.sock"), "its folder does not exist", "RuntimeDirectory="),
        (unix("closed/a.sock"), "permission denied", "able to write to its folder"),
    ]
    .map(|(address, why, hint)| (address.clone(), told(&address, why), hint))
    .into()
}

#[test]
fn every_address_that_cannot_be_had_is_told_where_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = TcpListener::bind("127.0.0.1:0").expect("take a port");
    let taken = other.local_addr().expect("its address");
    let mut lost = lost_addresses(folder.path());
    let in_use = format!("cannot listen on {taken}: the address is in use");
    lost.push((taken.to_string(), in_use.clone(), "`ss -ltnp"));
    let mut text = "[admin]\naddress = \"127.0.0.1:0\"\n".to_owned();
    for (address, ..) in &lost {
        text += &format!("[[listeners]]\naddress = \"{address}\"\n");
    }
    write(folder.path(), text.as_bytes(), GOOD_ROUTES.as_bytes());

    let (code, said) = asked(unprivileged(), "run", &folder.path().join("gateway.toml"));
    let listener = "listeners = [{ address = \"127.0.0.1:0\" }]\n";
    let admin = format!("admin.address = \"{taken}\"\n{listener}");
    write(folder.path(), admin.as_bytes(), GOOD_ROUTES.as_bytes());
    let of_admin = asked(unprivileged(), "run", &folder.path().join("gateway.toml")).1;

    assert_eq!(code, Some(1), "{said}");
    for (at, (_, told, hint)) in lost.iter().enumerate() {
        let told = format!("gateway.toml:{}:11: listeners[{at}].address: {told}\n", 4 + 2 * at);
        let (_, rest) = said.split_once(&told).unwrap_or_else(|| panic!("{told}: {said}"));
        assert!(rest.starts_with("    hint: "), "{said}");
        assert!(rest.lines().next().is_some_and(|line| line.contains(hint)), "{hint}: {said}");
    }
    let told = format!("gateway.toml:1:17: admin.address: {in_use}\n    hint: stop the program");
    assert!(of_admin.contains(&told), "{of_admin}");
    let read = fs::read(folder.path().join("precious")).expect("it is there");
    assert_eq!(read, b"precious");
}

#[test]
fn an_address_that_cannot_be_had_changes_no_listener_of_a_gateway_that_runs() {
    let endpoint = origin::keeping("127.0.0.1:0", "still here");
    let good =
        format!("[pools.shop]\nendpoints = [\"{endpoint}\"]\n[tenants.acme]\npool = \"shop\"\n");
    let mut gateway = Gateway::prepare("", &good);
    gateway.launch_as(unprivileged());
    gateway.wait_ready();
    let file = gateway.config();
    let folder = file.parent().expect("its folder");
    let before = fs::read_to_string(&file).expect("read gateway.toml");
    let line = before.lines().count() + 2;
    let problems = || {
        let status = gateway.admin("/api/v1/status").json();
        status["gateway"]["problems"].as_array().cloned().unwrap_or_default()
    };

    for (address, told, hint) in lost_addresses(folder) {
        fs::write(&file, format!("{before}[[listeners]]\naddress = \"{address}\"\n"))
            .expect("write gateway.toml");
        eventually(&told, problems, |problems| problems.iter().any(|one| one["what"] == *told));

        let one = problems().remove(0);
        let place = (one["line"].as_u64(), one["column"].as_u64());
        assert_eq!(place, (Some(line as u64), Some(11)), "{one}");
        assert_eq!(one["key"], "listeners[1].address", "{one}");
        assert!(one["hint"].as_str().is_some_and(|said| said.contains(hint)), "{one}");
        assert_eq!(gateway.get("acme", "/", &[]).body, "still here", "{address}");
    }
    fs::write(&file, before).expect("write gateway.toml");
    eventually("a good file", problems, Vec::is_empty);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_told_and_takes_nothing_away() {
    let endpoint = origin::keeping("127.0.0.1:0", "still here");
    let good =
        format!("[pools.shop]\nendpoints = [\"{endpoint}\"]\n[tenants.acme]\npool = \"shop\"\n");
    let mut gateway = Gateway::prepare("", &good);
    let state = gateway.config().with_file_name("state");
    fs::create_dir(&state).expect("make the folder");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o500)).expect("close it");

    let (code, said) = asked(unprivileged(), "check", &gateway.config());
    gateway.launch_as(unprivileged());
    gateway.wait_ready();

    assert_eq!(code, Some(1), "{said}");
    let told = "gateway.toml:2:9: state: the last good routes cannot be kept: ";
    assert!(said.contains(told) && said.contains("hint: name a folder"), "{said}");
    // At the start, and when the first routes are not kept.
    let count = || gateway.log().matches(told).count();
    eventually("two warnings", count, |count| *count == 2);
    assert_eq!(gateway.get("acme", "/", &[]).body, "still here");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("open it");
}
