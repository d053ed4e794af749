//! How long each step of an exchange may take.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::spec::TimeoutsSpec;

/// The deadlines of one exchange, all levels resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// To open a connection.
    pub connect: Duration,
    /// For the TLS handshake.
    pub tls: Duration,
    /// For one attempt, up to its answer's head, anew with each part of the request's body that the
    /// endpoint takes; `None` = only what is left of `total`.
    pub attempt: Option<Duration>,
    /// From the end of the request to the answer's head; `None` = only `attempt`.
    pub first_byte: Option<Duration>,
    /// Silence within an answer.
    pub idle: Duration,
    /// From the request's head to the end of the answer; `None` = no bound.
    pub total: Option<Duration>,
    /// `total` is what the client itself gives, and less than would be allowed.
    pub by_client: bool,
}

impl Deadlines {
    /// Resolves the levels: `route` over `pool` over what is built in.
    pub fn resolve(route: &TimeoutsSpec, pool: &TimeoutsSpec) -> Self {
        let total = match route.total.or(pool.total).unwrap_or(TOTAL) {
            Duration::ZERO => None,
            total => Some(total),
        };
        Self {
            connect: route.connect.or(pool.connect).unwrap_or(CONNECT),
            tls: route.tls.or(pool.tls).unwrap_or(TLS),
            attempt: route.attempt.or(pool.attempt).or(total.map(|total| total / 2)),
            first_byte: route.first_byte.or(pool.first_byte),
            idle: route.idle.or(pool.idle).unwrap_or(IDLE),
            total,
            by_client: false,
        }
    }

    /// The client waits for `limit` at most.
    pub fn shorten(&mut self, limit: Duration) {
        if self.total.is_none_or(|total| limit < total) {
            self.total = Some(limit);
            self.by_client = true;
        }
    }

    /// When the whole exchange that began at `started` must have ended.
    pub fn end(&self, started: Instant) -> Option<Instant> {
        // A client may give more time than a clock has.
        self.total.and_then(|total| started.checked_add(total))
    }

    /// When an answer that has begun in time is cut off, of an exchange that began at `started`. Where the client gives the time,
    /// that is a little after it, but not after what `own` allows, which are the gateway's.
    pub fn cut(&self, own: &Self, started: Instant) -> Option<Instant> {
        let end = self.end(started)?;
        if !self.by_client {
            return Some(end);
        }
        let late = end + GRACE;
        Some(own.end(started).map_or(late, |own| late.min(own)))
    }

    /// When an attempt that begins at `now` must have brought a head: its own limit or what is
    /// left of the exchange, whichever is earlier.
    pub fn attempt_end(&self, now: Instant, end: Option<Instant>) -> Option<Instant> {
        let own = self.attempt.map(|attempt| now + attempt);
        match (own, end) {
            (Some(own), Some(end)) => Some(own.min(end)),
            (own, end) => own.or(end),
        }
    }
}

/// Whether an attempt that pauses for so long from now on begins before `end`: a timer may be a little late.
pub fn leaves_time(pause: Duration, end: Option<Instant>) -> bool {
    end.is_none_or(|end| Instant::now() + pause + LATE < end)
}

/// 2 ms: timers and the system's wait for them count whole milliseconds, and both round up.
const LATE: Duration = Duration::from_millis(2);
/// 1 s: an answer that has begun when its client's time is over is cut by the client itself, which then
/// knows why. One that does not is cut.
const GRACE: Duration = Duration::from_secs(1);
/// 1 s: on a LAN a SYN is answered at once or never; leaves time for a second endpoint.
const CONNECT: Duration = Duration::from_secs(1);
/// 2 s: two round trips and a signature on a busy endpoint.
const TLS: Duration = Duration::from_secs(2);
/// 30 s: below the 60 s of common load balancers in front, so that our answer is the one seen.
const TOTAL: Duration = Duration::from_secs(30);
/// 30 s: an answer that says nothing for so long is not coming.
const IDLE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_overrides_its_pool_and_a_pool_what_is_built_in() {
        let second = |seconds| Some(Duration::from_secs(seconds));
        let pool = TimeoutsSpec { connect: second(2), total: second(60), ..Default::default() };
        let route = TimeoutsSpec { total: second(10), ..Default::default() };

        let deadlines = Deadlines::resolve(&route, &pool);

        assert_eq!(deadlines.connect, Duration::from_secs(2));
        assert_eq!(deadlines.total, second(10));
        assert_eq!(deadlines.attempt, second(5), "half of the total, so that one retry fits");
        assert_eq!(deadlines.idle, IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_leaves_time_is_over_in_time() {
        let micros = Duration::from_micros;
        let mut slept = 0;
        for (at, pause) in (0..40).flat_map(|at| (0..40).map(move |pause| (at, pause))) {
            tokio::time::advance(micros(at * 37)).await;
            let end = Instant::now() + micros(3000);
            if leaves_time(micros(pause * 100), Some(end)) {
                tokio::time::sleep(micros(pause * 100)).await;
                assert!(Instant::now() < end, "{pause}");
                slept += 1;
            }
        }
        assert_eq!(slept, 40 * 10, "those of less than a millisecond, and nobody else");
        assert!(leaves_time(Duration::MAX / 4, None));
    }

    #[test]
    fn a_total_of_zero_is_no_bound() {
        let route = TimeoutsSpec { total: Some(Duration::ZERO), ..Default::default() };

        let deadlines = Deadlines::resolve(&route, &TimeoutsSpec::default());

        assert_eq!(deadlines.total, None);
        assert_eq!(deadlines.attempt, None);
    }

    #[test]
    fn a_client_gives_less_time_and_never_more() {
        let second = |seconds| Some(Duration::from_secs(seconds));
        for (total, given, expected) in
            [(10, 2, (2, true)), (10, 10, (10, false)), (10, 60, (10, false)), (0, 60, (60, true))]
        {
            let own = TimeoutsSpec { total: second(total), ..Default::default() };
            let mut deadlines = Deadlines::resolve(&own, &TimeoutsSpec::default());
            deadlines.shorten(Duration::from_secs(given));
            assert_eq!((deadlines.total, deadlines.by_client), (second(expected.0), expected.1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_its_client_s_time_is_cut_a_second_later_but_not_after_the_gateway_s() {
        let started = Instant::now();
        for (total, given, cut) in
            [(10, 3, 4), (10, 9, 10), (10, 10, 10), (10, 60, 10), (0, 60, 61)]
        {
            let total =
                TimeoutsSpec { total: Some(Duration::from_secs(total)), ..Default::default() };
            let own = Deadlines::resolve(&total, &TimeoutsSpec::default());
            let mut deadlines = own;
            deadlines.shorten(Duration::from_secs(given));
            let expected = Some(started + Duration::from_secs(cut));
            assert_eq!(deadlines.cut(&own, started), expected, "{total:?} {given}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_never_outlives_the_exchange() {
        let deadlines = Deadlines::resolve(&TimeoutsSpec::default(), &TimeoutsSpec::default());
        let started = Instant::now();
        let end = deadlines.end(started);

        let late = started + Duration::from_secs(25);

        assert_eq!(deadlines.attempt_end(started, end), Some(started + TOTAL / 2));
        assert_eq!(deadlines.attempt_end(late, end), end);
    }
}
