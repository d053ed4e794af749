//! The words of limits.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::units::{ByteSize, Rate};
use crate::config::spec::{LimitFields, LimitScope, QuotaSpec};
use crate::config::text::{Beyond, ByteRate, Written};

use super::shape::{At, Whole};

/// What may be asked for: of a tenant, over all of its routes, or of one route, of each tenant by
/// itself. Who goes beyond it is answered 429.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Limits {
    /// Requests in a second, a minute or an hour, as in `"100/s"`. Default: any number.
    pub(in crate::config) requests: Option<At<Written<Rate>>>,
    /// How many of them may come at once after a pause, from 1 to 1000000. Default: as many as `requests`
    /// says.
    pub(in crate::config) burst: Option<At<Whole<1, 1_000_000>>>,
    /// Who counts `requests`: each `gateway` by itself, or all of them together (`shared`), which takes
    /// `[shared-limits]` in `gateway.toml`. Default: `gateway`.
    pub(in crate::config) scope: Option<At<Written<LimitScope>>>,
    /// Requests under way at once, from 1 to 1000000; tunnels count until they end. Default: any number.
    pub(in crate::config) concurrency: Option<At<Whole<1, 1_000_000>>>,
    /// What becomes of a request beyond `requests` or `concurrency`: `reject`, or `wait` for its turn.
    /// Default: `reject`.
    pub(in crate::config) overflow: Option<At<Written<Beyond>>>,
    /// How long a request waits, above 0 and no longer than `1m`; with `overflow = "wait"`. Default:
    /// `1s`.
    pub(in crate::config) wait: Option<At<Written<Duration>>>,
    /// How many wait at once at most, from 1 to 100000; with `overflow = "wait"`. Default: 100.
    pub(in crate::config) waiting: Option<At<Whole<1, 100_000>>>,
    /// What each client may ask for: each address, or each /64 of IPv6. Default: anything.
    pub(in crate::config) client: Option<At<EachLimit>>,
    /// What each subject may ask for: who an API key, a signed token or a client certificate says that it
    /// is, each kind by itself. All requests that show none are one. Default: anything.
    pub(in crate::config) subject: Option<At<EachLimit>>,
    /// Requests in a day or a month of the calendar (UTC), as in `"100000/day"` or `"5000000/month"`. What was used is kept
    /// in the folder `state` over a restart. Default: any number.
    pub(in crate::config) quota: Option<At<Written<QuotaSpec>>>,
    /// How much of the bodies of requests is read in a second, from `1KiB/s`; a second's worth at once after a
    /// pause. Default: as much as comes.
    pub(in crate::config) upload: Option<At<Written<ByteRate>>>,
    /// How much of the bodies of answers is sent in a second, from `1KiB/s`; a second's worth at once after
    /// a pause. Default: as much as the client takes.
    pub(in crate::config) download: Option<At<Written<ByteRate>>>,
    /// Size of the body of a request, from `1B`, in place of `downstream.max-body` of `gateway.toml`, above or
    /// below that. A route's goes before the tenant's. Default: the tenant's, else the gateway's.
    pub(in crate::config) max_body: Option<At<Written<ByteSize>>>,
    /// Which answers tell of these limits in `RateLimit` and `RateLimit-Policy`: `refused`, those of
    /// requests that are refused by one, or `always`. Default: `refused`.
    pub(in crate::config) fields: Option<Written<LimitFields>>,
}

/// What each client, or each subject, may ask for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct EachLimit {
    /// Requests in a second, a minute or an hour, as in `"10/s"`. Default: any number.
    pub(in crate::config) requests: Option<At<Written<Rate>>>,
    /// How many of them may come at once after a pause, from 1 to 1000000. Default: as many as `requests`
    /// says.
    pub(in crate::config) burst: Option<At<Whole<1, 1_000_000>>>,
    /// Requests under way at once, from 1 to 1000000; tunnels count until they end. Default: any number.
    pub(in crate::config) concurrency: Option<At<Whole<1, 1_000_000>>>,
    /// What becomes of a request beyond `requests` or `concurrency`: `reject`, or `wait` for its turn. Default: `reject`.
    pub(in crate::config) overflow: Option<At<Written<Beyond>>>,
    /// How long a request waits, above 0 and no longer than `1m`; with `overflow = "wait"`. Default:
    /// `1s`.
    pub(in crate::config) wait: Option<At<Written<Duration>>>,
    /// How many wait at once at most, from 1 to 100000; with `overflow = "wait"`. For `requests` of all of them together, for
    /// `concurrency` of each, beside 1000 of all. Default: 100.
    pub(in crate::config) waiting: Option<At<Whole<1, 100_000>>>,
    /// Requests in a day or a month of the calendar (UTC), as in `"1000/day"`; of subjects alone. What was used is kept in
    /// the folder `state` over a restart. Default: any number.
    pub(in crate::config) quota: Option<At<Written<QuotaSpec>>>,
}
