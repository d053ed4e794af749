//! The words of `[usage]`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::text::{FilePath, GatewayName, Written};

use super::shape::{At, Whole};

/// What tenants have used, in files to bill by.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Usage {
    /// The folder of the files, one for each hour (UTC); it is made where there is none. Must be
    /// there.
    pub(in crate::config) folder: Option<At<Written<FilePath>>>,
    /// The name of this gateway in lines and file names, in letters, digits, `.`, `_` and `-`, 64 of
    /// them at most. Gateways that write to one folder need one each. Default: the name of the
    /// machine.
    pub(in crate::config) gateway: Option<Written<GatewayName>>,
    /// How much may be lost where the process is killed, from `2s`, no longer than `1h`: the file of
    /// the hour is saved in this time. Default: `10s`.
    pub(in crate::config) flush_interval: Option<At<Written<Duration>>>,
    /// How many hours are kept, from 0 to 100000: files of earlier ones are deleted; 0 = all are
    /// kept. Default: 0.
    pub(in crate::config) keep_hours: Option<Whole<0, 100_000>>,
}
