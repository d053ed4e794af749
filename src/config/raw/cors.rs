//! The words for pages of other origins.

use std::time::Duration;

use http::{HeaderName, Method};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::spec::OriginSpec;
use crate::config::text::Written;

use super::shape::At;

/// Which pages of other origins may use a tenant's answers. The gateway answers what browsers ask before
/// (`OPTIONS`), and what endpoints say of it is replaced.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Cors {
    /// Origins of pages, as in `["https://app.example.com"]`; `https://*.example.com` is for one label, `*` for
    /// all. Must be there, or in the plan of the tenant.
    pub(in crate::config) origins: Option<At<Vec<Written<OriginSpec>>>>,
    /// Methods that they may use. Default: `["GET", "HEAD", "POST"]`.
    pub(in crate::config) methods: Option<Vec<Written<Method>>>,
    /// Header fields that they may send besides those that all may, as in `["Content-Type"]`. Default: none.
    pub(in crate::config) headers: Option<Vec<Written<HeaderName>>>,
    /// Header fields of answers that they may read besides those that all may. Default: none.
    pub(in crate::config) expose: Option<Vec<Written<HeaderName>>>,
    /// Whether browsers send cookies, certificates and passwords with it; not with the origin `*`. Default:
    /// `false`.
    pub(in crate::config) credentials: Option<At<bool>>,
    /// How long browsers remember it, no longer than `24h`. Default: `10m`.
    pub(in crate::config) max_age: Option<At<Written<Duration>>>,
}
