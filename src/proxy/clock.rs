//! A worker's clock. Reading the time costs as much as a small part of a request's way, and most of
//! what asks for it can do with the last reading.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A date as HTTP writes it (RFC 9110 §5.6.7).
pub(super) type Date = [u8; 29];

/// The time as one worker knows it.
#[derive(Debug)]
pub(super) struct Clock {
    last: Cell<Instant>,
    /// The date of answers, and until when it is right.
    date: RefCell<(Date, Instant)>,
}

impl Clock {
    pub(super) fn new() -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            last: now.into(),
            date: RefCell::new((*b"Thu, 01 Jan 1970 00:00:00 GMT", now)),
        })
    }

    /// The time of now.
    pub(super) fn now(&self) -> Instant {
        let now = Instant::now();
        self.last.set(now);
        now
    }

    /// The last reading. Never later than now, and, since the worker reads its clock whenever a
    /// client's bytes come and at least once a second, seldom much earlier.
    pub(super) fn recent(&self) -> Instant {
        self.last.get()
    }

    /// The date of an answer (RFC 9110 §6.6.1), written once a second.
    pub(super) fn date(&self) -> Date {
        let recent = self.recent();
        let (date, until) = &mut *self.date.borrow_mut();
        if recent >= *until {
            let now = SystemTime::now();
            let text = httpdate::fmt_http_date(now);
            if let Ok(text) = Date::try_from(text.as_bytes()) {
                *date = text;
            }
            let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            *until = recent
                + (Duration::from_secs(1) - Duration::from_nanos(since.subsec_nanos().into()));
        }
        *date
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_reading_stands_until_the_next() {
        let clock = Clock::new();
        tokio::time::advance(Duration::from_millis(1500)).await;
        let read = clock.now();
        tokio::time::advance(Duration::from_secs(1)).await;

        assert_eq!(clock.recent(), read);
        assert_eq!(clock.now(), read + Duration::from_secs(1));
    }
}
