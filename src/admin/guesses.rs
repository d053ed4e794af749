//! How many wrong tokens an address may show. Who shows more is not listened to for a while, so that
//! nobody tries many, and a program with an old token does not try for ever.
//!
//! **Invariant:** what an address does is held against no other, and takes a bounded memory. Where a
//! right token was shown lately, that token is heard whatever others at the address do: behind it may
//! be a network, or a machine with many users.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;

use crate::base::network::owner;
use crate::base::tokens::{Holder, Tokens};

/// What addresses have shown lately. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Guesses(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The tokens that others were wrong by: who has the new one already has not guessed.
    tokens: Weak<Tokens>,
    /// By owner of the address: when it has all of its guesses again.
    spent: HashMap<u128, Spent>,
    /// Right tokens, where they were shown: until when they are heard in any case.
    right: HashMap<(u128, Digest), Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Spent {
    whole: Instant,
    /// Whether the log tells of it.
    told: bool,
}

type Digest = [u8; 32];

/// Why a token is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    /// When the next one is.
    pub(super) wait: Duration,
    /// Whether it is the first since the address had all of its guesses.
    pub(super) is_first: bool,
}

impl Guesses {
    /// Who has a token that is shown at an address; `None` = nobody.
    ///
    /// # Errors
    /// When the address has shown too many wrong ones. Nothing is told of this one then.
    pub(super) fn judge(
        &self,
        from: IpAddr,
        token: &[u8],
        tokens: &Arc<Tokens>,
    ) -> Result<Option<Arc<Holder>>, TooMany> {
        let (owner, digest) = (owner(from), digest_of(token));
        let now = Instant::now();
        let mut known = self.known();
        let these = Arc::downgrade(tokens);
        if !known.tokens.ptr_eq(&these) {
            *known = Known { tokens: these, ..Known::default() };
        }
        let was_right = known.right.get(&(owner, digest)).is_some_and(|until| *until > now);
        // The lock is held, so that as many guesses at once are not one.
        if !was_right {
            known.wait(owner, now)?;
        }
        let holder = tokens.find(token).cloned();
        if holder.is_some() {
            make_room(&mut known.right, RIGHT, now, |until| *until);
            known.right.insert((owner, digest), now + KEPT);
        } else {
            known.spend(owner, now);
        }
        Ok(holder)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn wait(&mut self, owner: u128, now: Instant) -> Result<(), TooMany> {
        let Some(spent) = self.spent.get_mut(&owner) else { return Ok(()) };
        let left = spent.whole.saturating_duration_since(now) + EACH;
        match left.checked_sub(EACH * GUESSES) {
            Some(wait) if !wait.is_zero() => {
                let is_first = !std::mem::replace(&mut spent.told, true);
                Err(TooMany { wait, is_first })
            }
            _ => Ok(()),
        }
    }

    fn spend(&mut self, owner: u128, now: Instant) {
        make_room(&mut self.spent, SPENT, now, |spent| spent.whole);
        let fresh = Spent { whole: now, told: false };
        let spent = self.spent.entry(owner).or_insert(fresh);
        if spent.whole <= now {
            *spent = fresh;
        }
        spent.whole += EACH;
    }
}

/// Makes room for one more: what is over goes, and if that is not enough, the eighth that is so
/// soonest.
fn make_room<K: Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    most: usize,
    now: Instant,
    until: impl Fn(&V) -> Instant,
) {
    if map.len() < most {
        return;
    }
    map.retain(|_, value| until(value) > now);
    if map.len() >= most {
        let mut ends: Vec<Instant> = map.values().map(&until).collect();
        let (_, end, _) = ends.select_nth_unstable(most / 8);
        let end = *end;
        map.retain(|_, value| until(value) > end);
    }
}

fn digest_of(token: &[u8]) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest(&SHA256, token).as_ref());
    bytes
}

/// 10 at once: a person who looks for the right one, or a script with an old one.
const GUESSES: u32 = 10;

/// 6 s: ten a minute from then on.
const EACH: Duration = Duration::from_secs(6);

/// An hour: a scraper and a dashboard show theirs again within it.
const KEPT: Duration = Duration::from_secs(3600);

/// 4,096 addresses that have shown wrong ones: some hundred KiB. More at once push out those that have
/// nearly all of their guesses again, and get no more by it than a few.
const SPENT: usize = 4096;

/// 1,024 right ones: more than operators and their programs.
const RIGHT: usize = 1024;

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const RIGHT_ONE: &[u8] = b"0123456789abcdef";

    struct World {
        guesses: Guesses,
        tokens: Arc<Tokens>,
    }

    impl World {
        fn new() -> Self {
            let guesses = Guesses::default();
            Self { guesses, tokens: Arc::new(Tokens::parse("0123456789abcdef").unwrap()) }
        }

        fn show(&self, from: &str, token: &[u8]) -> Result<bool, TooMany> {
            let judged = self.guesses.judge(from.parse().unwrap(), token, &self.tokens);
            judged.map(|holder| holder.is_some())
        }

        fn exhaust(&self, from: &str) {
            for _ in 0..GUESSES {
                assert_eq!(self.show(from, b"wrong"), Ok(false));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_shows_many_wrong_tokens_is_not_listened_to_for_a_while() {
        let world = World::new();
        world.exhaust("10.0.0.1");

        let first = world.show("10.0.0.1", b"wrong").unwrap_err();
        assert_eq!(first, TooMany { wait: EACH, is_first: true });
        let right = world.show("10.0.0.1", RIGHT_ONE).unwrap_err();
        assert!(!right.is_first, "a right one is not told from others");

        advance(EACH).await;
        assert_eq!(world.show("10.0.0.1", b"wrong"), Ok(false));
        assert!(world.show("10.0.0.1", b"wrong").is_err(), "one each {EACH:?}");
        advance(EACH * GUESSES).await;
        world.exhaust("10.0.0.1");
        assert!(world.show("10.0.0.1", b"wrong").unwrap_err().is_first, "it is told again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_address_does_is_held_against_no_other() {
        let world = World::new();
        world.exhaust("10.0.0.1");
        world.exhaust("2001:db8:0:1::1");

        assert_eq!(world.show("10.0.0.2", RIGHT_ONE), Ok(true));
        assert_eq!(world.show("2001:db8:0:2::1", b"wrong"), Ok(false));
        assert!(world.show("2001:db8:0:1::2", b"wrong").is_err(), "one network of 64 bits");
        assert!(world.show("::ffff:10.0.0.1", b"wrong").is_err(), "it is the same address");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_was_right_is_heard_whatever_others_show_at_the_address() {
        let world = World::new();
        assert_eq!(world.show("127.0.0.1", RIGHT_ONE), Ok(true));
        world.exhaust("127.0.0.1");

        assert!(world.show("127.0.0.1", b"wrong").is_err());
        assert_eq!(world.show("127.0.0.1", RIGHT_ONE), Ok(true));
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_tokens_change_everybody_has_all_guesses_again() {
        let mut world = World::new();
        assert_eq!(world.show("10.0.0.1", RIGHT_ONE), Ok(true));
        world.exhaust("10.0.0.1");

        world.tokens = Arc::new(Tokens::parse("fedcba9876543210").unwrap());

        assert_eq!(world.show("10.0.0.1", b"fedcba9876543210"), Ok(true));
        assert_eq!(world.show("10.0.0.1", RIGHT_ONE), Ok(false), "it was taken out");
    }

    #[tokio::test(start_paused = true)]
    async fn right_tokens_cost_no_guess() {
        let world = World::new();
        for _ in 0..GUESSES * 2 {
            assert_eq!(world.show("10.0.0.1", RIGHT_ONE), Ok(true));
        }
        world.exhaust("10.0.0.1");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_of_addresses_is_bounded() {
        let world = World::new();
        world.exhaust("10.0.0.1");
        for number in 0..SPENT as u32 * 2 {
            let address = IpAddr::from(number.wrapping_add(0x0b00_0000).to_be_bytes());
            let judge = |token| world.guesses.judge(address, token, &world.tokens).unwrap();
            assert!(judge(b"wrong").is_none() && judge(RIGHT_ONE).is_some());
        }

        let known = world.guesses.known();
        assert!(known.spent.len() <= SPENT && known.right.len() <= RIGHT);
        drop(known);
        assert!(world.show("10.0.0.1", b"wrong").is_err(), "the worst is not forgotten");
    }
}
