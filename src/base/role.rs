//! What somebody may do who has shown a credential of the operators' API.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// See everything, and do what running a gateway takes: drain endpoints, reload, set the level of the log.
    Operator,
    /// See everything.
    Viewer,
    /// See and edit this one tenant, within bounds.
    Tenant(Arc<str>),
}

/// A text that names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such role; there are admin, operator, viewer and tenant:ID")]
pub struct NoRole;

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        match text {
            "admin" => Ok(Self::Admin),
            "operator" => Ok(Self::Operator),
            "viewer" => Ok(Self::Viewer),
            _ => match text.strip_prefix("tenant:") {
                Some(id) if is_id(id) => Ok(Self::Tenant(id.into())),
                _ => Err(NoRole),
            },
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::Operator => f.write_str("operator"),
            Self::Viewer => f.write_str("viewer"),
            Self::Tenant(id) => write!(f, "tenant:{id}"),
        }
    }
}

/// Whether a tenant may have this id. What a file of tokens says of nobody is a slip.
fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_as_it_is_written() {
        for text in ["admin", "operator", "viewer", "tenant:acme-1.EU_west"] {
            assert_eq!(text.parse::<Role>().unwrap().to_string(), text);
        }
        for text in
            ["", "Admin", "root", "tenant", "tenant:", "tenant:a b", "tenant:a/b", "tenant:*"]
        {
            assert_eq!(text.parse::<Role>(), Err(NoRole), "{text:?}");
        }
    }
}
