//! A gate that lets so many in at once, and who waits before it in fair turns. All threads share it.
//!
//! **Invariants:** while nobody waits and there is room, coming in and leaving are one atomic operation
//! each and no lock. While somebody waits only who holds the lock lets anybody in, so that nobody passes
//! those who wait. A place that is given to somebody who has left meanwhile goes to the next one. Nobody
//! is woken, and no place is given back, while the lock is held.

mod costs;
mod queue;
mod tally;

use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

pub use costs::Kind;
pub use queue::{Claim, Class};

use costs::{Costs, cost};
use queue::{Charge, Next, Queue, Ticket};
use tally::Tally;

/// Lets so many in at once.
pub struct Gate {
    /// How many are in, and [`WAITING`].
    word: AtomicU64,
    limit: AtomicU32,
    costs: Costs,
    /// As many as the queue holds, for who must not take its lock.
    waiting: AtomicUsize,
    /// The same by flow.
    tally: Tally,
    queue: Mutex<Queue<oneshot::Sender<Grant>>>,
}

/// A thread's way to a gate, shared by all that comes and goes on that thread: so none of them counts up
/// what other threads count up, too.
#[derive(Clone, Debug)]
pub struct Handle(Rc<Way>);

#[derive(Debug)]
struct Way {
    gate: Arc<Gate>,
}

/// One that is in, until it is dropped.
pub struct Permit {
    handle: Handle,
    since: Instant,
    kind: Kind,
    charge: Option<Charge>,
    learns: bool,
}

/// A place on its way to the thread that waits for it.
#[derive(Debug)]
struct Grant {
    /// `None`: it was given back by other means.
    gate: Option<Arc<Gate>>,
    charge: Charge,
}

/// Who came to a gate that was closed.
#[derive(Debug)]
pub enum Came {
    /// There was room after all.
    In(Permit),
    /// It waits.
    Waits(Waiting),
    /// Too many of its flow wait.
    Full,
}

/// One that waits; leaves the queue when dropped.
#[derive(Debug)]
pub struct Waiting {
    handle: Handle,
    kind: Kind,
    /// Its place in the queue; `None` once it has had its turn.
    ticket: Option<Ticket>,
    until: Instant,
    turn: oneshot::Receiver<Grant>,
}

/// What a gate is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// How many may be in; `None` = any number.
    pub limit: Option<u32>,
    /// How many are.
    pub inside: u32,
    /// How many wait.
    pub waiting: usize,
}

impl Gate {
    /// A gate that lets so many in at once.
    pub fn new(limit: u32) -> Self {
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(limit),
            costs: Costs::new(),
            waiting: AtomicUsize::new(0),
            tally: Tally::default(),
            queue: Mutex::new(Queue::new()),
        }
    }

    /// Lets so many in from now on. Who is in stays; where there is more room those who wait come in.
    pub fn set_limit(self: &Arc<Self>, limit: u32) {
        self.limit.store(limit, Ordering::SeqCst);
        self.serve(None);
    }

    /// As [`Gate::set_limit`], where the limit is `from` still; `false`: somebody else has set it.
    pub fn move_limit(self: &Arc<Self>, from: u32, to: u32) -> bool {
        let (moves, fails) = (Ordering::SeqCst, Ordering::Relaxed);
        let moved = self.limit.compare_exchange(from, to, moves, fails).is_ok();
        if moved && to > from {
            self.serve(None);
        }
        moved
    }

    /// Lets everybody in from now on.
    pub fn open(self: &Arc<Self>) {
        self.set_limit(OPEN);
    }

    /// What it is like now.
    pub fn state(&self) -> State {
        let limit = self.limit.load(Ordering::Relaxed);
        State {
            limit: (limit != OPEN).then_some(limit),
            inside: u32::try_from(inside(self.word.load(Ordering::Relaxed))).unwrap_or(u32::MAX),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// How many of this flow wait. The lock is taken only where hundreds of flows wait.
    pub fn waiting_of(&self, flow: u32) -> usize {
        match self.waiting.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.tally.get(flow).unwrap_or_else(|| self.lock().waiting_of(flow)),
        }
    }

    /// One leaves; `settled` is what it was charged and what it took.
    fn leave(self: &Arc<Self>, settled: Option<(Charge, u32)>) {
        let word = self.word.fetch_sub(1, Ordering::SeqCst);
        if word >= WAITING {
            self.serve(settled);
        }
    }

    /// Lets in as many as there is room for. A loop, not a recursion: who is let in may have left, one
    /// after the other.
    #[cold]
    fn serve(self: &Arc<Self>, mut settled: Option<(Charge, u32)>) {
        loop {
            let (turns, mut again) = self.choose(settled.take());
            for (sender, charge) in turns {
                if let Err(mut gone) = sender.send(Grant { gate: Some(Arc::clone(self)), charge }) {
                    gone.gate = None;
                    self.word.fetch_sub(1, Ordering::SeqCst);
                    self.lock().settle(charge, 0);
                    again = true;
                }
            }
            if !again {
                return;
            }
        }
    }

    /// Whose turn it is, each with a place; and whether there may be more.
    fn choose(&self, settled: Option<(Charge, u32)>) -> (Vec<Turn>, bool) {
        let (mut turns, mut late) = (Vec::new(), Vec::new());
        let mut queue = self.lock();
        if let Some((charge, took)) = settled {
            queue.settle(charge, took);
        }
        let now = Instant::now();
        let mut more = true;
        for _ in 0..MOST {
            let limit = u64::from(self.limit.load(Ordering::SeqCst));
            more = !queue.is_empty() && inside(self.word.load(Ordering::SeqCst)) < limit;
            if !more {
                break;
            }
            let flow = match queue.next(now) {
                Next::Turn(sender, charge) => {
                    self.word.fetch_add(1, Ordering::SeqCst);
                    turns.push((sender, charge));
                    charge.flow()
                }
                Next::Late(sender, flow) => {
                    late.push(sender);
                    flow
                }
                Next::Nobody => break,
            };
            self.tally.set(flow, queue.waiting_of(flow));
        }
        self.note(&queue);
        drop(queue);
        drop(late); // which wakes them
        (turns, more)
    }

    /// One that waited waits no longer.
    fn forget(&self, ticket: Ticket) {
        let mut queue = self.lock();
        let gone = queue.remove(ticket);
        self.tally.set(ticket.flow(), queue.waiting_of(ticket.flow()));
        self.note(&queue);
        drop(queue);
        drop(gone);
    }

    /// Tells those without the lock what the queue is like.
    fn note(&self, queue: &Queue<oneshot::Sender<Grant>>) {
        self.waiting.store(queue.len(), Ordering::Relaxed);
        if queue.is_empty() {
            self.tally.clear();
            self.word.fetch_and(!WAITING, Ordering::SeqCst);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Grant>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// A thread's way to `gate`.
    pub fn of(gate: &Arc<Gate>) -> Self {
        Self(Rc::new(Way { gate: Arc::clone(gate) }))
    }

    /// How many the gate lets in at once; `None` = any number.
    pub fn limit(&self) -> Option<u32> {
        self.0.gate.state().limit
    }

    /// Whether it leads to this gate.
    pub fn leads_to(&self, gate: &Arc<Gate>) -> bool {
        Arc::ptr_eq(&self.0.gate, gate)
    }

    /// Whether nothing on its thread needs it.
    pub fn is_idle(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }

    /// Comes in where there is room and nobody waits.
    pub fn try_enter(&self, kind: Kind, now: Instant) -> Option<Permit> {
        let gate = &self.0.gate;
        let limit = u64::from(gate.limit.load(Ordering::Relaxed));
        let mut word = gate.word.load(Ordering::Relaxed);
        while word < limit {
            // Where somebody waits the word is larger than any limit.
            match gate.word.compare_exchange_weak(
                word,
                word + 1,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    return Some(Permit::new(self, kind, now));
                }
                Err(other) => word = other,
            }
        }
        None
    }

    /// As [`Handle::try_enter`], and only while fewer than half of those are in that may be: for who is to
    /// leave room to others.
    pub fn try_enter_spare(&self, kind: Kind, now: Instant) -> Option<Permit> {
        let gate = &self.0.gate;
        let most = u64::from(gate.limit.load(Ordering::Relaxed).div_ceil(2));
        // Where somebody waits the word is larger than any limit.
        let more = |word: u64| (word < most).then(|| word + 1);
        gate.word.fetch_update(Ordering::SeqCst, Ordering::Relaxed, more).ok()?;
        Some(Permit::new(self, kind, now))
    }

    /// What work of a kind is assumed to take, for a [`Claim`].
    pub fn cost(&self, kind: Kind) -> u32 {
        self.0.gate.costs.of(kind)
    }

    /// Comes to a gate that has no room, or before which others wait.
    pub fn come(&self, kind: Kind, claim: &Claim, now: Instant) -> Came {
        let gate = &self.0.gate;
        let mut queue = gate.lock();
        // From here on who leaves looks at the queue, and nobody else comes in.
        let word = gate.word.fetch_or(WAITING, Ordering::SeqCst);
        if queue.is_empty() && inside(word) < u64::from(gate.limit.load(Ordering::SeqCst)) {
            gate.word.fetch_add(1, Ordering::SeqCst);
            gate.word.fetch_and(!WAITING, Ordering::SeqCst);
            return Came::In(Permit::new(self, kind, now));
        }
        let (sender, turn) = oneshot::channel();
        let pushed = queue.push(claim, sender);
        gate.tally.set(claim.flow, queue.waiting_of(claim.flow));
        gate.note(&queue);
        drop(queue);
        match pushed {
            Ok(ticket) => {
                let (handle, until) = (self.clone(), claim.until);
                Came::Waits(Waiting { handle, kind, ticket: Some(ticket), until, turn })
            }
            Err(_) => Came::Full,
        }
    }
}

/// Who is next, and what it was charged.
type Turn = (oneshot::Sender<Grant>, Charge);

impl Waiting {
    /// Waits for its turn; `None` where that takes too long.
    pub async fn turn(mut self) -> Option<Permit> {
        let turn = timeout_at(self.until, &mut self.turn).await;
        let grant = match turn {
            Ok(granted) => granted.ok(),
            Err(_) => self.turn.try_recv().ok(), // it may have come at the same time
        };
        let mut grant = grant?;
        grant.gate = None; // the permit gives the place back
        self.ticket = None;
        let mut permit = Permit::new(&self.handle, self.kind, Instant::now());
        permit.charge = Some(grant.charge);
        Some(permit)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.turn.close();
            self.handle.0.gate.forget(ticket);
            // A place that came meanwhile goes on to the next one.
            drop(self.turn.try_recv());
        }
    }
}

impl Permit {
    fn new(handle: &Handle, kind: Kind, since: Instant) -> Self {
        Self { handle: handle.clone(), since, kind, charge: None, learns: false }
    }

    /// What it was for has ended as it should: the gate learns from how long it took.
    pub fn done(&mut self) {
        self.learns = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let learns = self.learns && (self.charge.is_some() || fastrand::u8(..) < SAMPLED);
        let took = if learns || self.charge.is_some() { cost(self.since.elapsed()) } else { 0 };
        if learns {
            self.handle.0.gate.costs.learn(self.kind, took);
        }
        self.handle.0.gate.leave(self.charge.map(|charge| (charge, took)));
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.leave(Some((self.charge, 0)));
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("since", &self.since).finish_non_exhaustive()
    }
}

/// How many are in, by the word.
fn inside(word: u64) -> u64 {
    word & !WAITING
}

/// Somebody waits.
const WAITING: u64 = 1 << 63;
/// Everybody is let in.
const OPEN: u32 = u32::MAX;
/// 64 turns, 10 to 50 µs, before others have the lock.
const MOST: usize = 64;
/// One in eight that did not wait is learned from, so that most write nothing that all threads read.
const SAMPLED: u8 = 32;

#[cfg(test)]
mod tests;
