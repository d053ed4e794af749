//! Where the files say what they say, by key: for whoever asks where a value comes from.

mod pieces;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::files::{File, Files};
use super::key::push_name;
use super::problem::Place;

use pieces::{Entry, Piece};

/// One step from a table or an array to what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key of a table.
    Name(Arc<str>),
    /// An element of an array, from 0.
    Index(usize),
}

/// The way to a value, as in `pools`, `shop`, `timeouts`, `total`.
pub type Steps = Vec<Step>;

/// Steps that are names alone.
pub fn names(names: &[&str]) -> Steps {
    names.iter().map(|name| Step::Name(Arc::from(*name))).collect()
}

/// The key that these names lead to, as problems tell it: `tenants."a.b".pool`.
pub fn key(names: &[&str]) -> String {
    let mut key = String::new();
    names.iter().for_each(|name| push_name(&mut key, name));
    key
}

/// The same of steps, as in `tenants.acme.certificates[0].cert`.
fn told(steps: &[Step]) -> String {
    let mut key = String::new();
    for step in steps {
        match step {
            Step::Name(name) => push_name(&mut key, name),
            Step::Index(index) => key.push_str(&format!("[{index}]")),
        }
    }
    key
}

/// Which pieces of some files are about which entry, as in `tenants`, `acme`. They are read through
/// once, for this; who asks then for a place has those pieces read that may have it, and it does not
/// matter how many other entries there are.
#[derive(Debug)]
pub struct Places {
    /// By entry, file and place.
    pieces: Vec<Piece>,
}

impl Places {
    /// Of these files.
    pub fn of(files: &Files) -> Self {
        let mut pieces = Vec::new();
        for (number, file) in (0..).zip(&files.files) {
            pieces::split(&file.text, number, &mut pieces);
        }
        pieces.sort_unstable_by_key(|piece| (piece.entry, piece.file, piece.start));
        Self { pieces }
    }

    /// Where each of these values is, as `file:line`; `None` for what no file says. `files` are those
    /// that this was made of.
    pub fn find(&self, files: &Files, wanted: &[Steps]) -> Vec<Option<String>> {
        let found = self.spots(files, wanted).into_iter();
        let text = |(file, spot): (&File, Spot)| format!("{}:{}", file.path.display(), spot.line);
        found.map(|found| found.map(text)).collect()
    }

    /// The place of the key that these names lead to; the start of the files where none says it.
    pub fn place(&self, files: &Files, path: &[&str]) -> Place {
        self.place_at(files, &names(path))
    }

    /// As [`Places::place`], also within arrays.
    pub fn place_at(&self, files: &Files, steps: &Steps) -> Place {
        let key = told(steps);
        let found = self.spots(files, std::slice::from_ref(steps)).pop().flatten();
        let (path, line, column) = match found {
            Some((file, spot)) => (&*file.path, spot.line, spot.column(&file.text)),
            None => (files.root.as_path(), 1, 1),
        };
        Place { file: path.display().to_string().into(), line, column, key }
    }

    fn spots<'f>(&self, files: &'f Files, wanted: &[Steps]) -> Vec<Option<(&'f File, Spot)>> {
        let mut by_file: BTreeMap<u32, BTreeMap<u32, &Piece>> = BTreeMap::new();
        let entries: BTreeSet<Entry> = wanted.iter().flat_map(|steps| entries(steps)).collect();
        for entry in entries {
            let from = self.pieces.partition_point(|piece| piece.entry < entry);
            let own = self.pieces.iter().skip(from).take_while(|piece| piece.entry == entry);
            for piece in own {
                by_file.entry(piece.file).or_default().insert(piece.start, piece);
            }
        }
        let mut found = vec![None; wanted.len()];
        for (number, pieces) in by_file {
            let Some(file) = files.files.nth(number as usize) else { continue };
            let part = Part::of(file, pieces.into_values());
            for (found, spot) in found.iter_mut().zip(part.spots(wanted)) {
                *found = found.take().or(spot.map(|spot| (file, spot)));
            }
        }
        found
    }
}

/// The entries whose pieces may say a value: its own, and the table that it is in, which may be
/// written as one value.
fn entries(steps: &[Step]) -> impl Iterator<Item = Entry> {
    let name = |at: usize| match steps.get(at) {
        Some(Step::Name(name)) => Some(name.as_ref()),
        _ => None,
    };
    let table = name(0).unwrap_or_default();
    let own = name(1).map(|name| Entry::of(table, Some(name)));
    own.into_iter().chain([Entry::of(table, None)])
}

/// A byte of a file.
#[derive(Clone, Copy)]
struct Spot {
    at: usize,
    line: usize,
}

impl Spot {
    /// In characters, from 1.
    fn column(self, text: &str) -> usize {
        let before = text.get(..self.at).unwrap_or_default();
        before.rsplit('\n').next().unwrap_or_default().chars().count() + 1
    }
}

/// A file without what nobody asks for.
struct Part<'p> {
    text: String,
    /// With where they begin here.
    pieces: Vec<(usize, &'p Piece)>,
}

impl<'p> Part<'p> {
    fn of(file: &File, pieces: impl Iterator<Item = &'p Piece>) -> Self {
        let mut part = Self { text: String::new(), pieces: Vec::new() };
        for piece in pieces {
            part.pieces.push((part.text.len(), piece));
            let own = file.text.get(piece.start as usize..piece.end as usize);
            part.text.push_str(own.unwrap_or_default());
        }
        part
    }

    /// Where these values are.
    fn spots(&self, wanted: &[Steps]) -> Vec<Option<Spot>> {
        let Ok(table) = DeTable::parse(&self.text) else { return vec![None; wanted.len()] };
        let spot = |steps: &Steps| walk(table.get_ref(), steps).and_then(|at| self.spot(at));
        wanted.iter().map(spot).collect()
    }

    fn spot(&self, at: usize) -> Option<Spot> {
        let next = self.pieces.partition_point(|(start, _)| *start <= at);
        let (start, piece) = self.pieces.get(next.checked_sub(1)?)?;
        let before = self.text.as_bytes().get(*start..at)?;
        let lines = before.iter().filter(|byte| **byte == b'\n').count();
        Some(Spot { at: piece.start as usize + at - start, line: piece.line as usize + lines })
    }
}

/// As [`Places::place`], for who asks once.
pub fn place(files: &Files, path: &[&str]) -> Place {
    Places::of(files).place(files, path)
}

/// The byte at which the value's key stands, or the element itself.
fn walk(root: &DeTable<'_>, steps: &[Step]) -> Option<usize> {
    let (Step::Name(name), rest) = steps.split_first()? else { return None };
    let (key, value) = root.get_key_value(name.as_ref())?;
    rest.iter()
        .try_fold((key.span().start, value), |(_, value), step| next(value, step))
        .map(|(at, _)| at)
}

fn next<'v, 't>(
    value: &'v Spanned<DeValue<'t>>,
    step: &Step,
) -> Option<(usize, &'v Spanned<DeValue<'t>>)> {
    match (value.get_ref(), step) {
        (DeValue::Table(table), Step::Name(name)) => {
            let (key, value) = table.get_key_value(name.as_ref())?;
            Some((key.span().start, value))
        }
        (DeValue::Array(array), Step::Index(index)) => {
            let value = array.get(*index)?;
            Some((value.span().start, value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
