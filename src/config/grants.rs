//! Keys of a tenant that say what it is granted, and not how it uses that.

/// Whether a key, of a tenant or of one of its routes, is for those alone who run the gateway: a tenant's own
/// token changes none of them.
pub fn is_grant(name: &str) -> bool {
    GRANTS.contains(&name)
}

const GRANTS: &[&str] = &[
    "allow",
    "authenticate",
    "authorize",
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
