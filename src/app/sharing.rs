//! Starts what fills the reserves of limits that gateways share.

use std::sync::Arc;

use crate::base::tasks::Tasks;
use crate::config::spec::SharedLimitsSpec;
use crate::limits::fleet::Fleet;
use crate::limits::fleet::keeper::Keeper;
use crate::limits::fleet::redis::Redis;
use crate::limits::quota::Quotas;
use crate::telemetry::registry::Metrics;

use super::StartError;

/// What is counted for limits beside the requests of a moment: quotas, and what gateways share.
pub(super) type Counted = (Arc<Quotas>, Option<Arc<Fleet>>);

/// What workers know of them; `None` where they are not shared. The server is reached in the
/// background: until then each gateway holds its limits alone.
pub(super) fn start(
    spec: Option<&SharedLimitsSpec>,
    metrics: &Arc<Metrics>,
    tasks: &mut Tasks,
) -> Result<Option<Arc<Fleet>>, StartError> {
    let Some(spec) = spec else { return Ok(None) };
    let store = Redis::new(spec).map_err(StartError::SharedLimits)?;
    let (fleet, arrivals) = Fleet::new(spec.reserve);
    let whom = (Arc::clone(&fleet), arrivals);
    // A gateway whose store is late should not refuse for as long as it may be waited for.
    let patience = spec.timeout / 4;
    let keeper = Keeper::new(whom, (store, &spec.prefix), patience, Arc::clone(metrics));
    tasks.spawn_vital(|stop| keeper.run(stop));
    Ok(Some(fleet))
}
