//! A timer that may be asked at every turn of a task: asking the runtime's own each time costs as
//! much as a small part of a request's way.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer of one task.
#[derive(Debug)]
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// Whom the runtime wakes.
    heard_by: Option<Waker>,
}

impl Alarm {
    /// Rings at `when`.
    pub(super) fn at(when: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(when)), heard_by: None }
    }

    /// Rings at `when` instead.
    pub(super) fn reset(&mut self, when: Instant) {
        self.sleep.as_mut().reset(when);
        self.heard_by = None;
    }

    /// Whether it rings. The task is woken when it does.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let heard = self.heard_by.as_ref().is_some_and(|by| by.will_wake(context.waker()));
        if heard && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        // Unconstrained: "not now" for want of budget would look like "registered".
        let polled = Pin::new(&mut unconstrained(self.sleep.as_mut())).poll(context);
        self.heard_by = polled.is_pending().then(|| context.waker().clone());
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_rings_for_whoever_asked_last_also_after_a_reset() {
        let began = Instant::now();
        let mut alarm = Alarm::at(began + SECOND);
        for _ in 0..3 {
            // Asked by another task, then twice by this one.
            assert!(alarm.poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let mut asked = 0;
            std::future::poll_fn(|context| {
                asked += 1;
                let first = alarm.poll(context);
                if first.is_ready() { first } else { alarm.poll(context) }
            })
            .await;
            assert!(asked >= 2);
            alarm.reset(Instant::now() + SECOND);
        }
        assert_eq!(began.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_without_budget_is_woken_all_the_same() {
        let mut alarm = Alarm::at(Instant::now() + SECOND);
        std::future::poll_fn(|context| {
            while tokio::task::coop::has_budget_remaining() {
                let spent = std::pin::pin!(tokio::task::coop::consume_budget()).poll(context);
                assert!(spent.is_ready());
            }
            alarm.poll(context)
        })
        .await;
    }
}
