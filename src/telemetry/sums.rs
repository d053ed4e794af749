//! Sums by name, found by the number of a label.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::ids::Label;

use super::by_slot::index;

/// Sums by name.
#[derive(Clone, Debug)]
pub(super) struct Sums<T> {
    /// By [`index`]: the place in `sums` + 1, or 0.
    places: Vec<u32>,
    /// A name that comes back with another number finds its sums here.
    names: HashMap<Arc<str>, u32, RandomState>,
    sums: Vec<(Arc<str>, T)>,
}

impl<T> Default for Sums<T> {
    fn default() -> Self {
        Self { places: Vec::new(), names: HashMap::default(), sums: Vec::new() }
    }
}

impl<T: Default> Sums<T> {
    /// Hears of names and their numbers.
    pub(super) fn learn(&mut self, labels: &[Label]) {
        for label in labels {
            self.find(index(Some(label.slot)), &label.name);
        }
    }

    /// The sum of the name with this [`index`]; the empty one's where no name is known.
    pub(super) fn at(&mut self, index: u32) -> &mut T {
        let place = self.place(index).unwrap_or_else(|| self.find(0, &Arc::from("")));
        &mut self.sums[place as usize - 1].1
    }

    /// Where the sum of this [`index`] is: one place for each name, counted from 1.
    pub(super) fn place(&self, index: u32) -> Option<u32> {
        self.places.get(index as usize).copied().filter(|place| *place != 0)
    }

    /// The name at a place.
    pub(super) fn name(&self, place: u32) -> Option<&Arc<str>> {
        self.sums.get((place as usize).checked_sub(1)?).map(|(name, _)| name)
    }

    /// All sums, by their names.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (&Arc<str>, &T)> {
        let mut sums: Vec<(&Arc<str>, &T)> =
            self.sums.iter().map(|(name, sum)| (name, sum)).collect();
        sums.sort_unstable_by_key(|(name, _)| *name);
        sums.into_iter()
    }

    #[cold]
    fn find(&mut self, index: u32, name: &Arc<str>) -> u32 {
        let Self { places, names, sums } = self;
        let place = *names.entry(Arc::clone(name)).or_insert_with(|| {
            sums.push((Arc::clone(name), T::default()));
            u32::try_from(sums.len()).unwrap_or(u32::MAX)
        });
        let index = index as usize;
        if index >= places.len() {
            places.resize(index + 1, 0);
        }
        places[index] = place;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str, slot: u32) -> Label {
        Label { name: name.into(), slot }
    }

    #[test]
    fn a_name_has_one_sum_whatever_its_number() {
        let mut sums = Sums::<u64>::default();
        sums.learn(&[label("b", 7), label("a", 0)]);
        *sums.at(8) += 1;
        *sums.at(1) += 2;
        sums.learn(&[label("b", 9)]);
        *sums.at(10) += 4;
        *sums.at(0) += 8;
        *sums.at(8) += 16;
        *sums.at(7) += 32; // nobody has named it

        let sorted: Vec<(&str, u64)> =
            sums.sorted().map(|(name, sum)| (name.as_ref(), *sum)).collect();
        assert_eq!(sorted, [("", 40), ("a", 2), ("b", 21)]);
        let names = [8, 10, 7].map(|index| sums.place(index).and_then(|place| sums.name(place)));
        assert_eq!(names.map(|name| name.map(AsRef::as_ref)), [Some("b"), Some("b"), None]);
    }
}
