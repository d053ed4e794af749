//! What a tenant has used, as files and the admin API tell it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::telemetry::usage::{Counts, Hour};

/// What one tenant has used in a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amounts {
    /// Requests that ended, those that were refused included.
    pub requests: u64,
    /// The same by the class of the answer's status; `none`: the client left before an answer.
    pub answers: BTreeMap<String, u64>,
    /// Bytes of the bodies of requests, as read.
    pub request_bytes: u64,
    /// Bytes of the bodies of answers, as sent.
    pub response_bytes: u64,
    /// How long requests took for which a pool was chosen, from the head to the end of the answer.
    pub request_microseconds: u64,
    /// How long of that they waited for room, within a limit or in a pool.
    pub waited_microseconds: u64,
    /// How long endpoints were busy with them: the difference.
    pub compute_microseconds: u64,
    /// Requests that a limit or a full pool has refused, by the name of the problem.
    pub refused: BTreeMap<String, u64>,
}

/// One line of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// When the hour begins.
    pub(super) hour: String,
    /// Which gateway has counted.
    pub(super) gateway: String,
    /// Whose requests they were.
    pub(super) tenant: String,
    #[serde(flatten)]
    pub(super) amounts: Amounts,
}

impl From<&Counts> for Amounts {
    fn from(counts: &Counts) -> Self {
        let owned = |(name, count): (&str, u64)| (name.to_owned(), count);
        let (lasted, waited) = (microseconds(counts.lasted), microseconds(counts.waited));
        Self {
            requests: counts.requests(),
            answers: counts.answers().map(owned).collect(),
            request_bytes: counts.bytes_in,
            response_bytes: counts.bytes_out,
            request_microseconds: lasted,
            waited_microseconds: waited,
            compute_microseconds: lasted.saturating_sub(waited),
            refused: counts.refused().map(owned).collect(),
        }
    }
}

impl From<&Amounts> for Counts {
    fn from(amounts: &Amounts) -> Self {
        let time = Duration::from_micros;
        Self::of(
            &amounts.answers,
            &amounts.refused,
            (amounts.request_bytes, amounts.response_bytes),
            (time(amounts.request_microseconds), time(amounts.waited_microseconds)),
        )
    }
}

/// An hour as it is written.
pub(super) fn written(hour: Hour) -> String {
    humantime::format_rfc3339_seconds(hour.begins()).to_string()
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
