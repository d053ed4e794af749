//! The checked meaning of what the gateway itself shall answer: pages in place of its own, and what
//! is said while something is worked on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
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
#[derive(Clone, Debug)]
pub struct PageSpec {
    /// Its content type.
    pub content_type: HeaderValue,
    /// How values are written into it, by the content type.
    pub syntax: PageSyntax,
    /// What it is made of, in order.
    pub parts: Vec<PagePart>,
    /// Of its text.
    pub digest: PageDigest,
}

/// Which text it is: SHA-256.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PageDigest([u8; 32]);

impl PageDigest {
    /// The digest of a text.
    pub fn of(text: &str) -> Self {
        let mut own = Self::default();
        let digest = digest(&SHA256, text.as_bytes());
        own.0.iter_mut().zip(digest.as_ref()).for_each(|(own, byte)| *own = *byte);
        own
    }
}

impl fmt::Debug for PageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A hundred thousand tenants may show one page: what is asked of it for each of them must not go
/// with its size.
impl PartialEq for PageSpec {
    fn eq(&self, other: &Self) -> bool {
        (&self.content_type, &self.digest) == (&other.content_type, &other.digest)
    }
}

impl Eq for PageSpec {}

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
    /// These, and those of `others` for what these have none for.
    pub fn or(mut self, others: Option<&Self>) -> Self {
        for (occasion, page) in others.map_or(&[][..], |others| &others.pages) {
            if self.pages.iter().all(|(own, _)| own != occasion) {
                self.pages.push((*occasion, Arc::clone(page)));
            }
        }
        self.pages.sort_by_key(|(occasion, _)| *occasion);
        self
    }

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
