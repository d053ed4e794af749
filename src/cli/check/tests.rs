//! What is told of good files and of bad ones.

use std::os::unix::fs::PermissionsExt;

use super::*;

const KNOWN: Known<'static> = Known { balancers: &["least-request", "random"], keyed: &[] };

#[test]
fn faults_of_both_files_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = folder.path().join("gateway.toml");
    std::fs::write(&gateway, "wokers = 2\n").unwrap();
    std::fs::write(folder.path().join("routes.toml"), "[tenants.a]\npool = \"x\"\n").unwrap();

    let text = check(&gateway, &KNOWN, Format::Text);
    let json = check(&gateway, &KNOWN, Format::Json);

    assert!(!text.is_good());
    assert!(text.output.contains("gateway.toml:1:1: wokers: there is no key"), "{text:?}");
    assert!(text.output.contains("routes.toml:2:8: tenants.a.pool: there is no pool"));
    let list: Vec<serde_json::Value> = serde_json::from_str(&json.output).unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["hint"], "did you mean \"workers\"?");
}

/// Checks a `gateway.toml` of this text beside routes that are good.
fn checked(folder: &Path, gateway: &str, format: Format) -> CheckOutcome {
    std::fs::write(folder.join("routes.toml"), "# nobody yet\n").unwrap();
    let path = folder.join("gateway.toml");
    std::fs::write(&path, gateway).unwrap();
    check(&path, &KNOWN, format)
}

fn listener(cert: &str, key: &str) -> String {
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n\
         tls = {{ cert = \"{cert}\", key = \"{key}\" }}\n"
    )
}

#[test]
fn what_is_wrong_with_certificates_is_told_where_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let path = |kind: &str| folder.path().join(format!("{name}.{kind}"));
        std::fs::write(path("pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    }
    let pairs = [("none.pem", "b.pem"), ("a.pem", "a.pem"), ("a.pem", "b.key"), ("b.pem", "b.key")];
    let text: String = pairs.iter().map(|(cert, key)| listener(cert, key)).collect();

    let outcome = checked(folder.path(), &text, Format::Json);

    let list: Vec<serde_json::Value> = serde_json::from_str(&outcome.output).unwrap();
    let told: Vec<String> = list
        .iter()
        .map(|one| format!("{}:{} {}", one["line"], one["column"], one["key"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            "3:16 listeners[0].tls.cert",
            "3:34 listeners[0].tls.key",
            "6:31 listeners[1].tls.key",
            "9:31 listeners[2].tls.key"
        ]
    );
    for (one, what) in list.iter().zip([
        "none.pem cannot be read",
        "b.pem has no private key",
        "has no private key",
        "is not the one",
    ]) {
        assert!(one["file"].as_str().unwrap().ends_with("gateway.toml"), "{one}");
        assert!(one["what"].as_str().unwrap().contains(what), "{one}");
        assert!(!one["hint"].as_str().unwrap().is_empty(), "{one}");
    }
}

#[test]
fn certificates_by_name_are_told_where_they_are_named_doubtful_ones_too() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    std::fs::write(folder.path().join("a.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.path().join("a.key"), key.serialize_pem()).unwrap();
    let entry = "[[listeners.tls.certificates]]\ncert = \"a.pem\"\nkey = \"a.key\"\n";
    let clients = "client-certificates = { mode = \"required\", authorities = \"a.key\" }\n";
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n{entry}{entry}\
         hosts = [\"b.example\", \"a.example\"]\n{entry}{clients}"
    );

    let outcome = checked(folder.path(), &text, Format::Text);

    let told: Vec<&str> = outcome
        .output
        .lines()
        .filter_map(|line| line.split_once("gateway.toml:"))
        .map(|(_, told)| told.split_once(": ").unwrap().0)
        .collect();
    assert_eq!(told, ["4:8", "7:8", "9:10", "9:23", "13:58"], "{}", outcome.output);
    for what in [
        "tls.certificates[0].cert: ",
        "a.pem has expired\n    hint: renew it",
        "tls.certificates[1].hosts[0]: ",
        "a.pem is not for b.example\n",
        "hosts[1]: another certificate of this listener is for a.example already\n",
        "client-certificates.authorities: ",
        "a.key has no certificate in it\n",
    ] {
        assert!(outcome.output.contains(what), "{what} is not in {}", outcome.output);
    }
}

#[test]
fn certificates_that_endpoints_would_refuse_are_warnings_of_their_pools() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("a.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(path("a.key"), key.serialize_pem()).unwrap();
    let tls = "tls = { ca = \"a.pem\", cert = \"a.pem\", key = \"a.key\" }";
    let text = format!("[pools.shop]\ndns = \"shop:1\"\n{tls}\n");
    std::fs::write(path("routes.toml"), text).unwrap();
    std::fs::write(path("gateway.toml"), "# all defaults\n").unwrap();

    let outcome = check(&path("gateway.toml"), &KNOWN, Format::Text);

    let place = "routes.toml:3:1: warning: pools.shop.tls: ";
    assert_eq!(outcome.output.matches(place).count(), 2, "{outcome:?}");
    assert!(outcome.is_good() && outcome.output.ends_with("1 pool, 2 warnings\n"));
    assert!(outcome.output.contains("a.pem has expired\n    hint: renew it"), "{outcome:?}");
}

#[test]
fn what_the_routes_ask_for_and_the_gateway_does_not_have_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = "[pools.shop]\ndns = \"shop:1\"\nretry.replay = \"64MiB\"\n";
    std::fs::write(path("routes.toml"), text).unwrap();
    let said = |gateway: &str| {
        std::fs::write(path("gateway.toml"), gateway).unwrap();
        check(&path("gateway.toml"), &KNOWN, Format::Text)
    };

    let without = said("# all defaults\n");
    let small = said("[replay-files]\nfolder = \"f\"\nspace = \"64MiB\"\n");
    let enough = said("[replay-files]\nfolder = \"f\"\n");

    let place = "routes.toml:3:16: warning: pools.shop.retry.replay: is more than is ever kept: ";
    for (told, why) in [(&without, "without [replay-files]"), (&small, "as a tenant has a quarter")]
    {
        assert!(told.is_good() && told.warnings == 1, "{told:?}");
        assert!(told.output.contains(&format!("{place}{why}")), "{told:?}");
    }
    assert_eq!((enough.problems, enough.warnings), (0, 0), "{enough:?}");
}

#[test]
fn places_that_cannot_be_written_are_told_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let text =
        |state: &str, log: &str| format!("state = \"{state}\"\n[access-log]\nfile = \"{log}\"\n");

    let bad = checked(folder.path(), &text("file/state", "none/access.log"), Format::Text);
    let is_folder = checked(folder.path(), &text("off", "."), Format::Text);
    std::os::unix::fs::symlink("none/log", folder.path().join("link")).unwrap();
    let lost_link = checked(folder.path(), &text("off", "link"), Format::Text);
    std::fs::remove_file(folder.path().join("link")).unwrap();
    let device = checked(folder.path(), &text("off", "/dev/stderr"), Format::Text);
    let good = checked(folder.path(), &text("var/state", "access.log"), Format::Text);

    for part in [
        "gateway.toml:1:9: state: the last good routes cannot be kept: ",
        "file: it is not a folder",
        "gateway.toml:3:8: access-log.file: ",
        "none/access.log cannot be opened for writing: ",
        "\n2 problems\n",
    ] {
        assert!(bad.output.contains(part), "{part} is not in {}", bad.output);
    }
    assert!(is_folder.output.contains("writing: it is a folder, not a file"), "{is_folder:?}");
    assert!(lost_link.output.contains("/none: No such file"), "{lost_link:?}");
    assert!(device.is_good() && good.is_good(), "{device:?} {good:?}");
    let made = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(made, 3, "only the two config files and the one that was there");
}

#[test]
fn what_a_user_may_not_write_is_told() {
    if rustix::process::getuid().is_root() {
        return; // whom nothing is refused
    }
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    let text = "state = \"closed/state\"\n[access-log]\nfile = \"closed/access.log\"\n";

    let outcome = checked(folder.path(), text, Format::Text);

    assert_eq!(outcome.output.matches("Permission denied").count(), 2, "{outcome:?}");
}

#[test]
fn routes_that_a_start_would_refuse_as_empty_are_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = folder.path().join("gateway.toml");
    let check_with = |routes: &str| {
        std::fs::write(&gateway, format!("routes = \"{routes}\"\n")).unwrap();
        check(&gateway, &KNOWN, Format::Text)
    };
    for name in ["none.d", "blank.d"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("blank.d/a.toml"), " \n").unwrap();
    std::fs::write(folder.path().join("blank.toml"), "\u{feff}\n").unwrap();

    for (routes, what) in [
        ("blank.toml", "blank.toml:1:1: the routes are empty"),
        ("blank.d", "blank.d:1:1: the routes are empty"),
        ("none.d", "none.d:1:1: the folder has no *.toml file"),
    ] {
        let outcome = check_with(routes);

        assert!(!outcome.is_good(), "{routes}");
        assert!(outcome.output.contains(what), "{outcome:?}");
        assert!(outcome.output.contains("\n    hint: "), "{outcome:?}");
    }
}

#[test]
fn what_is_odd_is_a_warning_for_people_and_for_machines() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = folder.path().join("gateway.toml");
    std::fs::write(&gateway, "# all defaults\n").unwrap();
    let route = "[[tenants.t.routes]]\nmethods = [\"GET\"]\n";
    let text = format!("[pools.a]\ndns = \"a:1\"\n[tenants.t]\npool = \"a\"\n{route}{route}");
    let text = text.replacen("GET", "PUT\", \"GET", 1);
    std::fs::write(folder.path().join("routes.toml"), text).unwrap();

    let text = check(&gateway, &KNOWN, Format::Text);
    let json = check(&gateway, &KNOWN, Format::Json);

    let told = "routes.toml:7:1: warning: tenants.t.routes[1]: is never used: ";
    assert!(text.output.contains(told), "{text:?}");
    assert!(text.output.ends_with("are good: 1 tenant, 1 pool, 1 warning\n"), "{text:?}");
    assert!(text.is_good() && text.warnings == 1, "{text:?}");
    let list: Vec<serde_json::Value> = serde_json::from_str(&json.output).unwrap();
    assert_eq!((list.len(), &list[0]["severity"]), (1, &"warning".into()));
}

#[tokio::test]
async fn what_a_start_would_leave_out_of_the_api_s_tenants_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let pool = "[pools.a]\ndns = \"a:1\"\n";
    std::fs::write(path("gateway.toml"), "# all defaults\n").unwrap();
    let both = format!("{pool}[pools.b]\ndns = \"b:1\"\n");
    std::fs::write(path("routes.toml"), &both).unwrap();
    for (id, pool) in [("filed", "a"), ("lost", "b"), ("good", "a")] {
        stored::keep(&path("state"), id, pool).unwrap();
    }
    let good = check(&path("gateway.toml"), &KNOWN, Format::Text);
    std::fs::write(path("routes.toml"), format!("{pool}[tenants.filed]\npool = \"a\"\n")).unwrap();

    let outcome = check(&path("gateway.toml"), &KNOWN, Format::Text);

    assert_eq!((good.problems, good.warnings), (0, 0), "{good:?}");
    assert_eq!((outcome.problems, outcome.warnings), (0, 2), "{outcome:?}");
    let shadowed = "routes.toml:3:10: warning: tenants.filed: the API keeps a tenant of this id";
    let unfit = "api:tenants/lost:2:8: warning: tenants.lost.pool: there is no pool \"b\"";
    for told in [shadowed, unfit] {
        assert!(outcome.output.contains(told), "{outcome:?}");
    }
}

#[test]
fn good_files_are_said_to_be_good() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = folder.path().join("gateway.toml");
    let outcome = checked(folder.path(), "# all defaults", Format::Text);

    assert!(outcome.is_good(), "{outcome:?}");
    assert!(outcome.output.ends_with("are good: 0 tenants, 0 pools\n"), "{outcome:?}");
    assert_eq!(check(&gateway, &KNOWN, Format::Json).output, "[]\n");
}

#[test]
fn a_missing_file_is_one_clear_problem() {
    let folder = tempfile::tempdir().unwrap();

    let outcome = check(&folder.path().join("none.toml"), &KNOWN, Format::Text);

    assert!(outcome.output.contains("none.toml:1:1: there is no such file"), "{outcome:?}");
}

#[test]
fn what_is_wrong_with_certificates_of_tenants_is_told_where_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        let made = rcgen::generate_simple_self_signed([format!("{name}.test")]).unwrap();
        let path = |kind: &str| folder.path().join(format!("{name}.{kind}"));
        std::fs::write(path("pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    }
    let tenant = |id: &str, cert: &str, key: &str| {
        format!(
            "[tenants.{id}]\npool = \"p\"\ndomains = [\"{id}.test\"]\n\
             certificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]\n"
        )
    };
    let routes = [
        "[tenant]\nfrom = [{ domain = true }]\n[pools.p]\ndns = \"p:1\"\n".to_owned(),
        tenant("a", "a.pem", "a.key"),
        tenant("b", "b.pem", "a.key"),
        tenant("c", "a.pem", "a.key"),
        tenant("d", "none.pem", "b.key"),
    ];
    let gateway = folder.path().join("gateway.toml");
    std::fs::write(&gateway, "workers = 1\n").unwrap();
    std::fs::write(folder.path().join("routes.toml"), routes.concat()).unwrap();

    let outcome = check(&gateway, &KNOWN, Format::Json);

    let list: Vec<serde_json::Value> = serde_json::from_str(&outcome.output).unwrap();
    let told: Vec<String> = list
        .iter()
        .map(|one| format!("{}:{} {}", one["line"], one["column"], one["key"]))
        .collect();
    let expected = [
        "12:35 \"tenants.b.certificates[0].key\"",
        "16:19 \"tenants.c.certificates[0].cert\"",
        "20:19 \"tenants.d.certificates[0].cert\"",
    ];
    assert_eq!(told, expected);
    assert_eq!(outcome.problems, 3);
    for (one, what) in list.iter().zip(["is not the one", "is for none of", "cannot be read"]) {
        assert!(one["what"].as_str().unwrap().contains(what), "{one}");
    }
}
