//! Units as the config writes them: `"250ms"`, `"64KiB"`, `"20%"`.

use std::fmt;
use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// So many in a time: `"100/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In how long: a second, a minute or an hour.
    pub per: Duration,
}

/// A share between 0 % and 100 %.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(f64);

/// Why a text is not a unit value. Says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct UnitError {
    what: &'static str,
}

impl Percent {
    /// `percent` of 100, kept within 0 to 100.
    pub const fn new(percent: f64) -> Self {
        Self(percent.clamp(0.0, 100.0))
    }

    /// As a share of one.
    pub fn share(self) -> f64 {
        self.0 / 100.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = TIMES.iter().find(|(_, seconds)| *seconds == self.per.as_secs());
        write!(f, "{}/{}", self.count, unit.map_or("?", |(unit, _)| unit))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = SIZES
            .iter()
            .rev()
            .find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size))
            .copied()
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

/// Reads a duration: a number and one of `ms`, `s`, `m`, `h`, as in `"250ms"` or `"1.5s"`.
///
/// # Errors
/// When the unit is missing or unknown, or the number is no number.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text);
    if text.trim_start().starts_with('-') {
        return Err(UnitError { what: "a duration is not negative; write one as in \"250ms\"" });
    }
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(UnitError { what: "a duration ends in ms, s, m or h, as in \"250ms\"" }),
    };
    let value: f64 = number
        .parse()
        .map_err(|_| UnitError { what: "a duration starts with a number, as in \"250ms\"" })?;
    Duration::try_from_secs_f64(value * seconds).map_err(|_| UnitError {
        what: "the number is far too large; write a duration as in \"250ms\"",
    })
}

/// Reads a size: a whole number and one of `B`, `KiB`, `MiB`, `GiB`, as in `"64KiB"`.
///
/// # Errors
/// When the unit is missing or unknown, or the number is not a whole one or above a tebibyte.
pub fn byte_size(text: &str) -> Result<ByteSize, UnitError> {
    let (number, unit) = split(text);
    if text.trim_start().starts_with('-') {
        return Err(UnitError { what: "a size is not negative; write one as in \"64KiB\"" });
    }
    let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        return Err(UnitError { what: "a size ends in B, KiB, MiB or GiB, as in \"64KiB\"" });
    };
    let is_whole = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    if !is_whole {
        return Err(UnitError { what: "a size starts with a whole number, as in \"64KiB\"" });
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .filter(|bytes| *bytes <= MAX_SIZE)
        .map(ByteSize)
        .ok_or(UnitError { what: "a size is at most 1024GiB; is the unit the right one?" })
}

/// Reads a rate: a whole number from 1 to 1000000, `/`, and one of `s`, `m`, `h`, as in `"100/s"`.
///
/// # Errors
/// When the number is none or out of range, or the unit is missing or unknown.
pub fn rate(text: &str) -> Result<Rate, UnitError> {
    const WHAT: UnitError = UnitError {
        what: "a rate is a whole number from 1 to 1000000 for each s, m or h, as in \"100/s\"",
    };
    let (count, unit) = text.split_once('/').ok_or(WHAT)?;
    let (count, unit) = (count.trim(), unit.trim());
    let (_, seconds) = TIMES.iter().find(|(name, _)| *name == unit).ok_or(WHAT)?;
    let is_whole = count.bytes().all(|digit| digit.is_ascii_digit());
    let count = count.parse().ok().filter(|count| is_whole && (1..=MOST_IN_A_TIME).contains(count));
    Ok(Rate { count: count.ok_or(WHAT)?, per: Duration::from_secs(*seconds) })
}

/// Reads a share: a number from 0 to 100 and `%`, as in `"20%"`.
///
/// # Errors
/// When the sign is missing or the number is outside 0 to 100.
pub fn percent(text: &str) -> Result<Percent, UnitError> {
    const WHAT: UnitError =
        UnitError { what: "a share is a number from 0 to 100 and %, as in \"20%\"" };
    let (number, unit) = split(text);
    match number.parse::<f64>() {
        Ok(value) if unit == "%" && (0.0..=100.0).contains(&value) => Ok(Percent(value)),
        _ => Err(WHAT),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// 1 TiB: more is a slip of the unit, and sums of sizes stay far from the end of numbers.
const MAX_SIZE: u64 = 1 << 40;

/// A million: what comes faster is not told one by one.
const MOST_IN_A_TIME: u32 = 1_000_000;

const TIMES: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];

const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1 h"), Ok(Duration::from_secs(3600)));
        for bad in ["", "5", "s", "-1s", "5d", "1.2.3s", "99999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn sizes_carry_their_unit_and_print_as_written() {
        for text in ["0B", "10B", "64KiB", "8MiB", "2GiB", "1025B"] {
            assert_eq!(byte_size(text).map(|size| size.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "64", "64KB", "1.5MiB", "99999999999GiB", "1025GiB", "-1B"] {
            assert!(byte_size(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn rates_are_whole_numbers_in_a_time_and_print_as_written() {
        for text in ["1/s", "100/s", "1000000/m", "5/h"] {
            assert_eq!(rate(text).map(|rate| rate.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(rate(" 7 / m "), Ok(Rate { count: 7, per: Duration::from_secs(60) }));
        for bad in
            ["", "100", "0/s", "1.5/s", "-1/s", "+1/s", "1/d", "1000001/s", "1/", "/s", "1/s/s"]
        {
            assert!(rate(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn shares_are_between_nothing_and_all() {
        assert_eq!(percent("20%").map(Percent::share), Ok(0.2));
        for bad in ["20", "101%", "-1%", "%", "x%"] {
            assert!(percent(bad).is_err(), "{bad:?} was taken");
        }
    }
}
