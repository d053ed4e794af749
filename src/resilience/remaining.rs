//! How endpoints and clients say how long a request may still take: `grpc-timeout`, and milliseconds in a
//! field of one's own. Pure.

use std::time::{Duration, SystemTime};

/// What `grpc-timeout` says: up to eight digits and a unit (the specification of gRPC over HTTP/2). `None`
/// where it is written otherwise.
pub fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.len() > MOST_DIGITS {
        return None;
    }
    let number = whole(digits)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The same for an endpoint: never more than is left, and never nothing.
pub fn as_grpc_timeout(left: Duration) -> String {
    let millis = left.as_millis().max(1);
    if millis < MOST {
        return format!("{millis}m");
    }
    format!("{}S", (millis / 1000).min(MOST - 1))
}

/// Milliseconds, as whole digits. `None` where it is written otherwise.
pub fn millis(value: &[u8]) -> Option<Duration> {
    whole(value).map(Duration::from_millis)
}

/// The same for an endpoint: never more than is left, and never nothing.
pub fn as_millis(left: Duration) -> String {
    left.as_millis().max(1).to_string()
}

/// What `Retry-After` says (RFC 9110 §10.2.3): seconds from now on, or a date. `None` where it is neither.
pub fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    if let Some(seconds) = whole(value) {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    Some(date.duration_since(now).unwrap_or_default()) // it is over
}

fn whole(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > LONGEST || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

const MOST_DIGITS: usize = 8;
/// The first number of more than [`MOST_DIGITS`].
const MOST: u128 = 100_000_000;
/// 13: 300,000 years in seconds, which no arithmetic here overflows.
const LONGEST: usize = 13;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_timeout_of_grpc_is_digits_and_a_unit() {
        let cases = [
            ("1H", 3_600_000_000_000),
            ("2M", 120_000_000_000),
            ("3S", 3_000_000_000),
            ("100m", 100_000_000),
            ("7u", 7_000),
            ("99999999n", 99_999_999),
            ("0m", 0),
        ];
        for (text, nanos) in cases {
            assert_eq!(grpc_timeout(text.as_bytes()), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for wrong in ["", "m", "100", "100ms", "-1m", "1.5S", "123456789m", " 1m", "1 m", "1s"] {
            assert_eq!(grpc_timeout(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(grpc_timeout(b"99999999H").is_some());
    }

    #[test]
    fn seconds_and_dates_say_when_to_come_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let cases = [
            ("0", Some(0)),
            ("120", Some(120)),
            ("Sun, 09 Sep 2001 01:46:45 GMT", Some(5)),
            ("Sunday, 09-Sep-01 01:46:45 GMT", Some(5)),
            ("Sun Sep  9 01:46:45 2001", Some(5)),
            ("Sun, 09 Sep 2001 01:46:30 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("99999999999999999999", None),
            ("Sun, 09 Sep 2001", None),
        ];
        for (text, seconds) in cases {
            let told = retry_after(text.as_bytes(), now);
            assert_eq!(told, seconds.map(Duration::from_secs), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_endpoint_is_never_told_more_than_is_left(millis in 1_u64..400_000_000_000) {
            let left = Duration::from_millis(millis);
            let text = as_grpc_timeout(left);
            prop_assert!(text.len() <= 9);
            let told = grpc_timeout(text.as_bytes()).unwrap();
            prop_assert!(told <= left && told > Duration::ZERO, "{} {:?}", text, left);
            prop_assert!(left - told < Duration::from_secs(1) || millis > 99_999_999_000);
            prop_assert_eq!(super::millis(as_millis(left).as_bytes()), Some(left));
        }

        #[test]
        fn no_text_makes_any_of_them_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let now = SystemTime::UNIX_EPOCH;
            let told = [grpc_timeout(&text), super::millis(&text), retry_after(&text, now)];
            prop_assert!(told.iter().flatten().all(|time| *time < Duration::from_secs(1 << 50)));
        }
    }
}
