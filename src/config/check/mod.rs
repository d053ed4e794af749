//! From the files' words to their meaning: defaults filled in, names resolved, every fault told.

mod access;
mod access_log;
mod affinity;
mod alone;
mod answers;
mod apart;
mod around;
mod authorizer;
mod breaker;
mod canary;
mod certificates;
mod cors;
mod domains;
mod downstream;
mod edited;
mod gateway;
mod gather;
mod head;
mod health;
mod issuer;
mod issuer_keys;
mod limits;
mod memory;
mod mirror;
mod naming;
mod outliers;
mod owners;
mod plan;
mod pool;
mod pool_tls;
mod reach;
mod replay;
mod roles;
mod route;
mod rules;
mod sections;
mod shadow;
mod shared_limits;
mod sharing;
mod spread;
mod tenant;
mod tls;
mod tracing;
mod usage;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::sorted::Sorted;
use crate::model::ids::PoolId;

use super::answers::ErrorPagesSpec;
use super::faults::Faults;
use super::files::Files;
use super::key::Key;
use super::nearest::nearest;
use super::pem::References;
use super::problem::{Problem, Problems};
use super::raw::At;
use super::spec::{MostKept, NamedTenant, NamingSpec, PoolSpec, RouteSetSpec, RoutesSpec};
use super::substitute::Lookup;
use super::text::Written;

use answers::Pages;
use gather::Gathered;
use plan::Plans;
use tenant::Sets;

pub use alone::{Spoken, may_be_among, names_in, spoken_of};
pub(super) use answers::Lost;
pub use edited::{Edited, Last};
pub(super) use gateway::check as check_gateway;
pub use issuer_keys::HeldKeys;
pub use memory::{Learnt, Memory};

/// Names that other folders define and the files may use.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The balancers.
    pub balancers: &'a [&'a str],
    /// Those of them that keep requests together by what is hashed.
    pub keyed: &'a [&'a str],
}

/// What the routes files mean, and what was read with them.
#[derive(Debug)]
pub struct Checked {
    /// Their meaning, or everything that is wrong with all of them.
    pub result: Result<RoutesSpec, Problems>,
    /// What makes one doubt them, though they can be used; none where something is wrong.
    pub doubts: Vec<Problem>,
    /// Certificates, keys and pages that they name. A change of one changes the meaning.
    pub references: References,
    /// The files that are wrong, by their places, each by itself, with one thing that is; `None` where
    /// that is not sure.
    pub wrong_alone: Option<BTreeMap<usize, Problem>>,
    /// All files that something is told at, or would be if there were less to tell; by their places.
    pub wrong: BTreeSet<usize>,
}

/// How the routes files are read.
pub(super) struct Terms<'a> {
    pub(super) known: &'a Known<'a>,
    pub(super) lookup: Lookup<'a>,
    pub(super) lost: Lost,
    /// What files of keys said that may be broken now.
    pub(super) held: Option<&'a HeldKeys>,
    /// What can be kept of a body, where the gateway's own file is known.
    pub(super) most_kept: Option<MostKept>,
}

/// What files are checked beside: those that were checked before.
pub(super) struct Before<'a> {
    /// What they meant.
    pub(super) spec: Option<&'a RoutesSpec>,
    /// What their sections meant; afterwards, what those of the new ones mean.
    pub(super) memory: &'a mut Memory,
}

/// Checks the routes files and makes their meaning of them. Reads the certificates, keys and pages
/// that they name, and nothing else.
pub(super) fn check_routes(files: &Files, terms: &Terms<'_>, before: Before<'_>) -> Checked {
    if files.are_blank() {
        // Far more often about to be written, or cut off by a crash, than a wish to serve nobody.
        let what = "the routes are empty, as while they are being written".to_owned();
        let hint = "define tenants and pools; to serve nobody, leave a comment in them";
        let result = Err(Problems::of_file(&files.root, what, hint));
        let (doubts, references) = (Vec::new(), References::new());
        let wrong = BTreeSet::new();
        return Checked { result, doubts, references, wrong_alone: None, wrong };
    }
    let Some(unread) = files.why_unread() else {
        return apart::check(files, terms, before).unwrap_or_else(|| as_a_whole(files, terms));
    };
    let checked = as_a_whole(files, terms);
    let result = Err(checked.result.err().into_iter().fold(unread, Problems::and));
    Checked { result, doubts: Vec::new(), ..checked }
}

/// Checks files of which few are others than those that were checked last. `None` where all of them
/// have to be checked.
pub(super) fn check_edited(files: &Files, terms: &Terms<'_>, last: &Last<'_>) -> Option<Edited> {
    edited::check(files, terms, last)
}

/// What is wrong with files of tenants alone by themselves; `None` where nothing is, and where that is not known.
pub(super) fn check_alone(files: &Files, terms: &Terms<'_>, last: &Last<'_>) -> Option<Problems> {
    edited::wrong_alone(files, terms, last)
}

/// Reads each file as one document: the slower way, which tells everything that is wrong.
fn as_a_whole(files: &Files, terms: &Terms<'_>) -> Checked {
    let mut faults = Faults::new(&files.files);
    if !files.unread.is_empty() {
        faults.note_unread();
    }
    let texts = files.files.iter().map(|file| &*file.text);
    let mut gathered = gather::gather(texts, terms.lookup, &mut faults);
    let tenants = std::mem::take(&mut gathered.tenants);
    let mut shared = Shared::of(gathered, files, terms, &mut faults);
    let (scope, pages) = shared.scope(files);
    let tenants = tenant::check_tenants(tenants, &scope, pages, &mut faults);
    shared.finish(tenants, faults)
}

/// The meaning of all that is not of one tenant.
struct Shared {
    naming: NamingSpec,
    error_pages: Arc<ErrorPagesSpec>,
    pools: BTreeMap<PoolId, Arc<PoolSpec>>,
    route_sets: BTreeMap<Arc<str>, Arc<RouteSetSpec>>,
    /// Every pool that is defined, right or wrong.
    names: BTreeSet<Arc<str>>,
    sets: Sets,
    plans: Plans,
    pages: Pages,
    most_kept: Option<MostKept>,
}

impl Shared {
    fn of(gathered: Gathered, files: &Files, terms: &Terms<'_>, faults: &mut Faults<'_>) -> Self {
        let names: BTreeSet<Arc<str>> = gathered.pools.keys().cloned().collect();
        let keys = issuer_keys::Known { held: terms.held, lost: terms.lost };
        let beside = access::Beside { files, keys, pools: &names };
        let naming = naming::check(gathered.naming, gathered.identity, &beside, faults);
        let mut pools = BTreeMap::new();
        for (name, entry) in gathered.pools {
            let root = Key::root(entry.file);
            let table = root.name("pools");
            let Some(raw) = entry.raw else { continue };
            let folder = files.folder(entry.file);
            let (known, most_kept) = (terms.known, terms.most_kept);
            let scope = pool::Scope { known, naming: &naming, folder, most_kept, at: entry.at };
            let spec = pool::check(raw, &scope, &table.name(&name), faults);
            pools.insert(PoolId(name), Arc::new(spec));
        }
        let mut pages = Pages::new(terms.lost);
        let error_pages = gathered.error_pages.map(|(file, raw)| {
            let key = Key::root(file);
            pages.check(raw.value, files.folder(file), &key.name("error-pages"), faults)
        });
        let error_pages = Arc::new(error_pages.unwrap_or_default());
        let (sets, plans) = (Sets::new(), Plans::new());
        let most_kept = terms.most_kept;
        let scope =
            Scope { pools: &names, naming: &naming, sets: &sets, plans: &plans, files, most_kept };
        let (route_sets, sets) = tenant::check_sets(gathered.route_sets, &scope, faults);
        let scope = Scope { sets: &sets, ..scope };
        let plans = plan::check_all(gathered.plans, &scope, &mut pages, faults);
        Self { naming, error_pages, pools, route_sets, names, sets, plans, pages, most_kept }
    }

    fn scope<'a>(&'a mut self, files: &'a Files) -> (Scope<'a>, &'a mut Pages) {
        let Self { naming, names, sets, plans, pages, most_kept, .. } = self;
        (Scope { pools: names, naming, sets, plans, files, most_kept: *most_kept }, pages)
    }

    fn finish(self, tenants: Sorted<NamedTenant>, mut faults: Faults<'_>) -> Checked {
        let Self { naming, error_pages, pools, route_sets, plans, .. } = self;
        // Where one is missing, something is wrong with it.
        let plans = plans.into_iter().filter_map(|(name, plan)| Some((name, plan?))).collect();
        let references = faults.take_references();
        let (doubts, wrong_alone) = (faults.take_doubts(), faults.wrong_alone());
        let wrong = faults.wrong();
        let result = match faults.is_empty() {
            true => Ok(RoutesSpec { naming, error_pages, pools, route_sets, plans, tenants }),
            false => Err(faults.into_problems()),
        };
        Checked { result, doubts, references, wrong_alone, wrong }
    }
}

/// What routes and tenants may refer to.
struct Scope<'a> {
    /// Every pool that is defined, right or wrong.
    pools: &'a BTreeSet<Arc<str>>,
    /// How requests name their tenant: no route may change that.
    naming: &'a NamingSpec,
    /// What a tenant must know of the route sets; there are none while they are checked themselves.
    sets: &'a Sets,
    /// What tenants may begin with; there are none while they are checked themselves.
    plans: &'a Plans,
    /// The files that say it.
    files: &'a Files,
    /// What can be kept of a body, where that is known.
    most_kept: Option<MostKept>,
}

impl Scope<'_> {
    /// The pool of this name; a fault when there is none.
    fn pool(&self, name: &str, at: usize, key: &Key<'_>, faults: &mut Faults<'_>) -> PoolId {
        if let Some(name) = self.pools.get(name) {
            return PoolId(Arc::clone(name));
        }
        faults.add_undefined(key, at, || undefined("pool", name, self.pools.iter()));
        PoolId(name.into())
    }
}

/// Says that a name is not defined, and which one may have been meant.
fn undefined<'n>(
    noun: &str,
    name: &str,
    known: impl Iterator<Item = &'n Arc<str>> + Clone,
) -> (String, Option<String>) {
    let table = match noun {
        "pool" => "pools",
        "plan" => "plans",
        "authorizer" => "identity.authorizers",
        _ => "route-sets",
    };
    let hint = match nearest(name, known.clone().map(AsRef::as_ref)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => {
            let few: Vec<&str> = known.take(5).map(AsRef::as_ref).collect();
            let header = Key::root(0).name(table).name(name).to_string();
            match few.is_empty() {
                true => format!("define it: [{header}]"),
                false => format!("define it: [{header}]; defined are {}", few.join(", ")),
            }
        }
    };
    (format!("there is no {noun} {name:?}"), Some(hint))
}

/// A duration that must be above 0.
fn above_zero(
    written: Option<At<Written<Duration>>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Duration> {
    let written = written?;
    if written.value.0.is_zero() {
        let hint = "write a duration from 1ms to 168h, as in \"5s\"".to_owned();
        faults.add(key, written.start, "must be above 0", Some(hint));
    }
    Some(written.value.0)
}

/// A path as the file that names it means it.
fn beside(folder: Option<&std::path::Path>, path: PathBuf) -> PathBuf {
    match folder {
        Some(folder) if !folder.as_os_str().is_empty() => folder.join(path),
        _ => path,
    }
}
