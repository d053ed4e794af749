//! The statuses of gRPC (grpc/doc/statuscodes.md), by number and by the names that the files have.

use std::fmt;

/// How a call of gRPC has failed: a status other than `OK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcStatus(u8);

impl GrpcStatus {
    /// The server does not serve now, as by a 503.
    pub const UNAVAILABLE: Self = Self(14);

    /// Each by its name.
    pub fn named(name: &str) -> Option<Self> {
        let place = NAMES.iter().position(|known| *known == name)?;
        u8::try_from(place + 1).ok().map(Self)
    }

    /// What the field `grpc-status` says; `None` where the call has gone well, and where that is no status.
    pub fn told(value: &[u8]) -> Option<Self> {
        let code = match value {
            [digit @ b'1'..=b'9'] => digit - b'0',
            [b'1', digit @ b'0'..=b'6'] => 10 + digit - b'0',
            _ => return None,
        };
        Some(Self(code))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0) - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for GrpcStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// In the order of their numbers, from 1 on.
pub const NAMES: [&str; 16] = [
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_number_and_its_name() {
        for (place, name) in NAMES.iter().enumerate() {
            let told = GrpcStatus::told((place + 1).to_string().as_bytes());
            assert_eq!(told, GrpcStatus::named(name));
            assert_eq!(told.map(GrpcStatus::name), Some(*name));
        }
        assert_eq!(GrpcStatus::named("unavailable"), Some(GrpcStatus::UNAVAILABLE));
        for no_failure in ["0", "17", "00", "014", "1a", "", "-1", "ok"] {
            assert_eq!(GrpcStatus::told(no_failure.as_bytes()), None, "{no_failure}");
        }
        assert_eq!(GrpcStatus::named("ok"), None);
    }
}
