//! Which values of the files are secrets, by the names that they have: they go where they are used, and are told
//! nobody.

use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION, SET_COOKIE};

/// What is told in place of one.
pub const MASKED: &str = "***";

/// Whether a field of this name carries a secret: it is one of those that the access log masks by default, or its name
/// says so.
pub fn is_secret(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    SECRET_HEADERS.iter().any(|name| name.as_str() == field)
        || SAYING.iter().any(|part| field.contains(part))
        || field.ends_with("-key")
}

/// Whether what is in a table of this name are fields of heads with their values, as in `request-headers.set`.
pub fn has_fields(table: &str) -> bool {
    ["set", "add", "headers"].contains(&table)
}

/// Fields that carry secrets.
pub(super) const SECRET_HEADERS: [HeaderName; 9] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    COOKIE,
    SET_COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("x-csrf-token"),
    HeaderName::from_static("x-amz-security-token"),
    HeaderName::from_static("x-tenantry-debug"),
];

/// Parts of names.
const SAYING: [&str; 7] =
    ["password", "passwd", "secret", "token", "credential", "apikey", "api_key"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_so_are_those_of_secrets() {
        for name in ["Authorization", "cookie", "X-Upstream-Token", "x-shop-key", "X-Client-Secret"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["apikey", "X-ApiKey", "x_api_key", "X-Db-Passwd"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["Cache-Control", "X-Keyboard", "path", "X-Served-By"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
