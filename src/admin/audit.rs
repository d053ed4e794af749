//! The audit: each request that may change something, whoever sends it and whatever comes of it, is one event
//! in the gateway's own log. It tells who, from where, what and with which outcome; bodies and secrets are never in
//! it.

use axum::response::Response;
use http::Method;

use super::roles::Caller;

/// What a change was, where one was made: handlers leave it in their answer.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// The tag of what was there; `None` = nothing was.
    pub(super) before: Option<String>,
    /// The tag of what is there; `None` = nothing is.
    pub(super) after: Option<String>,
    /// The number of the table that is live.
    pub(super) generation: u64,
}

/// Whether requests of this method are told of.
pub(super) fn is_told(method: &Method) -> bool {
    !method.is_safe()
}

/// Tells what came of a request. The path is the caller's own: it is told with its escapes.
pub(super) fn tell(caller: &Caller, method: &Method, path: &str, answer: &Response) {
    let made = answer.extensions().get::<Made>();
    let tag = |tag: Option<&String>| tag.map(|tag| tag.trim_matches('"').to_owned());
    tracing::info!(
        target: TARGET,
        who = caller.name.as_deref().unwrap_or("-"),
        role = %caller.role,
        from = %caller.from.to_canonical(),
        method = %method,
        path = %path.chars().take(LONGEST).collect::<String>().escape_debug(),
        status = answer.status().as_u16(),
        generation = made.map(|made| made.generation),
        before = tag(made.and_then(|made| made.before.as_ref())),
        after = tag(made.and_then(|made| made.after.as_ref())),
        "audit"
    );
}

/// What the log's filter knows it by.
const TARGET: &str = "tenantry::audit";

/// 300 characters: the longest id of a tenant and what is before it.
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_reads_is_not_told_of() {
        for read in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
            assert!(!is_told(&read), "{read}");
        }
        for change in [Method::PUT, Method::PATCH, Method::POST, Method::DELETE] {
            assert!(is_told(&change), "{change}");
        }
    }
}
