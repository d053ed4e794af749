//! Users: they come at their own pace, whatever becomes of those before (open loop), wait for as long as they have patience, and
//! ask again where they are made so.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::book::Event;
use super::world::World;

/// How users are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Users {
    /// So many come in a second, on average.
    pub(crate) rate: f64,
    /// They belong to so many tenants, evenly.
    pub(crate) tenants: u32,
    /// How long one waits for an answer.
    pub(crate) patience: Duration,
    /// How often one asks again that had none, or an error.
    pub(crate) retries: u32,
    /// How long it waits before that, give or take a half.
    pub(crate) pause: Duration,
}

impl Users {
    /// Of five tenants, with two seconds of patience, and content with one try.
    pub(crate) const fn calm(rate: f64) -> Self {
        let (patience, pause) = (Duration::from_secs(2), Duration::ZERO);
        Self { rate, tenants: 5, patience, retries: 0, pause }
    }
}

/// Has users come until then.
pub(crate) async fn come(world: Rc<World>, users: Users, end: Instant) {
    loop {
        let between = Duration::from_secs_f64(1.0 / (users.rate * world.crowd.get()));
        world.timeline.sleep(world.arrivals.time(between)).await;
        if Instant::now() >= end {
            return;
        }
        let tenant = world.arrivals.below(users.tenants as usize);
        world.timeline.begin(want(Rc::clone(&world), users, tenant));
    }
}

/// One of them, until it has what it wants or gives up.
async fn want(world: Rc<World>, users: Users, tenant: usize) {
    let came = Instant::now();
    world.book.note(Event::Comes);
    for retries_left in (0..=users.retries).rev() {
        let answered = tokio::select! {
            biased;
            answered = world.gateway.exchange(tenant) => answered.ok(),
            () = world.timeline.sleep(users.patience) => None,
        };
        if answered.is_some_and(|status| status.is_success()) {
            world.book.note(Event::Served(came));
            return;
        }
        if retries_left > 0 {
            let pause = users.pause.mul_f64(0.5 + world.moods.share());
            world.timeline.sleep(pause).await;
        }
    }
    world.book.note(Event::Fails);
}
