//! A body that has come whole, as it is sent.

use std::rc::Rc;

use crate::base::memory::Held;
use crate::proxy::part::Part;
use crate::proxy::request_body::RequestBody;

use super::places::Place;

/// A body that has come whole.
pub(super) struct Whole {
    pub(super) parts: Vec<Part>,
    /// What it takes counts as long as there is somebody who would send it, be that a connection whose answer was
    /// read long ago.
    pub(super) _takes: Option<Takes>,
}

/// What a copy takes of what there is.
pub(super) struct Takes {
    pub(super) held: Held,
    pub(super) _place: Place,
}

/// Reads a body that has come whole.
pub(in crate::proxy) struct Kept {
    whole: Rc<Whole>,
    /// Parts of it that were read.
    position: u32,
}

/// A body from its start.
pub(super) fn body(whole: &Rc<Whole>) -> RequestBody {
    match whole.parts.is_empty() {
        true => RequestBody::Empty,
        false => RequestBody::Kept(Kept { whole: Rc::clone(whole), position: 0 }),
    }
}

impl Kept {
    /// The next part.
    pub(in crate::proxy) fn next(&mut self) -> Option<Part> {
        let part = self.left().first().cloned();
        self.position += u32::from(part.is_some());
        part
    }

    /// Whether all of it was read.
    pub(in crate::proxy) fn is_ended(&self) -> bool {
        self.left().is_empty()
    }

    /// Bytes that are left.
    pub(in crate::proxy) fn size(&self) -> u64 {
        self.left().iter().map(Part::size).sum()
    }

    fn left(&self) -> &[Part] {
        self.whole.parts.get(self.position as usize..).unwrap_or_default()
    }
}
