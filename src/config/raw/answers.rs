//! The words for what the gateway itself shall answer.

use std::time::Duration;

use http::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::network::Peers;
use crate::config::answers::PageFor;
use crate::config::text::{FilePath, Written};

use super::shape::{At, Pairs};

/// Pages by status (`503`), class of statuses (`5xx`) or the word `maintenance`.
pub(in crate::config) type ErrorPages = Pairs<PageFor, At<ErrorPage>>;

/// A page in place of the gateway's own answer: exactly one of `file` and `body` is written.
/// `{request-id}`, `{status}` and `{problem}` in it stand for those of the answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct ErrorPage {
    /// A file of UTF-8 text, up to 256 KiB. Relative paths start at the folder of this file. It is
    /// read when the routes are. Default: there is a `body`.
    pub(in crate::config) file: Option<At<Written<FilePath>>>,
    /// The page itself, up to 256 KiB. Default: there is a `file`.
    pub(in crate::config) body: Option<At<String>>,
    /// The type of the page. Default: `text/html; charset=utf-8`; for `*.json` `application/json`, for `*.txt`
    /// `text/plain; charset=utf-8`.
    pub(in crate::config) content_type: Option<At<Written<HeaderValue>>>,
}

/// What is answered while `state` is `maintenance`. It may be there before.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct Maintenance {
    /// When clients may come again (`Retry-After`), from `1s`. Default: `5m`.
    pub(in crate::config) retry_after: Option<At<Written<Duration>>>,
    /// Networks of clients that are served all the same, as in `10.0.0.0/8`. Default: nobody.
    pub(in crate::config) allow: Option<Vec<Written<Peers>>>,
}
