//! Who sent a request, once that is proven.

use http::{HeaderName, HeaderValue};

/// Who sent a request, and by what that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is, in printable ASCII; empty where nobody says.
    pub subject: Box<str>,
    /// How that was proven.
    pub proof: Proof,
    /// What else endpoints are told of it.
    pub told: Box<[(HeaderName, HeaderValue)]>,
}

impl Caller {
    /// Who it is, where that is said.
    pub fn subject(&self) -> Option<&str> {
        Some(&*self.subject).filter(|subject| !subject.is_empty())
    }
}

/// How somebody has proven who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By an API key.
    ApiKey,
    /// By what a service said that was asked. What it was shown is the application's own.
    Authorizer,
    /// By a client certificate.
    Certificate,
    /// By a signed token.
    Token {
        /// Whether endpoints get the token, too.
        forward: bool,
        /// Who has signed it: a digest of its name, which stays the same where other issuers come and go, and with another build.
        issuer: u32,
    },
}

impl Proof {
    /// The kind of credential, as it is written in the files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::Authorizer => "authorizer",
            Self::Certificate => "client-certificate",
            Self::Token { .. } => "jwt",
        }
    }

    /// Of a token, who has signed it: a subject is somebody else where another one says so.
    pub fn issuer(self) -> Option<u32> {
        match self {
            Self::Token { issuer, .. } => Some(issuer),
            Self::ApiKey | Self::Authorizer | Self::Certificate => None,
        }
    }
}
