//! Certificates of tenants' own, as the answers of other endpoints have them.

use std::time::{Duration, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::reply::{self, FaultBody};
use crate::control::bearers::{Held, LiveBearers};

/// Those of all tenants.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TenantCertificates {
    /// Tenants that have some.
    tenants: usize,
    /// How many are in use.
    in_use: usize,
    /// How many of these have ended.
    expired: usize,
    /// When the next one ends of those that have not.
    next_end: Option<String>,
    /// `null` while all files are what is in use.
    failed_since: Option<String>,
    /// What is wrong with files, the first hundred: what was in use stays.
    problems: Vec<FaultBody>,
    /// How much that is.
    problem_count: usize,
    /// What makes one doubt those that are in use, the first hundred.
    warnings: Vec<FaultBody>,
}

impl From<&LiveBearers> for TenantCertificates {
    fn from(live: &LiveBearers) -> Self {
        let sum = live.sum();
        Self {
            tenants: live.bearers.len(),
            in_use: sum.in_use,
            expired: sum.expired,
            next_end: sum.next_end.map(ends),
            failed_since: live.failed_since.map(reply::time),
            problems: live.problems.iter().map(FaultBody::from).collect(),
            problem_count: live.count,
            warnings: live.doubts.iter().map(FaultBody::from).collect(),
        }
    }
}

/// Those of one tenant.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OwnCertificates {
    in_use: Vec<OwnCertificate>,
    /// What is wrong with its files; empty for the tenant itself.
    problems: Vec<FaultBody>,
    /// What makes one doubt those that are in use; empty for the tenant itself.
    warnings: Vec<FaultBody>,
}

/// One that is in use.
#[derive(Debug, Serialize, JsonSchema)]
struct OwnCertificate {
    /// `null` for the tenant itself.
    file: Option<String>,
    /// The first hundred names that it is shown for.
    hosts: Vec<String>,
    ends: String,
}

impl OwnCertificates {
    /// Of one tenant, which asks itself where `is_own`: it hears nothing of the files of the gateway's machine.
    pub(super) fn of(held: &Held, is_own: bool) -> Self {
        let faults = |list: &[_]| match is_own {
            true => Vec::new(),
            false => list.iter().map(FaultBody::from).collect(),
        };
        let in_use = held.in_use().iter().map(|one| OwnCertificate {
            file: (!is_own).then(|| one.file().display().to_string()),
            hosts: one.hosts.iter().take(SHOWN).map(ToString::to_string).collect(),
            ends: ends(one.end),
        });
        Self {
            in_use: in_use.collect(),
            problems: faults(&held.problems),
            warnings: faults(&held.doubts),
        }
    }
}

fn ends(at: u64) -> String {
    reply::time(UNIX_EPOCH + Duration::from_secs(at.min(LATEST)))
}

/// The end of the year 9999: no later time can be written.
const LATEST: u64 = 253_402_300_799;

/// 100: more than anybody reads.
const SHOWN: usize = 100;
