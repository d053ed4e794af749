//! What sections of the last files meant, so that only those are read again that say something new.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};

use crate::config::SharedText;
use crate::config::spec::{MostKept, NamingSpec, RoutesSpec, TenantSpec};

use super::around::Milestones;
use super::issuer_keys::HeldKeys;
use super::plan::Plans;
use super::sections::{Form, slice};
use super::tenant::{Sets, of_tenant_pool};

/// What the last files' tenants meant, by what is written of them. Many say the same in the same
/// words, and then there is one for all of them.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) frame: Frame,
    /// By a digest of what is written. One of two that have the same is not kept.
    known: HashMap<u64, Known, RandomState>,
    /// Of the files with many tenants.
    milestones: Vec<Milestones>,
    /// How many sections had to be read.
    read: usize,
    /// How many there were known when all of them were of use.
    used: usize,
    /// What files of keys said before this start.
    pub(in crate::config) held: HeldKeys,
    /// What can be kept of a body, where the gateway's own file is known.
    pub(in crate::config) most_kept: Option<MostKept>,
}

/// What a tenant's meaning hangs on besides its own words.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Frame {
    pub(super) naming: Option<NamingSpec>,
    /// Names of the pools.
    pub(super) pools: BTreeSet<Arc<str>>,
    pub(super) sets: Sets,
    pub(super) plans: Plans,
}

impl Frame {
    /// Whether it is that of these routes.
    pub(super) fn is_of(&self, spec: &RoutesSpec) -> bool {
        let sets = spec.route_sets.iter().map(|(name, set)| (name, of_tenant_pool(&set.routes)));
        let plans = spec.plans.iter().map(|(name, plan)| (name, Some(plan)));
        self.naming.as_ref() == Some(&spec.naming)
            && self.pools.iter().eq(spec.pools.keys().map(|id| &id.0))
            && self.sets.iter().map(|(name, set)| (name, set.clone())).eq(sets)
            && self.plans.iter().map(|(name, plan)| (name, plan.as_ref())).eq(plans)
    }
}

#[derive(Clone, Debug)]
struct Known {
    /// Of the file, or the words alone.
    text: SharedText,
    words: Range<u32>,
    spec: Arc<TenantSpec>,
}

/// A memory of files that are being read, beside the one of those before.
pub(super) struct Memories<'m> {
    /// `None` where nothing of it is of use.
    last: Option<&'m Memory>,
    next: Memory,
}

/// What was learnt of a few files that have changed.
#[derive(Debug)]
pub struct Learnt {
    of_now: Memory,
    /// Digests of what they said before, and those texts.
    of_before: Vec<(u64, SharedText)>,
    /// All of those texts.
    gone: Vec<SharedText>,
}

/// Where words are: the text of a file, and bytes of it.
pub(super) type Words<'t> = (&'t SharedText, Range<u32>);

impl<'m> Memories<'m> {
    /// What was said under another frame may mean something else under this one.
    pub(super) fn new(last: &'m Memory, frame: Frame) -> Self {
        let (held, most_kept) = (last.held.clone(), last.most_kept);
        let next = Memory { frame, held, most_kept, ..Memory::default() };
        let last = Some(last).filter(|last| last.frame == next.frame);
        Self { last, next }
    }

    /// For a few files that have changed, all else being as it was.
    pub(super) fn beside(last: &'m Memory) -> Self {
        Self { last: Some(last), next: Memory::default() }
    }

    /// What these words meant when they were last seen.
    pub(super) fn find(&mut self, form: Form, words: &Words<'_>) -> Option<Arc<TenantSpec>> {
        let text = slice(words.0, &words.1);
        let digest = digest(form, text);
        if let Some(known) = self.next.known.get(&digest) {
            return (known.words() == text).then(|| Arc::clone(&known.spec));
        }
        let known = self.last?.known.get(&digest).filter(|known| known.words() == text)?;
        let spec = Arc::clone(&known.spec);
        self.note(digest, words, &spec);
        Some(spec)
    }

    /// Keeps what these words mean.
    pub(super) fn keep(&mut self, form: Form, words: &Words<'_>, spec: &Arc<TenantSpec>) {
        self.note(digest(form, slice(words.0, &words.1)), words, spec);
    }

    /// A section is read.
    pub(super) fn count(&mut self) {
        self.next.read += 1;
    }

    fn note(&mut self, digest: u64, (text, words): &Words<'_>, spec: &Arc<TenantSpec>) {
        let known =
            || Known { text: (*text).clone(), words: words.clone(), spec: Arc::clone(spec) };
        self.next.known.entry(digest).or_insert_with(known);
    }

    /// Keeps where a file can be taken apart.
    pub(super) fn mark(&mut self, milestones: Option<Milestones>) {
        self.next.milestones.extend(milestones);
    }

    /// What is to be remembered of these files.
    pub(super) fn into_next(self) -> Memory {
        Memory { used: self.next.known.len(), ..self.next }
    }

    /// As [`Self::into_next`], of a few files that have changed; `before` is what was said where they have, `gone`
    /// all of their texts.
    pub(super) fn into_learnt<'w>(
        self,
        before: impl Iterator<Item = (Form, Words<'w>)>,
        gone: Vec<SharedText>,
    ) -> Learnt {
        let said = |(form, (text, words)): (Form, Words<'w>)| {
            (digest(form, slice(text, &words)), text.clone())
        };
        Learnt { of_now: self.next, of_before: before.map(said).collect(), gone }
    }
}

impl Memory {
    /// Of nothing but what files of keys said before this start.
    pub fn holding(held: HeldKeys) -> Self {
        Self { held, ..Self::default() }
    }

    /// The same, beside a gateway that keeps so much of a body.
    #[must_use]
    pub fn beside(self, most_kept: Option<MostKept>) -> Self {
        Self { most_kept, ..self }
    }

    /// How many sections of the last files had to be read: those whose words were new.
    pub fn read(&self) -> usize {
        self.read
    }

    /// Where a file can be taken apart, if it has many tenants.
    pub(super) fn milestones(&self, text: &SharedText) -> Option<&Milestones> {
        self.milestones.iter().find(|known| known.are_of(text))
    }

    /// How many words are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes in what was learnt of files that have changed beside those that it is of. It holds no
    /// text of before but the first one of a file with many tenants, and no more than twice what is of use.
    pub fn learn(&mut self, learnt: Learnt) {
        for (digest, text) in learnt.of_before {
            if let Some(known) = self.known.get_mut(&digest)
                && known.text.is(&text)
            {
                known.stand_alone();
            }
        }
        let is_gone = |known: &Milestones| learnt.gone.iter().any(|text| known.are_of(text));
        self.milestones.retain(|known| !is_gone(known));
        self.milestones.extend(learnt.of_now.milestones);
        self.read = learnt.of_now.read;
        for (digest, mut known) in learnt.of_now.known {
            self.known.entry(digest).or_insert_with(|| {
                known.stand_alone();
                known
            });
        }
        if self.known.len() > self.used * 2 + SPARE {
            self.known.retain(|_, known| Arc::strong_count(&known.spec) > 1);
            self.used = self.known.len();
        }
    }
}

impl Learnt {
    /// How many sections had to be read.
    pub fn read(&self) -> usize {
        self.of_now.read
    }
}

impl Known {
    fn words(&self) -> &str {
        slice(&self.text, &self.words)
    }

    /// Lets go of the file's text.
    fn stand_alone(&mut self) {
        let words: SharedText = self.words().into();
        self.words = 0..(self.words.end - self.words.start);
        self.text = words;
    }
}

/// Of what is written. It stays within the process, and who makes two that are the same gains nothing:
/// the words are compared.
fn digest(form: Form, text: &str) -> u64 {
    FixedState::default().hash_one((form, text))
}

/// 1,000: what few files say takes no looking through.
const SPARE: usize = 1000;
