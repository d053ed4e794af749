//! What each role may ask for. What is not said here is nobody's but the admins'.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;

use crate::base::role::Role;
use crate::control::history::{By, Cause};

use super::endpoints::{drains, explain, log_level, reload, splits};

/// Who asks, as far as that is known.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// As the file of tokens or a certificate has it; `None` = nobody was asked.
    pub(super) name: Option<Arc<str>>,
    /// What it may do.
    pub(super) role: Role,
    /// Where it is.
    pub(super) from: IpAddr,
    /// By what it is known; `None` = by nothing.
    pub(super) shown: Option<Shown>,
}

/// What a caller is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// A token, by the first digits of its digest.
    Token(Arc<str>),
    /// A certificate.
    Certificate,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(mark) => write!(f, "token {mark}"),
            Self::Certificate => f.write_str("certificate"),
        }
    }
}

/// What comes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be asked.
    Granted,
    /// The role does not do such things.
    Forbidden,
    /// It is about a tenant that is none of the caller's: for it there is no such tenant.
    Hidden,
}

impl Caller {
    /// Who it is, for the history.
    pub(super) fn by(&self) -> By {
        By {
            kind: match self.role {
                Role::Tenant(_) => Cause::Tenant,
                _ => Cause::Operator,
            },
            name: self.name.as_deref().map(ToOwned::to_owned),
            from: Some(self.from.to_canonical().to_string()),
        }
    }

    /// The tenant that it is bound to.
    pub(super) fn tenant(&self) -> Option<&str> {
        match &self.role {
            Role::Tenant(id) => Some(id),
            _ => None,
        }
    }

    /// Whether it may ask for this. `route` is the path as the router has it, with `{id}` for what
    /// `tenant` says, and `None` where there is nothing.
    pub(super) fn may(
        &self,
        method: &Method,
        route: Option<&str>,
        tenant: Option<&str>,
    ) -> Verdict {
        let is_read = matches!(*method, Method::GET | Method::HEAD) || is_question(method, route);
        let is_granted = match &self.role {
            Role::Admin => true,
            Role::Viewer => is_read,
            Role::Operator => is_read || route.is_some_and(|route| OPERATED.contains(&route)),
            Role::Tenant(own) => return of_tenant(own, method, route, tenant),
        };
        if is_granted { Verdict::Granted } else { Verdict::Forbidden }
    }
}

/// Whether it only asks, though it has a body.
pub(super) fn is_question(method: &Method, route: Option<&str>) -> bool {
    *method == Method::POST && route == Some(explain::ENDPOINT.path)
}

fn of_tenant(own: &str, method: &Method, route: Option<&str>, tenant: Option<&str>) -> Verdict {
    let is_edit = matches!(*method, Method::PUT | Method::PATCH);
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let is_of_tenant = match route {
        Some(TENANT) => is_read || is_edit,
        Some(route) => is_read && route.strip_prefix(TENANT).is_some_and(|rest| rest == "/usage"),
        None => false,
    };
    // Others are hidden whatever is asked of them, so that no answer tells that they are there.
    let is_about_one = route.is_some_and(|route| route.starts_with(TENANT));
    match is_about_one && tenant != Some(own) {
        true => Verdict::Hidden,
        false if is_of_tenant => Verdict::Granted,
        false => Verdict::Forbidden,
    }
}

/// What operators change.
const OPERATED: &[&str] = &[
    drains::DRAIN.path,
    drains::UNDRAIN.path,
    splits::RESET.path,
    reload::ENDPOINT.path,
    log_level::ENDPOINT.path,
];

const TENANT: &str = "/api/v1/tenants/{id}";
