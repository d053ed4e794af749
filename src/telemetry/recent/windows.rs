//! One window of many: the counts of those that had any, found by their number.

use super::counts::Counts;

/// The counts of those that had any.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// By number: the place in `touched` + 1, or 0.
    places: Vec<u32>,
    touched: Vec<(u32, Counts)>,
}

impl Windows {
    /// The counts of this one.
    pub(super) fn at(&mut self, slot: u32) -> &mut Counts {
        let place = self.place(slot).unwrap_or_else(|| self.touch(slot));
        &mut self.touched[place].1
    }

    /// The counts of this one, where it has any.
    pub(super) fn find(&self, slot: u32) -> Option<&Counts> {
        self.place(slot).map(|place| &self.touched[place].1)
    }

    /// All that have any.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Counts)> {
        self.touched.iter().map(|(slot, counts)| (*slot, counts))
    }

    /// Forgets all; the array that finds them stays.
    pub(super) fn clear(&mut self) {
        for (slot, _) in &self.touched {
            self.places[*slot as usize] = 0;
        }
        self.touched = Vec::with_capacity(self.touched.len());
    }

    fn place(&self, slot: u32) -> Option<usize> {
        let place = *self.places.get(slot as usize)? as usize;
        place.checked_sub(1)
    }

    #[cold]
    fn touch(&mut self, slot: u32) -> usize {
        let index = slot as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, 0);
        }
        self.touched.push((slot, Counts::default()));
        self.places[index] = u32::try_from(self.touched.len()).unwrap_or(0);
        self.touched.len() - 1
    }
}
