//! Sums by name, found by the number of a label: a delta may touch every tenant there is each
//! second.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::ids::Label;

/// Sums by name.
#[derive(Clone, Debug)]
pub(super) struct Sums<T> {
    /// By slot + 1 (0 stands for no label): the place in `sums` + 1, or 0.
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
    /// The sum of this name; no label stands for the empty one.
    pub(super) fn at(&mut self, label: Option<&Label>) -> &mut T {
        let index = label.map_or(0, |label| label.slot as usize + 1);
        let place = match self.places.get(index) {
            Some(place) if *place != 0 => *place,
            _ => self.find(index, label),
        };
        &mut self.sums[place as usize - 1].1
    }

    /// All sums, by their names.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (&Arc<str>, &T)> {
        let mut sums: Vec<(&Arc<str>, &T)> =
            self.sums.iter().map(|(name, sum)| (name, sum)).collect();
        sums.sort_unstable_by_key(|(name, _)| *name);
        sums.into_iter()
    }

    #[cold]
    fn find(&mut self, index: usize, label: Option<&Label>) -> u32 {
        let name = label.map_or_else(|| Arc::from(""), |label| Arc::clone(&label.name));
        let Self { places, names, sums } = self;
        let place = *names.entry(Arc::clone(&name)).or_insert_with(|| {
            sums.push((name, T::default()));
            u32::try_from(sums.len()).unwrap_or(u32::MAX)
        });
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
        *sums.at(Some(&label("b", 7))) += 1;
        *sums.at(Some(&label("a", 0))) += 2;
        *sums.at(Some(&label("b", 9))) += 4;
        *sums.at(None) += 8;
        *sums.at(Some(&label("b", 7))) += 16;

        let sorted: Vec<(&str, u64)> =
            sums.sorted().map(|(name, sum)| (name.as_ref(), *sum)).collect();
        assert_eq!(sorted, [("", 8), ("a", 2), ("b", 21)]);
    }
}
