//! A sorted list of which one version after another is made, each of which shares with the last what
//! has stayed: a copy costs nothing, and an edit one part of the list, however long that is.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What has a place in a sorted list.
pub trait Keyed {
    /// What it is sorted by.
    type Key: Ord + ?Sized;

    /// Its own.
    fn key(&self) -> &Self::Key;
}

/// Items in the order of their keys, none of which is there twice. Clones share their memory.
pub struct Sorted<T> {
    /// None is empty.
    parts: Arc<Vec<Part<T>>>,
    len: usize,
}

type Part<T> = Arc<Vec<T>>;

/// What two lists have otherwise at one key; at least one of them has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference<'s, T> {
    /// What the list of before has there.
    pub before: Option<&'s T>,
    /// What the list of now has there.
    pub now: Option<&'s T>,
}

impl<T> Sorted<T> {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One after the other.
    pub fn iter(&self) -> Iter<'_, T> {
        let Self { parts, len } = self;
        Iter { parts: parts.iter(), items: [].iter(), left: *len }
    }

    /// The item at this place, from 0.
    pub fn nth(&self, mut place: usize) -> Option<&T> {
        for part in self.parts.iter() {
            match part.get(place) {
                Some(item) => return Some(item),
                None => place -= part.len(),
            }
        }
        None
    }
}

impl<T: Keyed> Sorted<T> {
    /// The item with this key.
    pub fn get(&self, key: &T::Key) -> Option<&T> {
        let part = self.parts.get(self.part_of(key))?;
        part.get(place(part, key).ok()?)
    }

    /// What is otherwise here than in `before`, in the order of the keys. Two items of one key are the
    /// same where `same` says so; what both lists share is not looked at.
    pub fn differences<'s, S: Fn(&T, &T) -> bool>(
        &'s self,
        before: &'s Self,
        same: S,
    ) -> Differences<'s, T, S> {
        Differences { before: Cursor::of(before), now: Cursor::of(self), same }
    }

    /// The part that has a key, if any has.
    fn part_of(&self, key: &T::Key) -> usize {
        let begins = |part: &Part<T>| part.first().is_some_and(|first| first.key() <= key);
        self.parts.partition_point(begins).saturating_sub(1)
    }
}

impl<T: Keyed + Clone> Sorted<T> {
    /// Puts an item into its place; what had its key is given back.
    pub fn insert(&mut self, item: T) -> Option<T> {
        let at = self.part_of(item.key());
        let parts = Arc::make_mut(&mut self.parts);
        let Some(part) = parts.get_mut(at).map(Arc::make_mut) else {
            parts.push(Arc::new(vec![item]));
            self.len += 1;
            return None;
        };
        match place(part, item.key()) {
            Ok(place) => part.get_mut(place).map(|old| std::mem::replace(old, item)),
            Err(place) => {
                part.insert(place, item);
                if part.len() > PART * 2 {
                    let rest = part.split_off(PART);
                    parts.insert(at + 1, Arc::new(rest));
                }
                self.len += 1;
                None
            }
        }
    }

    /// Takes out what has this key.
    pub fn remove(&mut self, key: &T::Key) -> Option<T> {
        let at = self.part_of(key);
        let place = place(self.parts.get(at)?, key).ok()?;
        let parts = Arc::make_mut(&mut self.parts);
        let part = Arc::make_mut(parts.get_mut(at)?);
        let gone = part.remove(place);
        if part.is_empty() {
            parts.remove(at);
        }
        self.len -= 1;
        Some(gone)
    }
}

/// The place of a key in a part, or where it would be.
fn place<T: Keyed>(part: &[T], key: &T::Key) -> Result<usize, usize> {
    part.binary_search_by(|item| item.key().cmp(key))
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { parts: Arc::default(), len: 0 }
    }
}

impl<T> Clone for Sorted<T> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts), len: self.len }
    }
}

impl<T: fmt::Debug> fmt::Debug for Sorted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<T: Keyed + PartialEq> PartialEq for Sorted<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.differences(other, T::eq).next().is_none()
    }
}

impl<T: Keyed + Eq> Eq for Sorted<T> {}

impl<T: Keyed> FromIterator<T> for Sorted<T> {
    /// Of two items with one key, the later one stays.
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_by(|a, b| a.key().cmp(b.key()));
        // What is taken out is the first of the two that it is given.
        items.reverse();
        items.dedup_by(|a, b| a.key() == b.key());
        items.reverse();
        let len = items.len();
        let mut items = items.into_iter();
        let mut parts = Vec::with_capacity(len.div_ceil(PART));
        while items.len() > 0 {
            let mut part = Vec::with_capacity(PART.min(items.len()));
            part.extend(items.by_ref().take(PART));
            parts.push(Arc::new(part));
        }
        Self { parts: Arc::new(parts), len }
    }
}

impl<T: Serialize> Serialize for Sorted<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self)
    }
}

impl<'de, T: Keyed + Deserialize<'de>> Deserialize<'de> for Sorted<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Vec::deserialize(from).map(Self::from_iter)
    }
}

impl<'s, T> IntoIterator for &'s Sorted<T> {
    type Item = &'s T;
    type IntoIter = Iter<'s, T>;

    fn into_iter(self) -> Iter<'s, T> {
        self.iter()
    }
}

/// The items of a list.
#[derive(Clone, Debug)]
pub struct Iter<'s, T> {
    parts: std::slice::Iter<'s, Part<T>>,
    /// Of the part that is under way.
    items: std::slice::Iter<'s, T>,
    left: usize,
}

impl<'s, T> Iterator for Iter<'s, T> {
    type Item = &'s T;

    fn next(&mut self) -> Option<&'s T> {
        loop {
            if let Some(item) = self.items.next() {
                self.left -= 1;
                return Some(item);
            }
            self.items = self.parts.next()?.iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

/// What two lists have otherwise.
#[derive(Debug)]
pub struct Differences<'s, T, S> {
    before: Cursor<'s, T>,
    now: Cursor<'s, T>,
    same: S,
}

impl<'s, T: Keyed, S: Fn(&T, &T) -> bool> Iterator for Differences<'s, T, S> {
    type Item = Difference<'s, T>;

    fn next(&mut self) -> Option<Difference<'s, T>> {
        loop {
            let Self { before, now, same } = self;
            if before.is_at_same_part(now) {
                before.skip_part();
                now.skip_part();
                continue;
            }
            let found = Difference { before: before.item(), now: now.item() };
            let order = match (found.before, found.now) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(now)) => before.key().cmp(now.key()),
            };
            match order {
                Ordering::Less => {
                    before.step();
                    return Some(Difference { now: None, ..found });
                }
                Ordering::Greater => {
                    now.step();
                    return Some(Difference { before: None, ..found });
                }
                Ordering::Equal => {
                    before.step();
                    now.step();
                    if !found.before.zip(found.now).is_some_and(|(before, now)| same(before, now)) {
                        return Some(found);
                    }
                }
            }
        }
    }
}

/// A place in a list.
#[derive(Debug)]
struct Cursor<'s, T> {
    /// Those that are left, the one that is under way first.
    parts: &'s [Part<T>],
    place: usize,
}

impl<'s, T> Cursor<'s, T> {
    fn of(list: &'s Sorted<T>) -> Self {
        Self { parts: &list.parts, place: 0 }
    }

    fn item(&self) -> Option<&'s T> {
        self.parts.first()?.get(self.place)
    }

    fn step(&mut self) {
        self.place += 1;
        if self.parts.first().is_none_or(|part| self.place >= part.len()) {
            self.skip_part();
        }
    }

    fn skip_part(&mut self) {
        self.parts = self.parts.get(1..).unwrap_or_default();
        self.place = 0;
    }

    /// Whether both stand at the start of one part.
    fn is_at_same_part(&self, other: &Self) -> bool {
        let firsts = self.parts.first().zip(other.parts.first());
        self.place == 0
            && other.place == 0
            && firsts.is_some_and(|(own, other)| Arc::ptr_eq(own, other))
    }
}

/// 256 items: of a hundred thousand, an edit copies as many words of parts as of items.
const PART: usize = 256;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Keyed for (u32, u32) {
        type Key = u32;

        fn key(&self) -> &u32 {
            &self.0
        }
    }

    type Edits = Vec<(u32, Option<u32>)>;

    /// Few keys, so that they meet, or enough of them for several parts.
    fn edits() -> impl Strategy<Value = Edits> {
        let edits = |keys: u32, most: usize| {
            proptest::collection::vec((0..keys, proptest::option::weighted(0.7, 0..3_u32)), 0..most)
        };
        prop_oneof![edits(20, 40), edits(3000, 3000)]
    }

    fn edit(list: &mut Sorted<(u32, u32)>, map: &mut BTreeMap<u32, u32>, edits: Edits) {
        for (key, value) in edits {
            let (gave, had) = match value {
                Some(value) => (list.insert((key, value)), map.insert(key, value)),
                None => (list.remove(&key), map.remove(&key)),
            };
            assert_eq!(gave.map(|(_, value)| value), had);
        }
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds_and_tells_what_an_edit_has_changed(
            first in edits(), second in edits(), all_anew in any::<bool>()
        ) {
            let (mut list, mut map) = (Sorted::default(), BTreeMap::new());
            edit(&mut list, &mut map, first);
            let (before, old) = (list.clone(), map.clone());
            edit(&mut list, &mut map, second);
            if all_anew {
                list = map.clone().into_iter().collect();
            }

            prop_assert_eq!(list.len(), map.len());
            prop_assert!(list.iter().copied().eq(map.clone()));
            prop_assert!(before.iter().copied().eq(old.clone()), "the version of before stays");
            prop_assert_eq!(list == before, map == old);
            let told: Vec<_> = list
                .differences(&before, |a, b| a == b)
                .map(|found| (found.before.copied(), found.now.copied()))
                .collect();
            let keys: std::collections::BTreeSet<u32> = map.keys().chain(old.keys()).copied().collect();
            let expected: Vec<_> = keys
                .into_iter()
                .map(|key| (old.get_key_value(&key), map.get_key_value(&key)))
                .filter(|(before, now)| before != now)
                .map(|(before, now)| (before.map(|(k, v)| (*k, *v)), now.map(|(k, v)| (*k, *v))))
                .collect();
            prop_assert_eq!(told, expected);
            for key in 0..25 {
                prop_assert_eq!(list.get(&key).map(|(_, value)| value), map.get(&key));
            }
            for place in [0, 1, 255, 256, 700, 5000] {
                prop_assert_eq!(list.nth(place), list.iter().nth(place));
            }
        }
    }

    #[test]
    fn what_two_versions_share_is_not_looked_at() {
        let before: Sorted<(u32, u32)> = (0..100_000).map(|key| (key, 0)).collect();
        let mut now = before.clone();
        now.insert((50_000, 1));
        let looked = Cell::new(0);
        let same = |a: &(u32, u32), b: &(u32, u32)| {
            looked.set(looked.get() + 1);
            a == b
        };

        assert_eq!(now.differences(&before, same).count(), 1);
        assert!(looked.get() <= 2 * PART, "{}", looked.get());
    }

    #[test]
    fn a_list_is_written_and_read_as_one() {
        let list: Sorted<(u32, u32)> = [(2, 0), (1, 0), (2, 1)].into_iter().collect();

        let text = serde_json::to_string(&list).unwrap();

        assert_eq!(text, "[[1,0],[2,1]]");
        assert_eq!(serde_json::from_str::<Sorted<(u32, u32)>>(&text).unwrap(), list);
    }
}
