//! Who waits, by client: whoever sends a thousand waits for itself, and who sends one now and then goes
//! before those who always have more (RFC 8290 §4.2: flows that are sparse, and flows with a backlog).

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Queues of clients, each of which has its turn.
#[derive(Debug)]
pub(super) struct ByClient<T> {
    /// Clients for whom nothing waited when they came; in this or in `old`, each once.
    new: VecDeque<u128>,
    /// Clients that had a turn since.
    old: VecDeque<u128>,
    /// Turns of new clients since the last one of an old one.
    row: u32,
    /// In the order in which they came. A queue may be empty: all of it has left, or its client is to
    /// be an old one until its next turn.
    of_client: HashMap<u128, BTreeMap<u64, T>>,
    came: u64,
    waiting: usize,
}

impl<T> Default for ByClient<T> {
    fn default() -> Self {
        let (new, old, of_client) = (VecDeque::new(), VecDeque::new(), HashMap::new());
        Self { new, old, row: 0, of_client, came: 0, waiting: 0 }
    }
}

impl<T> ByClient<T> {
    /// Gives the number by which it may leave.
    pub(super) fn push(&mut self, client: u128, waiter: T) -> u64 {
        let (number, new) = (self.came, &mut self.new);
        self.came += 1;
        let queue = self.of_client.entry(client).or_insert_with(|| {
            new.push_back(client);
            BTreeMap::new()
        });
        queue.insert(number, waiter);
        self.waiting += 1;
        number
    }

    pub(super) fn leave(&mut self, client: u128, number: u64) {
        let left = self.of_client.get_mut(&client).and_then(|queue| queue.remove(&number));
        self.waiting -= usize::from(left.is_some());
    }

    /// The first of the client whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        loop {
            let is_new = (self.row < ROW && !self.new.is_empty()) || self.old.is_empty();
            let queue = if is_new { &mut self.new } else { &mut self.old };
            let client = queue.pop_front()?;
            let first = self.of_client.get_mut(&client).and_then(BTreeMap::pop_first);
            let Some((_, waiter)) = first else {
                self.of_client.remove(&client);
                continue;
            };
            self.row = if is_new && self.row < ROW { self.row + 1 } else { 0 };
            self.old.push_back(client);
            self.waiting -= 1;
            return Some(waiter);
        }
    }

    /// The client whose turn it is, where somebody waits.
    pub(super) fn peek(&self) -> Option<u128> {
        let waits =
            |client: &&u128| self.of_client.get(client).is_some_and(|queue| !queue.is_empty());
        let (new, old) = (|| self.new.iter().find(waits), || self.old.iter().find(waits));
        let next = if self.row < ROW { new().or_else(old) } else { old().or_else(new) };
        next.copied()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Nothing is kept of any client.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.of_client.is_empty() && self.waiting == 0
    }
}

/// 8 turns of new clients, then one of an old one: nobody waits for ever where new ones keep coming.
const ROW: u32 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(pushed: &[u128]) -> ByClient<u128> {
        let mut queues = ByClient::default();
        for client in pushed {
            queues.push(*client, *client);
        }
        queues
    }

    #[test]
    fn who_comes_with_one_goes_before_those_who_have_more_but_not_twice() {
        let mut queues = after(&[1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!([queues.pop(), queues.pop()], [Some(1), Some(2)]);

        queues.push(3, 3);
        assert_eq!(queues.pop(), Some(3));

        queues.push(3, 3);
        assert_eq!([queues.pop(), queues.pop(), queues.pop()], [Some(1), Some(2), Some(3)]);
        assert_eq!(queues.len(), 4);
    }

    #[test]
    fn who_waits_has_its_turn_however_many_new_clients_keep_coming() {
        let mut queues = after(&[0, 0]);
        assert_eq!(queues.pop(), Some(0));
        let mut turns = 0;
        loop {
            turns += 1;
            queues.push(turns, turns);
            if queues.pop() == Some(0) {
                break;
            }
        }
        assert_eq!(turns, u128::from(ROW));
    }

    proptest! {
        #[test]
        fn whose_turn_is_next_is_who_has_it(
            steps in prop::collection::vec((0..3u8, 0..4u128), 0..60),
        ) {
            let (mut queues, mut came) = (ByClient::default(), Vec::new());
            for (step, client) in steps {
                match step {
                    0 => came.push((client, queues.push(client, client))),
                    1 => if let Some((client, number)) = came.pop() { queues.leave(client, number) },
                    _ => {
                        let next = queues.peek();
                        prop_assert_eq!(queues.peek(), next);
                        prop_assert_eq!(queues.pop(), next);
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_kept_of_clients_once_none_waits() {
        let mut queues = after(&[1, 2, 2, 3]);
        let left = queues.push(4, 4);
        queues.leave(4, left);
        while queues.pop().is_some() {}
        assert!(queues.is_empty());
    }
}
