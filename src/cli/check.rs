//! `tenantry check`: reads both files and tells everything that is wrong. Starts nothing.

use std::path::Path;
use std::sync::Arc;

use crate::app::outside;
use crate::config::spec::{GatewaySpec, PoolSpec, RoutesSpec};
use crate::config::{self, Known, Place, Problems};
use crate::model::ids::PoolId;
use crate::tls::demand::Demands;
use crate::tls::{client, doubt, server};

/// How the outcome is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people.
    Text,
    /// An array of problems for machines; empty when there is none.
    Json,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckOutcome {
    /// What is to be printed, with a line break at its end.
    pub output: String,
    /// Whether both files are right; the command ends with 0 then, with 1 otherwise.
    pub is_good: bool,
}

/// Checks `gateway.toml` at `path` and the routes that it names. When the former is wrong the
/// routes are looked for where they are by default, so that their faults are told as well.
pub fn check(path: &Path, known: &Known<'_>, format: Format) -> CheckOutcome {
    let mut problems: Option<Problems> = None;
    let mut note = |new: Problems| match &mut problems {
        Some(all) => all.extend(new),
        none => *none = Some(new),
    };
    let routes = match config::load_gateway(path) {
        Ok(gateway) => {
            outside_of(&gateway).into_iter().for_each(&mut note);
            Some(gateway.routes)
        }
        Err(new) => {
            note(new);
            Some(path.with_file_name("routes.toml")).filter(|routes| routes.exists())
        }
    };
    let mut summary = String::new();
    if let Some(routes) = routes {
        let checked =
            config::read_routes(&routes).and_then(|files| config::check_routes(&files, known));
        match checked {
            Ok(spec) => {
                without_trust(&spec, &routes).into_iter().for_each(&mut note);
                doubtful(&spec, &routes).into_iter().for_each(&mut note);
                let (tenants, pools) = (spec.tenants.len(), spec.pools.len());
                summary = format!(
                    "{} and {} are good: {tenants} {}, {pools} {}\n",
                    path.display(),
                    routes.display(),
                    if tenants == 1 { "tenant" } else { "tenants" },
                    if pools == 1 { "pool" } else { "pools" },
                );
            }
            Err(new) => note(new),
        }
    }
    render(problems.as_ref(), summary, format)
}

/// What is wrong with the files that the gateway's own file names.
fn outside_of(gateway: &GatewaySpec) -> Option<Problems> {
    let read = server::build(&gateway.listeners, &[], &mut Demands::default());
    let mut problems = read.problems;
    problems.extend(read.doubts);
    problems.extend(outside::access_log(gateway));
    problems.extend(outside::state(gateway));
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Problems::of(problems)
}

/// The pools that trust the authorities of a system that has none: they have no place that is
/// wrong, since another machine may have some.
fn without_trust(spec: &RoutesSpec, routes: &Path) -> Option<Problems> {
    let trusts_system = |pool: &PoolSpec| pool.tls.as_ref().is_some_and(|tls| tls.ca.is_none());
    let mut pools = spec.pools.iter().filter(|(_, pool)| trusts_system(pool)).peekable();
    let (_, first) = pools.peek()?;
    // Reading the system's authorities takes milliseconds, and each pool has the same.
    let error = client::build(first.tls.as_ref()?, first.protocol).err()?;
    let file: Arc<str> = routes.display().to_string().into();
    let problem = |(id, _): (&PoolId, _)| {
        let key = format!("pools.{id}.tls");
        let place = Place { file: Arc::clone(&file), line: 1, column: 1, key };
        let hint = "a file is named in the pool: tls = { ca = \"ca.pem\" }";
        place.problem(error.to_string(), hint.to_owned())
    };
    Problems::of(pools.map(problem).collect())
}

/// The pools whose certificates the endpoints are going to refuse, or the other way round.
fn doubtful(spec: &RoutesSpec, routes: &Path) -> Option<Problems> {
    let file: Arc<str> = routes.display().to_string().into();
    let tls = spec.pools.iter().filter_map(|(id, pool)| Some((id, pool.tls.as_ref()?)));
    let problems = tls.flat_map(|(id, tls)| {
        let (file, key) = (Arc::clone(&file), format!("pools.{id}.tls"));
        let place = Place { file, line: 1, column: 1, key };
        let doubts = doubt::of_pool(tls).into_iter();
        doubts.map(move |doubt| place.problem(doubt.to_string(), doubt.hint().to_owned()))
    });
    Problems::of(problems.collect())
}

fn render(problems: Option<&Problems>, summary: String, format: Format) -> CheckOutcome {
    let output = match (format, problems) {
        (Format::Text, None) => summary,
        (Format::Text, Some(problems)) => match problems.len() {
            1 => format!("{problems}\n1 problem\n"),
            many => format!("{problems}\n{many} problems\n"),
        },
        (Format::Json, None) => "[]\n".to_owned(),
        (Format::Json, Some(problems)) => {
            // A list of plain texts and numbers is always JSON.
            serde_json::to_string_pretty(problems).unwrap_or_default() + "\n"
        }
    };
    CheckOutcome { output, is_good: problems.is_none() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const KNOWN: Known<'static> = Known { balancers: &["least-request", "random"] };

    #[test]
    fn faults_of_both_files_are_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = folder.path().join("gateway.toml");
        std::fs::write(&gateway, "wokers = 2\n").unwrap();
        std::fs::write(folder.path().join("routes.toml"), "[tenants.a]\npool = \"x\"\n").unwrap();

        let text = check(&gateway, &KNOWN, Format::Text);
        let json = check(&gateway, &KNOWN, Format::Json);

        assert!(!text.is_good);
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
        let pairs =
            [("none.pem", "b.pem"), ("a.pem", "a.pem"), ("a.pem", "b.key"), ("b.pem", "b.key")];
        let text: String = pairs.iter().map(|(cert, key)| listener(cert, key)).collect();

        let outcome = checked(folder.path(), &text, Format::Json);

        let list: Vec<serde_json::Value> = serde_json::from_str(&outcome.output).unwrap();
        let told: Vec<String> = list
            .iter()
            .map(|one| {
                format!("{}:{} {}", one["line"], one["column"], one["key"].as_str().unwrap())
            })
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
        std::fs::write(folder.path().join("a.pem"), params.self_signed(&key).unwrap().pem())
            .unwrap();
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
    fn certificates_that_endpoints_would_refuse_are_problems_of_their_pools() {
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
        std::fs::write(path("gateway.toml"), "").unwrap();

        let outcome = check(&path("gateway.toml"), &KNOWN, Format::Text);

        assert_eq!(outcome.output.matches("pools.shop.tls: ").count(), 2, "{outcome:?}");
        assert!(outcome.output.contains("a.pem has expired\n    hint: renew it"), "{outcome:?}");
    }

    #[test]
    fn places_that_cannot_be_written_are_told_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let text = |state: &str, log: &str| {
            format!("state = \"{state}\"\n[access-log]\nfile = \"{log}\"\n")
        };

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
        assert!(device.is_good && good.is_good, "{device:?} {good:?}");
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

            assert!(!outcome.is_good, "{routes}");
            assert!(outcome.output.contains(what), "{outcome:?}");
            assert!(outcome.output.contains("\n    hint: "), "{outcome:?}");
        }
    }

    #[test]
    fn good_files_are_said_to_be_good() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = folder.path().join("gateway.toml");
        let outcome = checked(folder.path(), "# all defaults", Format::Text);

        assert!(outcome.is_good, "{outcome:?}");
        assert!(outcome.output.ends_with("are good: 0 tenants, 0 pools\n"), "{outcome:?}");
        assert_eq!(check(&gateway, &KNOWN, Format::Json).output, "[]\n");
    }

    #[test]
    fn a_missing_file_is_one_clear_problem() {
        let folder = tempfile::tempdir().unwrap();

        let outcome = check(&folder.path().join("none.toml"), &KNOWN, Format::Text);

        assert!(outcome.output.contains("none.toml:1:1: there is no such file"), "{outcome:?}");
    }
}
