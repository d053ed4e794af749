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

/// What a client has done too often, once it has, in the words of the metric.
#[derive(Debug, Default)]
pub(super) struct Flood {
    /// What was too much for the counts here.
    counted: Cell<Option<&'static str>>,
    /// What the last bytes to the client say that was too much for the library.
    told: Cell<Option<&'static str>>,
}

/// A client's stream that ends where its frames are a flood.
#[derive(Debug)]
pub(super) struct Frames<S> {
    stream: S,
    scan: Scan,
    count: Count,
    /// The last bytes that went to the client.
    last: [u8; LAST],
    flood: Rc<Flood>,
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
    /// It carries nothing that anybody asked for. What too many of them are called.
    Other(&'static str),
}

impl Flood {
    /// Why the connection was cut off, where its client was the reason. The library forgets in its error
    /// which of its bounds it was; what it has told the client still says so.
    pub(super) fn reason(&self, ended: Option<&h2::Error>) -> Option<&'static str> {
        if let Some(counted) = self.counted.get() {
            return Some(counted);
        }
        let error = ended.filter(|error| error.is_library())?;
        let calm = error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
        Some(if calm { self.told.get().unwrap_or(FLOOD) } else { "http2_invalid" })
    }
}

impl<S> Frames<S> {
    /// What the client does too often is told in `flood`; that it is within a head, in `activity`.
    pub(super) fn new(stream: S, flood: Rc<Flood>, activity: Rc<Activity>) -> Self {
        let (scan, count, last) = (Scan::new(), Count::default(), [0; LAST]);
        Self { stream, scan, count, last, flood, activity }
    }

    fn note_sent(&mut self, bytes: &[u8]) {
        self.count.sent += bytes.len() as u64;
        let tail = &bytes[bytes.len().saturating_sub(LAST)..];
        self.last.copy_within(tail.len().., 0);
        self.last[LAST - tail.len()..].copy_from_slice(tail);
    }

    fn note(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut flood, before) = (None, self.scan.heads);
        self.scan.feed(bytes, |kind| flood = flood.or(self.count.add(kind)));
        self.activity.reads_head(self.scan.is_within_head(), self.scan.heads != before);
        if flood.is_none() {
            return Ok(());
        }
        self.flood.counted.set(flood);
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
            0 => Self::Other(TINY_DATA),
            HEADERS => Self::Request,
            2 => Self::Other("http2_priorities"),
            3 => Self::Reset,
            4 => Self::Other("http2_settings"),
            6 => Self::Other("http2_pings"),
            8 => Self::Other("http2_window_updates"),
            CONTINUATION => Self::Load, // how many the library takes depends on the size of a head
            _ => Self::Other(FLOOD),
        }
    }
}

impl Count {
    /// Counts a frame, and tells whether there were too many like it.
    fn add(&mut self, kind: Kind) -> Option<&'static str> {
        let other = match kind {
            Kind::Load => return None,
            Kind::Request => {
                self.requests += 1;
                return None;
            }
            Kind::Reset => None,
            Kind::Other(name) => Some(name),
        };
        let now = Instant::now();
        if self.since.is_none_or(|since| now.duration_since(since) > SPAN) {
            let requests = if self.since.is_none() { self.requests } else { 0 };
            *self = Self { since: Some(now), requests, ..Self::default() };
        }
        let Some(name) = other else {
            self.resets += 1;
            return (self.resets > MOST_RESETS && self.resets * 2 > self.requests)
                .then_some(RESETS);
        };
        self.others += 1;
        let earned = self.sent / BYTES_EACH + self.requests * REQUEST_EARNS;
        (self.others > OTHERS + earned).then_some(name)
    }
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
        this.note_sent(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, slices))?;
        let mut left = written;
        for slice in slices {
            let sent = left.min(slice.len());
            this.note_sent(&slice[..sent]);
            left -= sent;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let told = TOLD.iter().find(|(words, _)| this.last.ends_with(words));
        this.flood.told.set(told.map(|(_, reason)| *reason));
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

const PREFACE: usize = 24;
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const FLOOD: &str = "http2_flood";
const RESETS: &str = "http2_resets";
const TINY_DATA: &str = "http2_tiny_data";

/// What the library says last (the debug data of its `GOAWAY`), by the bound that was too little.
const TOLD: [(&[u8], &str); 5] = [
    (b"too_many_resets", RESETS),
    (b"too_many_internal_resets", "http2_provoked_resets"),
    (b"too_many_continuations", "http2_continuations"),
    (b"too_many_data_frames", TINY_DATA),
    (b"header_list_way_too_large", "http2_huge_head"),
];
/// The longest of these words.
const LAST: usize = 25;

/// 30 s: what is counted is forgotten after that.
const SPAN: Duration = Duration::from_secs(30);
/// 100 resets, or half of the requests where that is more: who leaves a page resets what is under way,
/// and a proxy in front of us does so for many clients at once.
const MOST_RESETS: u64 = 100;
/// 10,000 frames that carry nothing, and as many more as an honest client has a reason for: it
/// measures the way and opens its window by what it gets.
const OTHERS: u64 = 10_000;
/// One for each 64 bytes; the answer to a `PING` is 17, so that a flood does not pay for itself.
const BYTES_EACH: u64 = 64;
/// Ten for each request.
const REQUEST_EARNS: u64 = 10;

#[cfg(test)]
mod tests {
    use crate::proxy::clock::Clock;

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
            let [settings, empty, unknown] =
                ["http2_settings", "http2_tiny_data", "http2_flood"].map(Other);
            let expected = [settings, Request, empty, Load, Load, Load, Reset, unknown];
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

    #[tokio::test]
    async fn the_last_words_are_known_however_the_bytes_went_out() {
        use tokio::io::AsyncWriteExt as _;
        for piece in [1, 7, 25, 26, 1000] {
            let flood = Rc::new(Flood::default());
            let mut frames =
                Frames::new(tokio::io::sink(), Rc::clone(&flood), Activity::new(Clock::new()));
            let bytes = [&[b'x'; 60][..], b"header_list_way_too_large"].concat();
            for part in bytes.chunks(piece) {
                frames.write_all(part).await.expect("a sink takes all");
            }
            frames.shutdown().await.expect("a sink ends");
            assert_eq!(flood.told.get(), Some("http2_huge_head"), "{piece}");
            // Who ends in good order may have said the same in an answer.
            assert_eq!(flood.reason(None), None);
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
            assert_eq!(honest.add(Kind::Other("pings")), None);
        }
        let mut flood = Count::default();
        let taken = (0..100_000).take_while(|_| {
            flood.sent += 17;
            flood.add(Kind::Other("pings")).is_none()
        });
        assert!(taken.count() < 20_000);
    }
}
