//! Who of a worker's answers is under way, so that those can be ended that nobody asks for: the body
//! of an answer has deadlines of its own, and they are looked at when the client asks for more.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::slots::Slots;

/// The bodies under way.
#[derive(Debug)]
pub(super) struct Downloads<T> {
    slots: RefCell<Slots<Weak<RefCell<T>>>>,
}

impl<T> Default for Downloads<T> {
    fn default() -> Self {
        Self { slots: RefCell::default() }
    }
}

impl<T> Downloads<T> {
    /// Registers a body. Gives the number to leave by.
    pub(super) fn enter(&self, body: &Rc<RefCell<T>>) -> usize {
        self.slots.borrow_mut().enter(Rc::downgrade(body))
    }

    /// Undoes [`Downloads::enter`].
    pub(super) fn leave(&self, number: usize) {
        self.slots.borrow_mut().leave(number);
    }

    /// Looks at some of the bodies, from a number on. What a look drops may enter and leave. Tells from
    /// which number on others are to be looked at.
    pub(super) fn some(&self, from: usize, mut look: impl FnMut(&mut T)) -> Option<usize> {
        for number in from..from + LOOKED_AT {
            let body = self.slots.borrow().get(number)?.and_then(Weak::upgrade);
            if let Some(body) = body
                && let Ok(mut body) = body.try_borrow_mut()
            {
                look(&mut body);
            }
        }
        Some(from + LOOKED_AT)
    }
}

/// 256 at once: some tens of microseconds.
const LOOKED_AT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(downloads: &Downloads<u8>) -> Vec<u8> {
        let mut seen = Vec::new();
        assert_eq!(downloads.some(0, |body| seen.push(*body)), None);
        seen
    }

    #[test]
    fn who_has_left_is_not_looked_at_and_leaves_its_place_to_the_next() {
        let downloads = Downloads::default();
        let bodies = [1, 2, 3].map(|body| Rc::new(RefCell::new(body)));
        let numbers = bodies.each_ref().map(|body| downloads.enter(body));
        assert_eq!(seen(&downloads), [1, 2, 3]);

        downloads.leave(numbers[1]);
        downloads.leave(numbers[1]);
        assert_eq!(seen(&downloads), [1, 3]);

        assert_eq!(downloads.enter(&bodies[0]), numbers[1]);
        assert_eq!(seen(&downloads), [1, 1, 3]);
    }

    #[test]
    fn a_body_may_leave_while_it_is_looked_at() {
        let downloads = Downloads::default();
        let body = Rc::new(RefCell::new(1));
        let number = downloads.enter(&body);

        downloads.some(0, |_| downloads.leave(number));

        assert_eq!(seen(&downloads), [0; 0]);
    }

    #[test]
    fn all_are_looked_at_once_however_many_there_are() {
        let downloads = Downloads::default();
        let bodies: Vec<_> = (0..3 * LOOKED_AT).map(|body| Rc::new(RefCell::new(body))).collect();
        bodies.iter().for_each(|body| {
            downloads.enter(body);
        });

        let (mut seen, mut from) = (Vec::new(), Some(0));
        while let Some(next) = from {
            let before = seen.len();
            from = downloads.some(next, |body| seen.push(*body));
            assert!(seen.len() <= before + LOOKED_AT);
        }

        assert!(seen.into_iter().eq(0..bodies.len()));
    }
}
