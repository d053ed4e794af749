//! The parts of a body as they are read: large ones where much comes, counted until they are gone.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::base::memory::{Account, Refused, Space};
use crate::base::purse::Appetite;

use super::room::{BodySpace, Room};

/// Where the parts of a body are read to.
#[derive(Debug)]
pub struct Reading {
    /// `None` where nothing was read since it was given back.
    space: Option<BodySpace>,
    /// The size of the next read, in bytes.
    size: usize,
    appetite: Appetite,
    account: Arc<Account>,
    room: Rc<Room>,
}

impl Reading {
    /// What is read counts in `account`; memory is the one of `room`.
    pub fn new(room: Rc<Room>, account: Arc<Account>) -> Self {
        Self { space: None, size: LEAST, appetite: Appetite::Usual, account, room }
    }

    /// How large its reads may get from now on.
    pub fn set_appetite(&mut self, appetite: Appetite) {
        self.appetite = appetite;
        if appetite == Appetite::Little && self.space.as_ref().is_some_and(|own| own.size > LEAST) {
            self.end();
        }
    }

    /// The body has ended: the next one, of whatever connection, may use its memory.
    pub fn end(&mut self) {
        self.size = LEAST;
        if let Some(space) = self.space.take() {
            self.room.take_space(space, &self.account);
        }
    }

    /// Where memory is short, the next part of a body is read once the one before it has been taken:
    /// one that waits for its recipient holds no more than what it began with.
    pub fn poll_turn(&self, context: &Context<'_>) -> Poll<()> {
        match &self.space {
            Some(space) if self.account.is_tight() => space.memory.poll_free(context),
            _ => Poll::Ready(()),
        }
    }

    /// Whether memory is short.
    pub fn is_tight(&self) -> bool {
        self.account.is_tight()
    }

    /// The next part; an empty one at the end of `stream`. `left` bytes of the body are still to
    /// come, where that is known: they are read in one go, not in reads that grow.
    ///
    /// # Errors
    /// When the stream fails.
    pub fn poll<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        left: Option<u64>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        self.size = match self.appetite {
            Appetite::Usual => self.size.max(known(left)),
            Appetite::Little => LEAST,
        };
        let tight = self.account.is_tight();
        let BodySpace { read, memory, .. } = self.make_room();
        let room = read.capacity();
        let Poll::Ready(done) = pin!(stream.read_buf(read)).poll(context) else {
            self.leave_room();
            return Poll::Pending;
        };
        let done = done?;
        // Where parts wait, or are kept for a retry, a few bytes would hold all of the buffer.
        let few = done * FEW < room && done <= SMALL;
        let part = match done {
            0 => Bytes::new(),
            _ if few => {
                let own = Bytes::copy_from_slice(read);
                read.clear();
                // Where memory is short, the next part waits for this one.
                match tight {
                    true => memory.part(own),
                    false => self.account.count((done + OWN) as u64).whole(own),
                }
            }
            _ => memory.part(read.split().freeze()),
        };
        // Large bodies come in large reads, and small ones do not hold large buffers.
        self.size = if done == room { (self.size * 2).min(MOST) } else { LEAST };
        Poll::Ready(Ok(part))
    }

    /// Makes room for the next part. Memory that the parts before it do not need any more is used
    /// again; where they do, more is taken: little of it where it is short, so that who reads slowly
    /// holds little.
    fn make_room(&mut self) -> &mut BodySpace {
        let size = self.size;
        let own = self.space.take().and_then(|mut own| own.read.try_reclaim(size).then_some(own));
        let space = own.or_else(|| self.room.space(size)).unwrap_or_else(|| self.take_more());
        self.space.insert(space)
    }

    fn take_more(&mut self) -> BodySpace {
        let large = (self.size > LEAST)
            .then(|| self.account.ask(Refused::Read, self.size as u64))
            .flatten();
        let memory = large.unwrap_or_else(|| {
            self.size = LEAST;
            self.account.count(LEAST as u64)
        });
        let read = BytesMut::with_capacity(self.size);
        BodySpace { read, memory: Space::new(memory), size: self.size }
    }

    /// Nothing has come. Who sends slowly holds no large buffer meanwhile, nor where memory is short
    /// any at all.
    fn leave_room(&mut self) {
        let tight = self.account.is_tight();
        if tight || self.space.as_ref().is_some_and(|space| space.size > LEAST) {
            let size = self.size;
            self.end();
            self.size = if tight { LEAST } else { size };
        }
    }
}

/// The size of a read that brings what is left of a body, and by a byte more than that shows that
/// nothing follows it.
fn known(left: Option<u64>) -> usize {
    let left = left.map_or(0, |left| usize::try_from(left).unwrap_or(MOST));
    (left.min(KNOWN - 1) + 1).next_power_of_two().max(LEAST)
}

/// 8 KiB: what a usual body takes.
const LEAST: usize = 8 << 10;
/// 64 KiB: what is taken for a body because it says that it will be that long.
const KNOWN: usize = 64 << 10;
/// A quarter of a buffer: less than that is copied to where it fits.
const FEW: usize = 4;
/// 4 KiB: to copy more costs an upload that comes in such parts more than the memory is worth.
const SMALL: usize = 4 << 10;
/// 512: what a part takes besides its bytes, on its way through the gateway.
const OWN: usize = 512;
/// 256 KiB: beyond it a larger read saves nothing.
const MOST: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use crate::base::memory::Memory;

    use super::*;

    fn poll(reading: &mut Reading, stream: &mut &[u8]) -> Bytes {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(part) = reading.poll(stream, None, &mut context) else {
            panic!("there is something to read");
        };
        part.unwrap()
    }

    #[test]
    fn much_comes_in_large_parts_and_counts_until_they_are_gone() {
        let memory = Memory::new(64 << 20, 1);
        let mut reading = Reading::new(Room::new(), memory.account(0));
        let body = vec![7; 1 << 20];
        let mut stream = &body[..];

        let parts: Vec<Bytes> = (0..8).map(|_| poll(&mut reading, &mut stream)).collect();

        assert_eq!((parts[0].len(), parts[7].len()), (LEAST, MOST));
        let sizes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        assert!(memory.held() >= sizes, "{} of {sizes}", memory.held());
        drop(parts);
        reading.end();
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn for_who_has_used_much_of_its_share_reads_are_small_until_it_has_not() {
        let memory = Memory::new(64 << 20, 1);
        let mut reading = Reading::new(Room::new(), memory.account(0));
        let body = vec![7; 4 << 20];
        let mut stream = &body[..];
        let mut last = |reading: &mut Reading| {
            (0..8).map(|_| poll(reading, &mut stream).len()).last().unwrap_or_default()
        };
        assert_eq!(last(&mut reading), MOST);

        reading.set_appetite(Appetite::Little);
        assert_eq!(last(&mut reading), LEAST);
        reading.set_appetite(Appetite::Usual);

        assert_eq!(last(&mut reading), MOST);
    }

    #[test]
    fn a_body_of_known_length_comes_in_one_read() {
        let memory = Memory::new(64 << 20, 1);
        let mut reading = Reading::new(Room::new(), memory.account(0));
        let body = vec![7; 50_000];
        let mut context = Context::from_waker(Waker::noop());

        let left = Some(body.len() as u64);
        let Poll::Ready(part) = reading.poll(&mut &body[..], left, &mut context) else {
            panic!("there is something to read");
        };

        assert_eq!(part.unwrap().len(), body.len());
        drop(reading);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn the_next_body_is_read_to_where_the_last_one_was() {
        let memory = Memory::new(64 << 20, 1);
        let (room, account) = (Room::new(), memory.account(0));
        let mut context = Context::from_waker(Waker::noop());
        let mut read = |reading: &mut Reading| {
            let Poll::Ready(part) = reading.poll(&mut &[7; 50_000][..], Some(50_000), &mut context)
            else {
                panic!("there is something to read");
            };
            let part = part.unwrap();
            assert_eq!(part, &[7; 50_000][..]);
            reading.end();
            part
        };
        let (mut one, mut other) =
            (Reading::new(Rc::clone(&room), Arc::clone(&account)), Reading::new(room, account));

        let first = read(&mut one).as_ptr();
        assert_eq!(read(&mut other).as_ptr(), first);
        assert_eq!(read(&mut one).as_ptr(), first);

        let on_its_way = read(&mut one);
        assert_ne!(read(&mut other).as_ptr(), on_its_way.as_ptr());
        assert_eq!(on_its_way, &[7; 50_000][..]);
    }

    #[test]
    fn those_who_send_nothing_of_a_long_body_hold_no_more_than_one() {
        let memory = Memory::new(64 << 20, 1);
        let (room, account) = (Room::new(), memory.account(0));
        let (mut silent, _other) = tokio::io::duplex(1);
        let mut context = Context::from_waker(Waker::noop());

        let all = std::iter::repeat_with(|| {
            let mut reading = Reading::new(Rc::clone(&room), Arc::clone(&account));
            assert!(reading.poll(&mut silent, Some(1 << 30), &mut context).is_pending());
            reading
        });
        let all: Vec<_> = all.take(100).collect();

        assert_eq!(memory.held(), KNOWN as u64, "{}", all.len());
    }

    #[test]
    fn parts_of_few_bytes_that_are_kept_hold_little_more_than_these() {
        let mut context = Context::from_waker(Waker::noop());
        for (few, left) in [(1, None), (2000, Some(8 << 20))] {
            let memory = Memory::new(64 << 20, 1);
            let mut reading = Reading::new(Room::new(), memory.account(0));
            let kept: Vec<Bytes> = (0..100)
                .map(|_| match reading.poll(&mut &vec![7; few][..], left, &mut context) {
                    Poll::Ready(part) => part.unwrap(),
                    Poll::Pending => panic!("there is something to read"),
                })
                .collect();

            assert!(kept.iter().all(|part| part == &vec![7; few]));
            let held = memory.held() - known(left) as u64;
            assert!(held <= 100 * (few + OWN) as u64, "{held}");
        }
    }

    #[test]
    fn where_memory_is_short_parts_are_small_and_one_at_a_time() {
        let memory = Memory::new(100_000, 1);
        let account = memory.account(0);
        let mut reading = Reading::new(Room::new(), Arc::clone(&account));
        let body = vec![7; 1 << 20];
        let mut stream = &body[..];
        let context = Context::from_waker(Waker::noop());
        let first = poll(&mut reading, &mut stream);
        let _others = account.take(60_000);

        assert!(reading.poll_turn(&context).is_pending());
        drop(first);
        assert!(reading.poll_turn(&context).is_ready());
        assert_eq!(poll(&mut reading, &mut stream).len(), LEAST);
    }
}
