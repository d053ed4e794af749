//! `tenantry check`: reads both files and tells everything that is wrong. Starts nothing.

use std::path::Path;

use crate::config::spec::GatewaySpec;
use crate::config::{self, Known, Problems};
use crate::tls::server;

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
            certificates(path, &gateway).into_iter().for_each(&mut note);
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

/// What is wrong with the files of the listeners' certificates and keys: a start reads them too.
fn certificates(path: &Path, gateway: &GatewaySpec) -> Vec<Problems> {
    let listeners = gateway.listeners.iter();
    let specs = listeners.filter_map(|listener| Some((listener.address, listener.tls.as_ref()?)));
    let broken = specs.filter_map(|(address, tls)| Some((address, server::build(tls).err()?)));
    broken
        .map(|(address, error)| {
            let what = format!("the listener on {address} cannot speak TLS: {error}");
            Problems::of_file(path, what, "write the paths of a PEM certificate and its key")
        })
        .collect()
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

    #[test]
    fn a_certificate_that_would_stop_the_start_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = folder.path().join("gateway.toml");
        let text = "[[listeners]]\naddress = \"127.0.0.1:0\"\n\
                    tls = { cert = \"none.pem\", key = \"none.key\" }\n";
        std::fs::write(&gateway, text).unwrap();
        std::fs::write(folder.path().join("routes.toml"), "").unwrap();

        let outcome = check(&gateway, &KNOWN, Format::Text);

        assert!(!outcome.is_good);
        assert!(outcome.output.contains("cannot read the certificate from"), "{outcome:?}");
    }

    #[test]
    fn good_files_are_said_to_be_good() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = folder.path().join("gateway.toml");
        std::fs::write(&gateway, "").unwrap();
        std::fs::write(folder.path().join("routes.toml"), "").unwrap();

        let outcome = check(&gateway, &KNOWN, Format::Text);

        assert!(outcome.is_good);
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
