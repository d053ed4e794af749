//! Numbers that tenants have set with tokens of their own, as far as their plans went, and that are above plans
//! which go less far: that of another plan is refused where an operator moves a tenant by the API; of one that was
//! lowered in the files people are told.
//!
//! **Invariant:** it keeps no file from being served, and takes no number from anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::sorted::Sorted;
use crate::config::places;
use crate::config::spec::{RoutesSpec, TenantSpec};

use super::super::generation::Fault;
use super::super::load::Loaded;
use super::Entry;
use super::ceilings::{self, Excess};
use super::change::Turn;
use super::definition::path;
use super::refusal::Refusal;

/// What of a tenant's own is above its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Above {
    /// The plan.
    pub plan: Arc<str>,
    /// The numbers.
    pub numbers: Vec<Excess>,
}

impl Above {
    /// What of a tenant is above its plan; `None` = nothing.
    fn of(spec: &RoutesSpec, entry: &Entry, now: &TenantSpec) -> Option<Self> {
        if entry.marks.is_empty() {
            return None;
        }
        let name = now.plan.as_ref()?;
        let mut numbers = ceilings::beyond(spec.plans.get(name)?, None, now);
        if !numbers.is_empty() {
            let table = entry.definition.table();
            numbers.retain(|one| entry.marks.are_of(one.key, &table));
        }
        (!numbers.is_empty()).then(|| Self { plan: Arc::clone(name), numbers })
    }

    fn faults(&self, id: &str) -> impl Iterator<Item = Fault> {
        let table = places::key(&["tenants", id]);
        self.numbers.iter().map(move |one| Fault {
            file: path(id),
            line: None,
            column: None,
            key: Some(format!("{table}.{}", one.key)),
            what: format!(
                "tenant {id:?} has set {} itself, and its plan {:?} goes no further than {}",
                one.value, self.plan, one.bound
            ),
            hint: Some(format!(
                "PATCH /api/v1/tenants/{id} with null for the plan's, or with the number that it is to have"
            )),
        })
    }
}

/// All of them, as people are told.
pub fn faults(above: &BTreeMap<Arc<str>, Above>) -> impl Iterator<Item = Fault> {
    above.iter().flat_map(|(id, above)| above.faults(id))
}

/// Refuses to move a tenant to a plan that does not go as far as numbers of the tenant's own.
///
/// # Errors
/// With these numbers.
pub(super) fn check(spec: &RoutesSpec, turn: &Turn, now: &TenantSpec) -> Result<(), Refusal> {
    let (Some(kept), Some(next)) = (&turn.kept, &turn.next) else { return Ok(()) };
    let plan = |entry: &Entry| entry.definition.table().remove("plan");
    if next.marks.is_empty() || plan(kept) == plan(next) {
        return Ok(());
    }
    match Above::of(spec, next, now) {
        Some(Above { plan, numbers }) => Err(Refusal::AbovePlan { plan, numbers }),
        None => Ok(()),
    }
}

/// What is known of all tenants: looked at anew where a plan or the tenant is another one.
#[derive(Debug, Default)]
pub(super) struct Lowered {
    above: Arc<BTreeMap<Arc<str>, Above>>,
    /// The plans that it was found by; `None` = all are to be looked at.
    plans: Option<BTreeMap<Arc<str>, Arc<TenantSpec>>>,
    suspects: BTreeSet<Arc<str>>,
}

impl Lowered {
    /// These tenants are others.
    pub(super) fn suspect(&mut self, ids: impl Iterator<Item = Arc<str>>) {
        self.suspects.extend(ids);
    }

    /// All may be.
    pub(super) fn suspect_all(&mut self) {
        self.plans = None;
    }

    /// What is so in `live`, of these tenants; what is new is told in the log.
    pub(super) fn look(
        &mut self,
        entries: &Sorted<Entry>,
        live: Option<&Loaded>,
    ) -> Arc<BTreeMap<Arc<str>, Above>> {
        let suspects = std::mem::take(&mut self.suspects);
        let Some(live) = live else { return Arc::clone(&self.above) };
        let before = Arc::clone(&self.above);
        let find = |entry: &Entry| {
            let is_served = live.files.files.get(path(&entry.id).as_os_str()).is_some();
            let now = live.spec.tenant(&entry.id).filter(|_| is_served)?;
            Some((Arc::clone(&entry.id), Above::of(&live.spec, entry, now)?))
        };
        if self.plans.as_ref() != Some(&live.spec.plans) {
            let marked = entries.iter().filter(|entry| !entry.marks.is_empty());
            self.above = Arc::new(marked.filter_map(find).collect());
            self.plans = Some(live.spec.plans.clone());
        } else {
            for id in suspects {
                let now = entries.get(&id).and_then(find).map(|(_, above)| above);
                if now.as_ref() == self.above.get(&id) {
                    continue; // nothing is copied
                }
                let all = Arc::make_mut(&mut self.above);
                match now {
                    Some(above) => drop(all.insert(id, above)),
                    None => drop(all.remove(&id)),
                }
            }
        }
        if !Arc::ptr_eq(&before, &self.above) {
            tell(&before, &self.above);
        }
        Arc::clone(&self.above)
    }
}

/// Warns of those that are new.
fn tell(before: &BTreeMap<Arc<str>, Above>, now: &BTreeMap<Arc<str>, Above>) {
    let new = || now.iter().filter(|(id, above)| before.get(*id) != Some(above));
    for fault in new().flat_map(|(id, above)| above.faults(id)).take(LOGGED) {
        tracing::warn!("{fault}");
    }
    let all: usize = new().map(|(_, above)| above.numbers.len()).sum();
    if all > LOGGED {
        tracing::warn!(
            "… and {} more numbers of tenants' own above their plans; /api/v1/config lists some",
            all - LOGGED
        );
    }
}

/// 20: who lowers a plan of many tenants is told enough by some of them.
const LOGGED: usize = 20;
