//! What the API keeps beside files as they are read: what of it does not fit is left out, and nothing else.
//!
//! **Invariant:** what is served already is never left out, and where the files alone are right they serve.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::sync::Arc;

use crate::config::Files;

use super::super::generation::Fault;
use super::super::load::{Before, Checked, Loaded};
use super::super::reload::Reloader;
use super::super::sift::Known;
use super::definition::{id_of, ids_in, path};
use super::{Stored, served_in};

/// How files are checked, and what is known of those that are broken.
type How = (Known, fn(Files, Before) -> Checked);

/// Tenants that do not fit, and why.
type Unfit = BTreeMap<String, Vec<Fault>>;

impl Reloader {
    /// As [`Reloader::check`], of files with what the API keeps beside them: what of that does not fit,
    /// and is not served yet, is left out.
    pub(in crate::control) async fn check_beside(
        &mut self,
        files: Files,
        (good, check): How,
    ) -> Result<Loaded, Vec<Fault>> {
        let mut files = files;
        if self.stored.has_unfit() {
            self.stored.leave_none_out();
            files = self.stored.beside(&files);
        }
        let served: BTreeSet<String> =
            self.applied.iter().flat_map(|one| ids(&one.files)).collect();
        // Each round but the last leaves some out.
        loop {
            let mut checked = self.examine(files.clone(), good.clone(), check).await?;
            let Err(faults) = &checked.result else { return self.settled(checked).await };
            let is_new = |id: &str| !served.contains(id) && has(&files, id);
            let unfit = culprits(faults, &take(&mut checked.wrong), &is_new);
            if unfit.is_empty() {
                let rest = ids(&files).filter(|id| !served.contains(id)).collect::<Vec<_>>();
                return match rest.is_empty() {
                    true => self.settled(checked).await,
                    false => Box::pin(self.check_apart(files, rest, (good, check))).await,
                };
            }
            self.stored.leave_out(unfit);
            files = self.stored.beside(&files);
        }
    }

    /// What is wrong is told at none of these tenants: the files serve without those that keep them
    /// from it, which are found by trying halves.
    async fn check_apart(
        &mut self,
        files: Files,
        rest: Vec<String>,
        (good, check): How,
    ) -> Result<Loaded, Vec<Fault>> {
        let mut all = files.clone();
        for id in &rest {
            all.files.remove(path(id).as_os_str());
        }
        let mut best = self.examine(all.clone(), good.clone(), check).await?;
        if best.result.is_err() {
            return self.settled(best).await;
        }
        let mut left = TRIES;
        let mut waiting: Vec<Vec<String>> = halves(rest);
        while let Some(group) = waiting.pop() {
            let mut with = all.clone();
            for id in &group {
                let own = files.files.get(path(id).as_os_str()).cloned();
                own.into_iter().for_each(|file| drop(with.files.insert(file)));
            }
            let checked = match left.checked_sub(1) {
                Some(fewer) => {
                    left = fewer;
                    self.examine(with.clone(), good.clone(), check).await?.result.map_err(Some)
                }
                None => Err(None),
            };
            match (checked, group.as_slice()) {
                (Ok(_), _) => all = with,
                (Err(Some(faults)), [id]) => {
                    self.stored.leave_out([(id.clone(), faults)].into());
                }
                (Err(Some(_)), _) => waiting.extend(halves(group)),
                (Err(None), _) => {
                    let told = group.into_iter().map(|id| (id.clone(), vec![untold(&id)]));
                    self.stored.leave_out(told.collect());
                }
            }
        }
        best = self.examine(all, good, check).await?;
        self.settled(best).await
    }

    async fn settled(&mut self, checked: Checked) -> Result<Loaded, Vec<Fault>> {
        self.references.follow(checked.references).await;
        checked.result
    }
}

impl Stored {
    /// Leaves these out until all get another try.
    fn leave_out(&mut self, unfit: Unfit) {
        Arc::make_mut(&mut self.overlay.unfit).extend(unfit);
    }
}

/// The tenants that are at fault, of those that may be left out: those that something is told at, else
/// those that what is told at others names.
fn culprits(faults: &[Fault], wrong: &[String], may: &dyn Fn(&str) -> bool) -> Unfit {
    let mut unfit = Unfit::new();
    let mut add = |id: &str, fault: Option<&Fault>| {
        let own = unfit.entry(id.to_owned()).or_default();
        own.extend(fault.filter(|_| own.len() < SHOWN).cloned());
    };
    for fault in faults {
        match id_of(&fault.file).filter(|id| may(id)) {
            Some(own) => add(own, Some(fault)),
            None => {
                let texts = [Some(&fault.what), fault.hint.as_ref()].into_iter().flatten();
                let named: BTreeSet<&str> =
                    texts.flat_map(|text| ids_in(text).chain(tenants_in(text))).collect();
                named.into_iter().filter(|id| may(id)).for_each(|id| add(id, Some(fault)));
            }
        }
    }
    wrong.iter().filter(|id| may(id)).for_each(|id| add(id, None));
    for (id, told) in &mut unfit {
        if told.is_empty() {
            told.push(untold(id));
        }
    }
    unfit
}

/// The ids that stand behind "the tenant" in what is told.
fn tenants_in(text: &str) -> impl Iterator<Item = &str> {
    let is_of_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let rests = text.split("the tenant ").skip(1).map(|rest| rest.trim_start_matches('"'));
    rests.map(move |rest| rest.split(|c| !is_of_id(c)).next().unwrap_or_default())
}

fn untold(id: &str) -> Fault {
    Fault {
        file: path(id),
        line: None,
        column: None,
        key: None,
        what: "has problems that are not told, since too many others have some".to_owned(),
        hint: Some("mend those that are told, or send this one again".to_owned()),
    }
}

fn ids(files: &Files) -> impl Iterator<Item = String> {
    served_in(files).map(ToOwned::to_owned)
}

fn has(files: &Files, id: &str) -> bool {
    files.files.get(path(id).as_os_str()).is_some()
}

fn halves(mut group: Vec<String>) -> Vec<Vec<String>> {
    let second = group.split_off(group.len() / 2);
    [group, second].into_iter().filter(|half| !half.is_empty()).collect()
}

/// 64: two tenants that nothing tells of are found among a hundred thousand. What is not tried then is
/// left out.
const TRIES: usize = 64;

/// 20: what is told of one tenant.
const SHOWN: usize = 20;
