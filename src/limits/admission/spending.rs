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
}

/// Those that apply to a request.
pub fn dues<'s>(shared: &Shared, scopes: &[Scope<'s>], asker: Asker<'_>) -> Vec<Due<'s>> {
    let mut all = Vec::new(); // most have none, and pay nothing for it
    for scope in scopes {
        let of_subject = scope.spec.subject.as_ref().and_then(|each| each.quota.as_ref());
        if let Some(quota) = of_subject {
            let subject = asker.caller.map(|caller| (caller.proof, &*caller.subject));
            let count = shared.quotas.of_subject(scope.whose, subject);
            all.push(scope.due(scope.names.subject_quota, quota, count));
        }
    }
    for scope in scopes {
        if let Some(quota) = scope.spec.quota.as_ref() {
            let count = Arc::clone(scope.cell.quota(&shared.quotas, scope.whose));
            all.push(scope.due(scope.names.quota, quota, count));
        }
    }
    all
}

/// Takes one of each.
///
/// # Errors
/// Where one is used up: then none is taken.
pub fn spend(dues: &[Due<'_>]) -> Result<Vec<Spent>, Box<Refused>> {
    if dues.is_empty() {
        return Ok(Vec::new());
    }
    let now = SystemTime::now();
    let spend = |due: &Due<'_>| {
        due.count.spend(*due.quota, now).map_err(|rest| used_up(due.limit, due.quota, rest))
    };
    dues.iter().map(spend).collect()
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
pub fn go(dues: &[Due<'_>], spent: Vec<Spent>, told: &mut Told) {
    for (due, spent) in dues.iter().zip(spent) {
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
        Due { limit, quota, tells: self.spec.fields == LimitFields::Always, count }
    }
}
