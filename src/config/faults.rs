//! Gathers what is found wrong while files are read and checked, and tells only what helps: no
//! fault that merely follows from another one, and no flood.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::base::sorted::Sorted;

use super::files::File;
use super::key::Key;
use super::lines::Lines;
use super::pem::{self, PemFault, References};
use super::plain::{HINT_LENGTH, KEY_LENGTH, WHAT_LENGTH, plain};
use super::problem::{Place, Problem, Problems};

/// How a fault relates to others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// Stands by itself.
    Plain,
    /// A key or value does not fit at all. Hides what is wrong within it.
    Misfit,
    /// The text is no TOML.
    Syntax,
    /// A `${VAR}` could not be replaced. Hides what else is wrong with the same text.
    Substitution,
    /// Something is not there. Not told when something under the same key is wrong.
    Missing,
    /// A name is not defined. Not told when a file could not be parsed: it may be defined there.
    Undefined,
}

#[derive(Clone)]
struct Fault {
    file: usize,
    at: usize,
    sort: Sort,
    key: String,
    what: String,
    hint: Option<String>,
}

/// Everything found wrong so far.
pub(super) struct Faults<'a> {
    files: &'a Sorted<File>,
    /// Where the text that is read begins in its file.
    base: usize,
    list: Vec<Fault>,
    /// For each file: how many were kept.
    kept: Vec<usize>,
    /// How many were counted and no more.
    left: usize,
    /// The files that something is wrong with, and what was found first.
    wrong: BTreeMap<usize, Fault>,
    /// Whether something is wrong between two files, so that it may be with either.
    is_between: bool,
    /// Whether there are files of which nothing is known.
    is_unread: bool,
    /// Whether what is not said may be said elsewhere, where nothing could be read.
    is_partial: bool,
    /// For each array that elements were taken out of: their indexes, so that keys still tell the
    /// indexes of the file.
    holes: HashMap<(usize, String), Vec<usize>>,
    /// Files that are read because the text names them, wrong ones too.
    references: References,
    /// What is odd, and harms nobody.
    doubts: Vec<Problem>,
    /// How many there were, told or not.
    doubted: usize,
}

impl<'a> Faults<'a> {
    /// Nothing yet.
    pub(super) fn new(files: &'a Sorted<File>) -> Self {
        let kept = vec![0; files.len()];
        let (holes, references) = (HashMap::new(), References::new());
        let (list, doubts, wrong) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self {
            files,
            base: 0,
            list,
            kept,
            left: 0,
            wrong,
            is_between: false,
            is_unread: false,
            is_partial: false,
            holes,
            references,
            doubts,
            doubted: 0,
        }
    }

    /// From here on, bytes are counted from this one of their file, and no more from its first.
    pub(super) fn count_from(&mut self, base: usize) {
        self.base = base;
    }

    /// How often something was odd, told or not.
    pub(super) fn count_doubts(&self) -> usize {
        self.doubted
    }

    /// Something is odd, and harms nobody. `hint` is asked for only if it will be told.
    pub(super) fn doubt(
        &mut self,
        key: &Key<'_>,
        at: usize,
        what: &str,
        hint: impl FnOnce(&Self) -> String,
    ) {
        self.doubted += 1;
        if self.doubts.len() < MAX_PER_FILE {
            let doubt = self.place_of(key, at).problem(what.to_owned(), hint(self));
            self.doubts.push(doubt);
        }
    }

    /// What is odd. None of it is told where something is wrong: it may follow from that.
    pub(super) fn take_doubts(&mut self) -> Vec<Problem> {
        let doubts = std::mem::take(&mut self.doubts);
        if self.list.is_empty() { doubts } else { Vec::new() }
    }

    /// Notes a file that is about to be read because the text names it.
    pub(super) fn refer(&mut self, path: &Path) {
        self.references.insert(path.to_path_buf(), pem::digest(path));
    }

    /// Reads a file because the text names it.
    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<u8>, PemFault> {
        let (read, digest) = pem::read_whole(path);
        self.references.insert(path.to_path_buf(), digest);
        read
    }

    /// Every such file.
    pub(super) fn take_references(&mut self) -> References {
        std::mem::take(&mut self.references)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether enough of this file's are kept already; the next one is counted and no more.
    pub(super) fn is_full(&self, file: usize) -> bool {
        self.is_over(file) && self.wrong.contains_key(&file)
    }

    /// Whether the next one of this file is not among those that are told. The first of a file is known
    /// all the same.
    fn is_over(&self, file: usize) -> bool {
        let kept = self.kept.get(file).copied().unwrap_or(MAX_PER_FILE);
        kept >= MAX_PER_FILE || self.list.len() >= MAX
    }

    /// What is wrong next is so between two files.
    pub(super) fn note_between(&mut self) {
        self.is_between = true;
    }

    /// There are files that cannot be read, so that what is not defined may be defined there.
    pub(super) fn note_unread(&mut self) {
        self.is_unread = true;
    }

    /// The files that something is told at, or would be if there were less to tell.
    pub(super) fn wrong(&self) -> BTreeSet<usize> {
        self.wrong.keys().copied().collect()
    }

    /// Whether what is not said from here on may be said by something that is wrong itself, or not there.
    pub(super) fn note_partial(&mut self, is_partial: bool) {
        self.is_partial = is_partial;
    }

    /// Whether that is so: then nobody is told that something is missing.
    pub(super) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// The files that something is wrong with, each by itself, and what was found first of each, told or
    /// not; `None` where that is not sure.
    pub(super) fn wrong_alone(&self) -> Option<BTreeMap<usize, Problem>> {
        let told = |(number, fault): (&usize, &Fault)| {
            let file = self.files.nth(*number)?;
            Some((*number, problem(file, Lines::of(&file.text).place(fault.at), fault)))
        };
        (!self.is_between).then(|| self.wrong.iter().filter_map(told).collect())
    }

    /// A value or key is wrong. `at` is its byte in the file.
    pub(super) fn add(
        &mut self,
        key: &Key<'_>,
        at: usize,
        what: impl Into<String>,
        hint: Option<String>,
    ) {
        let key = self.shown(key);
        self.push(Sort::Plain, key, at, (what.into(), hint));
    }

    /// A value or key does not fit; the key is told by the file as it is.
    pub(super) fn add_misfit(
        &mut self,
        key: &Key<'_>,
        at: usize,
        (what, hint): (String, Option<String>),
    ) {
        self.push(Sort::Misfit, (key.file, key.to_string()), at, (what, hint));
    }

    /// A `${VAR}` could not be replaced.
    pub(super) fn add_substitution(
        &mut self,
        key: &Key<'_>,
        at: usize,
        what: String,
        hint: String,
    ) {
        self.push(Sort::Substitution, (key.file, key.to_string()), at, (what, Some(hint)));
    }

    /// Remembers that the element at `key`, told by the file as it is, was taken out of its array.
    pub(super) fn note_hole(&mut self, key: &Key<'_>) {
        if let Some((array, index)) = key.element() {
            let holes = self.holes.entry((key.file, array)).or_default();
            holes.push(index);
            holes.sort_unstable();
        }
    }

    /// Whether something at or under a key is wrong.
    pub(super) fn touches(&self, key: &Key<'_>) -> bool {
        let (file, key) = self.shown(key);
        self.list.iter().any(|fault| fault.file == file && is_under(&fault.key, &key))
    }

    /// The text is no TOML.
    pub(super) fn add_syntax(&mut self, file: usize, at: usize, what: String, hint: &str) {
        self.push(Sort::Syntax, (file, String::new()), at, (what, Some(hint.to_owned())));
    }

    /// Something that must be there is not.
    pub(super) fn add_missing(&mut self, key: &Key<'_>, at: usize, what: &str, hint: &str) {
        let key = self.shown(key);
        self.push(Sort::Missing, key, at, (what.to_owned(), Some(hint.to_owned())));
    }

    /// A name that is used is not defined. `hint` is asked for only if it will be told.
    pub(super) fn add_undefined(
        &mut self,
        key: &Key<'_>,
        at: usize,
        what: impl FnOnce() -> (String, Option<String>),
    ) {
        // Which one may have been meant is looked for among all names: not for each of many files.
        let told = match self.is_over(key.file) {
            true => ("is not defined".to_owned(), None),
            false => what(),
        };
        let key = self.shown(key);
        self.push(Sort::Undefined, key, at, told);
    }

    /// A place as `path:line:column`, for a fault that names two.
    pub(super) fn place(&self, file: usize, at: usize) -> String {
        let Some(file) = self.files.nth(file) else { return String::new() };
        let (line, column) = Lines::of(&file.text).place(self.base + at);
        format!("{}:{line}:{column}", file.path.display())
    }

    /// The place of what stands at a key, for what is found wrong with it later.
    pub(super) fn place_of(&self, key: &Key<'_>, at: usize) -> Place {
        let (index, key) = self.shown(key);
        let file = self.files.nth(index);
        let (line, column) =
            file.map_or((1, 1), |file| Lines::of(&file.text).place(self.base + at));
        let path = file.map_or_else(String::new, |file| file.path.display().to_string());
        Place { file: Arc::from(path), line, column, key: plain(&key, KEY_LENGTH) }
    }

    /// The file and text of a key, with the indexes that the file has.
    fn shown(&self, key: &Key<'_>) -> (usize, String) {
        if self.is_full(key.file) {
            return (key.file, String::new());
        }
        if self.holes.is_empty() {
            return (key.file, key.to_string());
        }
        let text = key.text(|array, index| {
            let holes = self.holes.get(&(key.file, array.to_owned()));
            let holes = holes.map(Vec::as_slice).unwrap_or_default();
            holes.iter().fold(index, |at, hole| at + usize::from(*hole <= at))
        });
        (key.file, text)
    }

    fn push(
        &mut self,
        sort: Sort,
        (file, key): (usize, String),
        at: usize,
        told: (String, Option<String>),
    ) {
        let (what, hint) = told;
        let fault = Fault { file, at: self.base + at, sort, key, what, hint };
        let is_over = self.is_over(file);
        self.wrong.entry(file).or_insert_with(|| fault.clone());
        if is_over {
            self.left += 1;
            return;
        }
        if let Some(kept) = self.kept.get_mut(file) {
            *kept += 1;
        }
        self.list.push(fault);
    }

    /// All that is worth telling, in the order of the files.
    pub(super) fn into_problems(self) -> Problems {
        let unparsed = self.is_unread || self.list.iter().any(|fault| fault.sort == Sort::Syntax);
        let mut kept: Vec<&Fault> = self
            .list
            .iter()
            .filter(|fault| match fault.sort {
                Sort::Syntax | Sort::Substitution => true,
                _ if self.list.iter().any(|other| hides(other, fault)) => false,
                Sort::Plain | Sort::Misfit => true,
                Sort::Undefined => !unparsed,
                Sort::Missing => !self.list.iter().any(|other| explains(other, fault)),
            })
            .collect();
        kept.sort_by_key(|fault| (fault.file, fault.at));
        kept.dedup_by(|a, b| (a.file, a.at, &a.what) == (b.file, b.at, &b.what));

        let mut list = Vec::with_capacity(kept.len() + 1);
        for own in kept.chunk_by(|a, b| a.file == b.file) {
            let Some(file) = own.first().and_then(|fault| self.files.nth(fault.file)) else {
                continue;
            };
            let lines = Lines::of(&file.text);
            list.extend(own.iter().map(|fault| problem(file, lines.place(fault.at), fault)));
        }
        if let (Some(last), 1..) = (list.last(), self.left) {
            list.push(flood(last, self.left));
        }
        Problems::new(list)
    }
}

/// Whether `missing` follows from `other`: a fault under its key.
fn explains(other: &Fault, missing: &Fault) -> bool {
    other.file == missing.file && other.sort != Sort::Missing && is_under(&other.key, &missing.key)
}

/// Whether `fault` is about a text whose variable could not be replaced, or is within what does not
/// fit as a whole: two hints for one value would contradict each other.
fn hides(other: &Fault, fault: &Fault) -> bool {
    let is_within = || {
        let (inner, outer) = (fault.key.as_str(), other.key.as_str());
        !outer.is_empty() && inner.len() > outer.len() && is_under(inner, outer)
    };
    match other.sort {
        Sort::Substitution => (other.file, other.at) == (fault.file, fault.at),
        Sort::Misfit => other.file == fault.file && is_within(),
        Sort::Plain | Sort::Syntax | Sort::Missing | Sort::Undefined => false,
    }
}

/// Whether a key is another one or stands below it.
fn is_under(key: &str, top: &str) -> bool {
    let rest = key.strip_prefix(top);
    rest.is_some_and(|rest| top.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

fn problem(file: &File, (line, column): (usize, usize), fault: &Fault) -> Problem {
    Problem {
        file: file.path.display().to_string(),
        line,
        column,
        key: plain(&fault.key, KEY_LENGTH),
        what: plain(&fault.what, WHAT_LENGTH),
        hint: fault.hint.as_deref().map(|hint| plain(hint, HINT_LENGTH)),
    }
}

/// Says behind the last problem how many were left out.
fn flood(last: &Problem, left: usize) -> Problem {
    Problem {
        key: String::new(),
        what: format!("{left} more problems are not shown"),
        hint: Some("repair those above and check again".to_owned()),
        ..last.clone()
    }
}

/// 100: more than anybody repairs in one go.
pub(super) const MAX_PER_FILE: usize = 100;

/// 1,000 in all: what one mistake in a folder of many files may come to.
const MAX: usize = 1000;
