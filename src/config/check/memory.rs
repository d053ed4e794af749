//! What sections of the last files meant, so that only those are read again that say something new.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};

use crate::config::files::Files;
use crate::config::spec::{NamingSpec, TenantSpec};

use super::sections::{Form, slice};
use super::tenant::Sets;

/// What the last files' tenants meant, by what is written of them. Many say the same in the same
/// words, and then there is one for all of them.
#[derive(Debug, Default)]
pub struct Memory {
    frame: Frame,
    /// Of the files.
    texts: Vec<Arc<str>>,
    /// By a digest of what is written. One of two that have the same is not kept.
    known: HashMap<u64, Known, RandomState>,
    /// How many sections had to be read.
    read: usize,
}

/// What a tenant's meaning hangs on besides its own words.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Frame {
    pub(super) naming: Option<NamingSpec>,
    /// Names of the pools.
    pub(super) pools: BTreeSet<Arc<str>>,
    pub(super) sets: Sets,
}

#[derive(Clone, Debug)]
struct Known {
    file: u32,
    words: Range<u32>,
    spec: Arc<TenantSpec>,
}

/// A memory of files that are being read, beside the one of those before.
pub(super) struct Memories<'m> {
    /// `None` where nothing of it is of use.
    last: Option<&'m Memory>,
    next: Memory,
}

/// Where words are: a file and bytes of it.
pub(super) type Words = (u32, Range<u32>);

impl<'m> Memories<'m> {
    /// What was said under another frame may mean something else under this one.
    pub(super) fn new(last: &'m Memory, frame: Frame, files: &Files) -> Self {
        let texts = files.files.iter().map(|file| Arc::clone(&file.text)).collect();
        let last = Some(last).filter(|last| last.frame == frame);
        Self { last, next: Memory { frame, texts, known: HashMap::default(), read: 0 } }
    }

    /// What these words meant when they were last seen.
    pub(super) fn find(&mut self, form: Form, words: &Words) -> Option<Arc<TenantSpec>> {
        let text = self.next.text(words);
        let digest = digest(form, text);
        if let Some(known) = self.next.known.get(&digest) {
            return (self.next.text(&known.words()) == text).then(|| Arc::clone(&known.spec));
        }
        let last = self.last?;
        let known = last.known.get(&digest)?;
        if last.text(&known.words()) != text {
            return None;
        }
        let spec = Arc::clone(&known.spec);
        self.note(digest, words, &spec);
        Some(spec)
    }

    /// Keeps what these words mean.
    pub(super) fn keep(&mut self, form: Form, words: &Words, spec: &Arc<TenantSpec>) {
        self.note(digest(form, self.next.text(words)), words, spec);
    }

    /// A section is read.
    pub(super) fn count(&mut self) {
        self.next.read += 1;
    }

    fn note(&mut self, digest: u64, (file, words): &Words, spec: &Arc<TenantSpec>) {
        let known = || Known { file: *file, words: words.clone(), spec: Arc::clone(spec) };
        self.next.known.entry(digest).or_insert_with(known);
    }

    /// What is to be remembered of these files.
    pub(super) fn into_next(self) -> Memory {
        self.next
    }
}

impl Memory {
    /// How many sections of the last files had to be read: those whose words were new.
    pub fn read(&self) -> usize {
        self.read
    }

    fn text(&self, (file, words): &Words) -> &str {
        self.texts.get(*file as usize).map_or("", |text| slice(text, words))
    }
}

impl Known {
    fn words(&self) -> Words {
        (self.file, self.words.clone())
    }
}

/// Of what is written. It stays within the process, and who makes two that are the same gains nothing:
/// the words are compared.
fn digest(form: Form, text: &str) -> u64 {
    FixedState::default().hash_one((form, text))
}
