//! Why the store of the limits that gateways share cannot be used.

use std::time::Duration;

/// Why it cannot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is no connection.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The connection broke off.
    #[error("the connection broke off: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It lets nobody in with this user and password, or not to do this.
    #[error("it lets the gateway not in: {0}")]
    Denied(String),
    /// It is a replica, or misses something that it needs.
    #[error("it takes no writes: {0}")]
    ReadOnly(String),
    /// It has just started, or does something else.
    #[error("it is not ready: {0}")]
    Loading(String),
    /// It has no memory left.
    #[error("its memory is used up: {0}")]
    OutOfMemory(String),
    /// It says what makes no sense.
    #[error("it answers what makes no sense: {0}")]
    Nonsense(String),
}

impl Fault {
    /// The metrics' word for it. Never rename one.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Broken(_) => "broken",
            Self::Timeout(_) => "timeout",
            Self::Denied(_) => "denied",
            Self::ReadOnly(_) => "read_only",
            Self::Loading(_) => "loading",
            Self::OutOfMemory(_) => "out_of_memory",
            Self::Nonsense(_) => "nonsense",
        }
    }

    /// What to look at.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "look at shared-limits.url and tls, and whether the server runs"
            }
            Self::Broken(_) => {
                "look at the server's own log, whether it wants rediss://, and at its protected-mode"
            }
            Self::Timeout(_) => "look at the server's load and at the network, or raise timeout",
            Self::Denied(_) => {
                "look at shared-limits.user and password; the user needs the commands EVALSHA, SCRIPT, \
                 GET, SET, TIME and (for another database than 0) SELECT, and the keys of the prefix"
            }
            Self::ReadOnly(_) => {
                "name the primary in shared-limits.url, and look at what that needs to take writes"
            }
            Self::Loading(_) => "wait until it is, or look at what keeps it busy",
            Self::OutOfMemory(_) => "raise its maxmemory, or give limits a server of their own",
            Self::Nonsense(_) => {
                "it must be Redis 5 or later, or Valkey, no cluster, with the database of shared-limits.url, and the \
                 keys of the prefix nobody else's"
            }
        }
    }
}

/// Every word of [`Fault::reason`].
pub const REASONS: [&str; 8] = [
    "unreachable",
    "broken",
    "timeout",
    "denied",
    "read_only",
    "loading",
    "out_of_memory",
    "nonsense",
];
