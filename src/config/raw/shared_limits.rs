//! The words of `[shared-limits]`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::units::Percent;
use crate::config::text::{FilePath, KeyPrefix, RedisUrl, Written};

use super::pool::UpstreamTls;
use super::shape::At;

/// Where limits with `scope = "shared"` are counted for all gateways together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct SharedLimits {
    /// Redis 5 or later, or Valkey, and no cluster: `redis://10.0.0.5:6379`, also with the number of a database as
    /// in `redis://10.0.0.5/2`; `rediss://…` with TLS; or a Unix socket, as in `unix:/run/redis.sock`. Must be
    /// there.
    pub(in crate::config) url: Option<At<Written<RedisUrl>>>,
    /// The user; with a password. Default: the server's default user.
    pub(in crate::config) user: Option<At<String>>,
    /// The password, as in `"${REDIS_PASSWORD}"`. Default: none.
    pub(in crate::config) password: Option<At<String>>,
    /// A file with the password, in place of `password`; read for each connection. Default: none.
    pub(in crate::config) password_file: Option<At<Written<FilePath>>>,
    /// How TLS is spoken to a server at `rediss://`.
    pub(in crate::config) tls: Option<At<UpstreamTls>>,
    /// How long a connection or an answer may take, from `10ms`, no longer than `10s`. Beyond it, or without a
    /// connection, each gateway holds its limits alone. Default: `200ms`.
    pub(in crate::config) timeout: Option<At<Written<Duration>>>,
    /// How much of the burst of a limit a gateway may have beforehand, and be owed, from `0%` to `100%`; 10 requests, and
    /// what comes in the time of two answers, at least, as far as the burst has them. Default: `20%`.
    pub(in crate::config) reserve: Option<Written<Percent>>,
    /// What the keys there begin with, in letters, digits, `.`, `_` and `-`, 64 of them at most. Gateways that share
    /// limits have the same. Default: `tenantry`.
    pub(in crate::config) prefix: Option<Written<KeyPrefix>>,
}
