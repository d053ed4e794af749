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

    /// Looks at each body. What a look drops may enter and leave.
    pub(super) fn each(&self, mut look: impl FnMut(&mut T)) {
        let mut number = 0;
        loop {
            let body = match self.slots.borrow().get(number) {
                None => return,
                Some(slot) => slot.and_then(Weak::upgrade),
            };
            if let Some(body) = body
                && let Ok(mut body) = body.try_borrow_mut()
            {
                look(&mut body);
            }
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(downloads: &Downloads<u8>) -> Vec<u8> {
        let mut seen = Vec::new();
        downloads.each(|body| seen.push(*body));
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

        downloads.each(|_| downloads.leave(number));

        assert_eq!(seen(&downloads), [0; 0]);
    }
}
