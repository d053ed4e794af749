//! What a route does with a request.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::pool::Pool;

use super::canary::Watched;
use super::redirect::Redirect;
use super::split::Split;

/// What a route does with a request.
#[derive(Debug)]
pub enum Action {
    /// Forward to this pool.
    Forward(Arc<Pool>),
    /// Forward to the tenant's own pool.
    TenantPool,
    /// Forward to one of several pools by weight.
    Split(Split),
    /// Answer with another location.
    Redirect(Redirect),
    /// Answer with a fixed response.
    Respond(Respond),
}

impl Action {
    /// The pool of its split that is tried.
    pub fn canary(&self) -> Option<&Arc<Watched>> {
        match self {
            Self::Split(split) => split.canary.as_ref().map(|canary| &canary.watched),
            _ => None,
        }
    }
}

/// A fixed response.
#[derive(Debug)]
pub struct Respond {
    /// Its status.
    pub status: StatusCode,
    /// Its content type.
    pub content_type: HeaderValue,
    /// Its body.
    pub body: Bytes,
}
