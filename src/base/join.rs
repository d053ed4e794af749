//! Futures that are awaited together in the task that asks.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

/// Awaits all of them and gives the results in the same order. Each wake polls every one that is
/// not done, so it is for tens of futures, not for thousands.
pub async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut left = 0;
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(done) => *output = Some(done),
                    Poll::Pending => left += 1,
                }
            }
        }
        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// Awaits an exchange together with what drives it, as the connection that it goes by. The driver may end before the exchange has
/// read what came over it.
pub async fn driven<E: Future>(exchange: E, driver: impl Future) -> E::Output {
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => return result,
        _ = driver => {}
    }
    exchange.await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_run_at_once_and_keep_their_order() {
        let started = Instant::now();

        let done = all([3u64, 1, 2].map(|seconds| async move {
            sleep(Duration::from_secs(seconds)).await;
            seconds
        }))
        .await;

        assert_eq!(done, [3, 1, 2]);
        assert_eq!(started.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_ends_with_or_without_what_drives_it() {
        let second = Duration::from_secs(1);
        let exchange = async || {
            sleep(2 * second).await;
            "done"
        };
        let started = Instant::now();

        assert_eq!(driven(exchange(), sleep(second)).await, "done");
        assert_eq!(started.elapsed(), 2 * second, "its driver has ended before");
        assert_eq!(driven(exchange(), sleep(9 * second)).await, "done");
        assert_eq!(started.elapsed(), 4 * second, "its driver would go on");
    }

    #[tokio::test]
    async fn none_is_done_at_once() {
        assert!(all(Vec::<std::future::Ready<()>>::new()).await.is_empty());
    }
}
