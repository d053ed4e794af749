//! What one client holds of the memory for all of them ([`Memory`](super::memory::Memory)), over all
//! workers, and how much of it it may: so that no client can take what the others need.
//!
//! Each connection has a purse, which draws from its client's count in steps: so a request writes to
//! no cache line that workers share, and looks nothing up.
//!
//! **Invariants:** what was taken is given back when its [`Paid`] is dropped, and what the connection
//! itself takes with its purse. A purse has drawn at least what it holds, and no more than two steps
//! beyond that.

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
    /// The last part, where it is still on its way.
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
}

impl Purse {
    /// The purse of a connection that takes `bytes` itself. Where clients have no bound, or it is
    /// nobody's, they count as the worker's alone.
    pub fn open(account: &Arc<Account>, client: Option<&Arc<Client>>, bytes: u64) -> Arc<Self> {
        let client = client.filter(|_| account.share() < u64::MAX).map(Arc::clone);
        let account = Arc::clone(account);
        let (held, drawn) = (AtomicU64::new(0), AtomicU64::new(0));
        let purse = Arc::new(Self { account, client, held, drawn });
        purse.add(bytes);
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
    /// When memory is full, or the client's share of it.
    pub fn begin(self: &Arc<Self>, what: Refused, bytes: u64) -> Result<Paid, Short> {
        if self.account.is_full() {
            self.account.refuse(what);
            return Err(Short::Gateway);
        }
        if self.client.as_ref().is_some_and(|client| client.is_full(&self.account)) {
            self.account.refuse(what.of_client());
            return Err(Short::Client);
        }
        Ok(self.take(bytes))
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
        self.put_back(bytes);
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

    /// Counts them as the client's no more.
    fn put_back(&self, bytes: u64) {
        let held = self.held.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        let Some(client) = &self.client else { return };
        let spare = self.drawn.load(Ordering::Relaxed).saturating_sub(held);
        // Steps stay: who asks again and again draws nothing each time.
        if spare > 2 * STEP {
            let less = (spare - STEP) / STEP * STEP;
            self.drawn.fetch_sub(less, Ordering::Relaxed);
            client.drawn.fetch_sub(less, Ordering::Relaxed);
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
        self.purse.put_back(self.bytes);
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

    /// A part goes on its way and counts as that client's until it is gone who has paid for the exchange. What it is read into counts
    /// as the worker's already: it goes from client to client. A few bytes are in what an exchange takes.
    pub fn count(&mut self, paid: &Paid, part: Bytes) -> Bytes {
        if paid.purse.client.is_none() || part.len() <= FEW {
            return part;
        }
        let (purse, bytes) = (Arc::clone(&paid.purse), part.len() as u64);
        purse.draw(bytes);
        let space = Space::new(Lent { purse, bytes });
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

        assert_eq!(there.begin(Refused::Request, 1).unwrap_err(), Short::Client);
        assert!(one.is_full(&memory.account(1)) && !other.is_full(&memory.account(1)));
        assert!(others.begin(Refused::Request, 1).is_ok());
        let under_way = there.take(1);
        drop(first);
        assert!(there.begin(Refused::Request, 1).is_ok());
        drop((here, there, others, under_way));

        assert_eq!((one.drawn(), other.drawn(), memory.held()), (0, 0, 0));
        let refused = [Refused::Request, Refused::ClientRequest].map(|what| memory.refused(what));
        assert_eq!(refused, [0, 1]);
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
        assert_eq!(client.drawn(), 0);
        let first = passage.count(&paid, part.clone());
        assert!(client.drawn() >= 64 << 10 && first == part && few == part[..FEW]);
        assert_eq!(memory.held(), 0, "who read it counts that");
        assert!(passage.poll_turn(&paid, &context).is_ready());

        assert_eq!(paid.appetite(), Appetite::Usual);
        let much = purse.take(SHARE / 2);
        assert_eq!(paid.appetite(), Appetite::Little);
        assert!(passage.poll_turn(&paid, &context).is_pending());
        drop(first);
        assert!(passage.poll_turn(&paid, &context).is_ready());
        drop((much, passage, paid, purse));
        assert_eq!(client.drawn(), 0);
    }
}
