//! What was heard since it was last told: the names of some entries of a folder, or that anything may
//! have changed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Anything may have.
    Any,
    /// Entries of the watched folder with these names, and nothing else: they have come, gone or
    /// become others. None of them was a link when the folder was last followed.
    Names(BTreeSet<OsString>),
}

/// What an event was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Something was moved into its place, or out of it.
    Moved,
    /// A file was made. Nothing is told of what is written to it until its writer closes it.
    Made,
    /// Anything else.
    Other,
}

/// What a listener has heard. Written by the task that reads events, read by the listener.
#[derive(Debug)]
pub(super) struct Heard(Mutex<State>);

#[derive(Debug)]
struct State {
    last: Event,
    changed: Changed,
}

impl Default for Changed {
    /// Nothing has.
    fn default() -> Self {
        Self::Names(BTreeSet::new())
    }
}

impl Default for Heard {
    fn default() -> Self {
        Self(Mutex::new(State { last: Event::Other, changed: Changed::default() }))
    }
}

impl Heard {
    /// An entry of the watched folder has changed.
    pub(super) fn note(&self, name: &OsStr, event: Event) {
        let mut state = self.lock();
        state.last = event;
        if let Changed::Names(names) = &mut state.changed {
            names.insert(name.to_owned());
            if names.len() > MOST {
                state.changed = Changed::Any;
            }
        }
    }

    /// Something has changed.
    pub(super) fn note_any(&self, event: Event) {
        *self.lock() = State { last: event, changed: Changed::Any };
    }

    /// Whether the last event was a move.
    pub(super) fn is_moved(&self) -> bool {
        self.lock().last == Event::Moved
    }

    /// Whether the last event was that a file was made, which is perhaps being written.
    pub(super) fn is_made(&self) -> bool {
        self.lock().last == Event::Made
    }

    /// Whether all that has changed is known by name.
    pub(super) fn is_named(&self) -> bool {
        matches!(self.lock().changed, Changed::Names(_))
    }

    /// Whether something has changed, and all of it is known by name.
    pub(super) fn has_names(&self) -> bool {
        matches!(&self.lock().changed, Changed::Names(names) if !names.is_empty())
    }

    /// What has changed since it was last taken.
    pub(super) fn changed(&self) -> Changed {
        self.lock().changed.clone()
    }

    /// As [`Self::changed`]; from here on nothing has.
    pub(super) fn take(&self) -> Changed {
        std::mem::take(&mut self.lock().changed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 1,000: from there on, a look at everything costs no more.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_once_and_too_many_are_all() {
        let heard = Heard::default();
        let note = |number: usize| heard.note(OsStr::new(&number.to_string()), Event::Other);
        (0..MOST).chain(0..MOST).for_each(note);
        assert!(matches!(heard.changed(), Changed::Names(names) if names.len() == MOST));

        note(MOST);
        assert_eq!(heard.take(), Changed::Any);
        assert_eq!(heard.take(), Changed::default());
        assert_eq!((heard.is_named(), heard.has_names()), (true, false));

        heard.note_any(Event::Moved);
        note(1);
        assert_eq!((heard.is_named(), heard.has_names(), heard.is_moved()), (false, false, false));
        assert_eq!(heard.take(), Changed::Any);
    }
}
