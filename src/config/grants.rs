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

/// Whether such a one, where a route has it, is for the requests of that route alone: a tenant's own token neither
/// moves it to others nor takes it away.
pub fn is_of_its_route(name: &str) -> bool {
    ["limits", "mirror", "queue"].contains(&name)
}

/// The parts of a key, as in `error-pages."5xx".body`, those in quotes without them; `None` where it is not written
/// as one.
pub fn parts(key: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = key;
    loop {
        let (part, more) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if part.contains('"') {
            return None;
        }
        parts.push(part.to_owned());
        if more.is_empty() {
            return Some(parts);
        }
        rest = more.strip_prefix('.')?; // else there is something behind a quote
    }
}

const GRANTS: &[&str] = &[
    "allow",
    "authenticate",
    "authorize",
    "certificates",
    "deny",
    "domains",
    "keys",
    "limits",
    "mirror",
    "plan",
    "pool",
    "queue",
    "replay-memory",
    "retry",
    "route-sets",
    "state",
    // What it may change itself.
    "tenant-keys",
    "timeout",
    "timeouts",
    // The routes of these sets lead to pools, too.
    "use",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_parts_that_it_is_written_with() {
        for (key, expected) in [
            ("routes", Some(vec!["routes"])),
            ("limits.client.requests", Some(vec!["limits", "client", "requests"])),
            ("error-pages.\"5.x\".body", Some(vec!["error-pages", "5.x", "body"])),
            ("limits.\"requests\"", Some(vec!["limits", "requests"])),
            ("", Some(vec![""])),
            ("a.", Some(vec!["a", ""])),
            ("\"a", None),
            ("\"a\"b", None),
            ("\"a\"b.c", None),
            ("a\"b\".c", None),
        ] {
            let expected: Option<Vec<String>> =
                expected.map(|parts| parts.into_iter().map(str::to_owned).collect());
            assert_eq!(parts(key), expected, "{key}");
        }
    }
}
