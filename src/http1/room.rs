//! Memory that the connections of one worker use in turn. A request that is over in microseconds
//! would else ask the allocator for a dozen small pieces, and a connection that waits would hold
//! them all.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{Method, Request, Response, Uri};

use crate::base::memory::{Account, Space};

use super::plain::Lines;

/// The head of an answer. Boxed: it is handed on many times, and is large.
pub type AnswerHead = Box<Response<()>>;

/// The memory of one worker.
#[derive(Debug, Default)]
pub struct Room {
    block: RefCell<BytesMut>,
    buffers: RefCell<Vec<BytesMut>>,
    answers: RefCell<Vec<AnswerHead>>,
    /// What heads have in common.
    pub lines: RefCell<Lines>,
    #[expect(clippy::vec_box, reason = "they are handed on in their boxes")]
    parts: RefCell<Vec<Box<Parts>>>,
    /// For bodies, by size.
    spaces: RefCell<[Vec<BodySpace>; SIZES.len()]>,
    /// Whether there was a body since they were looked at.
    had_bodies: Cell<bool>,
}

/// Memory that parts of a body are read to, and what counts it. What was used last is used first: it
/// is in the processor's caches.
#[derive(Debug)]
pub struct BodySpace {
    pub(super) read: BytesMut,
    pub(super) memory: Arc<Space>,
    /// How large it was made, in bytes.
    pub(super) size: usize,
}

impl Room {
    /// None yet.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// A copy of `bytes` that shares its piece of memory with others.
    pub fn keep(&self, bytes: &[u8]) -> Bytes {
        let mut block = self.block.borrow_mut();
        if block.capacity() < bytes.len() {
            *block = BytesMut::with_capacity(bytes.len().max(BLOCK));
        }
        block.extend_from_slice(bytes);
        block.split().freeze()
    }

    /// An empty buffer to write a head into.
    pub fn buffer(&self) -> BytesMut {
        let mut buffer = self.buffers.borrow_mut().pop().unwrap_or_default();
        buffer.reserve(HEAD); // at once, so that no part of a usual head asks for it
        buffer
    }

    /// Takes back a buffer for the next who needs one.
    pub fn take_buffer(&self, mut buffer: BytesMut) {
        let mut buffers = self.buffers.borrow_mut();
        buffer.clear();
        // What was written from its front is room again, once more is asked for than lies behind it,
        // and counts: a capacity alone does not tell of it.
        let _is_moved = buffer.try_reclaim(buffer.capacity() + 1);
        if buffer.capacity() <= LARGEST && buffers.len() < MOST {
            buffers.push(buffer);
        }
    }

    /// The head of an answer, without a field; status and version are those of some other.
    pub fn answer(&self) -> AnswerHead {
        self.answers.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes back a head for the next answer.
    pub fn take_answer(&self, mut answer: AnswerHead) {
        let mut answers = self.answers.borrow_mut();
        if answer.headers().capacity() <= FIELDS && answers.len() < MOST {
            answer.headers_mut().clear();
            answer.extensions_mut().clear();
            answers.push(answer);
        }
    }

    /// The head of a request, to be filled.
    pub fn parts(&self) -> Box<Parts> {
        self.parts.borrow_mut().pop().unwrap_or_else(blank)
    }

    /// Takes back a head for the next request.
    pub fn take_parts(&self, mut parts: Box<Parts>) {
        let mut all = self.parts.borrow_mut();
        if parts.headers.capacity() <= FIELDS && all.len() < MOST {
            parts.headers.clear();
            parts.extensions.clear();
            // They hold on to the memory that the request came in.
            (parts.method, parts.uri) = (Method::GET, Uri::default());
            all.push(parts);
        }
    }

    /// Memory of `size` bytes for a body, if there is some that no part of the last body is in.
    pub(super) fn space(&self, size: usize) -> Option<BodySpace> {
        let of_size = SIZES.iter().position(|each| *each == size)?;
        let spaces = &mut self.spaces.borrow_mut()[of_size];
        while let Some(mut space) = spaces.pop() {
            if space.read.try_reclaim(size) {
                return Some(space);
            }
        }
        None
    }

    /// Takes back memory for the next body, unless memory is short.
    pub(super) fn take_space(&self, space: BodySpace, account: &Account) {
        if let Some(of_size) = SIZES.iter().position(|each| *each == space.size)
            && !account.is_tight()
        {
            self.had_bodies.set(true);
            let spaces = &mut self.spaces.borrow_mut()[of_size];
            if spaces.len() < MOST_SPACES {
                spaces.push(space);
            }
        }
    }

    /// Gives back the memory for bodies where none came since this was called last, or memory is
    /// short.
    pub fn tidy(&self, account: &Account) {
        if !self.had_bodies.replace(false) || account.is_tight() {
            self.spaces.take();
        }
    }
}

/// The head of a request that says nothing.
fn blank() -> Box<Parts> {
    Box::new(Request::new(()).into_parts().0)
}

/// 4 KiB: a dozen heads share one piece, and one that lives for long holds no more than that.
const BLOCK: usize = 4 << 10;
/// 1 KiB: most heads, and a small body with it.
const HEAD: usize = 1 << 10;
/// 16 KiB: larger ones are rare.
const LARGEST: usize = 16 << 10;
/// 64: what a larger head has asked for is given back.
const FIELDS: usize = 64;
/// 64 of a kind: more are in use at once only for moments.
const MOST: usize = 64;
/// 8 of a size, 1 MB in all.
const MOST_SPACES: usize = 8;
/// The sizes of what is kept for bodies; others are rare.
const SIZES: [usize; 4] = [8 << 10, 16 << 10, 32 << 10, 64 << 10];

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use http::header::{HOST, HeaderValue};

    use crate::base::memory::Memory;

    use super::*;

    #[test]
    fn what_is_kept_stays_as_it_is_whatever_comes_after() {
        let room = Room::default();
        let texts: Vec<Vec<u8>> = (0..200u8).map(|at| vec![at; usize::from(at) * 40]).collect();

        let kept: Vec<Bytes> = texts.iter().map(|text| room.keep(text)).collect();

        assert!(kept.iter().zip(&texts).all(|(kept, text)| kept == text));
    }

    #[test]
    fn memory_for_bodies_goes_where_there_are_none() {
        let memory = Memory::new(64 << 20, 1);
        let (room, account) = (Room::default(), memory.account(0));
        let space = Space::new(account.take(SIZES[1] as u64));
        let read = BytesMut::with_capacity(SIZES[1]);
        room.take_space(BodySpace { read, memory: space, size: SIZES[1] }, &account);

        room.tidy(&account);
        assert_eq!(memory.held(), SIZES[1] as u64);
        room.tidy(&account);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn what_is_given_back_is_empty_for_the_next_and_what_is_large_is_let_go() {
        let room = Room::default();
        let answer = |fields| {
            let mut answer = room.answer();
            answer.headers_mut().reserve(fields);
            answer.headers_mut().insert(HOST, HeaderValue::from_static("a"));
            answer
        };
        room.take_answer(answer(8));
        let again = room.answer();
        assert!(again.headers().is_empty() && again.headers().capacity() >= 8);
        room.take_answer(answer(FIELDS * 2));
        assert_eq!(room.answer().headers().capacity(), 0);

        room.take_buffer(BytesMut::from(&b"text"[..]));
        let buffer = room.buffer();
        assert!(buffer.is_empty() && buffer.capacity() >= HEAD);
        let mut sent = BytesMut::zeroed(HEAD);
        sent.advance(HEAD - 9);
        room.take_buffer(sent);
        assert!(room.buffers.borrow().last().is_some_and(|sent| sent.capacity() >= HEAD));
        drop(room.buffer());
        let mut large = BytesMut::zeroed(LARGEST * 2);
        large.advance(LARGEST * 2);
        room.take_buffer(large);
        room.take_buffer(BytesMut::with_capacity(LARGEST * 2));
        assert!(room.buffers.borrow().is_empty());

        for _ in 0..MOST * 2 {
            room.take_buffer(BytesMut::with_capacity(8));
        }
        assert_eq!(room.buffers.borrow().len(), MOST);
    }
}
