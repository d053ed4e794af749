//! What the library is told of clients of HTTP/2: sizes, windows and bounds.

use h2::server::Builder;

use crate::config::spec::DownstreamSpec;

/// HTTP/2 as clients are spoken to.
pub(super) fn http2(limits: &DownstreamSpec) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(limits.max_streams)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_local_error_reset_streams(Some(LOCAL_RESETS + limits.max_streams as usize))
        // Twice our own limit: what is between them is answered with a problem document.
        .max_header_list_size(u32::try_from(head_size(limits) * 2).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

fn head_size(limits: &DownstreamSpec) -> usize {
    usize::try_from(limits.max_header_size.0).unwrap_or(usize::MAX / 4)
}

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
