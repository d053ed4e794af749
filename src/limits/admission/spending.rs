//! What a request takes of quotas, the closest first: its subject's, then the route's, then the tenant's.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::spec::{LimitFields, QuotaSpec};
use crate::limits::Shared;
use crate::limits::limit::Limit;
use crate::limits::quota::{Count, Spent};
use crate::limits::told::Told;

use super::{Asker, Refused, Scope};

/// A quota that applies to a request.
#[derive(Debug)]
pub struct Due<'s> {
    limit: Limit,
    quota: &'s QuotaSpec,
    tells: bool,
    count: Arc<Count>,
    /// What was taken of it: given back with this, unless the request goes on.
    spent: Option<Spent>,
}

/// Those that apply to a request. Most have none, and pay nothing for it.
pub fn dues<'s>(shared: &Shared, scopes: &[Scope<'s>], asker: Asker<'_>) -> Vec<Due<'s>> {
    let of_subjects = scopes.iter().filter_map(|scope| {
        let quota = scope.spec.subject.as_ref()?.quota.as_ref()?;
        let subject = asker.caller.map(|caller| (caller.proof, &*caller.subject));
        let count = shared.quotas.of_subject(scope.whose, subject);
        Some(scope.due(scope.names.subject_quota, quota, count))
    });
    let of_all = scopes.iter().filter_map(|scope| {
        let quota = scope.spec.quota.as_ref()?;
        let count = Arc::clone(scope.cell.quota(&shared.quotas, scope.whose));
        Some(scope.due(scope.names.quota, quota, count))
    });
    of_subjects.chain(of_all).collect()
}

/// Takes one of each.
///
/// # Errors
/// Where one is used up: then none is taken.
pub fn spend(dues: &mut [Due<'_>]) -> Result<(), Box<Refused>> {
    if dues.is_empty() {
        return Ok(());
    }
    let now = SystemTime::now();
    let spent = dues.iter_mut().try_for_each(|due| {
        let spent = due.count.spend(*due.quota, now);
        due.spent = Some(spent.map_err(|rest| used_up(due.limit, due.quota, rest))?);
        Ok(())
    });
    if spent.is_err() {
        dues.iter_mut().for_each(|due| due.spent = None);
    }
    spent
}

/// Looks whether there is one left of each, and takes none.
///
/// # Errors
/// Where there is none.
pub fn look(dues: &[Due<'_>]) -> Result<(), Box<Refused>> {
    dues.iter().try_for_each(|due| {
        let looked = due.count.look(*due.quota, SystemTime::now());
        looked.map_err(|rest| used_up(due.limit, due.quota, rest))
    })
}

/// The request goes on: what was taken is used. Adds what its answer tells of it.
pub fn go(dues: Vec<Due<'_>>, told: &mut Told) {
    for due in dues {
        let Some(spent) = due.spent else { continue };
        if due.tells {
            told.quota(due.limit, due.quota, spent.left);
        }
        spent.go();
    }
}

/// What is told where a quota is used up.
fn used_up(limit: Limit, quota: &QuotaSpec, rest: Duration) -> Box<Refused> {
    let mut told = Told::default();
    told.quota(limit, quota, (0, rest));
    Box::new(Refused { limit, allows: quota.to_string(), retry_after: rest, told })
}

impl<'s> Scope<'s> {
    fn due(&self, limit: Limit, quota: &'s QuotaSpec, count: Arc<Count>) -> Due<'s> {
        let tells = self.spec.fields == LimitFields::Always;
        Due { limit, quota, tells, count, spent: None }
    }
}
