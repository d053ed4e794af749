//! The numbers of traces and spans. Zero is none of them (W3C Trace Context §3.2.2).

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// The number of a trace, the same for everybody that a request passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(NonZeroU128);

/// The number of a span within its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(NonZeroU64);

impl TraceId {
    /// A new one.
    pub fn random() -> Self {
        Self(NonZeroU128::MIN.saturating_add(fastrand::u128(..u128::MAX)))
    }

    /// Reads lower-case hex digits, as many as they are.
    pub(super) fn read(digits: &[u8]) -> Option<Self> {
        NonZeroU128::new(hex(digits)?).map(Self)
    }

    /// As OTLP has it.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    /// The right half of its digits, which is all that a tracer with 64-bit numbers has.
    pub fn low(self) -> u64 {
        self.0.get() as u64
    }
}

impl SpanId {
    /// A new one.
    pub fn random() -> Self {
        Self(NonZeroU64::MIN.saturating_add(fastrand::u64(..u64::MAX)))
    }

    /// Reads 16 lower-case hex digits.
    pub(super) fn read(digits: &[u8]) -> Option<Self> {
        let number = hex(digits).filter(|_| digits.len() == 16)?;
        NonZeroU64::new(number as u64).map(Self)
    }

    /// As OTLP has it.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Lower-case hex digits, 32 at most. The formats know no upper case.
pub(super) fn hex(digits: &[u8]) -> Option<u128> {
    if digits.is_empty() || digits.len() > 32 {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}
