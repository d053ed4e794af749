//! The steps from files to a compiled table. All of them may take long: they run where a thread
//! may be busy, and start nothing.

use std::path::Path;
use std::sync::Arc;

use crate::base::tasks;
use crate::config::pem::References;
use crate::config::spec::RoutesSpec;
use crate::config::{self, File, Files, Known, Last, Learnt, Looks, Memory, Problems, places};
use crate::model::ids::PoolId;
use crate::pool::balancer;
use crate::routing::table::Table;
use crate::routing::{self, Previous};

use super::generation::Fault;
use super::plan::{self, Numbers, Pools};
use super::quarantine::{self, Quarantine};
use super::sift::{self, Sifted};
use super::standing::Standing;
use super::stored;

/// Files and what they mean.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) files: Files,
    pub(super) spec: Arc<RoutesSpec>,
    /// What makes one doubt them.
    pub(super) doubts: Arc<[Fault]>,
    /// Files that are broken: among `files` they are as they were when they were good.
    pub(super) quarantine: Quarantine,
}

impl Loaded {
    /// The same meaning, said in the files of another.
    pub(super) fn said_as(&self, other: Self) -> Self {
        Self { spec: Arc::clone(&self.spec), ..other }
    }

    /// The files as they are, those that are broken too.
    pub(super) fn as_they_are(&self) -> Files {
        quarantine::as_they_are(&self.files, &self.quarantine)
    }
}

/// What a generation is made from.
#[derive(Debug)]
pub(super) struct Materials {
    pub(super) loaded: Loaded,
    pub(super) running: Pools,
    pub(super) numbers: Numbers,
    pub(super) previous: Arc<Table>,
    /// What it was made from.
    pub(super) before: Option<Arc<RoutesSpec>>,
    /// What that said of its tenants.
    pub(super) standing: Standing,
    pub(super) generation: u64,
}

/// A generation that could go live.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) loaded: Loaded,
    pub(super) pools: Pools,
    pub(super) numbers: Numbers,
    pub(super) table: Table,
    pub(super) standing: Standing,
}

/// Does `work` on a thread that may be busy. A panic there is a fault like any other: what is live
/// stays live. `doing` and `file` say what was being done, and with which file.
pub(super) async fn in_background<T: Send + 'static>(
    doing: &'static str,
    file: &Path,
    work: impl FnOnce() -> Result<T, Vec<Fault>> + Send + 'static,
) -> Result<T, Vec<Fault>> {
    tasks::in_background(work).await.unwrap_or_else(|error| {
        Err(vec![Fault {
            file: file.to_path_buf(),
            line: None,
            column: None,
            key: None,
            what: format!("{doing} failed: {error}"),
            hint: Some("this is a bug, please report it with the files that caused it".into()),
        }])
    })
}

/// Reads the routes file or folder.
pub(super) fn read(path: &Path, looks: &mut Looks) -> Result<Files, Vec<Fault>> {
    config::read_routes_again(path, looks).map_err(faults)
}

/// What files mean, or all that is wrong with them.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) result: Result<Loaded, Vec<Fault>>,
    pub(super) references: References,
    /// The tenants of the API that something is told at, or would be if there were less to tell.
    pub(super) wrong: Vec<String>,
    /// What is to be remembered of them.
    pub(super) memory: Memory,
}

/// Files that were checked before, so that only what is said anew is read again.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) spec: Option<Arc<RoutesSpec>>,
    pub(super) memory: Memory,
    /// For files that are broken.
    pub(super) good: sift::Known,
}

/// Finds out what the files mean. Those that are broken, and are of tenants alone, may be held as they
/// were when they were good.
pub(super) fn check(files: Files, before: Before) -> Checked {
    let Before { spec, mut memory, good } = before;
    let known = Known { balancers: balancer::names(), keyed: balancer::keyed_names() };
    let mut again = |files: &Files| {
        let checked = config::check_routes_again(files, &known, spec.as_deref(), &mut memory);
        tracing::debug!(sections = memory.read(), "sections of the routes were read anew");
        checked
    };
    let checked = again(&files);
    if checked.result.is_ok() {
        return told(files, checked, memory);
    }
    match sift::sift(&files, &checked, &good, again) {
        Ok(Sifted { files, checked: mut sifted, quarantine }) => {
            // What is wrong may be mended in a file that they name.
            sifted.references.extend(checked.references);
            let mut told = told(files, sifted, memory);
            if let Ok(loaded) = &mut told.result {
                loaded.quarantine = quarantine;
            }
            told
        }
        Err(found) => {
            let mut told = told(files, checked, memory);
            if let Err(problems) = &mut told.result {
                problems.extend(found);
            }
            told
        }
    }
}

/// Files of which few have changed, and what they mean.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) loaded: Loaded,
    /// For the memory of sections, once the files are applied.
    pub(super) learnt: Learnt,
}

/// Finds out what files mean of which few are others than those of `before`; `None` where all of them
/// have to be checked, also for what makes one doubt them.
pub(super) fn edit(files: Files, before: &Loaded, memory: &Memory) -> Option<Edit> {
    let differences = files.files.differences(&before.files.files, File::eq);
    let mut changed = differences.filter_map(|found| found.before.or(found.now));
    let is_doubted = |file: &File| {
        let told = file.path.display().to_string(); // another one than the path, if that is no UTF-8
        before.doubts.iter().any(|doubt| doubt.file.as_os_str() == told.as_str())
    };
    if before.doubts.len() >= MOST_DOUBTS || changed.any(is_doubted) {
        return None;
    }
    let known = Known { balancers: balancer::names(), keyed: balancer::keyed_names() };
    let last = Last { files: &before.files, spec: &before.spec, memory };
    let config::Edited { spec, learnt } = config::check_routes_edited(&files, &known, &last)?;
    tracing::debug!(sections = learnt.read(), "sections of the routes were read anew");
    let loaded = Loaded { files, spec: Arc::new(spec), ..before.clone() };
    Some(Edit { loaded, learnt })
}

/// What is wrong with files of tenants alone by themselves, beside `before`; `None` where nothing is, and where
/// that is not known.
pub(super) fn wrong_alone(files: &Files, before: &Loaded, memory: &Memory) -> Option<Vec<Fault>> {
    let known = Known { balancers: balancer::names(), keyed: balancer::keyed_names() };
    let last = Last { files: &before.files, spec: &before.spec, memory };
    config::check_routes_alone(files, &known, &last).map(faults)
}

/// Finds out what files mean that were kept from another start.
pub(super) fn check_kept(files: Files, before: Before) -> Checked {
    let known = Known { balancers: balancer::names(), keyed: balancer::keyed_names() };
    let checked = config::check_kept_routes(&files, &known, &before.memory);
    told(files, checked, before.memory)
}

fn told(files: Files, checked: config::Checked, memory: Memory) -> Checked {
    let config::Checked { result, doubts, references, wrong, .. } = checked;
    let wrong = wrong.iter().filter_map(|at| files.files.nth(*at));
    let wrong = wrong.filter_map(|file| stored::id_of(&file.path).map(ToOwned::to_owned)).collect();
    let doubts = doubts.into_iter().map(Fault::from).collect();
    let quarantine = Quarantine::default();
    let loaded = result.map(|spec| Loaded { files, spec: Arc::new(spec), doubts, quarantine });
    Checked { result: loaded.map_err(faults), references, wrong, memory }
}

/// Plans the pools and compiles the table.
pub(super) fn make(materials: Materials) -> Result<Made, Vec<Fault>> {
    let Materials { loaded, running, mut numbers, previous, before, standing, generation } =
        materials;
    let pools = plan::pools(&loaded.spec, &running, &mut numbers).map_err(|found| {
        let fault = |(id, error): (PoolId, plan::PlanError)| {
            let place =
                places::place(&loaded.files, &[&["pools", &*id.0][..], error.key()].concat());
            Fault::from(place.problem(error.to_string(), error.hint().to_owned()))
        };
        found.into_iter().map(fault).collect::<Vec<Fault>>()
    })?;
    let last = Previous { table: &previous, spec: before.as_deref(), pools: &running };
    let table = routing::compile_edited(&loaded.spec, &last, &pools, generation);
    let standing = match &before {
        Some(before) => standing.after(&loaded.spec, before),
        None => Standing::of(&loaded.spec),
    };
    Ok(Made { loaded, pools, numbers, table, standing })
}

/// 100: no more are told, so that some of a file may be missing.
const MOST_DOUBTS: usize = 100;

fn faults(problems: Problems) -> Vec<Fault> {
    problems.into_iter().map(Fault::from).collect()
}
