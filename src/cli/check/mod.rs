//! `tenantry check`: reads both files and tells everything that is wrong. Starts nothing.

mod findings;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::app::outside;
use crate::config::spec::{
    GatewaySpec, MostKept, NamedPath, Protocol, RoutesSpec, UpstreamTlsSpec,
};
use crate::config::{self, Files, Known, Memory, Place, Problem, places};
use crate::control::{bearers, stored};
use crate::model::ids::PoolId;
use crate::tls::client::{self, SystemRoots};
use crate::tls::demand::Demands;
use crate::tls::{doubt, server};

use findings::{Found, Severity, counted};

pub use findings::{CheckOutcome, Format};

/// Checks `gateway.toml` at `path` and the routes that it names. When the former is wrong the
/// routes are looked for where they are by default, so that their faults are told as well.
pub fn check(path: &Path, known: &Known<'_>, format: Format) -> CheckOutcome {
    let mut found = Found::default();
    let mut known_gateway = None;
    let routes = match config::load_gateway(path) {
        Ok(gateway) => {
            found.outside_of(&gateway);
            let routes = gateway.routes.clone();
            known_gateway = Some(gateway);
            Some(routes)
        }
        Err(new) => {
            found.add(Severity::Problem, new);
            Some(path.with_file_name("routes.toml")).filter(|routes| routes.exists())
        }
    };
    let gateway = known_gateway.as_ref();
    let spec = routes.as_deref().and_then(|routes| found.routes(routes, gateway, known));
    let summary = spec.zip(routes).map(|(spec, routes)| {
        let (tenants, pools) = (spec.tenants.len(), spec.pools.len());
        format!(
            "{} and {} are good: {}, {}",
            path.display(),
            routes.display(),
            counted(tenants, "tenant"),
            counted(pools, "pool"),
        )
    });
    found.told(summary.as_deref(), format)
}

impl Found {
    /// What is wrong with the files that the gateway's own file names.
    fn outside_of(&mut self, gateway: &GatewaySpec) {
        let read = server::build(&gateway.presenting(), &[], &mut Demands::default());
        self.add(Severity::Problem, read.problems);
        self.add(Severity::Warning, read.doubts);
        self.add(Severity::Problem, outside::logs(gateway));
        self.add(Severity::Problem, outside::state(gateway));
        self.add(Severity::Problem, outside::usage(gateway));
        self.add(Severity::Problem, outside::tokens(gateway));
        self.add(Severity::Warning, outside::readable_tokens(gateway));
        self.0.sort_by_key(|finding| (finding.problem.line, finding.problem.column));
    }

    /// What is wrong with the routes, or what they mean; beside the gateway's own file where that is right.
    fn routes(
        &mut self,
        routes: &Path,
        gateway: Option<&GatewaySpec>,
        known: &Known<'_>,
    ) -> Option<RoutesSpec> {
        let files = match config::read_routes(routes) {
            Ok(files) => files,
            Err(new) => {
                self.add(Severity::Problem, new);
                return None;
            }
        };
        let most_kept = gateway.map(|gateway| MostKept::of(gateway.replay.as_ref()));
        let mut memory = Memory::default().beside(most_kept);
        let checked = config::check_routes_again(&files, known, None, &mut memory);
        match checked.result {
            Ok(spec) => {
                self.add(Severity::Problem, without_trust(&spec, &files));
                self.add(Severity::Warning, doubtful(&spec, &files));
                self.add(Severity::Warning, checked.doubts);
                let (problems, doubts) = bearers::look_through(&files, &spec);
                self.add(Severity::Problem, problems);
                self.add(Severity::Warning, doubts);
                if let Some(state) = gateway.and_then(|gateway| gateway.state.as_ref()) {
                    self.kept(&files, state, known);
                }
                Some(spec)
            }
            Err(new) => {
                self.add(Severity::Problem, new);
                None
            }
        }
    }

    /// What a start would leave out of the tenants that the API keeps.
    fn kept(&mut self, files: &Files, state: &NamedPath, known: &Known<'_>) {
        let (all, shadowed) = match stored::beside(files.clone(), &state.path) {
            Ok(beside) => beside,
            Err(error) => {
                let hint =
                    "the start puts it aside if it is damaged, and serves the files".to_owned();
                return self.add(Severity::Warning, [state.place.problem(error.to_string(), hint)]);
            }
        };
        for id in shadowed {
            let place = places::place(files, &["tenants", &id]);
            let what = "the API keeps a tenant of this id, too: the one of the file is served";
            let hint = format!("end the other one: DELETE /api/v1/tenants/{id}");
            self.add(Severity::Warning, [place.problem(what.to_owned(), hint)]);
        }
        if all.files.len() > files.files.len()
            && let Err(problems) = config::check_routes(&all, known)
        {
            self.add(Severity::Warning, problems);
        }
    }
}

/// The pools that trust the authorities of a system that has none.
fn without_trust(spec: &RoutesSpec, files: &Files) -> Vec<Problem> {
    let mut trusting = of_tls(spec).filter(|(_, _, tls)| tls.ca.is_none()).peekable();
    // Reading the system's authorities takes milliseconds, and each pool has the same; what is spoken is no
    // matter.
    let built = |(_, _, tls): &(&PoolId, _, &UpstreamTlsSpec)| {
        client::build(tls, Protocol::H1, &SystemRoots::default()).err()
    };
    let Some(error) = trusting.peek().and_then(built) else {
        return Vec::new();
    };
    let problem =
        |(id, key, _)| place_of(files, id, key).problem(error.to_string(), error.hint().to_owned());
    trusting.map(problem).collect()
}

/// The pools whose certificates the endpoints are going to refuse, or the other way round.
fn doubtful(spec: &RoutesSpec, files: &Files) -> Vec<Problem> {
    let doubts = of_tls(spec)
        .flat_map(|(id, key, tls)| doubt::of_pool(tls).into_iter().map(move |it| (id, key, it)));
    doubts
        .map(|(id, key, doubt)| {
            place_of(files, id, key).problem(doubt.to_string(), doubt.hint().to_owned())
        })
        .collect()
}

/// All ways in which pools are reached by TLS, with the keys that say it.
fn of_tls(
    spec: &RoutesSpec,
) -> impl Iterator<Item = (&PoolId, &'static [&'static str], &UpstreamTlsSpec)> {
    let pools = spec.pools.iter();
    pools.flat_map(|(id, pool)| pool.all_tls().map(move |(key, tls)| (id, key, tls)))
}

fn place_of(files: &Files, pool: &PoolId, key: &[&str]) -> Place {
    places::place(files, &[&["pools", &*pool.0][..], key].concat())
}
