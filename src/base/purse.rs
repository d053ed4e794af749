//! What one client holds of the memory for all of them ([`Memory`](super::memory::Memory)), over all
//! workers, and how much of it it may: so that no client can take what the others need.
//!
//! Each connection has a purse, which draws from its client's count in steps: so a request writes to
//! no cache line that workers share, and looks nothing up.
//!
//! From three quarters of its share on a client gets no further connections: the rest is for what those
//! that it has ask for. Each has drawn for one usual exchange beforehand, so that no number of idle ones leaves
//! them without.
//!
//! **Invariants:** what was taken is given back when its [`Paid`] is dropped, and what the connection
//! itself takes with its purse. A purse has drawn at least what it holds, and where nothing is under way one
//! or two steps beyond that. What it has drawn is written by its connection's worker alone, on one thread:
//! other threads read it at most. So all that counts with a purse is dropped there, too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::memory::{Account, Counted, Refused, Space};

/// What all connections of one client have drawn.
#[derive(Debug)]
pub struct Client {
    /// Whose it is, as [`owner`](super::network::owner) tells.
    pub address: u128,
    drawn: AtomicU64,
}

/// What one connection of a client holds.
#[derive(Debug)]
pub struct Purse {
    account: Arc<Account>,
    /// `None` = whoever it is may take all that there is.
    client: Option<Arc<Client>>,
    /// What the connection itself takes.
    own: u64,
    held: AtomicU64,
    drawn: AtomicU64,
}

/// Bytes that are counted as a connection's, until dropped.
#[derive(Debug)]
pub struct Paid {
    purse: Arc<Purse>,
    bytes: u64,
}

/// Who has no memory left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// The gateway.
    Gateway,
    /// The client, whose share is used up.
    Client,
}

/// How large the reads of a body may get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Appetite {
    /// As large as much that comes makes them.
    #[default]
    Usual,
    /// Small: its client has used much of its share.
    Little,
}

/// The parts of one body on their way to who takes slowly.
#[derive(Debug, Default)]
pub struct Passage {
    /// The last part that went while its client had much, where it is still on its way.
    last: Weak<Space<Lent>>,
}

/// Bytes that count as the client's alone, until dropped: a worker's account has them already.
#[derive(Debug)]
struct Lent {
    purse: Arc<Purse>,
    bytes: u64,
}

impl Client {
    /// One that holds nothing.
    pub fn new(address: u128) -> Arc<Self> {
        Arc::new(Self { address, drawn: AtomicU64::new(0) })
    }

    /// What its connections have drawn, in bytes.
    pub fn drawn(&self) -> u64 {
        self.drawn.load(Ordering::Relaxed)
    }

    /// Whether it has used up its share of the memory that this is an account of.
    pub fn is_full(&self, account: &Account) -> bool {
        self.drawn() >= account.share()
    }

    /// Whether it has used so much of it that it gets no further connections.
    pub fn is_crowded(&self, account: &Account) -> bool {
        self.drawn() >= account.share() / 4 * 3
    }
}

impl Purse {
    /// The purse of a connection that takes `bytes` itself. Where clients have no bound, or it is
    /// nobody's, they count as the worker's alone.
    pub fn open(account: &Arc<Account>, client: Option<&Arc<Client>>, bytes: u64) -> Arc<Self> {
        let client = client.filter(|_| account.share() < u64::MAX).map(Arc::clone);
        let account = Arc::clone(account);
        let (held, drawn) = (AtomicU64::new(0), AtomicU64::new(0));
        let purse = Arc::new(Self { account, client, own: bytes, held, drawn });
        purse.account.add(bytes);
        // With room for one exchange.
        purse.draw(bytes + STEP);
        purse.put_back(STEP);
        purse
    }

    /// The worker's account, which all of it is drawn from.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Takes `bytes` for what is under way and cannot do without them.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Paid {
        self.add(bytes);
        Paid { purse: Arc::clone(self), bytes }
    }

    /// Takes `bytes` for something new.
    ///
    /// # Errors
    /// When memory is full, or the client's share of it and the connection has drawn no room for it.
    pub fn begin(self: &Arc<Self>, what: Refused, bytes: u64) -> Result<Paid, Short> {
        if self.account.is_full() {
            self.account.refuse(what);
            return Err(Short::Gateway);
        }
        let is_full = |client: &Arc<Client>| client.is_full(&self.account);
        if !self.has_room(bytes) && self.client.as_ref().is_some_and(is_full) {
            self.account.refuse(what.of_client());
            return Err(Short::Client);
        }
        Ok(self.take(bytes))
    }

    /// Whether so much was drawn already.
    fn has_room(&self, bytes: u64) -> bool {
        self.held.load(Ordering::Relaxed) + bytes <= self.drawn.load(Ordering::Relaxed)
    }

    /// Whether the client has used half of its share: what one can do without is not taken any more.
    fn is_tight(&self) -> bool {
        let share = self.account.share();
        self.client.as_ref().is_some_and(|client| client.drawn() > share / 2)
    }

    fn add(&self, bytes: u64) {
        self.account.add(bytes);
        self.draw(bytes);
    }

    fn give_back(&self, bytes: u64) {
        self.account.give_back(bytes);
        let held = self.put_back(bytes);
        self.settle(held);
    }

    /// Counts `bytes` as the client's.
    fn draw(&self, bytes: u64) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let Some(client) = &self.client else { return };
        let drawn = self.drawn.load(Ordering::Relaxed);
        if held > drawn {
            let more = (held - drawn).next_multiple_of(STEP);
            self.drawn.fetch_add(more, Ordering::Relaxed);
            client.drawn.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// The connection holds `bytes` less; the steps stay drawn. Gives what it holds.
    fn put_back(&self, bytes: u64) -> u64 {
        let before = self.held.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "{bytes} of {before} bytes are given back");
        before - bytes
    }

    /// Gives the steps back that it does not need for what it holds.
    fn settle(&self, held: u64) {
        let Some(client) = &self.client else { return };
        let spare = self.drawn.load(Ordering::Relaxed).saturating_sub(held);
        // Steps stay: who asks again and again draws nothing each time.
        if spare > 2 * STEP {
            let less = (spare - STEP) / STEP * STEP;
            let drawn = self.drawn.fetch_sub(less, Ordering::Relaxed);
            debug_assert!(drawn >= less, "two threads write to one purse");
            let drawn = client.drawn.fetch_sub(less, Ordering::Relaxed);
            debug_assert!(drawn >= less, "a client has drawn less than one of its purses");
        }
    }
}

impl Drop for Purse {
    fn drop(&mut self) {
        // Nobody has anything of it any more: what is left is the connection's own.
        self.account.give_back(*self.held.get_mut());
        if let Some(client) = &self.client {
            client.drawn.fetch_sub(*self.drawn.get_mut(), Ordering::Relaxed);
        }
    }
}

impl Paid {
    /// How much is counted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts `bytes` more that one can do without, unless memory is tight, or the client's share.
    pub fn ask_more(&mut self, what: Refused, bytes: u64) -> bool {
        let purse = &self.purse;
        if purse.account.is_tight() {
            purse.account.refuse(what);
            return false;
        }
        if purse.is_tight() {
            purse.account.refuse(what.of_client());
            return false;
        }
        purse.add(bytes);
        self.bytes += bytes;
        true
    }

    /// How large the reads of the client's bodies may get.
    pub fn appetite(&self) -> Appetite {
        if self.purse.is_tight() { Appetite::Little } else { Appetite::Usual }
    }

    /// Gives back what was drawn for large parts that are gone.
    pub fn settle(&self) {
        self.purse.settle(self.purse.held.load(Ordering::Relaxed));
    }

    /// Gives all of it back.
    pub fn clear(&mut self) {
        self.purse.give_back(std::mem::take(&mut self.bytes));
    }

    /// A part of what is counted: it is until the last of all parts is gone.
    pub fn part(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Counted::new(bytes, Arc::clone(self)))
    }
}

impl Drop for Paid {
    fn drop(&mut self) {
        self.purse.give_back(self.bytes);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let held = self.purse.put_back(self.bytes);
        // An exchange that has large parts draws for them once: its end gives that back. Where the client has
        // much it counts at once, and the last part may outlive its exchange.
        if held <= self.purse.own || self.purse.is_tight() {
            self.purse.settle(held);
        }
    }
}

impl Passage {
    /// Where the client has used much of its share, the next part is read once the one before it has
    /// been taken.
    pub fn poll_turn(&self, paid: &Paid, context: &Context<'_>) -> Poll<()> {
        if self.last.strong_count() == 0 || !paid.purse.is_tight() {
            return Poll::Ready(());
        }
        self.last.upgrade().map_or(Poll::Ready(()), |last| last.poll_free(context))
    }

    /// A part goes on its way. Until it is gone it counts as that client's who has paid for the exchange. What it
    /// is read into counts as the worker's already: it goes from client to client. A few bytes are in what an
    /// exchange takes.
    pub fn count(&mut self, paid: &Paid, part: Bytes) -> Bytes {
        if paid.purse.client.is_none() || part.len() <= FEW {
            return part;
        }
        let (purse, bytes) = (Arc::clone(&paid.purse), part.len() as u64);
        purse.draw(bytes);
        let lent = Lent { purse, bytes };
        if !lent.purse.is_tight() {
            return Bytes::from_owner(Counted::new(part, lent));
        }
        let space = Space::new(lent);
        self.last = Arc::downgrade(&space);
        space.part(part)
    }
}

/// 16 KiB: what an exchange takes, so that one after the other draws once.
const STEP: u64 = 16 << 10;
/// 4 KiB: what an exchange has room for beside its heads.
const FEW: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use crate::base::memory::Memory;

    use super::*;

    const SHARE: u64 = 1 << 20;

    fn memory(workers: usize) -> Memory {
        Memory::shared(8 << 20, SHARE, workers)
    }

    #[test]
    fn a_client_at_its_share_begins_nothing_new_over_all_workers_and_another_does() {
        let memory = memory(2);
        let (one, other) = (Client::new(1), Client::new(2));
        let purse = |worker, client| Purse::open(&memory.account(worker), Some(client), 100);
        let (here, there, others) = (purse(0, &one), purse(1, &one), purse(1, &other));
        let first = here.begin(Refused::Request, SHARE).unwrap();

        assert_eq!(there.begin(Refused::Request, 2 * STEP).unwrap_err(), Short::Client);
        assert!(one.is_full(&memory.account(1)) && !other.is_full(&memory.account(1)));
        assert!(others.begin(Refused::Request, 1).is_ok());
        let under_way = there.take(1);
        drop(first);
        assert!(there.begin(Refused::Request, 2 * STEP).is_ok());
        drop((here, there, others, under_way));

        assert_eq!((one.drawn(), other.drawn(), memory.held()), (0, 0, 0));
        let refused = [Refused::Request, Refused::ClientRequest].map(|what| memory.refused(what));
        assert_eq!(refused, [0, 1]);
    }

    #[test]
    fn however_many_idle_connections_a_client_has_each_may_begin_a_usual_exchange() {
        for own in [1, 36 << 10, 60 << 10] {
            let memory = memory(2);
            let (one, accounts) = (Client::new(1), [memory.account(0), memory.account(1)]);
            let mut purses = Vec::new();
            while !one.is_crowded(&accounts[0]) {
                purses.push(Purse::open(&accounts[purses.len() % 2], Some(&one), own));
            }
            assert!(!one.is_full(&accounts[0]));

            let begin = |purse: &Arc<Purse>| purse.begin(Refused::Request, STEP).unwrap();
            let idle: Vec<Paid> = purses.iter().map(begin).collect();
            drop(idle);
            // What one asks for beyond that leaves the others theirs.
            let _much = purses[0].take(SHARE);
            assert_eq!(purses[1].begin(Refused::Request, 3 * STEP).unwrap_err(), Short::Client);
            let all: Vec<Paid> = purses.iter().skip(1).map(begin).collect();

            assert_eq!(all.len(), purses.len() - 1);
        }
    }

    #[test]
    fn half_of_a_share_leaves_nothing_for_what_one_can_do_without() {
        let memory = memory(1);
        let purse = Purse::open(&memory.account(0), Some(&Client::new(1)), 0);
        let mut kept = purse.take(0);
        assert!(kept.ask_more(Refused::Replay, SHARE / 2 + 1));

        assert!(!kept.ask_more(Refused::Replay, 1));
        assert!(purse.begin(Refused::Request, 1).is_ok());
        kept.clear();
        assert!(kept.ask_more(Refused::Replay, 1));
        assert_eq!(memory.refused(Refused::ClientReplay), 1);
    }

    #[test]
    fn where_the_gateway_is_full_that_is_what_is_told() {
        let memory = memory(1);
        let _others = memory.account(0).take(8 << 20);
        let purse = Purse::open(&memory.account(0), Some(&Client::new(1)), SHARE);

        assert_eq!(purse.begin(Refused::Request, 1).unwrap_err(), Short::Gateway);
    }

    #[test]
    fn one_exchange_after_the_other_draws_once() {
        let memory = memory(1);
        let client = Client::new(1);
        let purse = Purse::open(&memory.account(0), Some(&client), 36 << 10);
        drop(purse.take(STEP));
        let drawn = client.drawn();

        for _ in 0..10 {
            let exchange = purse.take(STEP);
            assert_eq!(client.drawn(), drawn);
            drop(exchange);
        }
        assert_eq!(client.drawn(), drawn);
    }

    #[test]
    fn without_a_bound_or_a_client_nothing_is_counted_as_a_client_s() {
        let client = Client::new(1);
        let boundless = Memory::new(8 << 20, 1);
        let bounded = memory(1);
        let purses = [
            Purse::open(&boundless.account(0), Some(&client), 100),
            Purse::open(&bounded.account(0), None, 100),
        ];

        let paid = purses.each_ref().map(|purse| purse.begin(Refused::Request, SHARE).unwrap());

        assert_eq!(
            (client.drawn(), boundless.held(), bounded.held()),
            (0, SHARE + 100, SHARE + 100)
        );
        assert!(purses[1].begin(Refused::Request, 1).is_ok());
        drop((paid, purses));
        assert_eq!((boundless.held(), bounded.held()), (0, 0));
    }

    #[test]
    fn parts_count_as_the_client_s_while_they_are_on_their_way_and_go_one_by_one_where_it_has_much()
    {
        let memory = memory(1);
        let client = Client::new(1);
        let purse = Purse::open(&memory.account(0), Some(&client), 0);
        let context = Context::from_waker(Waker::noop());
        let (mut passage, paid) = (Passage::default(), purse.take(0));
        let part = Bytes::from(vec![7; 64 << 10]);

        let few = passage.count(&paid, part.slice(..FEW));
        assert_eq!(client.drawn(), STEP);
        let first = passage.count(&paid, part.clone());
        assert!(client.drawn() >= 64 << 10 && first == part && few == part[..FEW]);
        assert_eq!(memory.held(), 0, "who read it counts that");
        assert!(passage.poll_turn(&paid, &context).is_ready());

        assert_eq!(paid.appetite(), Appetite::Usual);
        let much = purse.take(SHARE / 2);
        assert_eq!(paid.appetite(), Appetite::Little);
        assert!(passage.poll_turn(&paid, &context).is_ready(), "it had little when that went");
        let second = passage.count(&paid, part.clone());
        assert!(passage.poll_turn(&paid, &context).is_pending());
        drop(second);
        assert!(passage.poll_turn(&paid, &context).is_ready());
        drop(first);
        drop((much, passage, paid, purse));
        assert_eq!(client.drawn(), 0);
    }

    #[test]
    fn large_parts_of_one_exchange_draw_once_and_its_end_or_that_of_the_last_gives_it_back() {
        let memory = memory(1);
        let client = Client::new(1);
        let purse = Purse::open(&memory.account(0), Some(&client), 36 << 10);
        let part = Bytes::from(vec![7; 256 << 10]);
        let idle = client.drawn();
        for is_last_to_go in [false, true] {
            let (mut passage, paid) = (Passage::default(), purse.take(STEP));
            let mut last = passage.count(&paid, part.clone());
            let drawn = client.drawn();
            for _ in 0..10 {
                drop(last);
                assert_eq!(client.drawn(), drawn);
                last = passage.count(&paid, part.clone());
            }
            assert_eq!(client.drawn(), drawn);

            if is_last_to_go {
                drop(paid);
                drop(last);
            } else {
                drop(last);
                drop(paid);
            }

            assert!(client.drawn() <= idle, "{}", client.drawn());
        }
        drop(purse);
        assert_eq!((client.drawn(), memory.held()), (0, 0));
    }
}
