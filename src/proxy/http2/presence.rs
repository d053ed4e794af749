//! Whether a client that has not been heard of for long is still there. A `PING` asks it; whatever
//! comes after that is an answer, since the one to the `PING` may lie behind it.

use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::proxy::alarm::Alarm;

/// Asks one client.
pub(super) struct Presence {
    pings: Option<PingPong>,
    alarm: Alarm,
    /// When it was asked, where that is the last that is known of it.
    asked: Option<Instant>,
    /// How long it may be silent until it is asked.
    interval: Duration,
    /// How long it may be silent then.
    limit: Duration,
}

impl Presence {
    pub(super) fn new(pings: Option<PingPong>, interval: Duration, limit: Duration) -> Self {
        let alarm = Alarm::at(Instant::now() + interval);
        Self { pings, alarm, asked: None, interval, limit }
    }

    /// Whether it is gone, as it seems: it was `heard` last then. Said once.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>, heard: Instant) -> Poll<()> {
        while self.alarm.poll(context).is_ready() {
            if self.asked.is_some_and(|asked| heard <= asked) {
                self.alarm.reset(Instant::now() + self.interval);
                self.asked = None;
                return Poll::Ready(());
            }
            let now = Instant::now();
            let due = heard + self.interval;
            if due > now {
                self.asked = None;
                self.alarm.reset(due);
            } else {
                self.ask(context);
                self.asked = Some(now);
                self.alarm.reset(now + self.limit);
            }
        }
        Poll::Pending
    }

    fn ask(&mut self, context: &mut Context<'_>) {
        if let Some(pings) = &mut self.pings {
            // The library sends no `PING` before it was asked for the answer to the last one.
            let answered = pings.poll_pong(context).is_ready();
            let sent = pings.send_ping(Ping::opaque());
            tracing::trace!(answered, sent = sent.is_ok(), "a client is asked whether it is there");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const LIMIT: Duration = Duration::from_secs(10);

    fn is_gone(presence: &mut Presence, heard: Instant) -> bool {
        presence.poll_gone(&mut Context::from_waker(Waker::noop()), heard).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_asked_and_gone_once_nothing_comes() {
        let heard = Instant::now();
        let mut presence = Presence::new(None, INTERVAL, LIMIT);
        assert!(!is_gone(&mut presence, heard));

        tokio::time::advance(INTERVAL).await;
        assert!(!is_gone(&mut presence, heard), "it is asked");
        tokio::time::advance(LIMIT - Duration::from_millis(1)).await;
        assert!(!is_gone(&mut presence, heard));

        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(is_gone(&mut presence, heard));
        assert!(!is_gone(&mut presence, heard), "once");
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_comes_shows_that_a_client_is_there() {
        let mut presence = Presence::new(None, INTERVAL, LIMIT);
        let mut heard = Instant::now();
        for _ in 0..5 {
            tokio::time::advance(INTERVAL).await;
            assert!(!is_gone(&mut presence, heard), "it is asked");
            tokio::time::advance(LIMIT / 2).await;
            heard = Instant::now();
            tokio::time::advance(LIMIT / 2).await;
            assert!(!is_gone(&mut presence, heard));
        }
        for _ in 0..100 {
            tokio::time::advance(LIMIT).await;
            heard = Instant::now();
            assert!(!is_gone(&mut presence, heard), "it is never asked");
            assert_eq!(presence.asked, None);
        }
    }
}
