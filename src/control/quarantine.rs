//! Files of a folder that are broken and define nothing but tenants: these are held as they were, and what
//! all other files say goes on. Which these may be is found out by `sift`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::config::{File, Files, Unread};

use super::generation::Fault;

/// A file that is broken, with the tenants that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    path: Arc<Path>,
    now: Now,
    /// Ids of the tenants that it defined when it was last good; where it never was, those that it
    /// seems to define.
    pub tenants: Arc<[String]>,
    /// Whether it was ever good: then its tenants are served as it said last. Else they are answered
    /// 503.
    pub was_good: bool,
    /// What is wrong with it.
    pub problems: Vec<Fault>,
}

/// A file as it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Now {
    /// This is what it says.
    Read(File),
    /// It cannot be read.
    Unread(Unread),
}

impl Now {
    /// What it says, as far as that can be read.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Read(file) => Some(&file.text),
            Self::Unread(unread) => unread.text.as_deref(),
        }
    }
}

/// All files that are held, by their paths. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    held: Arc<[Held]>,
    /// All of their tenants in order: by the number of the file, and that of the tenant in it. A list of tenants
    /// asks for each of its lines.
    by_tenant: Arc<[(u32, u32)]>,
}

impl Quarantine {
    pub(super) fn of(mut held: Vec<Held>) -> Self {
        held.sort_by(|a, b| a.path().as_os_str().cmp(b.path().as_os_str()));
        let mut by_tenant: Vec<(u32, u32)> = (0..)
            .zip(&held)
            .flat_map(|(file, held)| (0..).zip(held.tenants.iter()).map(move |(at, _)| (file, at)))
            .collect();
        by_tenant.sort_by(|a, b| name(&held, *a).cmp(&name(&held, *b)));
        Self { held: held.into(), by_tenant: by_tenant.into() }
    }

    /// The file that a tenant is one of; the first one.
    pub(super) fn find(&self, tenant: &str) -> Option<&Held> {
        let first = self
            .by_tenant
            .partition_point(|at| name(&self.held, *at).is_some_and(|name| name < tenant));
        let at = self.by_tenant.get(first).filter(|at| name(&self.held, **at) == Some(tenant))?;
        self.held.get(at.0 as usize)
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.held, &other.held)
    }
}

impl PartialEq for Quarantine {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.held == other.held
    }
}

impl Deref for Quarantine {
    type Target = [Held];

    fn deref(&self) -> &[Held] {
        &self.held
    }
}

fn name(held: &[Held], (file, at): (u32, u32)) -> Option<&str> {
    held.get(file as usize)?.tenants.get(at as usize).map(String::as_str)
}

impl Held {
    pub(super) fn new(
        path: Arc<Path>,
        now: Now,
        tenants: BTreeSet<String>,
        was_good: bool,
        problems: Vec<Fault>,
    ) -> Self {
        Self { path, now, tenants: tenants.into_iter().collect(), was_good, problems }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first of its tenants.
    pub fn few(&self) -> &[String] {
        self.tenants.get(..SHOWN.min(self.tenants.len())).unwrap_or_default()
    }
}

/// The files as they are, where those that are held stand in `files` as they were.
pub(super) fn as_they_are(files: &Files, quarantine: &Quarantine) -> Files {
    let mut now = files.clone();
    for held in quarantine.iter() {
        match &held.now {
            Now::Read(file) => drop(now.files.insert(file.clone())),
            Now::Unread(unread) => {
                now.files.remove(held.path.as_os_str());
                now.unread.insert(Arc::clone(&held.path), unread.clone());
            }
        }
    }
    now
}

/// How many tenants are held.
pub(super) fn tenants(quarantine: &Quarantine) -> usize {
    quarantine.iter().map(|held| held.tenants.len()).sum()
}

/// What is wrong with the files that are held.
pub fn problems(quarantine: &[Held]) -> Vec<Fault> {
    quarantine.iter().flat_map(|held| held.problems.iter().cloned()).collect()
}

/// Whether tenants are answered 503, as nobody knows what would be served.
pub(super) fn any_never_good(quarantine: &Quarantine) -> bool {
    quarantine.iter().any(|held| !held.was_good)
}

/// Warns of what is held now and was not, or not so, and tells of what is held no more.
pub(super) fn tell(now: &Quarantine, before: Option<&Quarantine>) {
    if before.is_some_and(|before| now.is_same(before)) {
        return;
    }
    let by_path = |held: &'_ Held| held.path.as_os_str().to_owned();
    let old: BTreeMap<_, &Held> = before
        .into_iter()
        .flat_map(|before| before.iter())
        .map(|held| (by_path(held), held))
        .collect();
    let all: BTreeSet<_> = now.iter().map(by_path).collect();
    let is_news = |held: &&Held| old.get(held.path.as_os_str()) != Some(held);
    let mut lines = 0;
    let mut untold = 0;
    for held in now.iter().filter(is_news) {
        if lines >= MOST_LOGGED {
            untold += 1;
            continue;
        }
        let (tenants, few) = (held.tenants.len(), held.few().join(", "));
        let file = held.path().display();
        match held.was_good {
            true => tracing::warn!(
                tenants,
                "{file} is broken: its tenants are served as it said last ({few})"
            ),
            false => tracing::warn!(
                tenants,
                "{file} is broken, and was never good: its tenants are answered 503 ({few})"
            ),
        }
        for problem in held.problems.iter().take(LOGGED) {
            tracing::warn!("{problem}");
        }
        lines += 1 + held.problems.len().min(LOGGED);
    }
    if untold > 0 {
        tracing::warn!(
            "… and {untold} more files are broken; /api/v1/config has the first {SHOWN_FILES}"
        );
    }
    let mended: Vec<&Path> =
        old.iter().filter(|(path, _)| !all.contains(*path)).map(|(_, held)| held.path()).collect();
    for path in mended.iter().take(MOST_LOGGED) {
        tracing::info!("{} is not broken any more", path.display());
    }
    if let more @ 1.. = mended.len().saturating_sub(MOST_LOGGED) {
        tracing::info!("… and {more} more files are not broken any more");
    }
}

/// 10: whoever mends a file sees the rest in it.
const LOGGED: usize = 10;

/// 20: more than a line of a log needs.
const SHOWN: usize = 20;

/// 100: many broken files must not push everything else out of the log.
const MOST_LOGGED: usize = 100;

/// 100 files: more than anybody reads.
pub const SHOWN_FILES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn held(path: &str, tenants: &[&str], text: &str) -> Held {
        let path: Arc<Path> = Path::new(path).into();
        let now = Now::Read(File { path: Arc::clone(&path), text: text.into() });
        let tenants = tenants.iter().map(ToString::to_string).collect();
        Held::new(path, now, tenants, true, Vec::new())
    }

    #[test]
    fn the_file_of_a_tenant_is_found_among_many() {
        let many = (0..300).map(|file| {
            let own = [format!("a{file}"), format!("b{}", file / 2), format!("c{file}")];
            held(&format!("{file:03}"), &own.each_ref().map(String::as_str), "")
        });

        let quarantine = Quarantine::of(many.rev().collect());

        let find = |id: &str| quarantine.find(id).map(|held| held.path().display().to_string());
        assert_eq!(find("a299").as_deref(), Some("299"));
        assert_eq!(find("b149").as_deref(), Some("298"), "the first of two");
        assert_eq!((find("c0").as_deref(), find("a"), find("d")), (Some("000"), None, None));
        assert_eq!(Quarantine::default().find("a1").map(Held::path), None);
    }
}
