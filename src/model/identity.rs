//! Who a client is by its certificate, once that is verified.

/// The names in a client's verified certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The common names of its subject; one as a rule.
    pub common_names: Box<[Box<str>]>,
    /// Its DNS names, lower case.
    pub dns_names: Box<[Box<str>]>,
    /// Its URIs.
    pub uris: Box<[Box<str>]>,
}

impl Identity {
    /// The one name that says most of who it is; `None` = there is no name at all.
    pub fn subject(&self) -> Option<&str> {
        let mut names = self.uris.iter().chain(&self.dns_names).chain(&self.common_names);
        names.next().map(AsRef::as_ref)
    }
}
