//! What a worker counts by the number of a label. The control side is told each name once; from then
//! on its number is enough, and a flush touches no name.

use crate::model::ids::Label;

/// Where the value of each number is, and the names that the control side has not heard of yet.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By [`index`]: the place + 1, [`NOWHERE`] for what was not touched, or 0 for what the control
    /// side has not heard of besides.
    places: Vec<u32>,
    fresh: Vec<Label>,
}

/// Values by label, of those alone that were touched.
#[derive(Debug, Default)]
pub(super) struct BySlot<T> {
    places: Places,
    touched: Vec<(u32, T)>,
}

impl Places {
    /// The place of this number.
    pub(super) fn get(&self, index: u32) -> Option<usize> {
        let place = self.places.get(index as usize)?.wrapping_sub(1);
        (place < NOWHERE - 1).then_some(place as usize)
    }

    /// Sets the place of this number.
    pub(super) fn set(&mut self, index: u32, place: usize) {
        *self.entry(index) = u32::try_from(place + 1).unwrap_or(NOWHERE);
    }

    /// Hears of a label that may be new.
    pub(super) fn hear(&mut self, slot: u32, label: impl FnOnce() -> Label) {
        let index = index(Some(slot));
        if self.places.get(index as usize).is_none_or(|place| *place == 0) {
            *self.entry(index) = NOWHERE;
            self.fresh.push(label());
        }
    }

    /// Forgets the place of this number.
    pub(super) fn clear(&mut self, index: u32) {
        if let Some(place) = self.places.get_mut(index as usize) {
            *place = NOWHERE;
        }
    }

    /// The names that the control side has not heard of.
    pub(super) fn fresh(&self) -> &[Label] {
        &self.fresh
    }

    /// Moves out the names that are fresh; what was touched has to be cleared.
    pub(super) fn take(&mut self) -> Self {
        Self { fresh: std::mem::take(&mut self.fresh), ..Self::default() }
    }

    fn entry(&mut self, index: u32) -> &mut u32 {
        let index = index as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, 0);
        }
        &mut self.places[index]
    }
}

impl<T: Default> BySlot<T> {
    /// The value of `label`.
    pub(super) fn at(&mut self, label: &Label) -> &mut T {
        self.hear(label);
        self.of(Some(label.slot))
    }

    /// The value of a label that was heard of, or of no label.
    pub(super) fn of(&mut self, slot: Option<u32>) -> &mut T {
        let index = index(slot);
        let place = self.places.get(index).unwrap_or_else(|| self.touch(index));
        &mut self.touched[place].1
    }

    /// Hears of a label that may be new.
    pub(super) fn hear(&mut self, label: &Label) {
        self.places.hear(label.slot, || label.clone());
    }

    /// The values that were touched, by [`index`].
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.touched.iter().map(|(index, value)| (*index, value))
    }

    /// The names that the control side has not heard of.
    pub(super) fn fresh(&self) -> &[Label] {
        self.places.fresh()
    }

    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.fresh().is_empty()
    }

    /// Moves out the values; the array that finds them stays.
    pub(super) fn take(&mut self) -> Self {
        for (index, _) in &self.touched {
            self.places.clear(*index);
        }
        let next = Vec::with_capacity(self.touched.len());
        Self { places: self.places.take(), touched: std::mem::replace(&mut self.touched, next) }
    }

    #[cold]
    fn touch(&mut self, index: u32) -> usize {
        self.touched.push((index, T::default()));
        self.places.set(index, self.touched.len() - 1);
        self.touched.len() - 1
    }
}

/// The place of what was not touched.
const NOWHERE: u32 = u32::MAX;

/// The number of a label + 1; 0 stands for none.
pub(super) fn index(slot: Option<u32>) -> u32 {
    slot.map_or(0, |slot| slot.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(slot: u32) -> Label {
        Label { name: format!("n{slot}").into(), slot }
    }

    fn taken(values: &mut BySlot<u64>) -> (Vec<(u32, u64)>, Vec<u32>) {
        let taken = values.take();
        let counts = taken.iter().map(|(index, value)| (index, *value)).collect();
        (counts, taken.fresh().iter().map(|label| label.slot).collect())
    }

    #[test]
    fn a_name_is_told_once_and_what_was_touched_each_time() {
        let mut values = BySlot::<u64>::default();
        *values.at(&label(70)) += 1;
        *values.of(None) += 2;
        *values.of(Some(70)) += 4;
        assert_eq!(taken(&mut values), (vec![(71, 5), (0, 2)], vec![70]));

        values.hear(&label(3));
        *values.of(Some(3)) += 8;
        *values.at(&label(70)) += 16;
        assert_eq!(taken(&mut values), (vec![(4, 8), (71, 16)], vec![3]));

        assert!(values.is_empty());
        assert_eq!(taken(&mut values), (vec![], vec![]));
    }
}
