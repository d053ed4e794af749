//! What clients take of the memory for them (`base::memory`). What a connection or an exchange may
//! need is known when it begins and taken then, so that what is under way never waits for memory:
//! only who begins something new is refused. What may be done without (large reads, copies for a
//! retry) is asked for where it is made.

use http::Version;
use http::request::Parts;
use http_body::SizeHint;

use crate::config::spec::Protocol;

/// A connection of a client: its state, and what is read of a head. Measured: 25 KiB for one of HTTP/2
/// of hostile clients (`benches/hostile`), 2.5 KiB for an idle one of HTTP/1.1 (`tests/e2e/idle.rs`). The
/// rest is for what the allocator keeps.
pub(super) const CONNECTION: u64 = 36 << 10;
/// TLS on top of that: keys, and a record each way.
pub(super) const TLS: u64 = 24 << 10;
/// What TLS holds for a client that takes nothing: what was encrypted already.
pub(super) const TLS_BACKLOG: u64 = 64 << 10;
/// A tunnel beside its exchange: what is copied each way. 8 KiB each.
pub(super) const TUNNEL: u64 = 16 << 10;

/// A request that waits for its turn, before it is an exchange: its state, and a usual head.
pub(super) const WAITING: u64 = 16 << 10;

/// What an exchange may need: its state, both heads, and what is read with them or waits to be sent
/// on. Of HTTP/2 on either side the windows, which the other side may fill at any time, as far as
/// its body can.
pub(super) fn exchange((head, size): (&Parts, u64), upload: &SizeHint, endpoint: Protocol) -> u64 {
    let body = upload.upper().unwrap_or(u64::MAX).min(WINDOW);
    let incoming = if head.version == Version::HTTP_2 { body } else { 0 };
    let endpoint = match endpoint {
        Protocol::H1 => 0,
        Protocol::H2 => body + WINDOW,
    };
    EXCHANGE + beyond_usual(head, size) + incoming + endpoint
}

/// What a head of this size holds beyond the usual one, which [`EXCHANGE`] has room for.
fn beyond_usual(head: &Parts, size: u64) -> u64 {
    (size + head.headers.len() as u64 * FIELD).saturating_sub(USUAL_HEAD)
}

/// 16 KiB: measured for a request that waits for its answer, and 8 KiB to read it into.
const EXCHANGE: u64 = 16 << 10;
/// 64 KiB: the window of a stream on either side, and what waits to be sent on one.
const WINDOW: u64 = 64 << 10;
const USUAL_HEAD: u64 = 4 << 10;
/// What the map of fields needs for one, beside its bytes.
const FIELD: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: Version, body: u64, endpoint: Protocol, expected: u64) {
        let mut request = http::Request::new(());
        *request.version_mut() = version;
        let (head, ()) = request.into_parts();
        let need = exchange((&head, 0), &SizeHint::with_exact(body), endpoint);
        assert_eq!(need, EXCHANGE + expected, "{version:?} {body} {endpoint:?}");
    }

    #[test]
    fn windows_count_as_far_as_bodies_can_fill_them() {
        check(Version::HTTP_11, 1 << 30, Protocol::H1, 0);
        check(Version::HTTP_2, 0, Protocol::H1, 0);
        check(Version::HTTP_2, 1000, Protocol::H1, 1000);
        check(Version::HTTP_2, 1 << 30, Protocol::H1, WINDOW);
        check(Version::HTTP_11, 0, Protocol::H2, WINDOW);
        check(Version::HTTP_2, 1 << 30, Protocol::H2, 3 * WINDOW);
    }

    #[test]
    fn a_large_head_counts_and_a_usual_one_does_not() {
        let of = |size, fields| {
            let request = (0..fields).fold(http::Request::get("/"), |all, _| all.header("a", "b"));
            let (head, ()) = request.body(()).unwrap().into_parts();
            exchange((&head, size), &SizeHint::with_exact(0), Protocol::H1) - EXCHANGE
        };

        assert_eq!((of(3000, 1), of(3000, 10)), (0, 0));
        assert_eq!(of(18_000, 1), 18_000 + FIELD - USUAL_HEAD);
        assert_eq!(of(200, 100), 200 + 100 * FIELD - USUAL_HEAD);
    }
}
