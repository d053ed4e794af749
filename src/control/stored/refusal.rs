//! Why a change of a tenant of the API is not made.

use std::sync::Arc;

use crate::config::places;
use crate::model::ids::{TenantId, TenantIdError};

use super::super::generation::Fault;
use super::ceilings::Excess;
use super::definition::{LARGEST, path};
use super::store::StoreError;

/// Why nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It can be no tenant.
    #[error("the id {0}")]
    Id(#[from] TenantIdError),
    /// Whoever writes a URL takes it for a step in the path.
    #[error("an id of dots alone is no part of a URL")]
    Dots,
    /// Nothing is live yet.
    #[error("no table is live yet")]
    NotReady,
    /// It cannot be kept, for a reason that is not told.
    #[error("the tenant cannot be kept now")]
    NotNow,
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file defines it.
    #[error("{place} defines the tenant: change it there")]
    InFile {
        /// As in `routes.toml:12`.
        place: String,
    },
    /// The generation is too old, or never was.
    #[error("this generation, or what tenants were then, is not known any more")]
    Forgotten,
    /// The API has none of this id.
    #[error("the API keeps no tenant of this id")]
    Unknown,
    /// It is not as the condition says.
    #[error("the tenant is not what the condition names")]
    Condition,
    /// It would be too large.
    #[error("the tenant would have more than {LARGEST} bytes as JSON")]
    Large,
    /// Other keys would change than may.
    #[error("it would change {}", .0.join(", "))]
    Beyond(Vec<String>),
    /// Its own token has set numbers that the plan which it shall have does not go as far as.
    #[error("the tenant has set {} itself, and the plan {plan:?} goes no further than {}",
        told(.numbers, |one| &one.value), told(.numbers, |one| &one.bound))]
    AbovePlan {
        /// The plan.
        plan: Arc<str>,
        /// The numbers.
        numbers: Vec<Excess>,
    },
    /// It is wrong.
    #[error("the tenant has {} problem(s)", .0.len())]
    Wrong(Vec<Fault>),
    /// It was right, and could not be brought to life.
    #[error("the table cannot be made")]
    Failed(Vec<Fault>),
}

/// As in `limits.requests = 150/s, limits.burst = 150`.
fn told(numbers: &[Excess], text: fn(&Excess) -> &str) -> String {
    let each = numbers.iter().map(|one| format!("{} = {}", one.key, text(one)));
    each.collect::<Vec<_>>().join(", ")
}

/// Faults of a tenant as it was sent: by its own keys, without a place in a text that nobody wrote.
pub fn by_keys(id: &TenantId, faults: Vec<Fault>) -> Vec<Fault> {
    let (own, table) = (path(id.as_str()), places::key(&["tenants", id.as_str()]));
    let told = |fault: Fault| {
        if fault.file != own {
            return fault;
        }
        let key = fault.key.map(|key| match key.strip_prefix(&table) {
            Some(rest) => rest.trim_start_matches('.').to_owned(),
            None => key,
        });
        Fault { line: None, column: None, key: key.filter(|key| !key.is_empty()), ..fault }
    };
    faults.into_iter().map(told).collect()
}
