//! What hyper is told of the clients' side: sizes, windows and bounds.

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use crate::config::spec::DownstreamSpec;
use crate::upstream::LocalExecutor;

/// HTTP/1.1 as clients are spoken to.
pub(super) fn http1(limits: &DownstreamSpec) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Twice our own limits: what is between them is answered with a problem document, what is
    // beyond both by hyper, whose own answer `unread` replaces.
    builder
        .max_header_size(head_size(limits) * 2)
        .max_headers(limits.max_headers * 2)
        // A head of that size, and a little that came with it; beyond that no more of an answer waits
        // for a slow client than its last part.
        .max_buf_size(head_size(limits) * 2 + LEAST_BUFFER)
        .half_close(false);
    builder
}

/// HTTP/2 as clients are spoken to.
pub(super) fn http2(
    executor: LocalExecutor,
    limits: &DownstreamSpec,
) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(limits.max_streams)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_local_error_reset_streams(LOCAL_RESETS + limits.max_streams as usize)
        .max_header_list_size(u32::try_from(head_size(limits) * 2).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.idle_timeout / 2)
        .keep_alive_timeout(limits.header_timeout);
    builder
}

fn head_size(limits: &DownstreamSpec) -> usize {
    usize::try_from(limits.max_header_size.0).unwrap_or(usize::MAX / 4)
}

/// 8 KiB: the least that hyper works with.
const LEAST_BUFFER: usize = 8 << 10;
/// 64 KiB a stream and 1 MiB a connection bound what a client may send ahead of a slow endpoint.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// 20 streams that were reset before they were looked at: more come in one read from nobody who means
/// well.
const RESET_UNSEEN: usize = 20;
/// 100 streams that the client made the gateway reset, in a connection's whole life, beside those that it
/// may have begun before it heard how many it may.
const LOCAL_RESETS: usize = 100;
/// 64 KiB a stream wait for a slow client at most.
const SEND_BUFFER: usize = 64 << 10;
