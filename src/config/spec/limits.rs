//! The meaning of limits: of a tenant, or of a route of a tenant.

use std::fmt;
use std::time::Duration;

use crate::base::units::{ByteSize, Rate};

/// What may be asked for, of a tenant or of a route of each tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsSpec {
    /// Requests in a time.
    pub requests: Option<RateSpec>,
    /// Requests at once.
    pub concurrency: Option<u32>,
    /// What becomes of a request beyond these two, where somebody has said so.
    pub overflow: Option<Overflow>,
    /// Who counts requests in a time.
    pub scope: LimitScope,
    /// What each client may ask for.
    pub client: Option<EachLimitSpec>,
    /// What each subject may ask for.
    pub subject: Option<EachLimitSpec>,
    /// Requests in a day or a month of the calendar.
    pub quota: Option<QuotaSpec>,
    /// Bytes a second of bodies of requests.
    pub upload: Option<ByteSize>,
    /// Bytes a second of bodies of answers.
    pub download: Option<ByteSize>,
    /// Size of the body of a request, in place of the gateway's.
    pub max_body: Option<ByteSize>,
    /// Which answers tell of them.
    pub fields: LimitFields,
}

impl LimitsSpec {
    /// What holds where nothing is said.
    pub const UNSAID: Self = Self {
        requests: None,
        concurrency: None,
        overflow: None,
        scope: LimitScope::Gateway,
        client: None,
        subject: None,
        quota: None,
        upload: None,
        download: None,
        max_body: None,
        fields: LimitFields::Refused,
    };

    /// What becomes of a request beyond them.
    pub fn overflow(&self) -> Overflow {
        self.overflow.unwrap_or(Overflow::Reject)
    }

    /// Whether anything of requests is counted for them.
    pub fn count(&self) -> bool {
        *self != Self { max_body: self.max_body, fields: self.fields, ..Self::UNSAID }
    }
}

/// What each client, or each subject, may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EachLimitSpec {
    /// Requests in a time.
    pub requests: Option<RateSpec>,
    /// Requests at once.
    pub concurrency: Option<u32>,
    /// What becomes of a request beyond these two, where somebody has said so.
    pub overflow: Option<Overflow>,
    /// Requests in a day or a month of the calendar; of subjects alone.
    pub quota: Option<QuotaSpec>,
}

impl EachLimitSpec {
    /// What holds where nothing is said.
    pub const UNSAID: Self =
        Self { requests: None, concurrency: None, overflow: None, quota: None };

    /// What becomes of a request beyond them.
    pub fn overflow(&self) -> Overflow {
        self.overflow.unwrap_or(Overflow::Reject)
    }
}

/// Requests in a day or a month of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaSpec {
    /// How many.
    pub requests: u64,
    /// In which time.
    pub period: Period,
}

/// A time of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to that of the next.
    Month,
}

impl fmt::Display for QuotaSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = if self.period == Period::Day { "day" } else { "month" };
        write!(f, "{}/{period}", self.requests)
    }
}

/// Requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSpec {
    /// How many in the long run.
    pub rate: Rate,
    /// How many at once, after a pause.
    pub burst: u32,
}

/// What becomes of a request beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It is refused.
    Reject,
    /// It waits for its turn.
    Wait {
        /// For so long at most; who would have to wait longer is refused at once.
        longest: Duration,
        /// Beside so many others at most.
        waiting: u32,
    },
}

impl Overflow {
    /// For how long a request may wait.
    pub fn longest(self) -> Duration {
        match self {
            Self::Reject => Duration::ZERO,
            Self::Wait { longest, .. } => longest,
        }
    }

    /// How many may wait.
    pub fn most(self) -> u32 {
        match self {
            Self::Reject => 0,
            Self::Wait { waiting, .. } => waiting,
        }
    }
}

/// Who counts requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitScope {
    /// Each gateway by itself.
    Gateway,
    /// All gateways together.
    Shared,
}

/// Which answers tell of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitFields {
    /// Refusals.
    Refused,
    /// All of them.
    Always,
}

impl RateSpec {
    /// How long it takes until as many may come at once as ever.
    pub fn refill(&self) -> Duration {
        let nanos = self.rate.per.as_nanos().saturating_mul(self.burst.into());
        let nanos = nanos.div_ceil(u128::from(self.rate.count.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
