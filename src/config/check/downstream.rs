//! How clients are treated: sizes, times and numbers.

use std::time::Duration;

use crate::base::units::ByteSize;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Downstream};
use crate::config::spec::DownstreamSpec;
use crate::config::text::Written;

use super::above_zero;

/// A size that may be no smaller and no larger, and one that is good.
fn size(
    written: Option<&At<Written<ByteSize>>>,
    (least, most, good): (u64, u64, &str),
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<ByteSize> {
    let At { value: Written(size), start } = written?;
    if !(least..=most).contains(&size.0) {
        let what = format!("{size} is out of range");
        let (least, most) = (ByteSize(least), ByteSize(most));
        let hint = format!("write a size from {least} to {most}, as in \"{good}\"");
        faults.add(key, *start, what, Some(hint));
    }
    Some(*size)
}

/// How large a head may be, and how long the target within it.
fn head_sizes(raw: &Downstream, key: &Key<'_>, faults: &mut Faults<'_>) -> (ByteSize, ByteSize) {
    let name = key.name("max-header-size");
    let bounds = (SMALLEST_HEAD, 1 << 20, "32KiB");
    let head =
        size(raw.max_header_size.as_ref(), bounds, &name, faults).unwrap_or(ByteSize(32 << 10));
    let name = key.name("max-target-size");
    let bounds = (SHORTEST_TARGET, LONGEST_TARGET, "8KiB");
    let target = size(raw.max_target_size.as_ref(), bounds, &name, faults);
    let usual = ByteSize((head.0 / 2).min(LONGEST_TARGET));
    (head, target.unwrap_or(usual))
}

/// 1 KiB: below it hardly a request of a browser would do.
const SMALLEST_HEAD: u64 = 1 << 10;
/// 128: below it hardly a page could be asked for.
const SHORTEST_TARGET: u64 = 128;
/// 63 KiB: the type that holds targets has no room for 64.
const LONGEST_TARGET: u64 = 63 << 10;

/// How clients are treated, with defaults where nothing is written.
pub(super) fn downstream(
    raw: Option<Downstream>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> DownstreamSpec {
    let raw = raw.unwrap_or_default();
    let (max_header_size, max_target_size) = head_sizes(&raw, key, faults);
    let mut time = |written, name, default| {
        above_zero(written, &key.name(name), faults).unwrap_or(Duration::from_secs(default))
    };
    let header_timeout = time(raw.header_timeout, "header-timeout", 10);
    let idle_timeout = time(raw.idle_timeout, "idle-timeout", 75);
    let body_timeout = time(raw.body_timeout, "body-timeout", 30);
    let tunnel_timeout = time(raw.tunnel_timeout, "tunnel-timeout", 300);
    let body_rate_window = time(raw.body_rate_window, "body-rate-window", 30);
    let handshake_timeout = time(raw.handshake_timeout, "handshake-timeout", 5);
    let max_body = raw.max_body.map_or(ByteSize(10 << 20), |size| {
        if size.value.0.0 == 0 {
            let hint = "write a size from 1B on, as in \"10MiB\"; \"1024GiB\" is next to no bound";
            let what = "would refuse every body";
            faults.add(&key.name("max-body"), size.start, what, Some(hint.to_owned()));
        }
        size.value.0
    });
    DownstreamSpec {
        header_timeout,
        idle_timeout,
        body_timeout,
        tunnel_timeout,
        min_body_rate: raw.min_body_rate.map_or(ByteSize(500), |rate| rate.0),
        body_rate_window,
        handshake_timeout,
        max_handshakes: raw.max_handshakes.map_or(4096, |max| max.size()),
        max_connection_age: match raw.max_connection_age {
            None => Some(Duration::from_secs(3600)),
            Some(age) => Some(age.0).filter(|age| !age.is_zero()),
        },
        max_requests: raw.max_requests.map_or(10_000, |max| max.0),
        max_header_size,
        max_target_size,
        max_headers: raw.max_headers.map_or(128, |max| max.size()),
        max_body,
        max_streams: raw.max_streams.map_or(100, |max| max.small()),
        max_connections: raw.max_connections.map_or(100_000, |max| max.size()),
        max_connections_per_client: raw.max_connections_per_client.map_or(25_000, |max| max.size()),
    }
}
