//! The frames of a client's HTTP/2 connection, counted below the library that reads them. Some bring
//! nothing and cost the gateway or its endpoints work: a request that is begun and reset at once, a
//! `PING` that wants its answer. The library bounds what they take of its memory; how many may come
//! is bounded here (RFC 9113 §10.5).

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::activity::Activity;

/// What a client has done too often, once it has: the reason of the metric.
pub(super) type Flood = Rc<Cell<Option<&'static str>>>;

/// A client's stream that ends where its frames are a flood.
#[derive(Debug)]
pub(super) struct Frames<S> {
    stream: S,
    scan: Scan,
    count: Count,
    flood: Flood,
    activity: Rc<Activity>,
}

/// Finds the frames in bytes that come in any pieces.
#[derive(Debug)]
struct Scan {
    /// Bytes until the next frame.
    skip: usize,
    head: [u8; HEAD],
    /// How much of the next frame's head is there.
    have: usize,
    /// Where the present frame is a part of a request's head: whether it is the last one.
    part: Option<bool>,
    /// Parts of a request's head have come, and not the last one.
    open: bool,
    /// Heads that came whole.
    heads: u64,
}

/// What came within the present span.
#[derive(Debug, Default)]
struct Count {
    since: Option<Instant>,
    requests: u64,
    resets: u64,
    others: u64,
    /// Bytes that went to the client.
    sent: u64,
}

/// What a frame means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Reset,
    /// It carries something.
    Load,
    /// It carries nothing that anybody asked for.
    Other,
}

impl<S> Frames<S> {
    /// What the client does too often is told in `flood`; that it is within a head, in `activity`.
    pub(super) fn new(stream: S, flood: Flood, activity: Rc<Activity>) -> Self {
        Self { stream, scan: Scan::new(), count: Count::default(), flood, activity }
    }

    fn note(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut flood, before) = (None, self.scan.heads);
        self.scan.feed(bytes, |kind| flood = flood.or(self.count.add(kind)));
        self.activity.reads_head(self.scan.is_within_head(), self.scan.heads != before);
        if flood.is_none() {
            return Ok(());
        }
        self.flood.set(flood);
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl Scan {
    fn new() -> Self {
        Self { skip: PREFACE, head: [0; HEAD], have: 0, part: None, open: false, heads: 0 }
    }

    /// Whether a request's head has begun and is not whole (RFC 9113 §4.3).
    fn is_within_head(&self) -> bool {
        self.open || self.part.is_some()
    }

    /// The present frame is whole.
    fn end_frame(&mut self) {
        if let Some(is_last) = self.part.take() {
            self.open = !is_last;
            self.heads += u64::from(is_last);
        }
    }

    fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Kind)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if self.skip == 0 {
                self.end_frame();
            }
            if bytes.is_empty() {
                return;
            }
            let taken = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD {
                self.have = 0;
                let [high, middle, low, kind, flags, ..] = self.head;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.part =
                    matches!(kind, HEADERS | CONTINUATION).then_some(flags & END_HEADERS != 0);
                each(Kind::of(kind, flags, self.skip));
            }
        }
    }
}

impl Kind {
    /// RFC 9113 §6.
    fn of(kind: u8, flags: u8, size: usize) -> Self {
        const END_STREAM: u8 = 1;
        match kind {
            0 if size > 0 || flags & END_STREAM != 0 => Self::Load,
            HEADERS => Self::Request,
            3 => Self::Reset,
            CONTINUATION => Self::Load, // how many the library takes depends on the size of a head
            _ => Self::Other,
        }
    }
}

impl Count {
    /// Counts a frame, and tells whether there were too many like it.
    fn add(&mut self, kind: Kind) -> Option<&'static str> {
        match kind {
            Kind::Load => return None,
            Kind::Request => {
                self.requests += 1;
                return None;
            }
            Kind::Reset | Kind::Other => {}
        }
        let now = Instant::now();
        if self.since.is_none_or(|since| now.duration_since(since) > SPAN) {
            let requests = if self.since.is_none() { self.requests } else { 0 };
            *self = Self { since: Some(now), requests, ..Self::default() };
        }
        if kind == Kind::Reset {
            self.resets += 1;
            return (self.resets > RESETS && self.resets * 2 > self.requests)
                .then_some("http2_resets");
        }
        self.others += 1;
        let earned = self.sent / BYTES_EACH + self.requests * REQUEST_EARNS;
        (self.others > OTHERS + earned).then_some(FLOOD)
    }
}

/// Why the library ended a connection, where its client was the reason.
pub(super) fn reason(error: &h2::Error) -> Option<&'static str> {
    if !error.is_library() {
        return None;
    }
    Some(if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) { FLOOD } else { "http2_invalid" })
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        Poll::Ready(this.note(&buffer.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(context, bytes))?;
        this.count.sent += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, slices))?;
        this.count.sent += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

const PREFACE: usize = 24;
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const FLOOD: &str = "http2_flood";

/// 30 s: what is counted is forgotten after that.
const SPAN: Duration = Duration::from_secs(30);
/// 100 resets, or half of the requests where that is more: who leaves a page resets what is under way,
/// and a proxy in front of us does so for many clients at once.
const RESETS: u64 = 100;
/// 10,000 frames that carry nothing, and as many more as an honest client has a reason for: it
/// measures the way and opens its window by what it gets.
const OTHERS: u64 = 10_000;
/// One for each 64 bytes; the answer to a `PING` is 17, so that a flood does not pay for itself.
const BYTES_EACH: u64 = 64;
/// Ten for each request.
const REQUEST_EARNS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, size: usize) -> Vec<u8> {
        let mut frame = vec![0, (size >> 8) as u8, size as u8, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + size, 0xff);
        frame
    }

    #[test]
    fn frames_are_told_however_the_bytes_are_cut() {
        let frames = [
            vec![b'x'; PREFACE],
            frame(4, 0, 6),
            frame(1, 4, 300),
            frame(0, 0, 0),
            frame(0, 0, 9),
            frame(0, 1, 0),
            frame(9, 4, 1),
            frame(3, 0, 4),
            frame(77, 0, 9),
        ]
        .concat();
        for piece in [1, 2, 8, 9, 10, 1000] {
            let mut scan = Scan::new();
            let mut kinds = Vec::new();
            for bytes in frames.chunks(piece) {
                scan.feed(bytes, |kind| kinds.push(kind));
            }
            use Kind::{Load, Other, Request, Reset};
            let expected = [Other, Request, Other, Load, Load, Load, Reset, Other];
            assert_eq!(kinds, expected, "{piece}");
        }
    }

    #[test]
    fn a_head_is_begun_from_its_first_frame_until_its_last_is_whole() {
        let frames = [
            (frame(4, 0, 6), false, 0),
            (frame(HEADERS, 0, 3), true, 0),
            (frame(CONTINUATION, 0, 0), true, 0),
            (frame(CONTINUATION, END_HEADERS, 2), false, 1),
            (frame(0, 0, 9), false, 1),
            (frame(HEADERS, END_HEADERS | 1, 300), false, 2),
            (frame(HEADERS, END_HEADERS, 0), false, 3),
        ];
        let mut scan = Scan::new();
        scan.feed(&[b'x'; PREFACE], |_| {});
        for (bytes, within, heads) in frames {
            let is_part = matches!(bytes[3], HEADERS | CONTINUATION);
            for (place, byte) in bytes.iter().enumerate() {
                let was = scan.is_within_head();
                scan.feed(&[*byte], |_| {});
                if place + 1 < bytes.len() {
                    let begun = is_part && place + 1 >= HEAD;
                    assert_eq!(scan.is_within_head(), was || begun, "{bytes:?} {place}");
                }
            }
            assert_eq!((scan.is_within_head(), scan.heads), (within, heads), "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn resets_are_too_many_where_they_are_more_than_a_hundred_and_half_of_the_requests() {
        let mut count = Count::default();
        for _ in 0..100 {
            count.add(Kind::Request);
            assert_eq!(count.add(Kind::Reset), None);
        }
        assert_eq!(count.add(Kind::Reset), Some("http2_resets"));

        let mut busy = Count::default();
        for _ in 0..1000 {
            for _ in 0..3 {
                busy.add(Kind::Request);
            }
            assert_eq!(busy.add(Kind::Reset), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_is_forgotten_after_its_span() {
        let mut count = Count::default();
        for _ in 0..10 {
            for _ in 0..100 {
                assert_eq!(count.add(Kind::Reset), None);
            }
            tokio::time::advance(SPAN + Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn what_goes_out_earns_frames_and_the_answers_to_a_flood_do_not_pay_for_it() {
        let mut honest = Count::default();
        for _ in 0..100_000 {
            honest.sent += 100;
            assert_eq!(honest.add(Kind::Other), None);
        }
        let mut flood = Count::default();
        let taken = (0..100_000).take_while(|_| {
            flood.sent += 17;
            flood.add(Kind::Other).is_none()
        });
        assert!(taken.count() < 20_000);
    }
}
