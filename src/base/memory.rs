//! What the process holds in memory for clients and endpoints, and how much it may: one budget, and
//! for each worker an account that draws from it in large steps, so that workers seldom meet at it.
//! Knows sizes alone; what they are of is the business of who takes them.
//!
//! **Invariants:** what was taken is given back when its [`Held`] is dropped. An account has drawn
//! at least what it holds, and no more than two steps beyond that.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// The budget of the process.
#[derive(Debug)]
pub struct Memory {
    pot: Arc<Pot>,
    accounts: Vec<Arc<Account>>,
}

/// One worker's share of the budget. Written by its worker alone, so that no two workers write to
/// one cache line for each request.
#[derive(Debug)]
#[repr(align(128))]
pub struct Account {
    pot: Arc<Pot>,
    held: AtomicU64,
    drawn: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
}

/// Bytes that are counted, until dropped.
#[derive(Debug)]
pub struct Held {
    account: Arc<Account>,
    bytes: u64,
}

/// Counted memory whose parts are on their way. It counts until the last of them is gone.
#[derive(Debug)]
pub struct Space<H = Held> {
    _held: H,
    awaited: AtomicBool,
    /// Who waits until no part is on its way. Looked at where memory is short alone.
    waker: Mutex<Option<Waker>>,
}

/// What was not granted since memory was short: the closed set of the `what` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A client's connection.
    Connection,
    /// A request.
    Request,
    /// Keeping a request's body for a retry.
    Replay,
    /// A large read; a small one was made.
    Read,
    /// A copy of a request for another pool.
    Mirror,
    /// A connection of a client whose own share is used up.
    ClientConnection,
    /// A request of one.
    ClientRequest,
    /// Keeping a request's body for a retry, for a client that has used half of its share.
    ClientReplay,
}

#[derive(Debug)]
struct Pot {
    limit: u64,
    /// What one client may have of it.
    share: u64,
    step: u64,
    drawn: AtomicU64,
}

impl Refused {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Connection,
        Self::Request,
        Self::Replay,
        Self::Read,
        Self::Mirror,
        Self::ClientConnection,
        Self::ClientRequest,
        Self::ClientReplay,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Request => "request",
            Self::Replay => "replay",
            Self::Read => "read",
            Self::Mirror => "mirror",
            Self::ClientConnection => "client_connection",
            Self::ClientRequest => "client_request",
            Self::ClientReplay => "client_replay",
        }
    }

    /// The same where it is the client's own share that is used up.
    pub(super) fn of_client(self) -> Self {
        match self {
            Self::Connection => Self::ClientConnection,
            Self::Request => Self::ClientRequest,
            Self::Replay => Self::ClientReplay,
            other => other,
        }
    }
}

impl Memory {
    /// A budget of `limit` bytes for so many workers, of which one client may have all.
    pub fn new(limit: u64, workers: usize) -> Self {
        Self::shared(limit, u64::MAX, workers)
    }

    /// A budget of `limit` bytes for so many workers, of which one client may have `share`; `u64::MAX`
    /// = any.
    pub fn shared(limit: u64, share: u64, workers: usize) -> Self {
        // What the workers have drawn and do not hold is a 16th of the budget at most.
        let step = (limit / (32 * workers.max(1) as u64)).clamp(1, LARGEST_STEP);
        let pot = Arc::new(Pot { limit, share, step, drawn: AtomicU64::new(0) });
        let accounts = std::iter::repeat_with(|| Account::new(&pot)).take(workers).collect();
        Self { pot, accounts }
    }

    /// The account of a worker, by its number.
    pub fn account(&self, worker: usize) -> Arc<Account> {
        match self.accounts.get(worker) {
            Some(account) => Arc::clone(account),
            None => Account::new(&self.pot),
        }
    }

    /// The budget, in bytes.
    pub fn limit(&self) -> u64 {
        self.pot.limit
    }

    /// What all workers hold, in bytes.
    pub fn held(&self) -> u64 {
        self.accounts.iter().map(|account| account.held.load(Ordering::Relaxed)).sum()
    }

    /// How often all workers were refused it.
    pub fn refused(&self, what: Refused) -> u64 {
        let refused =
            |account: &Arc<Account>| account.refused[what as usize].load(Ordering::Relaxed);
        self.accounts.iter().map(refused).sum()
    }
}

impl Account {
    fn new(pot: &Arc<Pot>) -> Arc<Self> {
        Arc::new(Self {
            pot: Arc::clone(pot),
            held: AtomicU64::new(0),
            drawn: AtomicU64::new(0),
            refused: Default::default(),
        })
    }

    /// An account without a limit, for what has no budget.
    pub fn unlimited() -> Arc<Self> {
        Memory::new(u64::MAX, 1).account(0)
    }

    /// What one client may have of the budget, in bytes; `u64::MAX` = any.
    pub(super) fn share(&self) -> u64 {
        self.pot.share
    }

    /// Whether memory is short: what one can do without is not taken any more.
    pub fn is_tight(&self) -> bool {
        self.pot.is_above(TIGHT)
    }

    /// Whether memory is so short that nothing new may begin. The rest of the budget is for what is
    /// under way.
    pub fn is_full(&self) -> bool {
        self.pot.is_above(FULL)
    }

    /// Takes `bytes` for what is under way and cannot do without them.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Held {
        self.add(bytes);
        Held { account: Arc::clone(self), bytes }
    }

    /// Takes `bytes` for something new, unless memory is full.
    pub fn begin(self: &Arc<Self>, what: Refused, bytes: u64) -> Option<Held> {
        if self.is_full() {
            self.refuse(what);
            return None;
        }
        Some(self.take(bytes))
    }

    /// Takes `bytes` that one can do without, unless memory is tight.
    pub fn ask(self: &Arc<Self>, what: Refused, bytes: u64) -> Option<Held> {
        if self.is_tight() {
            self.refuse(what);
            return None;
        }
        Some(self.take(bytes))
    }

    /// Takes `bytes` for what is the first to be given up, while there is plenty.
    pub fn ask_spare(self: &Arc<Self>, what: Refused, bytes: u64) -> Option<Held> {
        if self.pot.is_above(PLENTY) {
            self.refuse(what);
            return None;
        }
        Some(self.take(bytes))
    }

    /// Takes `bytes` while there is plenty, and nothing where memory is tight: for what is then among
    /// the little that was taken beforehand.
    pub fn count(self: &Arc<Self>, bytes: u64) -> Held {
        self.take(if self.is_tight() { 0 } else { bytes })
    }

    /// Counts something that was not granted.
    pub fn refuse(&self, what: Refused) {
        self.refused[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add(&self, bytes: u64) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let drawn = self.drawn.load(Ordering::Relaxed);
        if held > drawn {
            let more = (held - drawn).next_multiple_of(self.pot.step);
            self.drawn.fetch_add(more, Ordering::Relaxed);
            self.pot.drawn.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub(super) fn give_back(&self, bytes: u64) {
        let held = self.held.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        let spare = self.drawn.load(Ordering::Relaxed).saturating_sub(held);
        // One step stays: who takes and gives back a little draws nothing each time.
        if spare > 2 * self.pot.step {
            let less = (spare - self.pot.step) / self.pot.step * self.pot.step;
            self.drawn.fetch_sub(less, Ordering::Relaxed);
            self.pot.drawn.fetch_sub(less, Ordering::Relaxed);
        }
    }
}

impl Pot {
    fn is_above(&self, eighths: u64) -> bool {
        self.drawn.load(Ordering::Relaxed) > self.limit / 8 * eighths
    }
}

impl Held {
    /// How much is counted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts `bytes` more that one can do without, unless memory is tight.
    pub fn ask_more(&mut self, what: Refused, bytes: u64) -> bool {
        if self.account.is_tight() {
            self.account.refuse(what);
            return false;
        }
        self.account.add(bytes);
        self.bytes += bytes;
        true
    }

    /// Counts `bytes` more for what is the first to be given up, while there is plenty.
    pub fn ask_more_spare(&mut self, what: Refused, bytes: u64) -> bool {
        if self.account.pot.is_above(PLENTY) {
            self.account.refuse(what);
            return false;
        }
        self.account.add(bytes);
        self.bytes += bytes;
        true
    }

    /// Gives all of it back.
    pub fn clear(&mut self) {
        self.account.give_back(std::mem::take(&mut self.bytes));
    }

    /// Bytes that all of it is for.
    pub fn whole(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted { bytes, _held: self })
    }

    /// A part of what is counted: it is until the last of all parts is gone.
    pub fn part(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted { bytes, _held: Arc::clone(self) })
    }
}

impl<H: Send + Sync + 'static> Space<H> {
    /// Memory that `held` counts.
    pub fn new(held: H) -> Arc<Self> {
        Arc::new(Self { _held: held, awaited: AtomicBool::new(false), waker: Mutex::default() })
    }

    /// A part of it goes on its way.
    pub fn part(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let way = Way(Arc::clone(self));
        Bytes::from_owner(Counted { bytes, _held: way })
    }

    /// Ready where no part is on its way.
    pub fn poll_free(self: &Arc<Self>, context: &Context<'_>) -> Poll<()> {
        if Arc::strong_count(self) == 1 {
            return Poll::Ready(());
        }
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        *waker = Some(context.waker().clone());
        self.awaited.store(true, Ordering::Relaxed);
        Poll::Pending
    }
}

/// One part on its way.
struct Way<H>(Arc<Space<H>>);

impl<H> Drop for Way<H> {
    fn drop(&mut self) {
        let space = &self.0;
        // The last one beside who waits for it. All are dropped on one worker's thread.
        if space.awaited.load(Ordering::Relaxed) && Arc::strong_count(space) <= 2 {
            space.awaited.store(false, Ordering::Relaxed);
            if let Some(waker) = space.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
                waker.wake();
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

/// Bytes, and what counts them.
pub(super) struct Counted<H> {
    bytes: Bytes,
    _held: H,
}

impl<H> Counted<H> {
    pub(super) fn new(bytes: Bytes, held: H) -> Self {
        Self { bytes, _held: held }
    }
}

impl<H> AsRef<[u8]> for Counted<H> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Up to three eighths of the budget there is enough for what nobody waits for. It never makes memory tight by
/// itself.
const PLENTY: u64 = 3;
/// From one half of the budget on nobody gets what can be done without: the first to come would
/// leave too little for those who need little.
const TIGHT: u64 = 4;
/// From seven eighths on nothing new begins.
const FULL: u64 = 7;
/// 1 MiB: some hundred requests pass between two draws.
const LARGEST_STEP: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    #[test]
    fn what_is_dropped_is_given_back() {
        let memory = Memory::new(8 << 20, 2);
        let (one, other) = (memory.account(0), memory.account(1));
        let held = (one.take(1000), other.take(500));
        assert_eq!(memory.held(), 1500);

        drop(held);

        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn first_goes_what_one_can_do_without_then_what_is_new_and_never_what_is_under_way() {
        let memory = Memory::new(1000, 1);
        let account = memory.account(0);
        let first = account.ask(Refused::Read, 760).unwrap();
        assert!(account.ask(Refused::Read, 1).is_none());
        let second = account.begin(Refused::Request, 120).unwrap();
        assert!(account.begin(Refused::Request, 1).is_none());
        let third = account.take(500);
        assert_eq!(memory.held(), 1380);

        assert_eq!(account.count(5).bytes(), 0, "it was taken beforehand");

        drop((second, third));
        assert!(account.begin(Refused::Request, 1).is_some());
        drop(first);
        assert!(account.ask(Refused::Read, 1).is_some());
        let refused = Refused::ALL.map(|what| memory.refused(what));
        assert_eq!(refused, [0, 1, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn what_nobody_waits_for_is_refused_before_anything_else() {
        let memory = Memory::new(1000, 1);
        let account = memory.account(0);
        let mut spare = account.ask_spare(Refused::Mirror, 300).unwrap();
        assert!(spare.ask_more_spare(Refused::Mirror, 100));

        assert!(account.ask_spare(Refused::Mirror, 1).is_none());
        assert!(!spare.ask_more_spare(Refused::Mirror, 1));
        assert!(account.ask(Refused::Replay, 1).is_some(), "others are not refused for it");
        assert_eq!((memory.held(), memory.refused(Refused::Mirror)), (400, 2));
    }

    #[test]
    fn what_one_worker_holds_is_missing_for_the_other() {
        let memory = Memory::new(64 << 20, 2);
        let _held = memory.account(0).take(60 << 20);

        assert!(memory.account(1).is_full());
    }

    #[test]
    fn bytes_count_until_the_last_part_of_them_is_gone() {
        let memory = Memory::new(1 << 20, 1);
        let held = Arc::new(memory.account(0).take(100));
        let mut whole = held.part(Bytes::from_static(b"hello world"));
        drop(held);
        let part = whole.split_to(5);
        drop(whole);
        assert_eq!((&part[..], memory.held()), (&b"hello"[..], 100));

        drop(part);

        assert_eq!(memory.held(), 0);
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_for_the_parts_of_a_space_hears_when_the_last_is_gone() {
        let memory = Memory::new(1 << 20, 1);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let context = Context::from_waker(&waker);
        let space = Space::new(memory.account(0).take(100));
        assert!(space.poll_free(&context).is_ready());
        let [one, two] = [b"one", b"two"].map(|bytes| space.part(Bytes::from_static(bytes)));
        assert!(space.poll_free(&context).is_pending());

        drop(one);
        assert!(!woken.0.load(Ordering::Relaxed));
        drop(two);

        assert!(woken.0.load(Ordering::Relaxed) && space.poll_free(&context).is_ready());
    }

    proptest! {
        /// Takes and drops in any order on two workers: what is drawn covers what is held and is
        /// never far beyond it, and all of it comes back.
        #[test]
        fn what_is_drawn_follows_what_is_held(
            steps in prop::collection::vec((any::<bool>(), 0_u64..300_000, any::<prop::sample::Index>()), 1..200)
        ) {
            let memory = Memory::new(4 << 20, 2);
            let accounts = [memory.account(0), memory.account(1)];
            let mut held: Vec<Held> = Vec::new();
            for (first, bytes, index) in steps {
                if bytes % 3 == 0 && !held.is_empty() {
                    held.swap_remove(index.index(held.len()));
                } else {
                    held.push(accounts[usize::from(first)].take(bytes));
                }
                let sum: u64 = held.iter().map(Held::bytes).sum();
                assert_eq!(memory.held(), sum);
                let drawn = memory.pot.drawn.load(Ordering::Relaxed);
                assert!(drawn >= sum && drawn <= sum + 2 * 2 * memory.pot.step, "{drawn} for {sum}");
            }
            held.clear();
            assert_eq!(memory.held(), 0);
            assert!(memory.pot.drawn.load(Ordering::Relaxed) <= 2 * 2 * memory.pot.step);
        }
    }
}
