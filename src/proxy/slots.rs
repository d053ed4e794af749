//! A list whose members come and go at every request, and which is looked through now and then.

/// Values by a number that is given back when its value leaves.
#[derive(Debug)]
pub(super) struct Slots<T> {
    taken: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { taken: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Takes a value in. Gives the number to leave by.
    pub(super) fn enter(&mut self, value: T) -> usize {
        let value = Some(value);
        match self.free.pop().filter(|number| *number < self.taken.len()) {
            Some(number) => {
                self.taken[number] = value;
                number
            }
            None => {
                self.taken.push(value);
                self.taken.len() - 1
            }
        }
    }

    /// Undoes [`Slots::enter`].
    pub(super) fn leave(&mut self, number: usize) {
        if let Some(slot) = self.taken.get_mut(number)
            && slot.take().is_some()
        {
            self.free.push(number);
        }
    }

    /// The slot of this number, empty or not; `None` after the last.
    pub(super) fn get(&self, number: usize) -> Option<Option<&T>> {
        self.taken.get(number).map(Option::as_ref)
    }

    /// The value of this number, where it has not left.
    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.taken.get_mut(number)?.as_mut()
    }

    /// All values.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.taken.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_left_leaves_its_place_to_the_next() {
        let mut slots = Slots::default();
        let numbers = ["a", "b", "c"].map(|value| slots.enter(value));

        slots.leave(numbers[1]);
        slots.leave(numbers[1]);
        assert_eq!(slots.iter().collect::<Vec<_>>(), [&"a", &"c"]);

        assert_eq!(slots.enter("d"), numbers[1]);
        assert_eq!(slots.enter("e"), 3);
        assert_eq!(slots.iter().collect::<Vec<_>>(), [&"a", &"d", &"c", &"e"]);
    }
}
