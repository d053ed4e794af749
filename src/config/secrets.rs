//! Which values of the files are secrets, by the names that they have: they go where they are used, and are told
//! nobody.

use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION, SET_COOKIE};

use crate::model::fields::look_alike;

use super::spec::MaskSpec;

/// What is told in place of one.
pub const MASKED: &str = "***";

/// Names whose values are secrets, beside those that say so themselves.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    headers: Arc<[HeaderName]>,
    /// In lower case.
    query: Arc<[String]>,
}

impl Secrets {
    /// What is masked in the access log is nobody's to know elsewhere.
    pub fn of(mask: &MaskSpec) -> Self {
        Self { headers: mask.headers.clone().into(), query: mask.query.clone().into() }
    }

    /// Whether the value of this name in a table is one: that of a field of a head, or of a query parameter.
    pub fn hide(&self, [table, name]: [&str; 2]) -> bool {
        let is_masked = || self.headers.iter().any(|own| own.as_str().eq_ignore_ascii_case(name));
        let is_parameter = || {
            let name = name.to_lowercase();
            self.query.iter().any(|own| look_alike(own, &name))
        };
        (has_fields(table) && (is_secret(name) || is_masked()))
            || (has_parameters(table) && is_parameter())
    }
}

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

/// Whether what is in a table of this name are query parameters with their values, as in a condition of a route.
pub fn has_parameters(table: &str) -> bool {
    table == "query"
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
    fn what_the_access_log_masks_is_hidden_where_it_is_a_field_or_a_parameter() {
        let invite = HeaderName::from_static("x-invite");
        let mask = MaskSpec { query: vec!["my_code".to_owned()], headers: vec![invite] };
        let secrets = Secrets::of(&mask);

        for (table, name, expected) in [
            ("set", "X-Invite", true),
            ("headers", "x-invite", true),
            ("query", "My-Code", true),
            ("query", "x-invite", false),
            ("set", "my_code", false),
            ("pools", "X-Invite", false),
            ("add", "Cookie", true),
        ] {
            assert_eq!(secrets.hide([table, name]), expected, "{table} {name}");
        }
        assert!(!Secrets::default().hide(["set", "X-Invite"]));
    }

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
