//! Work on many things, a part at a time: a request that comes meanwhile waits for a part at most.

use tokio::task::yield_now;

/// Works on all of them. `part` is told where to begin, and tells where to go on, if anywhere: what
/// comes and goes between two parts may be left out, or be met twice.
pub(super) async fn in_parts(mut part: impl FnMut(usize) -> Option<usize>) {
    let mut from = 0;
    while let Some(next) = part(from) {
        from = next;
        // The runtime goes on with who yields when it has looked at the sockets.
        yield_now().await;
    }
}
