//! What the tests are made of: a [`gateway::Gateway`] from the text of its files, [`origin::Origin`]s
//! that answer by script, [`h2_origin::H2Origin`]s, and the clients of [`client`]. All of it ends
//! when it is dropped.

pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod declining;
pub(crate) mod demanding;
pub(crate) mod feed;
pub(crate) mod gateway;
pub(crate) mod grpc;
pub(crate) mod h2_origin;
pub(crate) mod handshakes;
pub(crate) mod load;
pub(crate) mod message;
pub(crate) mod nameserver;
pub(crate) mod narrow;
pub(crate) mod origin;
pub(crate) mod pki;
pub(crate) mod pouring;
pub(crate) mod raw_h2;
pub(crate) mod recorder;
pub(crate) mod redis;
pub(crate) mod strict;
pub(crate) mod tape;
pub(crate) mod tls;
pub(crate) mod unix;
pub(crate) mod unreachable;
pub(crate) mod waiters;
pub(crate) mod wire;

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Long enough for a loaded machine; a test that passes never waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for `future`; fails after the deadline.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let ended = timeout(DEADLINE, future).await;
    ended.unwrap_or_else(|_| panic!("{what} did not come within {DEADLINE:?}"))
}

/// Asks until `wanted` says yes and gives that answer; fails with the last one after the deadline.
pub(crate) async fn eventually<T: Debug>(
    what: &str,
    mut ask: impl FnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let started = Instant::now();
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "{what} did not come true; the last was {answer:?}");
        sleep(STEP).await;
    }
}

/// Waits until a count has begun to grow and then rests, and gives it.
pub(crate) async fn resting(what: &str, count: impl Fn() -> usize) -> usize {
    let mut last = (0, 0);
    let rests = || {
        let now = count();
        last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
        last
    };
    eventually(what, rests, |(count, times)| *count > 0 && *times >= RESTS).await.0
}

/// 30 looks, 150 ms: a transfer that can go on does not rest for so long.
const RESTS: usize = 30;

/// 5 ms: between two questions of [`eventually`].
pub(crate) const STEP: Duration = Duration::from_millis(5);
