//! Where in a file something stands, as people say it: `pools.shop.health.interval`.

use std::fmt;

/// The dotted path of a key. Lives on the stack of whoever walks the file; text only on a fault.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    /// Index of the file.
    pub(super) file: usize,
    parent: Option<&'a Key<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Root,
    Name(&'a str),
    Index(usize),
}

impl<'a> Key<'a> {
    /// The top of a file.
    pub(super) const fn root(file: usize) -> Self {
        Self { file, parent: None, part: Part::Root }
    }

    /// A key of this table.
    pub(super) const fn name(&'a self, name: &'a str) -> Self {
        Self { file: self.file, parent: Some(self), part: Part::Name(name) }
    }

    /// An element of this array, counted from 0.
    pub(super) const fn index(&'a self, index: usize) -> Self {
        Self { file: self.file, parent: Some(self), part: Part::Index(index) }
    }

    /// The array and the index, when this is an element of one.
    pub(super) fn element(&self) -> Option<(String, usize)> {
        match (self.part, self.parent) {
            (Part::Index(index), Some(array)) => Some((array.to_string(), index)),
            _ => None,
        }
    }

    /// The dotted path, with indexes as `renumber` tells them for the path of their array.
    pub(super) fn text(&self, renumber: impl Fn(&str, usize) -> usize) -> String {
        let mut parts = Vec::new();
        let mut next = Some(self);
        while let Some(key) = next {
            parts.push(key.part);
            next = key.parent;
        }
        let mut text = String::new();
        for part in parts.into_iter().rev() {
            match part {
                Part::Root => {}
                Part::Name(name) => push_name(&mut text, name),
                Part::Index(index) => {
                    let index = renumber(&text, index);
                    text.push_str(&format!("[{index}]"));
                }
            }
        }
        text
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(|_, index| index))
    }
}

/// Adds a name to a dotted path, in quotes where it needs them.
pub(super) fn push_name(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push('.');
    }
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) {
        text.push_str(name);
    } else {
        text.push_str(&format!("{name:?}"));
    }
}
