//! Durations, sizes and shares.

use std::time::Duration;

use schemars::Schema;

use crate::base::units::{ByteSize, Percent, Rate, byte_size, duration, percent, rate};
use crate::config::spec::{FileMode, Period, QuotaSpec};

use super::{Text, Wrong};

impl Text for FileMode {
    const EXPECTED: &'static str = "a mode of a file in quotation marks, as in \"0660\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
        let is_octal =
            digits.len() == 3 && digits.bytes().all(|digit| (b'0'..b'8').contains(&digit));
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if is_octal => Ok(Self(mode)),
            _ => Err(Wrong::new(
                format!("{text:?} is not a mode of a file"),
                "write three octal digits, for the owner, the group and all others, as in \"0660\"",
            )),
        }
    }
}

impl Text for Duration {
    const EXPECTED: &'static str = "a duration, as in \"250ms\" or \"5s\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        let time = duration(text).map_err(|error| {
            Wrong::new(format!("{text:?} is not a duration"), error.to_string())
        })?;
        let small = !time.is_zero() && time < Self::from_millis(1);
        if small || time > MAX_TIME {
            let what = format!("{text:?} is out of range");
            return Err(Wrong::new(what, "a duration is from 1ms to 168h, as in \"250ms\""));
        }
        Ok(time)
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h)$|\$\{",
            "examples": ["250ms", "5s", "2m"],
        })
    }
}

impl Text for ByteSize {
    const EXPECTED: &'static str = "a size, as in \"64KiB\" or \"8MiB\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        byte_size(text)
            .map_err(|error| Wrong::new(format!("{text:?} is not a size"), error.to_string()))
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+\s*(B|KiB|MiB|GiB)$|\$\{",
            "examples": ["64KiB", "8MiB"],
        })
    }
}

impl Text for Rate {
    const EXPECTED: &'static str = "a rate, as in \"100/s\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        rate(text).map_err(|error| Wrong::new(format!("{text:?} is not a rate"), error.to_string()))
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+\s*/\s*(s|m|h)\s*$|\$\{",
            "examples": ["100/s", "5000/m", "10/h"],
        })
    }
}

impl Text for QuotaSpec {
    const EXPECTED: &'static str = "a quota, as in \"100000/day\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        const HINT: &str = "a quota is a whole number from 1 to 1000000000000 for each day or month, \
                            as in \"100000/day\"";
        let wrong = || Wrong::new(format!("{text:?} is not a quota"), HINT);
        let (count, period) = text.split_once('/').ok_or_else(wrong)?;
        let period = match period.trim() {
            "day" => Period::Day,
            "month" => Period::Month,
            _ => return Err(wrong()),
        };
        let count = count.trim();
        let is_whole = count.bytes().all(|digit| digit.is_ascii_digit());
        let requests =
            count.parse().ok().filter(|count| is_whole && (1..=MOST_USED).contains(count));
        Ok(Self { requests: requests.ok_or_else(wrong)?, period })
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+\s*/\s*(day|month)\s*$|\$\{",
            "examples": ["100000/day", "5000000/month"],
        })
    }
}

/// Bytes a second.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct ByteRate(pub(in crate::config) ByteSize);

impl Text for ByteRate {
    const EXPECTED: &'static str = "a rate of bytes, as in \"1MiB/s\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        const HINT: &str = "it is a size from 1KiB on for each s, as in \"1MiB/s\"";
        let wrong = || Wrong::new(format!("{text:?} is not a rate of bytes"), HINT);
        let size = text.trim().strip_suffix('s').and_then(|text| text.trim_end().strip_suffix('/'));
        let size = size.and_then(|size| byte_size(size).ok()).ok_or_else(wrong)?;
        if size.0 < 1 << 10 {
            return Err(Wrong::new(format!("{text:?} is out of range"), HINT));
        }
        Ok(Self(size))
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+\s*(B|KiB|MiB|GiB)\s*/\s*s\s*$|\$\{",
            "examples": ["512KiB/s", "10MiB/s"],
        })
    }
}

impl Text for Percent {
    const EXPECTED: &'static str = "a share, as in \"20%\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        percent(text)
            .map_err(|error| Wrong::new(format!("{text:?} is not a share"), error.to_string()))
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%$|\$\{",
            "examples": ["20%"],
        })
    }
}

/// A million million: what a count has room for.
const MOST_USED: u64 = 1_000_000_000_000;

/// A week: longer is a slip of the unit, and timers stay far from their own limits.
const MAX_TIME: Duration = Duration::from_secs(168 * 3600);
