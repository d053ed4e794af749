//! The text of a file, shared by all who hold it, and what becomes of its memory when nobody does any more.

use std::fmt;
use std::mem::take;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that nobody changes. Clones are of the same one.
#[derive(Clone)]
pub struct SharedText(Kept);

/// As large as one of both.
#[derive(Clone)]
enum Kept {
    /// What most files say, of which there may be many.
    Short(Arc<str>),
    /// Tens of megabytes: each copy would be milliseconds in which a worker may wait for its core.
    Long(Arc<Long>),
}

struct Long {
    text: String,
    spare: Spare,
}

impl Drop for Long {
    fn drop(&mut self) {
        self.spare.take_back(take(&mut self.text));
    }
}

/// The memory of a long text that nobody holds any more, for the next one: what is given back to the system goes in
/// one piece, perhaps by a worker, and what comes anew is cleared page by page. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Arc<Mutex<Option<String>>>);

impl Spare {
    /// An empty text with room for so many bytes.
    pub(super) fn room(&self, bytes: usize) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match kept {
            Some(kept) if (bytes..=2 * bytes).contains(&kept.capacity()) => kept,
            // With some more, of which nothing is touched, so that the next text has room in it, too.
            _ => String::with_capacity(bytes + bytes / 16),
        }
    }

    /// A text that was read into such a room.
    pub(super) fn shared(&self, text: String) -> SharedText {
        if text.len() < LONG {
            return text.into();
        }
        SharedText(Kept::Long(Arc::new(Long { text, spare: self.clone() })))
    }

    /// Nothing long is read any more.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn take_back(&self, mut text: String) {
        text.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|kept| kept.capacity() < text.capacity()) {
            *kept = Some(text);
        }
    }
}

impl SharedText {
    /// Whether both are the very same, which is known without a look at what they say.
    pub fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kept::Short(one), Kept::Short(other)) => Arc::ptr_eq(one, other),
            (Kept::Long(one), Kept::Long(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// How many hold it, this one among them.
    #[cfg(test)]
    pub(super) fn holders(&self) -> usize {
        match &self.0 {
            Kept::Short(text) => Arc::strong_count(text),
            Kept::Long(long) => Arc::strong_count(long),
        }
    }
}

impl Deref for SharedText {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Kept::Short(text) => text,
            Kept::Long(long) => &long.text,
        }
    }
}

impl From<&str> for SharedText {
    fn from(text: &str) -> Self {
        Self(Kept::Short(text.into()))
    }
}

impl From<String> for SharedText {
    fn from(text: String) -> Self {
        if text.len() < LONG {
            return Self(Kept::Short(text.into()));
        }
        Spare::default().shared(text)
    }
}

impl PartialEq for SharedText {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || **self == **other
    }
}

impl Eq for SharedText {}

impl fmt::Debug for SharedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Serialize for SharedText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for SharedText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// 1 MiB: a shorter one is copied in a fraction of a millisecond.
pub(super) const LONG: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn long(letter: &str) -> String {
        letter.repeat(LONG)
    }

    #[test]
    fn a_long_text_is_read_into_the_memory_of_one_that_nobody_holds_any_more() {
        let spare = Spare::default();
        let first = spare.shared(long("a"));
        let (held, at) = (first.clone(), first.as_ptr());
        drop(first);
        assert!(held.starts_with('a') && held.holders() == 1);
        let other = spare.room(LONG);
        assert_ne!(other.as_ptr(), at, "the first is still held");

        drop(held);
        let room = spare.room(LONG);
        assert_eq!((room.as_ptr(), room.len()), (at, 0));
        let second = spare.shared(room + &long("b"));
        drop(second);
        assert!(spare.room(LONG * 2).capacity() >= LONG * 2, "too small, it is kept no more");
        assert!(spare.0.lock().unwrap().is_none());

        drop(spare.shared(long("c").repeat(3)));
        assert!(spare.room(LONG).capacity() < 2 * LONG, "far too large, it is not, either");
    }

    #[test]
    fn of_two_that_come_free_the_larger_one_is_kept() {
        let spare = Spare::default();
        let texts = [1, 3, 2].map(|times| spare.shared(long("a").repeat(times)));
        drop(texts);

        assert_eq!(spare.0.lock().unwrap().as_ref().map(String::capacity), Some(3 * LONG));
    }

    #[test]
    fn a_text_is_what_it_says_however_it_is_kept() {
        let (short, own) = (SharedText::from("a"), SharedText::from("a".to_owned()));
        assert!(short == own && !short.is(&own) && short.is(&short.clone()));
        let (one, other) = (SharedText::from(long("a")), SharedText::from(long("a")));
        assert!(one == other && !one.is(&other) && one.is(&one.clone()) && one != short);

        let told = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<SharedText>(&told).unwrap(), one);
        assert_eq!(size_of::<SharedText>(), size_of::<Arc<str>>());
    }
}
