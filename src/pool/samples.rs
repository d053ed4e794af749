//! Pools for the tests of this folder and those above it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::endpoint::Health;
use crate::model::ids::{Label, PoolId};
use crate::model::members::Members;

use super::Pool;

pub(crate) fn pool(name: &str) -> Arc<Pool> {
    let members = Arc::new(Members::new(1, Health::Unchecked, 0.5));
    let label = Label { name: name.into(), slot: 0 };
    Arc::new(Pool::build(label, Arc::default(), members, 0, None).unwrap())
}

pub(crate) fn pools(names: &[&str]) -> BTreeMap<PoolId, Arc<Pool>> {
    names.iter().map(|name| (PoolId((*name).into()), pool(name))).collect()
}
