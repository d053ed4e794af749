//! A TCP stream whose small reads and writes go straight to the kernel. The C library's calls pass
//! through its thread-cancellation points, which cost a busy worker 4 % of its own time.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop;

use super::small;

/// Whether the process or the system has as many open files as it may.
pub fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

/// A stream over any connected socket that does not block: to the kernel, and so to everybody here,
/// one over a Unix socket is read and written as one over TCP is. What only TCP has fails on it.
///
/// # Errors
/// When the runtime does not take it.
pub fn stream_of(socket: OwnedFd) -> io::Result<TcpStream> {
    TcpStream::from_std(std::net::TcpStream::from(socket))
}

/// A TCP stream, or one over a Unix socket: see [`stream_of`].
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// The last read was a large one: the next is made into the reader's own buffer.
    bulk: bool,
}

/// Tells when the other side of a stream has closed it, also where bytes that came before are left
/// unread: the stream itself tells of them first.
pub struct Hangup(Pin<Box<dyn Future<Output = ()>>>);

impl Hangup {
    fn of(twin: TcpStream) -> Self {
        Self(Box::pin(async move {
            loop {
                match twin.ready(Interest::READABLE).await {
                    Ok(ready) if !ready.is_read_closed() => {}
                    _ => return,
                }
                // Of what has come nothing is read: the runtime is to tell of what comes next.
                let seen = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                twin.try_io(Interest::READABLE, seen).ok();
            }
        }))
    }

    /// Ready once the other side has closed the stream.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Hangup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hangup")
    }
}

impl Socket {
    /// Watches for the other side's close. What is known of the stream's readiness stays as it is: this
    /// is told by the system apart from it.
    ///
    /// # Errors
    /// When the system or the runtime does not allow it.
    pub fn hangup(&self) -> io::Result<Hangup> {
        let twin = self.stream.as_fd().try_clone_to_owned()?;
        stream_of(twin).map(Hangup::of)
    }

    /// Reads and writes `stream`.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, bulk: false }
    }

    /// Waits until there is something to read, be it the end.
    ///
    /// # Errors
    /// When the stream or the runtime has failed.
    pub async fn readable(&self) -> io::Result<()> {
        // The runtime takes a new stream for readable until a look has found nothing.
        self.stream.peek(&mut [0]).await.map(drop)
    }

    /// Whether the stream is open, as far as the runtime has heard, and nothing waits to be read.
    pub fn is_silent(&self) -> bool {
        let nothing = self.stream.try_read(&mut [0]);
        matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the other side has closed the stream, and nothing is left to be read.
    pub fn is_gone(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.stream, &mut [0; 1], flags) {
            Ok((_, length)) => length == 0,
            Err(error) => !is_passing(&error.into()),
        }
    }

    /// Whether something has come, of which a byte is taken: the stream is of no more use then.
    pub fn has_spoken(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Ok(1..))
    }

    /// Has the connection end with a reset when it is dropped.
    pub fn reset_on_close(&self) {
        // Where the system refuses, it ends as it always does.
        drop(socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)));
    }

    /// Makes a call once the stream is ready for it. `whole` tells whether the kernel may have more
    /// to give or to take; where it has not, the runtime is told so without another call.
    fn call(
        &self,
        interest: Interest,
        whole: usize,
        call: impl FnOnce() -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        let mut done = None;
        let called = self.stream.try_io(interest, || match call() {
            Ok(size) if size > 0 && size < whole => {
                done = Some(size);
                Err(io::ErrorKind::WouldBlock.into())
            }
            called => Ok(called?),
        });
        done.map_or(called, Ok)
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        whole: usize,
        call: impl Fn() -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            // Asked before it is waited for: nearly always the kernel takes it.
            match self.call(Interest::WRITABLE, whole, &call) {
                Err(error) if is_passing(&error) => {}
                sent => return Poll::Ready(sent),
            }
            ready!(self.stream.poll_write_ready(context))?;
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let room = buffer.remaining().min(SMALL);
        if this.bulk {
            let before = buffer.filled().len();
            let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
            let read = buffer.filled().len() - before;
            this.bulk = polled.is_pending() || read >= SMALL;
            charge(read, context);
            return polled;
        }
        loop {
            // Asked before it is waited for: a task that was woken for it finds something.
            let mut space = [MaybeUninit::uninit(); SMALL];
            let read = this.call(Interest::READABLE, room, || {
                let (part, _) =
                    rustix::net::recv(&this.stream, &mut space[..room], RecvFlags::empty())?.0;
                buffer.put_slice(part);
                Ok(part.len())
            });
            match read {
                Err(error) if is_passing(&error) => {}
                read => {
                    this.bulk = read? == SMALL;
                    return Poll::Ready(Ok(()));
                }
            }
            ready!(this.stream.poll_read_ready(context))?;
        }
    }
}

/// Has a task pay for what it reads by the byte: the runtime's budget of a turn counts calls, and 128 of
/// 64 KiB each would keep all others waiting for milliseconds.
fn charge(read: usize, context: &mut Context<'_>) {
    for _ in 0..read / BYTES_OF_A_UNIT {
        if !coop::has_budget_remaining() {
            return;
        }
        if let Poll::Ready(spent) = coop::poll_proceed(context) {
            spent.made_progress();
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let send = || rustix::net::send(&self.stream, bytes, SendFlags::NOSIGNAL);
        self.poll_send(context, bytes.len(), send)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(bytes) = small::join(slices, &mut [0; small::MOST]) {
            return self.poll_write(context, bytes);
        }
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Errors that say "again", not "failed".
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// 4 KiB: a usual head, and a small body with it, comes in one such read. It is copied once, which
/// costs less than what the call saves.
const SMALL: usize = 4 << 10;
/// 1 KiB: 128 KiB in one turn, for which reading and writing takes some 70 us.
const BYTES_OF_A_UNIT: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        (Socket::new(near.unwrap()), far.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_of_any_number_pass_both_ways() {
        let (mut near, mut far) = pair().await;
        for size in [1, 100, SMALL - 1, SMALL, SMALL + 1, 50_000, 3, 2_000_000, 5] {
            let sent: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
            let (mut there, mut back) = (vec![0; size], vec![0; size]);
            let (write, read) = tokio::join!(near.write_all(&sent), far.read_exact(&mut there));
            write.and(read).unwrap();
            let (write, read) = tokio::join!(far.write_all(&there), near.read_exact(&mut back));
            write.and(read).unwrap();
            assert!(back == sent, "{size}");
        }
    }

    #[tokio::test]
    async fn who_has_read_a_lot_lets_others_pass() {
        let (mut near, mut far) = pair().await;
        far.write_all(b"more").await.unwrap();
        near.readable().await.unwrap();
        near.bulk = true;
        let mut turns = 0;
        std::future::poll_fn(|context| {
            turns += 1;
            let (mut bytes, mut spent) = ([0; 1], 0);
            while coop::has_budget_remaining() {
                charge(64 << 10, context);
                spent += 1;
            }
            assert_eq!(spent, 2, "of 64 KiB each");
            charge(1 << 30, context);
            let polled = Pin::new(&mut near).poll_read(context, &mut ReadBuf::new(&mut bytes));
            assert!(polled.is_pending(), "though there is more");
            if turns > 1 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        assert_eq!(turns, 2, "it was woken to go on");
    }

    #[tokio::test]
    async fn a_closed_stream_ends_and_takes_nothing() {
        let (mut near, mut far) = pair().await;
        far.write_all(b"last").await.unwrap();
        drop(far);
        let mut read = Vec::new();
        near.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"last");
        let refused = loop {
            match near.write(b"x").await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error.kind(),
            }
        };
        assert!(matches!(refused, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn a_stream_of_which_nothing_has_come_is_not_readable() {
        let (near, mut far) = pair().await;
        for _ in 0..10 {
            let mut readable = std::pin::pin!(near.readable());
            let look = |context: &mut Context<'_>| Poll::Ready(readable.as_mut().poll(context));
            assert!(std::future::poll_fn(look).await.is_pending());
            tokio::task::yield_now().await;
        }
        far.write_all(b"x").await.unwrap();
        near.readable().await.unwrap();
        assert!(near.has_spoken(), "what has come is still there");
    }

    #[tokio::test]
    async fn a_close_is_told_of_behind_bytes_that_nobody_has_read() {
        let (mut near, mut far) = pair().await;
        let mut hangup = near.hangup().unwrap();
        for _ in 0..3 {
            far.write_all(b"unread").await.unwrap();
            near.readable().await.unwrap();
            for _ in 0..10 {
                let look = |context: &mut Context<'_>| Poll::Ready(hangup.poll(context));
                assert!(std::future::poll_fn(look).await.is_pending());
                tokio::task::yield_now().await;
            }
        }
        drop(far);
        std::future::poll_fn(|context| hangup.poll(context)).await;

        let mut read = String::new();
        near.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "unread".repeat(3), "all of it is still there");
    }

    #[tokio::test]
    async fn a_stream_that_has_something_to_say_is_not_silent() {
        let (near, mut far) = pair().await;
        assert!(near.is_silent());
        far.write_all(b"x").await.unwrap();
        near.readable().await.unwrap();
        assert!(!near.is_silent());

        let (near, far) = pair().await;
        drop(far);
        near.readable().await.unwrap();
        assert!(!near.is_silent());
    }
}
