//! The TLS handshakes of one worker: so many at once, and none for longer than its time.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use rustls::Error as TlsError;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::base::network::owner;
use crate::base::snapshot::Snapshot;
use crate::base::socket::Socket;
use crate::tls::certificates::Certificates;
use crate::tls::offer::{Offer, Pick};
use crate::tls::tenants::Tenants;

use super::laggards::{Laggard, Laggards, PAUSE};
use super::secured::{self, Secured};
use super::turnstile::{Hold, Turn, Turnstile};

/// The handshakes of one worker.
#[derive(Debug)]
pub(super) struct Handshakes {
    turns: Turnstile,
    /// What a hello costs, an exchange of keys and a signature, is many times what a request costs:
    /// few at a time, and the runtime looks at the sockets of the others in between.
    hellos: Turnstile,
    /// The same for what follows a hello: who is half-way through waits for no hello of others.
    rest: Turnstile,
    laggards: RefCell<Laggards>,
    /// Somebody waits for a turn.
    crowded: Notify,
    /// What tenants present beside what a listener does.
    tenants: Snapshot<Tenants>,
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It did not end in time.
    #[error("it did not end in time")]
    Late,
    /// Others had all the turns, or waited for this one's.
    #[error("too many handshakes are under way")]
    Crowded,
    /// There is no certificate for the name that was asked for, or for none.
    #[error("no certificate is for the name {0:?}")]
    UnknownName(Option<Box<str>>),
    /// It failed.
    #[error(transparent)]
    Failed(#[from] io::Error),
    /// What was agreed on is not enough.
    #[error(transparent)]
    NotEnough(#[from] rustls::Error),
}

impl Refusal {
    /// The metric's word for it.
    pub(super) fn reason(&self) -> &'static str {
        let error = match self {
            Self::Late => return "tls_timeout",
            Self::Crowded => return "tls_crowded",
            Self::UnknownName(_) => return "tls_unknown_name",
            Self::Failed(error) => error.get_ref().and_then(|error| error.downcast_ref()),
            Self::NotEnough(error) => Some(error),
        };
        match error {
            Some(TlsError::NoCertificatesPresented) => "tls_no_client_certificate",
            Some(TlsError::InvalidCertificate(_)) => "tls_bad_client_certificate",
            Some(TlsError::NoApplicationProtocol) => "tls_no_protocol",
            _ => "tls_failed",
        }
    }
}

impl Handshakes {
    /// At most `most` at once, with what tenants present.
    pub(super) fn new(most: usize, tenants: Snapshot<Tenants>) -> Self {
        Self {
            turns: Turnstile::new(most),
            hellos: Turnstile::new(COSTLY),
            rest: Turnstile::new(COSTLY),
            laggards: RefCell::default(),
            crowded: Notify::new(),
            tenants,
        }
    }

    /// Shakes hands before `end`, the wait for a turn included, with somebody who has said something.
    /// Where all turns are taken, the client that has kept its handshake waiting for longest gives up
    /// its turn ([`Handshakes::make_room`]), once that is a while: one that means it is done by then, so
    /// that those who stop half-way cannot keep all the others out. One that has far more of them under way
    /// than the newcomer's client gives it up at once.
    ///
    /// # Errors
    /// Why there was no handshake.
    pub(super) async fn accept(
        &self,
        stream: Socket,
        client: Option<IpAddr>,
        certificates: Arc<Certificates>,
        end: Instant,
    ) -> Result<(TlsStream<Socket>, Box<Secured>), Refusal> {
        let client = client.map_or(0, owner);
        let Ok(mut turn) = timeout_at(end, self.turn(client)).await else {
            return Err(Refusal::Crowded);
        };
        // Boxed: who waits for a turn does not take the memory yet.
        let shaken = Box::pin(self.shake(stream, (client, turn.hold()), certificates));
        let shaken = timeout_at(end, shaken).await;
        shaken.unwrap_or(Err(Refusal::Late))
    }

    async fn turn(&self, client: u128) -> Turn<'_> {
        if let Some(turn) = self.turns.try_enter() {
            return turn;
        }
        // At once: in the queue it would be the turn of whoever has waited for longest there.
        let greedy = self.laggards.borrow_mut().greedy(client);
        if let Some(turn) = greedy.and_then(|hold| self.turns.take_over(&hold)) {
            return turn;
        }
        self.crowded.notify_one();
        self.turns.enter(client).await
    }

    /// Takes turns of handshakes that wait for their clients while somebody waits for a turn, for as long as it
    /// runs. Little by little: thousands may wait, and thousands be slow, each of which costs as much as several
    /// requests.
    pub(super) async fn make_room(&self) {
        loop {
            self.crowded.notified().await;
            let mut looked = Instant::now();
            while self.turns.next().is_some() {
                // The runtime's clock has whole milliseconds, and a busy worker is late.
                let due = 1 + looked.elapsed().as_millis() / PAUSE.as_millis();
                looked = Instant::now();
                let again = self.take_turns(due.min(MOST));
                sleep_until(again).await;
            }
        }
    }

    /// Takes so many turns at most. Gives when to look again.
    fn take_turns(&self, most: u128) -> Instant {
        for _ in 0..most {
            let Some(next) = self.turns.next() else { break };
            let mut laggards = self.laggards.borrow_mut();
            let taken = laggards.greedy(next).map_or_else(|| laggards.slow(), Ok);
            match taken {
                Ok(hold) => self.turns.take_away(&hold),
                Err(again) => return again,
            }
        }
        Instant::now() + PAUSE
    }

    /// Reads which name the client asks for, and goes on with what there is for it.
    async fn shake(
        &self,
        stream: Socket,
        (client, hold): (u128, Rc<Hold>),
        certificates: Arc<Certificates>,
    ) -> Result<(TlsStream<Socket>, Box<Secured>), Refusal> {
        let began = self.laggards.borrow_mut().begin(client);
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let mut hello = self.wait_for(began, &hold, hello).await??;
        let asked = hello.client_hello();
        let name = asked.server_name().map(secured::plain);
        let offer = Offer::new(certificates, self.tenants.load_if(|tenants| !tenants.is_empty()));
        let Some(chosen) = offer.find(name).map(Pick::keep) else {
            let name = name.map(Into::into);
            // Whether it arrives changes nothing for us.
            drop(hello.io.write_all(UNRECOGNIZED_NAME).await);
            return Err(Refusal::UnknownName(name));
        };
        let stream = self.answer(client, &hold, || {
            if hello.io.is_gone() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            // It answers the hello at once.
            Ok(hello.into_stream(chosen.config()?))
        });
        let stream = stream.await?;
        let secured = Secured::after(stream.get_ref().1, offer, chosen)?;
        Ok((stream, Box::new(secured)))
    }

    /// Answers a hello, and all that follows it: whatever the client has said is worked on in its turn.
    async fn answer<F, T>(
        &self,
        client: u128,
        hold: &Rc<Hold>,
        begin: impl FnOnce() -> Result<F, Refusal>,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = io::Result<T>> + Unpin,
    {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let begun = costly(&self.hellos, client, || {
            let mut handshake = begin()?;
            let polled = Pin::new(&mut handshake).poll(&mut context);
            Ok::<_, Refusal>((handshake, polled))
        });
        let (mut handshake, mut polled) = begun.await?;
        let began = self.laggards.borrow_mut().begin(client);
        loop {
            if let Poll::Ready(done) = polled {
                return Ok(done?);
            }
            self.wait_for(began, hold, woken.0.notified()).await?;
            let goes_on =
                costly(&self.rest, client, || Pin::new(&mut handshake).poll(&mut context));
            polled = goes_on.await;
        }
    }

    /// Waits for what the client says next, unless it is slow and others wait.
    async fn wait_for<F: Future>(
        &self,
        began: Laggard,
        hold: &Rc<Hold>,
        said: F,
    ) -> Result<F::Output, Refusal> {
        self.laggards.borrow_mut().add(began, Rc::clone(hold));
        let _leaves = Leaves { handshakes: self, laggard: began };
        tokio::select! {
            biased;
            () = hold.is_taken_away() => Err(Refusal::Crowded),
            said = said => Ok(said),
        }
    }
}

/// Works when it is the client's turn. The turn is over when the runtime has looked at the sockets.
async fn costly<T>(turns: &Turnstile, client: u128, work: impl FnOnce() -> T) -> T {
    let _turn = turns.enter(client).await;
    let done = work();
    yield_now().await;
    done
}

/// What wakes a handshake: not its task, which waits for a turn first.
#[derive(Debug, Default)]
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

/// Waits for its client no more, once dropped.
struct Leaves<'h> {
    handshakes: &'h Handshakes,
    laggard: Laggard,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        drop(self.handshakes.laggards.borrow_mut().remove(self.laggard));
    }
}

/// RFC 8446 §6: a record that holds the fatal alert `unrecognized_name`. Nothing is encrypted yet.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
/// 2: about half a millisecond.
const COSTLY: usize = 2;
/// 8 turns that are taken in one go.
const MOST: u128 = 8;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    use super::super::laggards::{GREEDY, PATIENCE};
    use super::*;

    /// A client that has said one byte of a handshake and will never say more.
    async fn stuck() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap());
        let (far, near) = tokio::join!(far, listener.accept());
        let (mut far, near) = (far.unwrap(), Socket::new(near.unwrap().0));
        far.write_all(b"\x16").await.unwrap();
        near.readable().await.unwrap();
        (near, far)
    }

    /// Two clients that stop half-way where only one may shake hands at once; the first has the turn.
    /// Gives the metric's words for both.
    async fn two_of_one_turn(limit: Duration, rest: Duration) -> [&'static str; 2] {
        // Nobody comes as far as to be shown anything.
        let (handshakes, tls) =
            (Handshakes::new(1, Snapshot::new(Arc::default())), Arc::new(Certificates::default()));
        let ((first, _one), (second, _two)) = (stuck().await, stuck().await);
        tokio::time::pause();
        let mut first =
            pin!(handshakes.accept(first, None, Arc::clone(&tls), Instant::now() + limit));
        let begun = std::future::poll_fn(|context| Poll::Ready(first.as_mut().poll(context)));
        assert!(begun.await.is_pending());
        let second = handshakes.accept(second, None, tls, Instant::now() + rest);
        let both = async { tokio::join!(first, second) };
        let (first, second) = making_room(&handshakes, both).await;
        [first.unwrap_err().reason(), second.unwrap_err().reason()]
    }

    /// Does this beside what a worker does all the time.
    async fn making_room<T>(handshakes: &Handshakes, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = handshakes.make_room() => unreachable!("it goes on for ever"),
        }
    }

    #[tokio::test]
    async fn who_is_slow_gives_its_turn_to_who_waits() {
        let (limit, rest) = (PATIENCE * 5, PATIENCE * 5);
        assert_eq!(two_of_one_turn(limit, rest).await, ["tls_crowded", "tls_timeout"]);
    }

    #[tokio::test]
    async fn who_comes_when_others_have_been_slow_for_long_waits_for_none_of_them() {
        let (handshakes, tls) =
            (Handshakes::new(2, Snapshot::new(Arc::default())), Arc::new(Certificates::default()));
        let ((first, _one), (second, _two), (third, three)) =
            (stuck().await, stuck().await, stuck().await);
        drop(three); // what it hears then tells that it had its turn
        tokio::time::pause();
        let end = Instant::now() + PATIENCE * 5;
        let accept = |stream| handshakes.accept(stream, None, Arc::clone(&tls), end);
        let (first, second) = (accept(first), accept(second));
        let third = async {
            tokio::time::sleep(PATIENCE * 3).await;
            let came = Instant::now();
            (accept(third).await, came.elapsed())
        };

        let all = async { tokio::join!(first, second, third) };
        let (first, second, (third, waited)) = making_room(&handshakes, all).await;

        let reasons = [first, second, third].map(|ended| ended.unwrap_err().reason());
        assert_eq!(reasons, ["tls_crowded", "tls_timeout", "tls_failed"]);
        assert_eq!(waited, Duration::ZERO);
    }

    #[tokio::test]
    async fn a_client_with_many_handshakes_under_way_keeps_no_other_one_waiting() {
        const MANY: usize = GREEDY + 1;
        let (handshakes, tls) = (
            Handshakes::new(MANY, Snapshot::new(Arc::default())),
            Arc::new(Certificates::default()),
        );
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for _ in 0..2 * MANY {
            let (one, other) = stuck().await; // half of them wait
            near.push(one);
            far.push(other);
        }
        let (gone, other) = stuck().await;
        drop(other);
        tokio::time::pause();
        let (came, end) = (Instant::now(), Instant::now() + PATIENCE * 5);
        let accept = |stream, address: [u8; 4]| {
            handshakes.accept(stream, Some(address.into()), Arc::clone(&tls), end)
        };
        let greedy = join_all(near.into_iter().map(|stream| accept(stream, [192, 0, 2, 1])));
        let calm = async {
            yield_now().await; // the others are first
            let refusal = accept(gone, [192, 0, 2, 2]).await.unwrap_err();
            (refusal.reason(), came.elapsed())
        };

        let (_, calm) = tokio::join!(greedy, calm);

        assert_eq!(calm, ("tls_failed", Duration::ZERO));
    }

    /// What it has sent may be worked on when the other one comes.
    #[tokio::test]
    async fn a_client_that_has_many_under_way_a_moment_later_keeps_no_other_one_waiting_either() {
        const MANY: usize = GREEDY + 1;
        let (handshakes, tls) = (
            Handshakes::new(MANY, Snapshot::new(Arc::default())),
            Arc::new(Certificates::default()),
        );
        let ((calm, far), greedy) = (stuck().await, owner([192, 0, 2, 1].into()));
        drop(far);
        tokio::time::pause();
        let came = Instant::now();
        let mut turns: Vec<_> = (0..MANY).map(|_| handshakes.turns.try_enter().unwrap()).collect();
        let calm = async {
            let client = Some([192, 0, 2, 2].into());
            let refusal = handshakes.accept(calm, client, tls, came + PATIENCE * 5).await;
            (refusal.unwrap_err().reason(), came.elapsed())
        };
        let work = async {
            tokio::time::sleep(PAUSE * 10).await;
            let mut laggards = handshakes.laggards.borrow_mut();
            for turn in &mut turns {
                let began = laggards.begin(greedy);
                laggards.add(began, turn.hold());
            }
        };

        let both = async { tokio::join!(calm, work).0 };
        let (reason, waited) = making_room(&handshakes, both).await;

        assert_eq!(reason, "tls_failed");
        assert!(waited < PATIENCE / 10, "{waited:?}");
    }

    /// They would be looked at in the same moments, and their clients come back in the same ones.
    #[tokio::test]
    async fn slow_handshakes_end_little_by_little_however_many_wait() {
        const SLOW: u8 = 20;
        let (handshakes, tls) = (
            Handshakes::new(SLOW.into(), Snapshot::new(Arc::default())),
            Arc::new(Certificates::default()),
        );
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for _ in 0..2 * SLOW {
            let (one, other) = stuck().await;
            near.push(one);
            far.push(other);
        }
        tokio::time::pause();
        let began = Instant::now();
        let accept = async |client, stream| {
            let (address, end) = ([192, 0, 2, client].into(), began + PATIENCE * 2);
            let ended = handshakes.accept(stream, Some(address), Arc::clone(&tls), end).await;
            (ended.unwrap_err().reason(), began.elapsed())
        };
        let all = join_all((0..).zip(near).map(|(client, stream)| accept(client, stream)));

        let ended = making_room(&handshakes, all).await;

        let (first, second) = ended.split_at(SLOW.into());
        assert!(first.iter().all(|(reason, _)| *reason == "tls_crowded"), "{first:?}");
        let mut at_once = first.chunk_by(|one, other| one.1 == other.1).map(<[_]>::len);
        assert!(at_once.all(|count| count <= 3), "{first:?}");
        assert!(first.last().unwrap().1 < PATIENCE + PAUSE * (SLOW + 2).into(), "{first:?}");
        assert!(second.iter().all(|(reason, _)| *reason == "tls_timeout"), "{second:?}");
    }

    /// Behind the hellos of each other client it would wait twice.
    #[tokio::test]
    async fn who_has_had_its_hello_answered_waits_for_no_hello_of_others() {
        tokio::time::pause();
        let handshakes = Handshakes::new(8, Snapshot::new(Arc::default()));
        let (says, said) = tokio::sync::oneshot::channel();
        let hello = || Ok(Box::pin(async { said.await.map_err(io::Error::other) }));
        let hold = Rc::default();
        let mut answer = pin!(handshakes.answer(0, &hold, hello));
        tokio::select! {
            biased;
            _ = &mut answer => unreachable!("the client has said nothing yet"),
            () = tokio::time::sleep(PAUSE) => {}
        }
        let _hellos = [(); COSTLY].map(|()| handshakes.hellos.try_enter().unwrap());

        says.send("all the rest").unwrap();

        let answered = timeout_at(Instant::now() + PATIENCE, answer).await;
        assert_eq!(answered.unwrap().unwrap(), "all the rest");
    }

    /// Others would wait for all of them: a hello takes some tenths of a millisecond.
    #[tokio::test]
    async fn between_two_hellos_the_runtime_looks_at_the_sockets() {
        const CLIENTS: usize = 3 * COSTLY;
        let handshakes = Rc::new(Handshakes::new(CLIENTS, Snapshot::new(Arc::default())));
        let (turns, answered) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
        let tasks = LocalSet::new();
        for _ in 0..CLIENTS {
            let handshakes = Rc::clone(&handshakes);
            let (turns, answered) = (Rc::clone(&turns), Rc::clone(&answered));
            tasks.spawn_local(async move {
                let hello = || {
                    answered.borrow_mut().push(turns.get());
                    Ok(std::future::ready(Ok(())))
                };
                handshakes.answer(0, &Rc::default(), hello).await.unwrap();
            });
        }
        let looks = async {
            while answered.borrow().len() < CLIENTS {
                yield_now().await; // until then it looks at the sockets
                turns.set(turns.get() + 1);
            }
        };

        tasks.run_until(looks).await;

        let answered = answered.borrow();
        let at_once = answered.chunk_by(|one, next| one == next).map(<[usize]>::len);
        assert!(at_once.max() <= Some(COSTLY), "{answered:?}");
    }

    #[tokio::test]
    async fn who_gets_no_turn_in_its_time_is_refused() {
        let (limit, rest) = (PATIENCE * 5, PATIENCE / 2);
        assert_eq!(two_of_one_turn(limit, rest).await, ["tls_timeout", "tls_crowded"]);
    }
}
