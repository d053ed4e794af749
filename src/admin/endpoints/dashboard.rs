//! The dashboard's page and its two files.

use crate::admin::dashboard::page;

use super::Endpoint;

pub(super) const PAGE: Endpoint = Endpoint { path: "/", methods: page::html };

pub(super) const STYLE: Endpoint = Endpoint { path: "/dashboard.css", methods: page::style };

pub(super) const SCRIPT: Endpoint = Endpoint { path: "/dashboard.js", methods: page::script };
