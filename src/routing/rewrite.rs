//! How a request's path and host are changed before it is forwarded.

use std::borrow::Cow;

use http::HeaderValue;

use crate::config::spec::RewriteSpec;

/// How a request's path and host are changed before it is forwarded.
#[derive(Debug, Default)]
pub struct Rewrite {
    /// The `Host` that the endpoint sees; `None` = the client's.
    pub host: Option<HeaderValue>,
    /// Both without a trailing slash.
    prefix: Option<(Box<str>, Box<str>)>,
}

impl Rewrite {
    /// The rewrite that `spec` asks for.
    pub fn new(spec: &RewriteSpec) -> Self {
        let bare = |text: &str| Box::from(text.trim_end_matches('/'));
        let prefix = spec.prefix.as_ref().map(|(from, to)| (bare(from), bare(to)));
        Self { host: spec.host.clone(), prefix }
    }

    /// The path to forward, without the query. It starts with a slash wherever `path` does; a path
    /// that the prefix does not fit on a segment's border stays as it is.
    pub fn path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let Some((from, to)) = &self.prefix else {
            return Cow::Borrowed(path);
        };
        let Some(rest) = path.strip_prefix(from.as_ref()) else {
            return Cow::Borrowed(path);
        };
        match (rest.starts_with('/'), rest.is_empty(), to.is_empty()) {
            (true, _, true) => Cow::Borrowed(rest),
            (true, _, false) | (false, true, false) => Cow::Owned(rooted(to, rest)),
            (false, true, true) => Cow::Borrowed("/"),
            (false, false, _) => Cow::Borrowed(path),
        }
    }
}

fn rooted(to: &str, rest: &str) -> String {
    let slash = if to.starts_with('/') { "" } else { "/" };
    [slash, to, rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, to: &str, path: &str, expected: &str) {
        let spec = RewriteSpec { prefix: Some((from.into(), to.into())), host: None };
        assert_eq!(Rewrite::new(&spec).path(path), expected, "{from} -> {to}: {path}");
    }

    #[test]
    fn a_prefix_is_stripped_on_a_segments_border() {
        check("/api", "", "/api/users", "/users");
        check("/api", "", "/api", "/");
        check("/api", "", "/api/", "/");
        check("/api", "", "/apis", "/apis");
        check("/api", "", "/other", "/other");
        check("/api/", "", "/api/users", "/users");
    }

    #[test]
    fn a_prefix_is_replaced_on_a_segments_border() {
        check("/api", "/v2", "/api/users", "/v2/users");
        check("/api", "/v2/", "/api/users", "/v2/users");
        check("/api", "/v2", "/api", "/v2");
        check("/api", "v2", "/api/x", "/v2/x");
        check("/", "/v2", "/users", "/v2/users");
        check("", "/v2", "/", "/v2/");
    }

    #[test]
    fn no_prefix_leaves_the_path() {
        assert_eq!(Rewrite::default().path("/a/b"), "/a/b");
    }
}
