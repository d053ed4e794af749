//! A body that has come whole, as it is sent.

use std::rc::Rc;

use crate::proxy::part::Part;
use crate::proxy::request_body::RequestBody;

/// Reads a body that has come whole.
pub(in crate::proxy) struct Kept {
    parts: Rc<Vec<Part>>,
    /// Parts of it that were read.
    position: u32,
}

/// A body from its start.
pub(super) fn body(parts: &Rc<Vec<Part>>) -> RequestBody {
    match parts.is_empty() {
        true => RequestBody::Empty,
        false => RequestBody::Kept(Kept { parts: Rc::clone(parts), position: 0 }),
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
        self.parts.get(self.position as usize..).unwrap_or_default()
    }
}
