//! Services that are asked whether a request may go on, with their pools.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::spec::{AuthorizerSpec, IdentitiesSpec};
use crate::model::ids::PoolId;
use crate::pool::Pool;

/// A service that is asked whether a request may go on.
#[derive(Clone, Debug)]
pub struct Authorizer {
    /// How it is asked.
    pub spec: Arc<AuthorizerSpec>,
    /// Who is asked.
    pub pool: Arc<Pool>,
}

/// Those of a table. One whose pool is not there is left out: nobody can ask it.
pub(super) fn bind(
    identity: &IdentitiesSpec,
    pools: &BTreeMap<PoolId, Arc<Pool>>,
) -> Box<[Authorizer]> {
    let bound = |spec: &Arc<AuthorizerSpec>| {
        let pool = Arc::clone(pools.get(&spec.pool)?);
        Some(Authorizer { spec: Arc::clone(spec), pool })
    };
    identity.authorizers.iter().filter_map(bound).collect()
}
