//! Files of a folder that are broken and define nothing but tenants: these are held as they were, and what
//! all other files say goes on. Pure: what the files say is found out by who asks.
//!
//! **Invariant:** what is not of one file of tenants alone is refused as a whole, as it always was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::spec::{NamedTenant, RoutesSpec, TenantSpec, TenantState};
use crate::config::{Checked, File, Files, Problem, Problems, Spoken, spoken_of};
use crate::model::ids::TenantId;

use super::generation::Fault;
use super::stored;

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
enum Now {
    /// This is what it says.
    Read(File),
    /// It cannot be read.
    Unread(Problems),
}

/// All files that are held.
pub type Quarantine = Arc<[Held]>;

impl Held {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a tenant is one of its.
    pub fn holds(&self, tenant: &str) -> bool {
        self.tenants.binary_search_by(|own| own.as_str().cmp(tenant)).is_ok()
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
            Now::Unread(problems) => {
                now.files.remove(held.path.as_os_str());
                now.unread.insert(Arc::clone(&held.path), problems.clone());
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

/// Warns of what is held now and was not, or not so, and tells of what is held no more.
pub(super) fn tell(now: &Quarantine, before: &[&Held]) {
    for held in now.iter().filter(|held| !before.contains(held)) {
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
    }
    let is_over = |old: &&&Held| now.iter().all(|held| held.path() != old.path());
    for old in before.iter().filter(is_over) {
        tracing::info!("{} is not broken any more", old.path().display());
    }
}

/// What files mean of which some are held.
pub(super) struct Sifted {
    /// The files, those that are held as they were when they were good.
    pub(super) files: Files,
    /// What these mean; the tenants of files that were never good are there as such.
    pub(super) checked: Checked,
    pub(super) quarantine: Quarantine,
}

/// What a file that is held was, if it ever was good.
#[derive(Clone, Debug, Default)]
pub(super) enum Known {
    /// It is among these files, which are live.
    Live(Files),
    /// It may be among these, which were kept from another start: what they said may not fit any more.
    Kept(Files),
    /// Nothing is known.
    #[default]
    Nothing,
}

impl Known {
    fn file(&self, path: &Path) -> Option<&File> {
        match self {
            Self::Live(files) | Self::Kept(files) => files.files.get(path.as_os_str()),
            Self::Nothing => None,
        }
    }
}

/// Holds the files that are wrong as they were in `known`. `wrong` is what is wrong with `files`.
///
/// # Errors
/// Where that is no way out: why what was good before does not do, if that was found out.
pub(super) fn sift(
    files: &Files,
    wrong: &Checked,
    known: &Known,
    check: impl FnMut(&Files) -> Checked,
) -> Result<Sifted, Vec<Fault>> {
    let (held, files, checked) = tried(files, wrong, known, check).ok_or_else(Vec::new)?;
    match &checked.result {
        Ok(_) => {
            let quarantine = held.into_iter().map(Holding::into_held).collect();
            Ok(Sifted { files, checked, quarantine })
        }
        Err(problems) => Err(problems.iter().map(as_it_was).collect()),
    }
}

/// What is wrong with a file as it was, which is not what is to be read there now.
fn as_it_was(problem: &Problem) -> Fault {
    let what = format!("as the file was when it was last good: {}", problem.what);
    Fault { line: None, column: None, what, ..Fault::from(problem.clone()) }
}

fn tried(
    files: &Files,
    wrong: &Checked,
    known: &Known,
    mut check: impl FnMut(&Files) -> Checked,
) -> Option<(Vec<Holding>, Files, Checked)> {
    // One file alone is refused as a whole.
    files.folder?;
    let mut held = Vec::new();
    for (path, problems) in &files.unread {
        held.push(Holding::unread(path, problems, known)?);
    }
    for place in wrong.wrong_alone.as_ref()? {
        held.push(Holding::of(files.files.nth(*place)?, wrong, known)?);
    }
    let (mut now, mut checked) = checked_of(files, &held, &mut check);
    if let (Err(_), Known::Kept(_)) = (&checked.result, known) {
        // What was kept is of another start: where it does not fit, nothing is known of it.
        let places = checked.wrong_alone.take()?;
        let unfit: Vec<File> = places.iter().filter_map(|at| now.files.nth(*at)).cloned().collect();
        for file in unfit {
            held.iter_mut().find(|held| held.good.as_ref() == Some(&file))?.good = None;
        }
        (now, checked) = checked_of(files, &held, &mut check);
    }
    if let Ok(spec) = &mut checked.result {
        for held in held.iter().filter(|held| held.good.is_none()) {
            add(spec, &held.spoken)?;
        }
    }
    Some((held, now, checked))
}

fn checked_of(
    files: &Files,
    held: &[Holding],
    check: &mut impl FnMut(&Files) -> Checked,
) -> (Files, Checked) {
    let mut now = Files { unread: BTreeMap::new(), ..files.clone() };
    for Holding { path, good, .. } in held {
        match good {
            Some(good) => drop(now.files.insert(good.clone())),
            None => drop(now.files.remove(path.as_os_str())),
        }
    }
    let checked = check(&now);
    (now, checked)
}

/// Has the tenants of a file be there without anything that could be served; `None` where one is there
/// already.
fn add(spec: &mut RoutesSpec, spoken: &Spoken) -> Option<()> {
    let quarantined = TenantSpec { state: TenantState::Quarantined, ..TenantSpec::default() };
    let quarantined = Arc::new(quarantined);
    // What is no id names nobody.
    for id in spoken.tenants.iter().filter_map(|id| TenantId::new(id).ok()) {
        if spec.tenant(id.as_str()).is_some() {
            return None;
        }
        let named: NamedTenant = (id, Arc::clone(&quarantined));
        spec.tenants.insert(named);
    }
    Some(())
}

/// A file that is about to be held.
struct Holding {
    path: Arc<Path>,
    now: Now,
    good: Option<File>,
    /// Of what it was, else of what it is.
    spoken: Spoken,
    problems: Vec<Fault>,
}

impl Holding {
    /// `None` where it cannot be held: it says more than tenants, it says what it said when it was good, or
    /// nobody knows whose it is.
    fn of(file: &File, wrong: &Checked, known: &Known) -> Option<Self> {
        if stored::is_of_api(&file.path) {
            return None; // what of that does not fit is left out
        }
        let now = spoken_of(&file.text);
        let good = known.file(&file.path);
        let spoken = good.map_or_else(|| now.clone(), |good| spoken_of(&good.text));
        let is_whole = !now.is_of_tenants_alone || !spoken.is_of_tenants_alone;
        if is_whole || spoken.tenants.is_empty() || good == Some(file) {
            return None;
        }
        let name = file.path.display().to_string();
        let told = wrong.result.as_ref().err().into_iter().flatten();
        let own = told.filter(|problem| problem.file == name);
        let problems = own.cloned().map(Fault::from).collect();
        let (path, now) = (Arc::clone(&file.path), Now::Read(file.clone()));
        Some(Self { path, now, good: good.cloned(), spoken, problems })
    }

    /// Of a file that cannot be read: nobody knows whose it is, unless it was there before.
    fn unread(path: &Arc<Path>, problems: &Problems, known: &Known) -> Option<Self> {
        let good = known.file(path)?;
        let spoken = spoken_of(&good.text);
        if !spoken.is_of_tenants_alone || spoken.tenants.is_empty() {
            return None;
        }
        let now = Now::Unread(problems.clone());
        let problems = problems.iter().cloned().map(Fault::from).collect();
        Some(Self { path: Arc::clone(path), now, good: Some(good.clone()), spoken, problems })
    }

    fn into_held(self) -> Held {
        let tenants = self.spoken.tenants.into_iter().collect();
        let was_good = self.good.is_some();
        Held { path: self.path, now: self.now, tenants, was_good, problems: self.problems }
    }
}

/// 10: whoever mends a file sees the rest in it.
const LOGGED: usize = 10;

/// 20: more than a line of a log needs.
const SHOWN: usize = 20;
