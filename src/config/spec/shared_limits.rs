//! The meaning of `[shared-limits]`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::base::units::Percent;

use super::{NamedPath, UpstreamTlsSpec};

/// Where limits are counted for all gateways together.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedLimitsSpec {
    /// Where it is, for people.
    pub place: String,
    /// Where it is.
    pub at: RedisAt,
    /// The number of the database.
    pub database: u16,
    /// Who asks; `None` = the default user.
    pub user: Option<String>,
    /// What is shown.
    pub password: Option<PasswordSpec>,
    /// How TLS is spoken; `None` = it is not.
    pub tls: Option<UpstreamTlsSpec>,
    /// How long a connection or an answer may take. Default 200 ms.
    pub timeout: Duration,
    /// How much of a burst a gateway may have beforehand. Default 20 %.
    pub reserve: Percent,
    /// What keys begin with. Default `tenantry`.
    pub prefix: String,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAt {
    /// A host, a name or an address (one of IPv6 without brackets), and a port.
    Net(String, u16),
    /// A Unix socket.
    Unix(Arc<Path>),
}

/// Where a password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSpec {
    /// It is this.
    Text(Secret),
    /// In a file, read for each connection.
    File(NamedPath),
}

/// A text that is not to be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
