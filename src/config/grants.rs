//! Keys of a tenant that say what it is granted, and not how it uses that.

/// Whether a key, of a tenant or of one of its routes, is for those alone who run the gateway: a tenant's own
/// token changes none of them.
pub fn is_grant(name: &str) -> bool {
    GRANTS.contains(&name)
}

/// Whether single keys of such a one may be opened to a tenant's own token, though all of it may not.
pub fn has_keys_to_open(name: &str) -> bool {
    ["limits", "queue"].contains(&name)
}

/// The parts of a key, as in `error-pages."5xx".body`; those in quotes without them.
pub fn parts(key: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = key;
    loop {
        let (part, more) = match rest.strip_prefix('"') {
            Some(quoted) => match quoted.split_once('"') {
                Some((part, more)) => (part, more.strip_prefix('.')),
                None => (rest, None),
            },
            None => match rest.split_once('.') {
                Some((part, more)) => (part, Some(more)),
                None => (rest, None),
            },
        };
        parts.push(part);
        let Some(more) = more else { return parts };
        rest = more;
    }
}

const GRANTS: &[&str] = &[
    "allow",
    "authenticate",
    "certificates",
    "deny",
    "domains",
    "keys",
    "limits",
    "plan",
    "pool",
    "queue",
    "replay-memory",
    "retry",
    "route-sets",
    "state",
    "timeout",
    "timeouts",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_parts_that_it_is_written_with() {
        for (key, expected) in [
            ("routes", vec!["routes"]),
            ("limits.client.requests", vec!["limits", "client", "requests"]),
            ("error-pages.\"5.x\".body", vec!["error-pages", "5.x", "body"]),
            ("\"a", vec!["\"a"]),
            ("", vec![""]),
            ("a.", vec!["a", ""]),
        ] {
            assert_eq!(parts(key), expected, "{key}");
        }
    }
}
