//! Which files may be held so that all others go on, and what they mean then. Pure: what files say is found
//! out by who asks.
//!
//! **Invariant:** nobody is held at the cost of a tenant that is served: what would take one away is refused
//! as a whole.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::base::sorted::Difference;
use crate::config::spec::{NamedTenant, RoutesSpec, TenantSpec, TenantState};
use crate::config::{
    Checked, File, Files, Problem, Spoken, Unread, may_be_among, names_in, spoken_of,
};
use crate::model::ids::TenantId;

use super::generation::Fault;
use super::load::Loaded;
use super::quarantine::{Held, Now, Quarantine};
use super::stored;

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
    /// It is among the files of what is live.
    Live(Loaded),
    /// It may be among these, which were kept from another start, and what they mean: all of that can be
    /// served. Where they mean nothing any more, of what they said is taken what fits.
    Kept(Files, Option<Arc<RoutesSpec>>),
    /// Nothing is known.
    #[default]
    Nothing,
}

impl Known {
    fn file(&self, path: &Path) -> Option<&File> {
        match self {
            Self::Live(Loaded { files, .. }) | Self::Kept(files, _) => {
                files.files.get(path.as_os_str())
            }
            Self::Nothing => None,
        }
    }

    /// What is served, or could be.
    fn spec(&self) -> Option<&RoutesSpec> {
        match self {
            Self::Live(Loaded { spec, .. }) | Self::Kept(_, Some(spec)) => Some(spec),
            Self::Kept(_, None) | Self::Nothing => None,
        }
    }

    /// Whether what does not fit any more is as if it had never been.
    fn may_be_unfit(&self) -> bool {
        matches!(self, Self::Kept(_, None))
    }
}

/// Holds the files that are wrong as they were in `known`. `wrong` is what is wrong with `files`.
///
/// # Errors
/// Where that is no way out: why not, as far as that is more than what is wrong with the files.
pub(super) fn sift(
    files: &Files,
    wrong: &Checked,
    known: &Known,
    mut check: impl FnMut(&Files) -> Checked,
) -> Result<Sifted, Vec<Fault>> {
    let mut held = holdings(files, wrong, known).unwrap_or_default();
    if held.is_empty() {
        return Err(Vec::new());
    }
    let (mut files, mut checked) = checked_of(files, &held, &mut check);
    if known.may_be_unfit() && checked.result.is_err() {
        let unfit: BTreeSet<&Path> = checked
            .wrong_alone
            .iter()
            .flatten()
            .filter_map(|(at, _)| files.files.nth(*at))
            .map(|file| &*file.path)
            .collect();
        let such = held.iter_mut().filter(|held| unfit.contains(&*held.path));
        such.for_each(|held| held.good = None);
        (files, checked) = checked_of(&files, &held, &mut check);
    }
    match &mut checked.result {
        Ok(spec) => {
            held.iter().filter(|held| held.good.is_none()).try_for_each(|held| add(spec, held))?;
            let taken = taken(spec, known, &held);
            if !taken.is_empty() {
                return Err(taken);
            }
        }
        Err(problems) => {
            let as_they_were: BTreeSet<String> =
                held.iter().filter(|held| held.good.is_some()).map(Holding::name).collect();
            let told = |problem: &Problem| match as_they_were.contains(&problem.file) {
                true => as_it_was(problem),
                false => Fault::from(problem.clone()),
            };
            return Err(problems.iter().map(told).collect());
        }
    }
    let quarantine = Quarantine::of(held.into_iter().map(Holding::into_held).collect());
    Ok(Sifted { files, checked, quarantine })
}

/// What is wrong with a file as it was, which is not what is to be read there now.
fn as_it_was(problem: &Problem) -> Fault {
    let what = format!("as the file was when it was last good: {}", problem.what);
    let hint =
        "mend the file, or leave it what it needs: until then all that has changed is refused";
    Fault {
        line: None,
        column: None,
        what,
        hint: Some(hint.to_owned()),
        ..Fault::from(problem.clone())
    }
}

/// All files that are wrong; `None` where one of them cannot be held.
fn holdings(files: &Files, wrong: &Checked, known: &Known) -> Option<Vec<Holding>> {
    // One file alone is refused as a whole.
    files.folder?;
    let mut told: HashMap<&str, Vec<Fault>> = HashMap::new();
    for problem in wrong.result.as_ref().err().into_iter().flatten() {
        told.entry(&problem.file).or_default().push(Fault::from(problem.clone()));
    }
    let mut held = Vec::new();
    for (path, unread) in &files.unread {
        held.push(Holding::unread(path, unread, known)?);
    }
    for (place, first) in wrong.wrong_alone.as_ref()? {
        // Where so much is wrong that nothing is told of this file, one thing is.
        let problems = told.remove(&*first.file).unwrap_or_else(|| vec![first.clone().into()]);
        held.push(Holding::of(files.files.nth(*place)?, problems, known)?);
    }
    Some(held)
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

/// Has the tenants of a file be there without anything that could be served.
///
/// # Errors
/// Where another file defines one of them.
fn add(spec: &mut RoutesSpec, held: &Holding) -> Result<(), Vec<Fault>> {
    let quarantined = TenantSpec { state: TenantState::Quarantined, ..TenantSpec::default() };
    let quarantined = Arc::new(quarantined);
    // What is no id names nobody.
    for id in held.spoken.tenants.iter().filter_map(|id| TenantId::new(id).ok()) {
        if spec.tenant(id.as_str()).is_some() {
            let what = format!("the tenant {id} is defined in another file, too");
            return Err(vec![held.fault(what, "keep it in one of them")]);
        }
        let named: NamedTenant = (id, Arc::clone(&quarantined));
        spec.tenants.insert(named);
    }
    Ok(())
}

/// Tenants that are served, and would not be any more: because the file that defines them now is broken, and
/// was never good with them in it, as one that was renamed, or into which they were moved. Those whose file is
/// gone, and of which no broken one speaks, were taken away on purpose. Those of the API are among them: a broken file hides them where it has their
/// header. Where a request ends one, `known` is without it.
fn taken(spec: &RoutesSpec, known: &Known, held: &[Holding]) -> Vec<Fault> {
    let Some(before) = known.spec() else { return Vec::new() };
    let is_held = |tenant: &TenantSpec| tenant.state == TenantState::Quarantined;
    let same = |before: &NamedTenant, now: &NamedTenant| {
        Arc::ptr_eq(&before.1, &now.1) || is_held(&before.1) || !is_held(&now.1)
    };
    let mut speakers: HashMap<&str, &Holding> = HashMap::new();
    for holding in held {
        let ids = holding.spoken.tenants.iter().chain(&holding.says.tenants);
        speakers.extend(ids.map(|id| (id.as_str(), holding)));
    }
    let guesses: Vec<(&Holding, Option<HashSet<String>>)> =
        held.iter().map(|holding| (holding, holding.may_name())).collect();
    let may_speak = |id: &str| {
        let may = |names: &Option<HashSet<String>>| {
            names.as_ref().is_none_or(|names| may_be_among(id, names))
        };
        guesses.iter().find(|(_, names)| may(names)).map(|(holding, _)| *holding)
    };
    let mut taken: BTreeMap<&Path, (&Holding, Vec<&str>)> = BTreeMap::new();
    let mut many = 0;
    for Difference { before, .. } in spec.tenants.differences(&before.tenants, same) {
        let Some((id, _)) = before.filter(|(_, before)| !is_held(before)) else { continue };
        let id = id.as_str();
        if let Some(holding) = speakers.get(id).copied().or_else(|| may_speak(id)) {
            taken.entry(&holding.path).or_insert((holding, Vec::new())).1.push(id);
            many += 1;
        }
        if many >= MOST {
            break;
        }
    }
    taken.into_values().map(|(holding, ids)| holding.takes(&ids)).collect()
}

/// A file that is about to be held.
struct Holding {
    path: Arc<Path>,
    now: Now,
    good: Option<File>,
    /// Of what it was, else of what it is.
    spoken: Spoken,
    /// Of what it is.
    says: Spoken,
    problems: Vec<Fault>,
}

impl Holding {
    /// `None` where it cannot be held: it says more than tenants, it says what it said when it was good, or
    /// nobody knows whose it is.
    fn of(file: &File, problems: Vec<Fault>, known: &Known) -> Option<Self> {
        if stored::is_of_api(&file.path) {
            return None; // what of that does not fit is left out
        }
        let says = spoken_of(&file.text);
        let good = match known.file(&file.path) {
            Some(good) if good == file && known.may_be_unfit() => None,
            Some(good) if good == file => return None,
            good => good.cloned(),
        };
        let spoken = good.as_ref().map_or_else(|| says.clone(), |good| spoken_of(&good.text));
        let is_whole = !says.is_of_tenants_alone || !spoken.is_of_tenants_alone;
        if is_whole || spoken.tenants.is_empty() {
            return None;
        }
        let (path, now) = (Arc::clone(&file.path), Now::Read(file.clone()));
        Some(Self { path, now, good, spoken, says, problems })
    }

    /// Of a file that cannot be read: nobody knows whose it is, unless it was there before.
    fn unread(path: &Arc<Path>, unread: &Unread, known: &Known) -> Option<Self> {
        let good = known.file(path)?;
        let spoken = spoken_of(&good.text);
        if !spoken.is_of_tenants_alone || spoken.tenants.is_empty() {
            return None;
        }
        let now = Now::Unread(unread.clone());
        let problems = unread.problems.iter().cloned().map(Fault::from).collect();
        let (path, good, says) = (Arc::clone(path), Some(good.clone()), Spoken::default());
        Some(Self { path, now, good, spoken, says, problems })
    }

    /// What may be the ids of tenants that it is about to define; `None` where nobody knows what it says: anybody may have been
    /// moved into it, also since it was held, and nothing would tell.
    fn may_name(&self) -> Option<HashSet<String>> {
        let good = self.good.as_ref().map_or("", |good| &good.text);
        self.now.text().map(|text| names_in(text, good))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn fault(&self, what: String, hint: &str) -> Fault {
        Fault {
            file: self.path.to_path_buf(),
            line: None,
            column: None,
            key: None,
            what,
            hint: Some(hint.to_owned()),
        }
    }

    /// Why it is not held: tenants that it has, or may have, are served.
    fn takes(&self, ids: &[&str]) -> Fault {
        let few = ids.iter().take(FEW).copied().collect::<Vec<&str>>().join(", ");
        let more = match ids.len().saturating_sub(FEW) {
            0 => String::new(),
            _ => ", …".to_owned(),
        };
        let what = format!(
            "the file is broken, and would take away tenants that are served and that it may be \
             about to define: {few}{more}"
        );
        self.fault(what, "mend the file: until then all that has changed is refused")
    }

    fn into_held(self) -> Held {
        let was_good = self.good.is_some();
        Held::new(self.path, self.now, self.spoken.tenants, was_good, self.problems)
    }
}

/// 100: enough to tell that it will not do.
const MOST: usize = 100;

/// 5: more than one needs to know what it is about.
const FEW: usize = 5;
