//! The dashboard's page and its two files.

use crate::admin::dashboard::page;
use crate::admin::openapi::{Operation, Schemas};

use super::Endpoint;

pub(super) const PAGE: Endpoint = Endpoint { path: "/", methods: page::html, operations };

pub(super) const STYLE: Endpoint =
    Endpoint { path: "/dashboard.css", methods: page::style, operations };

pub(super) const SCRIPT: Endpoint =
    Endpoint { path: "/dashboard.js", methods: page::script, operations };

/// It is for browsers.
fn operations(_: &mut Schemas) -> Vec<Operation> {
    Vec::new()
}
