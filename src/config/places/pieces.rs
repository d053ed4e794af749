//! Splits a file into pieces, each about one entry. The text is known to be TOML.

use std::borrow::Cow;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::config::statements::{Kind, Names, Statement, Statements};

/// An entry, by a number of its table and its name. Two of the same number are unlikely, and cost no
/// more than to read both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry(u64);

impl Entry {
    /// `name` is `None` for what is of the table itself.
    pub(super) fn of(table: &str, name: Option<&str>) -> Self {
        Self(FixedState::default().hash_one((table, name)))
    }
}

/// Some whole lines of a file, about one entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) entry: Entry,
    pub(super) file: u32,
    pub(super) start: u32,
    pub(super) end: u32,
    /// The number of its first line, from 1.
    pub(super) line: u32,
}

/// Adds the pieces of a file.
pub(super) fn split(text: &str, file: u32, pieces: &mut Vec<Piece>) {
    let mut section = Section::Top;
    // Tables that are lists of tables, as in `[[listeners]]`: their elements have no names.
    let mut lists: Vec<Cow<'_, str>> = Vec::new();
    let mut last: Option<Piece> = None;
    for mut statement in Statements::of(text) {
        if let (Kind::List, [Some(table), None]) = (statement.kind, &statement.names)
            && !lists.contains(&table.text)
        {
            lists.push(table.text.clone());
        }
        let is_list = statement.names[0].iter().any(|name| lists.contains(&name.text));
        if statement.kind != Kind::Value && is_list {
            (statement.kind, statement.names[1]) = (Kind::List, None);
        }
        let entry = section.entry(&statement);
        if statement.kind != Kind::Value {
            section = Section::of(statement.kind, statement.names);
        }
        match &mut last {
            // Lines of one entry that follow each other are one piece.
            Some(last) if last.entry == entry => last.end = statement.end,
            _ => {
                let Statement { start, end, line, .. } = statement;
                pieces.extend(last.replace(Piece { entry, file, start, end, line }));
            }
        }
    }
    pieces.extend(last);
}

fn entry(names: &Names<'_>) -> Entry {
    let [table, name] = names.each_ref().map(|name| name.as_ref().map(|name| &*name.text));
    Entry::of(table.unwrap_or_default(), name)
}

/// What the statements are about that follow a header.
enum Section<'t> {
    /// There was no header yet.
    Top,
    /// A table, as in `[tenants]`: each key is an entry.
    Table(Cow<'t, str>),
    /// One entry, as in `[tenants.acme]`.
    Entry(Entry),
}

impl<'t> Section<'t> {
    fn of(kind: Kind, names: Names<'t>) -> Self {
        let whole = entry(&names);
        match (kind, names) {
            (Kind::Table, [Some(table), None]) => Self::Table(table.text),
            _ => Self::Entry(whole),
        }
    }

    fn entry(&self, statement: &Statement<'_>) -> Entry {
        match (self, statement.kind) {
            (Self::Entry(entry), Kind::Value) => *entry,
            (Self::Table(table), Kind::Value) => {
                Entry::of(table, statement.names[0].as_ref().map(|name| &*name.text))
            }
            (Self::Top, _) | (_, Kind::Table | Kind::List) => entry(&statement.names),
        }
    }
}
