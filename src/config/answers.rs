//! The checked meaning of what the gateway itself shall answer: pages in place of its own, and what
//! is said while something is worked on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::base::network::Peers;

/// Pages in place of the gateway's own answers, the closest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPagesSpec {
    /// In the order of [`PageFor`]; each occasion once.
    pub pages: Vec<(PageFor, Arc<PageSpec>)>,
}

/// When a page is shown. The closest one wins, which comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageFor {
    /// While something is worked on.
    Maintenance,
    /// With this status.
    Status(StatusCode),
    /// With a status of this hundred: 4 or 5.
    Class(u16),
}

/// A page. Tenants whose pages are the same share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSpec {
    /// Its content type.
    pub content_type: HeaderValue,
    /// How values are written into it, by the content type.
    pub syntax: PageSyntax,
    /// What it is made of, in order.
    pub parts: Vec<PagePart>,
}

/// How a value is written so that it is nothing but text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageSyntax {
    /// HTML and XML.
    Markup,
    /// Within a text of JSON.
    Json,
    /// As it is.
    Plain,
}

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PagePart {
    /// This text.
    Text(Bytes),
    /// What the placeholder stands for.
    Value(PageValue),
}

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageValue {
    /// The id of the request.
    RequestId,
    /// The status in digits.
    Status,
    /// The name of the problem type.
    Problem,
}

impl ErrorPagesSpec {
    /// The page for a status; `occasion` is what else is known of it.
    pub fn find(&self, status: StatusCode, occasion: Option<PageFor>) -> Option<&Arc<PageSpec>> {
        let fits = |page: &&(PageFor, Arc<PageSpec>)| match page.0 {
            own if Some(own) == occasion => true,
            PageFor::Maintenance => false,
            PageFor::Status(own) => own == status,
            PageFor::Class(class) => class == status.as_u16() / 100,
        };
        self.pages.iter().find(fits).map(|(_, page)| page)
    }
}

impl PageValue {
    /// Every placeholder, as it is written between braces.
    pub const ALL: [(&str, Self); 3] =
        [("request-id", Self::RequestId), ("status", Self::Status), ("problem", Self::Problem)];
}

/// What is answered while a tenant or a route is worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenanceSpec {
    /// When clients may come again, at least 1 s. Default 5 min.
    pub retry_after: Duration,
    /// Clients that are served all the same.
    pub allow: Vec<Peers>,
}
