//! Certificates of tenants' own, by the names that clients ask for (SNI). Each is for its tenant's domains alone, so
//! that nobody takes over a name of somebody else's by what stands in a certificate.
//!
//! It is replaced whole, and connections keep the one that they were begun with: so it is made of parts that those
//! of two moments share, and an edit of one tenant copies a few of them.

pub mod reading;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::spec::HostSpec;

use super::certificates::Entry;

/// What tenants present.
#[derive(Clone, Debug)]
pub struct Tenants {
    hasher: RandomState,
    parts: Box<[Arc<Part>]>,
    /// How many names there are.
    names: usize,
}

#[derive(Clone, Debug, Default)]
struct Part {
    exact: HashMap<Arc<str>, Said, RandomState>,
    /// `*.x` under `x`.
    below: HashMap<Arc<str>, Arc<Entry>, RandomState>,
}

/// What is said of one name that is written whole: there may be two tenants, one that has it as a domain, and one
/// with a certificate for it whose domain is a star. It is the first one's.
#[derive(Clone, Debug, Default)]
struct Said {
    /// Of the tenant whose domain it is; `Some(None)` = that one has no certificate for it.
    of_domain: Option<Option<Arc<Entry>>>,
    of_star: Option<Arc<Entry>>,
}

/// What one tenant says of one name.
#[derive(Clone, Debug)]
pub struct Claim {
    host: HostSpec,
    right: Right,
    /// `None` = it has no certificate for it.
    entry: Option<Arc<Entry>>,
}

/// By what a name is a tenant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// It is one of its domains.
    Domain,
    /// It is below a star of its domains.
    Star,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug)]
pub enum Found<'t> {
    /// It is a tenant's, and this is shown.
    Entry(&'t Arc<Entry>),
    /// It is a domain of a tenant that has no certificate for it: nobody else's may be shown.
    Bare,
    /// Nobody has said anything of it.
    Nothing,
}

impl Default for Tenants {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Arc::default()).collect();
        Self { hasher: RandomState::default(), parts, names: 0 }
    }
}

impl Tenants {
    /// Whether nobody has any.
    pub fn is_empty(&self) -> bool {
        self.names == 0
    }

    /// What is there for exactly this name, lower case and without a last dot.
    pub fn exact(&self, name: &str) -> Found<'_> {
        let said = self.part(name).and_then(|part| part.exact.get(name));
        match said {
            None => Found::Nothing,
            Some(Said { of_domain: Some(entry), .. }) => {
                entry.as_ref().map_or(Found::Bare, Found::Entry)
            }
            Some(Said { of_star, .. }) => of_star.as_ref().map_or(Found::Nothing, Found::Entry),
        }
    }

    /// What is there for names of one label before this.
    pub fn below(&self, parent: &str) -> Option<&Arc<Entry>> {
        self.part(parent)?.below.get(parent)
    }

    /// What is shown for a host now.
    fn of(&self, host: &HostSpec) -> Option<&Arc<Entry>> {
        match host {
            HostSpec::Below(parent) => self.below(parent),
            HostSpec::Exact(name) => match self.exact(name) {
                Found::Entry(entry) => Some(entry),
                Found::Bare => None,
                Found::Nothing => self.below(name.split_once('.')?.1),
            },
        }
    }

    /// What a tenant says whose certificates are about to be read: for a host for which it has none yet, and of which
    /// `before` showed somebody's, that is shown until then.
    pub fn add_before_reading(&mut self, claims: &[Claim], before: &Self) {
        let shown = |claim: &Claim| {
            let entry = claim.entry.as_ref().or_else(|| before.of(&claim.host)).cloned();
            Claim { entry, ..claim.clone() }
        };
        self.add(&claims.iter().map(shown).collect::<Vec<_>>());
    }

    /// Takes in what a tenant says. What others said of its domains is to be forgotten before.
    pub fn add(&mut self, claims: &[Claim]) {
        for Claim { host, right, entry } in claims {
            let (name, part) = self.part_of(host);
            let Some(part) = part else { continue };
            let is_new = match (host, entry) {
                (HostSpec::Exact(_), entry) => {
                    let said = part.exact.entry(name.into());
                    let is_new = matches!(said, Place::Vacant(_));
                    let said = said.or_default();
                    match right {
                        Right::Domain => said.of_domain = Some(entry.clone()),
                        Right::Star => said.of_star.clone_from(entry),
                    }
                    is_new
                }
                (HostSpec::Below(_), Some(entry)) => {
                    part.below.insert(name.into(), Arc::clone(entry)).is_none()
                }
                (HostSpec::Below(_), None) => false,
            };
            self.names += usize::from(is_new);
        }
    }

    /// Forgets what a tenant has said.
    pub fn remove(&mut self, claims: &[Claim]) {
        for Claim { host, right, .. } in claims {
            let (name, part) = self.part_of(host);
            let Some(part) = part else { continue };
            let is_gone = match host {
                HostSpec::Exact(_) => {
                    let Some(said) = part.exact.get_mut(name) else { continue };
                    match right {
                        Right::Domain => said.of_domain = None,
                        Right::Star => said.of_star = None,
                    }
                    let is_silent = said.of_domain.is_none() && said.of_star.is_none();
                    is_silent && part.exact.remove(name).is_some()
                }
                HostSpec::Below(_) => part.below.remove(name).is_some(),
            };
            self.names -= usize::from(is_gone);
        }
    }

    fn part(&self, name: &str) -> Option<&Arc<Part>> {
        self.parts.get(self.place(name))
    }

    /// The part that a host is in, as one that nobody else holds.
    fn part_of<'h>(&mut self, host: &'h HostSpec) -> (&'h str, Option<&mut Part>) {
        let (HostSpec::Exact(name) | HostSpec::Below(name)) = host;
        let place = self.place(name);
        (name, self.parts.get_mut(place).map(Arc::make_mut))
    }

    fn place(&self, name: &str) -> usize {
        // The lower bits choose the place within a part.
        (self.hasher.hash_one(name) >> 32) as usize % PARTS
    }
}

/// 128: of 100,000 names, one part has 800, and what all of them are held by is a kilobyte.
const PARTS: usize = 128;

#[cfg(test)]
mod tests;
