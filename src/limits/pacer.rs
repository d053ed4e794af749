//! Bytes in a time: how fast the bodies of a tenant, or of a route, go one way. Nothing is refused: who
//! has brought more than there was room for waits until there is, and so does whoever sends to it, for
//! nothing is read meanwhile.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use super::Shared;
use super::gcra::Ticks;
use super::ledger::Cell;

/// What all bodies of a limit have brought, one way.
#[derive(Debug, Default)]
pub struct Flow {
    /// When all of it would have been brought at the rate.
    word: AtomicU64,
}

/// The ways that bodies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From clients.
    Upload,
    /// To clients.
    Download,
}

/// Has one body keep to the rates that hold for it.
#[derive(Debug)]
pub struct Pacer {
    shared: Arc<Shared>,
    way: Way,
    /// Of the route and of the tenant, with bytes a second.
    flows: Vec<(Arc<Cell>, u64)>,
    /// Until there is room for more.
    wait: Option<Pin<Box<Sleep>>>,
}

impl Flow {
    /// Counts bytes that have come. Tells when there is room for more: a second's worth may come at once.
    fn count(&self, bytes: u64, rate: u64, now: Ticks) -> Ticks {
        let takes = u128::from(bytes) * u128::from(Ticks::A_SECOND);
        let takes = takes.div_ceil(u128::from(rate.max(1)));
        let takes = u64::try_from(takes).unwrap_or(u64::MAX);
        let more = |word: u64| Some(word.max(now.0).saturating_add(takes));
        let (Ok(word) | Err(word)) =
            self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let word = word.max(now.0).saturating_add(takes);
        Ticks(word.saturating_sub(Ticks::A_SECOND))
    }

    /// Whether all of it would have been brought by now.
    pub(super) fn is_over(&self, now: Ticks) -> bool {
        self.word.load(Ordering::Relaxed) <= now.0
    }
}

impl Pacer {
    /// For a body that goes this way, with the rates that hold for it; `None` where there are none.
    pub fn new(shared: &Arc<Shared>, way: Way, flows: Vec<(Arc<Cell>, u64)>) -> Option<Box<Self>> {
        if flows.is_empty() {
            return None;
        }
        let mut pacer = Self { shared: Arc::clone(shared), way, flows, wait: None };
        pacer.count(0); // others may have used up what there is
        Some(Box::new(pacer))
    }

    /// Ready when there is room for more.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(context));
            self.wait = None;
        }
        Poll::Ready(())
    }

    /// Whether there was no room when it was last asked.
    pub fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// So many bytes came.
    pub fn count(&mut self, bytes: u64) {
        let now = self.shared.now();
        let rooms =
            self.flows.iter().map(|(cell, rate)| cell.flow(self.way).count(bytes, *rate, now));
        let room = rooms.max().unwrap_or(now);
        if room > now {
            let wait = Ticks(room.0 - now.0).duration();
            self.wait = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::Instant;

    use crate::base::memory::Account;
    use crate::limits::ledger::Ledger;

    use super::*;

    const RATE: u64 = 1 << 20;

    struct World {
        shared: Arc<Shared>,
        ledger: Arc<Ledger>,
    }

    impl World {
        fn new() -> Self {
            let shared = Shared::new(1 << 16, Account::unlimited(), Arc::default());
            let ledger = Ledger::new(&shared, "acme");
            Self { shared, ledger }
        }

        fn pacer(&self, way: Way) -> Box<Pacer> {
            let flows = vec![(Arc::clone(self.ledger.own()), RATE)];
            Pacer::new(&self.shared, way, flows).unwrap()
        }
    }

    async fn send(mut pacer: Box<Pacer>, parts: u64, size: u64) {
        for _ in 0..parts {
            poll_fn(|context| pacer.poll(context)).await;
            pacer.count(size);
        }
        poll_fn(|context| pacer.poll(context)).await;
    }

    /// Seconds that it took, to the tenth.
    async fn took(work: impl Future) -> u64 {
        let started = Instant::now();
        work.await;
        (started.elapsed().as_millis() as u64 + 50) / 100
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_goes_at_once_and_the_rest_at_the_rate() {
        let world = World::new();

        assert_eq!(took(send(world.pacer(Way::Download), 16, RATE / 16)).await, 0);
        assert_eq!(took(send(world.pacer(Way::Download), 32, RATE / 16)).await, 20);
        assert_eq!(took(send(world.pacer(Way::Upload), 16, RATE / 16)).await, 0, "the other way");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(took(send(world.pacer(Way::Download), 48, RATE / 16)).await, 20, "once more");
        assert!(!world.ledger.is_settled());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(world.ledger.is_settled());
    }

    #[tokio::test(start_paused = true)]
    async fn all_bodies_of_a_limit_share_its_rate() {
        let world = World::new();
        let one = || send(world.pacer(Way::Download), 32, RATE / 32);

        let four = took(async { tokio::join!(one(), one(), one(), one()) }).await;

        assert!(
            (30..=31).contains(&four),
            "{four}: four seconds' worth, of which one went at once"
        );
        let small = send(world.pacer(Way::Download), 1, 1);
        assert_eq!(took(small).await, 0, "nobody pays for longer than that");
    }

    #[tokio::test(start_paused = true)]
    async fn who_begins_while_nothing_is_left_waits_first() {
        let world = World::new();
        world.pacer(Way::Download).count(3 * RATE);

        assert_eq!(took(send(world.pacer(Way::Download), 1, 1)).await, 20);
    }
}
