//! The streams of a client's HTTP/2 connection: polled by the connection's own task, as the one
//! exchange of HTTP/1.1 is, so that a stream costs no task of its own.
//!
//! **Invariant:** who was woken is polled, and nobody else, and what the streams of one turn say goes
//! out together: the library looks at its socket and its clock each time that it is polled.

use std::cell::RefCell;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::driven::{Connection, Protocol};
use super::io::Reads;
use super::slots::Slots;

/// An exchange, to the end of its answer.
pub(super) type Stream = Pin<Box<dyn Future<Output = ()>>>;

/// Takes the streams that a connection begins while it is polled.
#[derive(Clone, Default)]
pub(super) struct Begun(Rc<RefCell<Vec<Stream>>>);

impl Begun {
    /// One begins.
    pub(super) fn begin(&self, stream: Stream) {
        self.0.borrow_mut().push(stream);
    }
}

/// A connection with its streams, which end with it.
pub(super) struct WithStreams<C> {
    connection: C,
    /// The connection's own.
    waker: Waker,
    begun: Begun,
    streams: Slots<Stream>,
    /// By the stream's number. Who has the number next has the waker, too: to be polled once too often
    /// does no harm.
    wakers: Vec<Waker>,
    woken: Arc<Woken>,
    reads: Rc<Reads>,
    /// The streams that are being polled; kept for its room.
    turn: Vec<usize>,
}

/// Who shall be polled. Wakers may be dropped on other threads, so there is a lock, which nobody waits
/// for: those that belong to a worker are woken on its thread.
#[derive(Debug)]
struct Woken(Mutex<State>);

#[derive(Debug)]
struct State {
    connection: bool,
    streams: Vec<usize>,
    /// By the stream's number: whether it is among them.
    listed: Vec<bool>,
    /// The task is at it: it need not be told.
    polling: bool,
    task: Waker,
}

/// Wakes the connection, or the stream of a number.
#[derive(Debug)]
struct Caller {
    stream: Option<usize>,
    woken: Arc<Woken>,
}

impl<C> WithStreams<C> {
    /// `connection` begins its streams by `begun`, and reads what tells of its `reads`.
    pub(super) fn new(connection: C, begun: Begun, reads: Rc<Reads>) -> Self {
        let woken = Arc::new(Woken::all());
        Self {
            connection,
            waker: Waker::from(Arc::new(Caller { stream: None, woken: Arc::clone(&woken) })),
            begun,
            streams: Slots::default(),
            wakers: Vec::new(),
            woken,
            reads,
            turn: Vec::new(),
        }
    }

    /// Takes in the streams that have begun. They are polled for the first time after that.
    fn enter(&mut self) {
        for stream in self.begun.0.borrow_mut().drain(..) {
            let number = self.streams.enter(stream);
            if number == self.wakers.len() {
                let caller = Caller { stream: Some(number), woken: Arc::clone(&self.woken) };
                self.wakers.push(Waker::from(Arc::new(caller)));
            }
            self.woken.call(Some(number));
        }
    }

    fn poll_streams(&mut self) {
        self.woken.take_streams(&mut self.turn);
        for number in self.turn.drain(..) {
            let (Some(stream), Some(waker)) =
                (self.streams.get_mut(number), self.wakers.get(number))
            else {
                continue; // it has ended
            };
            let mut context = Context::from_waker(waker);
            // A panic ends its own stream, and no other one.
            let poll = AssertUnwindSafe(|| stream.as_mut().poll(&mut context));
            match catch_unwind(poll) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(())) => self.streams.leave(number),
                Err(_) => {
                    tracing::error!("a stream panicked; this is a bug, please report it");
                    self.streams.leave(number);
                }
            }
        }
    }
}

impl<C: Connection> Future for WithStreams<C> {
    type Output = Result<(), C::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.woken.begin(context.waker());
        for _ in 0..ROUNDS {
            this.poll_streams();
            if this.woken.take_connection() {
                // Each time: a read may have been put off that was to be tried again.
                this.reads.resume();
                let mut own = Context::from_waker(&this.waker);
                if let Poll::Ready(ended) = Pin::new(&mut this.connection).poll(&mut own) {
                    return Poll::Ready(ended);
                }
                this.enter();
            }
        }
        this.woken.end();
        Poll::Pending
    }
}

impl<C: Connection> Connection for WithStreams<C> {
    type Error = C::Error;

    const PROTOCOL: Protocol = C::PROTOCOL;

    fn leave(&mut self) {
        self.connection.leave();
        self.woken.call(None);
    }

    fn client(&self) -> Option<IpAddr> {
        self.connection.client()
    }

    fn cut(&mut self) {
        self.connection.cut();
    }
}

impl Woken {
    /// The connection is polled at first.
    fn all() -> Self {
        let task = Waker::noop().clone();
        Self(Mutex::new(State {
            connection: true,
            streams: Vec::new(),
            listed: Vec::new(),
            polling: false,
            task,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream of this number, or the connection, shall be polled.
    fn call(&self, stream: Option<usize>) {
        let state = &mut *self.state();
        match stream {
            None => state.connection = true,
            Some(number) => {
                if state.listed.len() <= number {
                    state.listed.resize(number + 1, false);
                }
                if !std::mem::replace(&mut state.listed[number], true) {
                    state.streams.push(number);
                }
            }
        }
        if !state.polling {
            state.task.wake_by_ref();
        }
    }

    /// The task has its turn.
    fn begin(&self, task: &Waker) {
        let state = &mut *self.state();
        state.task.clone_from(task);
        state.polling = true;
    }

    /// Its turn is over.
    fn end(&self) {
        let state = &mut *self.state();
        state.polling = false;
        if state.connection || !state.streams.is_empty() {
            state.task.wake_by_ref();
        }
    }

    fn take_connection(&self) -> bool {
        std::mem::take(&mut self.state().connection)
    }

    /// Those that are first; `turn` is empty. Those that remain have their turn after the other tasks.
    fn take_streams(&self, turn: &mut Vec<usize>) {
        let state = &mut *self.state();
        if state.streams.is_empty() {
            return; // as in every other round
        }
        std::mem::swap(&mut state.streams, turn);
        state.streams.extend(turn.drain(turn.len().min(MOST)..));
        turn.iter().for_each(|number| state.listed[*number] = false);
    }
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.call(self.stream);
    }
}

/// One for what has come, and one for the streams that have begun with it.
const ROUNDS: usize = 2;
/// 32 in a round: about a millisecond, in which the other connections wait.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Begins what it is given, and counts how often it is polled.
    struct Fake {
        begins: Vec<Stream>,
        begun: Begun,
        polled: Rc<Cell<u32>>,
        waker: Rc<RefCell<Option<Waker>>>,
    }

    impl Future for Fake {
        type Output = Result<(), ()>;

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            let this = self.get_mut();
            this.polled.set(this.polled.get() + 1);
            *this.waker.borrow_mut() = Some(context.waker().clone());
            this.begins.drain(..).for_each(|stream| this.begun.0.borrow_mut().push(stream));
            Poll::Pending
        }
    }

    impl Connection for Fake {
        type Error = ();

        const PROTOCOL: Protocol = Protocol::Http2;

        fn client(&self) -> Option<IpAddr> {
            None
        }

        fn leave(&mut self) {}
    }

    /// A task that counts how often it is woken.
    #[derive(Default)]
    struct Task(Mutex<u32>);

    impl Task {
        fn woken(&self) -> u32 {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() += 1;
        }
    }

    /// A stream that hands its waker out, tells the connection where it is said so, and never ends.
    fn silent(wakers: &Rc<RefCell<Vec<Waker>>>, polled: &Rc<Cell<u32>>) -> Stream {
        let (wakers, polled) = (Rc::clone(wakers), Rc::clone(polled));
        Box::pin(std::future::poll_fn(move |context| {
            polled.set(polled.get() + 1);
            wakers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        }))
    }

    /// How often a fake was polled, and what wakes it.
    type Seen = (Rc<Cell<u32>>, Rc<RefCell<Option<Waker>>>);

    fn fake(begins: Vec<Stream>) -> (WithStreams<Fake>, Seen) {
        let (begun, polled, waker) = (Begun::default(), Rc::default(), Rc::default());
        let (counted, own) = (Rc::clone(&polled), Rc::clone(&waker));
        let fake = Fake { begins, begun: begun.clone(), polled, waker };
        (WithStreams::new(fake, begun, Rc::new(Reads::new())), (counted, own))
    }

    #[test]
    fn who_was_woken_is_polled_and_nobody_else() {
        let (wakers, streams) = (Rc::default(), Rc::<Cell<u32>>::default());
        let begins = vec![silent(&wakers, &streams), silent(&wakers, &streams)];
        let (mut connection, (polled, _)) = fake(begins);
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let mut context = Context::from_waker(&waker);

        assert!(Pin::new(&mut connection).poll(&mut context).is_pending());
        assert_eq!(
            (polled.get(), streams.get()),
            (1, 2),
            "both streams in the turn that began them"
        );
        assert_eq!(task.woken(), 0);

        wakers.borrow()[1].wake_by_ref();
        wakers.borrow()[1].wake_by_ref();
        assert_ne!(task.woken(), 0);
        assert!(Pin::new(&mut connection).poll(&mut context).is_pending());
        assert_eq!((polled.get(), streams.get()), (1, 3));
    }

    #[test]
    fn a_connection_of_many_streams_lets_others_have_their_turn() {
        let (wakers, streams) = (Rc::default(), Rc::<Cell<u32>>::default());
        let begins = (0..5 * MOST).map(|_| silent(&wakers, &streams)).collect();
        let (mut connection, (polled, _)) = fake(begins);
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let mut context = Context::from_waker(&waker);
        let mut turns = 0;
        while turns == 0 || task.woken() > 0 {
            let before = streams.get();
            assert!(Pin::new(&mut connection).poll(&mut context).is_pending());
            assert!(streams.get() - before <= (ROUNDS * MOST) as u32);
            turns += 1;
        }

        assert_eq!(streams.get(), 5 * MOST as u32);
        assert_eq!((turns, polled.get()), (3, 1));
    }

    #[test]
    fn what_streams_say_in_a_turn_is_heard_at_its_end() {
        let hold = Rc::<RefCell<Option<Waker>>>::default();
        let says = Rc::clone(&hold);
        let stream: Stream = Box::pin(async move {
            // As the library does once there is something to be sent.
            says.borrow().as_ref().unwrap().wake_by_ref();
        });
        let (mut connection, (polled, waker)) = fake(vec![stream]);
        let task = Arc::new(Task::default());
        let of_task = Waker::from(Arc::clone(&task));
        let mut context = Context::from_waker(&of_task);
        *hold.borrow_mut() = Some(connection.waker.clone());

        assert!(Pin::new(&mut connection).poll(&mut context).is_pending());

        assert_eq!(polled.get(), 2);
        assert_eq!(task.woken(), 0, "nothing is left to do");
        assert!(connection.streams.iter().next().is_none(), "the stream has ended");
        waker.borrow().as_ref().unwrap().wake_by_ref();
        assert_eq!(task.woken(), 1);
    }

    #[test]
    fn a_panic_in_one_stream_leaves_the_others_running() {
        let (wakers, streams) = (Rc::default(), Rc::<Cell<u32>>::default());
        let bad: Stream = Box::pin(async { panic!("on purpose") });
        let (mut connection, ..) = fake(vec![bad, silent(&wakers, &streams)]);
        let mut context = Context::from_waker(Waker::noop());

        assert!(Pin::new(&mut connection).poll(&mut context).is_pending());
        wakers.borrow()[0].wake_by_ref();
        assert!(Pin::new(&mut connection).poll(&mut context).is_pending());

        assert_eq!(streams.get(), 2);
        assert_eq!(connection.streams.iter().count(), 1);
    }
}
