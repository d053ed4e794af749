//! The steps from files to a compiled table. All of them may take long: they run where a thread
//! may be busy, and start nothing.

use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::config::pem::References;
use crate::config::spec::RoutesSpec;
use crate::config::{self, Files, Known, Looks, Memory, Problems, places};
use crate::model::ids::PoolId;
use crate::pool::balancer;
use crate::routing::table::Table;
use crate::routing::{self, Previous};
use crate::telemetry::tenants::Slots;

use super::generation::Fault;
use super::plan::{self, Numbers, Pools};
use super::standing::Standing;

/// Files and what they mean.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) files: Files,
    pub(super) spec: Arc<RoutesSpec>,
    /// What makes one doubt them.
    pub(super) doubts: Arc<[Fault]>,
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
    /// The numbers of the tenants.
    pub(super) slots: Slots,
}

/// Does `work` on a thread that may be busy. A panic there is a fault like any other: what is live
/// stays live. `doing` and `file` say what was being done, and with which file.
pub(super) async fn in_background<T: Send + 'static>(
    doing: &'static str,
    file: &Path,
    work: impl FnOnce() -> Result<T, Vec<Fault>> + Send + 'static,
) -> Result<T, Vec<Fault>> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
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
    /// What is to be remembered of them.
    pub(super) memory: Memory,
}

/// Files that were checked before, so that only what is said anew is read again.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) spec: Option<Arc<RoutesSpec>>,
    pub(super) memory: Memory,
}

/// Finds out what the files mean.
pub(super) fn check(files: Files, before: Before) -> Checked {
    let Before { spec, mut memory } = before;
    let known = Known { balancers: balancer::names() };
    let checked = config::check_routes_again(&files, &known, spec.as_deref(), &mut memory);
    tracing::debug!(sections = memory.read(), "sections of the routes were read anew");
    told(files, checked, memory)
}

/// Finds out what files mean that were kept from another start.
pub(super) fn check_kept(files: Files, _: Before) -> Checked {
    let known = Known { balancers: balancer::names() };
    let checked = config::check_kept_routes(&files, &known);
    told(files, checked, Memory::default())
}

fn told(files: Files, checked: config::Checked, memory: Memory) -> Checked {
    let config::Checked { result, doubts, references } = checked;
    let doubts = doubts.into_iter().map(Fault::from).collect();
    let loaded = result.map(|spec| Loaded { files, spec: Arc::new(spec), doubts });
    Checked { result: loaded.map_err(faults), references, memory }
}

/// Plans the pools and compiles the table.
pub(super) fn make(materials: Materials) -> Result<Made, Vec<Fault>> {
    let Materials { loaded, running, mut numbers, previous, before, generation } = materials;
    let pools = plan::pools(&loaded.spec, &running, &mut numbers).map_err(|found| {
        let fault = |(id, error): (PoolId, plan::PlanError)| {
            let place = places::place(&loaded.files, &["pools", &id.0, error.key()]);
            Fault::from(place.problem(error.to_string(), error.hint().to_owned()))
        };
        found.into_iter().map(fault).collect::<Vec<Fault>>()
    })?;
    let last = Previous { table: &previous, spec: before.as_deref(), pools: &running };
    let table = routing::compile_edited(&loaded.spec, &last, &pools, generation);
    let standing = Standing::of(&loaded.spec);
    let slots = table.tenants().map(|tenant| tenant.slot()).collect();
    Ok(Made { loaded, pools, numbers, table, standing, slots })
}

fn faults(problems: Problems) -> Vec<Fault> {
    problems.into_iter().map(Fault::from).collect()
}
