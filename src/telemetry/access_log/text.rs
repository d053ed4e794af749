//! A line as text: the combined format of web servers, or pieces that the config names.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::{HeaderName, Version};

use crate::model::log_line::{Field, Piece};
use crate::telemetry::record::Record;

use super::mask::Mask;

/// `client - - [time] "request" status bytes "referer" "agent"`.
pub(super) fn combined() -> Vec<Piece> {
    let text = |text: &str| Piece::Text(text.to_owned());
    vec![
        Piece::Field(Field::Client),
        text(" - - ["),
        Piece::Field(Field::TimeLocal),
        text("] \""),
        Piece::Field(Field::Method),
        text(" "),
        Piece::Field(Field::Target),
        text(" "),
        Piece::Field(Field::Version),
        text("\" "),
        Piece::Field(Field::Status),
        text(" "),
        Piece::Field(Field::BytesOut),
        text(" \""),
        Piece::Header(http::header::REFERER),
        text("\" \""),
        Piece::Field(Field::UserAgent),
        text("\""),
    ]
}

/// The fields of a head that the pieces ask for, each once.
pub(super) fn headers(pieces: &[Piece]) -> std::sync::Arc<[HeaderName]> {
    let mut names: Vec<HeaderName> = Vec::new();
    for piece in pieces {
        if let Piece::Header(name) = piece
            && !names.contains(name)
        {
            names.push(name.clone());
        }
    }
    names.into()
}

/// Appends the line of a record, which has the values of these fields of its head.
pub(super) fn write(
    record: &Record,
    (pieces, names): (&[Piece], &[HeaderName]),
    mask: &Mask,
    bytes: &mut Vec<u8>,
) {
    for piece in pieces {
        let value = match piece {
            Piece::Text(text) => {
                bytes.extend_from_slice(text.as_bytes());
                continue;
            }
            Piece::Field(field) => value(record, *field, mask),
            Piece::Header(name) => {
                let place = names.iter().position(|own| own == name);
                let values = record.line.as_ref().map(|line| &line.headers);
                let own = values.zip(place).and_then(|(values, place)| values.get(place)?.as_ref());
                own.map(|own| mask.header(name, own))
            }
        };
        match value.filter(|value| !value.is_empty()) {
            Some(value) => escape(&value, bytes),
            None => bytes.push(b'-'),
        }
    }
    bytes.push(b'\n');
}

/// As nginx does: whatever could end a quoted value or the line, and what is no printable ASCII.
fn escape(value: &str, bytes: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                bytes.extend_from_slice(b"\\x");
                bytes.extend_from_slice(&digits);
            }
            byte => bytes.push(byte),
        }
    }
}

/// `None` where there is nothing to tell.
fn value<'r>(record: &'r Record, field: Field, mask: &Mask) -> Option<Cow<'r, str>> {
    let line = record.line.as_deref();
    let target = || line.map(|line| mask.target(&line.target));
    let part = |pick: fn((&str, &str)) -> String| {
        target()?.split_once('?').map(|parts| Cow::Owned(pick(parts)))
    };
    Some(match field {
        Field::Time => humantime::format_rfc3339_millis(record.began()).to_string().into(),
        Field::TimeLocal => local(record.began()).into(),
        Field::RequestId => String::from_utf8_lossy(record.request_id.as_bytes()),
        Field::Client => record.client?.to_string().into(),
        Field::Method => record.method.as_str().into(),
        Field::Host => line?.host.as_str().into(),
        Field::Path => part(|(path, _)| path.to_owned()).or_else(target)?,
        Field::Query => part(|(_, query)| query.to_owned())?,
        Field::Target => target()?,
        Field::Version => version(record.version).into(),
        Field::Tenant => record.tenant.as_ref()?.name.as_deref()?.into(),
        Field::Subject => record.caller.as_ref()?.subject()?.into(),
        Field::Route => record.route.as_deref()?.into(),
        Field::Pool => record.pool.as_ref()?.name.as_deref()?.into(),
        Field::Endpoint => record.endpoint.as_deref()?.into(),
        Field::Attempts => record.attempts.to_string().into(),
        Field::Queue => seconds(**record.queued.as_ref()?).into(),
        Field::QueueMs => milliseconds(**record.queued.as_ref()?).into(),
        Field::Status => match record.status {
            0 => CLIENT_LEFT.into(),
            status => status.to_string().into(),
        },
        Field::Problem => record.problem?.into(),
        Field::Ending => record.ending.as_str().into(),
        Field::Duration => seconds(record.duration).into(),
        Field::DurationMs => milliseconds(record.duration).into(),
        Field::FirstByte => seconds(record.to_first_byte()?).into(),
        Field::FirstByteMs => milliseconds(record.to_first_byte()?).into(),
        Field::BytesIn => record.bytes_in.to_string().into(),
        Field::BytesOut => record.bytes_out.to_string().into(),
        Field::UserAgent => line?.agent.as_str().into(),
        Field::TraceId => record.trace.as_ref()?.id.to_string().into(),
        Field::SpanId => record.trace.as_ref()?.span.to_string().into(),
    })
}

fn seconds(time: Duration) -> String {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

fn milliseconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_millis(), time.subsec_micros() % 1000)
}

/// `28/Nov/2026:09:05:03 +0000`, as web servers write it.
fn local(time: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = humantime::format_rfc3339_seconds(time).to_string(); // 2026-11-28T09:05:03Z
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let month = part(5, 7).parse().ok().and_then(|month: usize| MONTHS.get(month.checked_sub(1)?));
    let month = month.copied().unwrap_or("Jan");
    format!("{}/{month}/{}:{} +0000", part(8, 10), part(0, 4), part(11, 19))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// nginx's status for an exchange whose client left before an answer: those who read such logs
/// expect a number.
const CLIENT_LEFT: &str = "499";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_web_servers_do() {
        let at = |text| local(humantime::parse_rfc3339(text).unwrap());
        assert_eq!(at("2026-11-28T09:05:03Z"), "28/Nov/2026:09:05:03 +0000");
        assert_eq!(at("1970-01-01T00:00:00Z"), "01/Jan/1970:00:00:00 +0000");
    }

    #[test]
    fn durations_keep_their_digits() {
        let time = Duration::from_micros(12_034_005);
        assert_eq!((seconds(time), milliseconds(time)), ("12.034005".into(), "12034.005".into()));
    }
}
