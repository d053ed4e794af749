//! Pools for the tests of this folder and those above it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::units::Percent;
use crate::config::spec::{
    ConnectionsSpec, EjectSpec, PoolSpec, Protocol, RetrySpec, TimeoutsSpec,
};
use crate::model::endpoint::Health;
use crate::model::ids::{Label, PoolId};
use crate::model::members::Members;

use super::Pool;

pub(crate) fn pool_spec() -> PoolSpec {
    PoolSpec {
        sources: Vec::new(),
        balance: "least-request".into(),
        hash: Vec::new(),
        sticky: None,
        protocol: Protocol::H1,
        tls: None,
        proxy_protocol: None,
        health: None,
        eject: EjectSpec {
            failures: 5,
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
            share: Percent::new(30.0),
            trials: 3,
            interval: Duration::from_secs(10),
            success_rate: None,
            latency: None,
        },
        breaker: None,
        panic_below: Percent::new(50.0),
        wait: None,
        spread: Default::default(),
        connections: ConnectionsSpec {
            idle: 256,
            idle_timeout: Duration::from_secs(30),
            max_age: Duration::from_secs(600),
        },
        per_tenant: false,
        timeouts: TimeoutsSpec::default(),
        deadline_header: None,
        retry: RetrySpec::default(),
        concurrency: None,
    }
}

pub(crate) fn pool(name: &str) -> Arc<Pool> {
    let members = Arc::new(Members::new(1, Health::Unchecked, 0.5));
    let label = Label { name: name.into(), slot: 0 };
    Arc::new(Pool::build(label, Arc::new(pool_spec()), members, 0, None).unwrap())
}

pub(crate) fn pools(names: &[&str]) -> BTreeMap<PoolId, Arc<Pool>> {
    names.iter().map(|name| (PoolId((*name).into()), pool(name))).collect()
}
