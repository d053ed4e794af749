//! One change of one tenant of the API: checked beside all that is live, kept on the disk, brought to
//! life, and only then answered.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::{Files, Learnt, pem, places};
use crate::model::ids::TenantId;
use crate::telemetry::keeping::TENANT_CHANGES;

use super::super::generation::{Fault, Live};
use super::super::history::{By, Rows, Was};
use super::super::load::{self, Loaded, in_background as checking};
use super::super::quarantine;
use super::super::reload::{PATIENCE, Reloader, Wish as Load};
use super::super::sift::Known;
use super::definition::{Definition, LARGEST, Table, masked_in, path};
use super::difference::{RouteChanges, ValueChange, routes, values};
use super::refusal::{Refusal, by_keys};
use super::rollback::Back;
use super::store::{Row, StoreError};
use super::{Apart, Entry, bounds, ceilings, in_background, lowered, without};

/// What control is asked for.
#[derive(Debug)]
pub enum Ask {
    /// A wish, and who waits for what becomes of it.
    Change(Box<Wish>, oneshot::Sender<Result<Changed, Refusal>>),
    /// Back to what was.
    Back(Back),
}

/// What shall become of a tenant.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its id, which may be none.
    pub id: String,
    /// What shall become of it.
    pub what: What,
    /// Under which condition.
    pub condition: Condition,
    /// Only tells what would become of it.
    pub dry_run: bool,
    /// It is the tenant's own: the keys that may be other than before, by their parts, where neither the tenant nor its
    /// plan says others; `None` = all of them may.
    pub within: Option<Arc<[Vec<String>]>>,
    /// Who wishes it.
    pub by: By,
}

/// What shall become of a tenant.
#[derive(Clone, Debug)]
pub enum What {
    /// It is this, whatever it was.
    Put(Table),
    /// A merge patch (RFC 7396) is applied to it.
    Patch(Table),
    /// It is gone.
    Delete,
}

/// What must be so before anything is changed.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// It has one of these tags, `*` standing for any: it is there.
    pub matches: Option<Vec<String>>,
    /// It has none of these.
    pub matches_none: Option<Vec<String>>,
}

impl Condition {
    fn holds(&self, tag: Option<&str>) -> bool {
        let is_named = |names: &[String]| {
            tag.is_some_and(|tag| names.iter().any(|name| name == "*" || name == tag))
        };
        self.matches.as_deref().is_none_or(is_named)
            && !self.matches_none.as_deref().is_some_and(is_named)
    }
}

/// What has become of a tenant, or would.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The number of the table that is live.
    pub generation: u64,
    /// That of the one that was before.
    pub generation_before: u64,
    /// As it is now; `None` = it is gone.
    pub definition: Option<Definition>,
    /// Whether the API had it before.
    pub was_kept: bool,
    /// Whether anything of it is other, be it who has written a key.
    pub is_other: bool,
    /// The tag of what it had; `None` = it had nothing.
    pub before: Option<String>,
    /// Its values that are others.
    pub values: Vec<ValueChange>,
    /// Its own routes that are others.
    pub routes: RouteChanges,
    /// How long it took.
    pub took: Duration,
}

/// What becomes of one tenant.
pub(super) struct Turn {
    pub(super) id: TenantId,
    /// What is kept of it.
    pub(super) kept: Option<Entry>,
    /// What shall be kept of it.
    pub(super) next: Option<Entry>,
}

impl Turn {
    pub(super) fn is_one(&self) -> bool {
        let said = |entry: &Option<Entry>| {
            entry.as_ref().map(|entry| (entry.definition.clone(), entry.marks.clone()))
        };
        said(&self.kept) != said(&self.next)
    }
}

/// What changes make of the routes.
pub(super) struct Made {
    pub(super) loaded: Loaded,
    learnt: Option<Learnt>,
    references: Option<pem::References>,
}

impl Made {
    /// What is live already.
    pub(super) fn of(loaded: Loaded) -> Self {
        Self { loaded, learnt: None, references: None }
    }
}

impl Reloader {
    /// Changes a tenant and answers.
    pub(in crate::control) async fn take(&mut self, ask: Ask) {
        let (wish, answer) = match ask {
            Ask::Change(wish, answer) => (wish, answer),
            Ask::Back(back) => return self.go_back(back).await,
        };
        let result = self.change(&wish).await;
        let word = match &result {
            Ok(_) if wish.dry_run => "dry_run",
            Ok(_) => "ok",
            Err(_) => "refused",
        };
        self.metrics.add(&TENANT_CHANGES, &[word], 1);
        // Who asked may have left meanwhile.
        drop(answer.send(result));
    }

    async fn change(&mut self, wish: &Wish) -> Result<Changed, Refusal> {
        let started = Instant::now();
        let id = TenantId::new(&wish.id)?;
        self.ready_store(wish.dry_run).await?;
        self.note().await;
        let before = self.applied.clone().ok_or(Refusal::NotReady)?;
        let mut turn = self.turn(wish, &id, &before).await?;
        let made = self.make(&before, slice::from_ref(&turn)).await;
        let made = made.map_err(|faults| Refusal::Wrong(by_keys(&id, faults)))?;
        let spec = |loaded: &Loaded| loaded.spec.tenant(id.as_str()).map(Arc::clone);
        let now = made.as_ref().map_or_else(|| spec(&before), |made| spec(&made.loaded));
        let was = spec(&before);
        match (&wish.within, now.as_deref()) {
            (Some(_), Some(now)) => {
                ceilings::check(&before.spec, (was.as_deref(), Some(now)))?;
                turn.leave_granted(&before.spec, now);
            }
            (None, Some(now)) => lowered::check(&before.spec, &turn, now)?,
            (_, None) => {}
        }
        let (kept, next) = (turn.kept.as_ref(), turn.next.as_ref());
        let mut changed = Changed {
            generation: self.live.load().generation,
            generation_before: self.live.load().generation,
            definition: next.map(|entry| entry.definition.clone()),
            was_kept: kept.is_some(),
            is_other: turn.is_one(),
            before: kept.map(|entry| entry.definition.tag()),
            values: values((&id, &self.stored.secrets), kept, next),
            routes: routes(was.as_deref(), now.as_deref()),
            took: Duration::ZERO,
        };
        if !wish.dry_run {
            self.bring_about(slice::from_ref(&turn), made, (&wish.by, started)).await?;
            changed.generation = self.live.load().generation;
            self.try_files_again(&id).await;
        }
        changed.took = started.elapsed();
        Ok(changed)
    }

    /// What the wish makes of the tenant, where it may by itself.
    async fn turn(&self, wish: &Wish, id: &TenantId, before: &Loaded) -> Result<Turn, Refusal> {
        let kept = self.stored.overlay.entries.get(id.as_str()).cloned();
        let is_served = before.files.files.get(path(id.as_str()).as_os_str()).is_some();
        let in_file = !is_served && before.spec.tenant(id.as_str()).is_some();
        let is_gone_only = matches!(wish.what, What::Delete) && kept.is_some();
        if in_file && !is_gone_only {
            return Err(self.place_of(before, id).await);
        }
        if kept.is_none() && matches!(id.as_str(), "." | "..") {
            return Err(Refusal::Dots);
        }
        let tag = kept.as_ref().map(|entry| entry.definition.tag());
        if !wish.condition.holds(tag.as_deref()) {
            return Err(Refusal::Condition);
        }
        let next = wish.what.of(kept.as_ref())?;
        if let Some(gateways) = &wish.within {
            let allowed = bounds::keys(&before.spec, kept.as_ref(), gateways);
            bounds::check(kept.as_ref(), next.as_ref(), &allowed)?;
        }
        let next = next.map(|next| wish.what.entry(id, next)).transpose();
        let next = next.map_err(|faults| Refusal::Wrong(by_keys(id, faults)))?;
        let mut turn = Turn { id: id.clone(), kept, next };
        turn.mark(wish);
        Ok(turn)
    }

    /// Files that were refused for this tenant may be right now.
    async fn try_files_again(&mut self, id: &TenantId) {
        let own = path(id.as_str());
        let is_told = |text: &str| text.contains(id.as_str());
        let is_of_it = |fault: &Fault| {
            fault.file == own || is_told(&fault.what) || fault.hint.as_deref().is_some_and(is_told)
        };
        let is_again = self.live.load().problems.iter().any(is_of_it);
        if is_again {
            self.reload(Load::Changed).await;
        }
    }

    /// Opens what tenants are kept in, unless nothing is to be changed.
    pub(super) async fn ready_store(&mut self, dry_run: bool) -> Result<(), StoreError> {
        match dry_run {
            true => self.stored.look(),
            false => self.open_store().await,
        }
    }

    /// What the routes would mean; `None` where they stay as they are.
    pub(super) async fn make(
        &mut self,
        before: &Loaded,
        turns: &[Turn],
    ) -> Result<Option<Made>, Vec<Fault>> {
        let mut files: Files = before.files.clone();
        for turn in turns {
            let own = path(turn.id.as_str());
            match (files.files.get(own.as_os_str()), &turn.next) {
                (None, None) => {}
                (Some(served), Some(next)) if *served == next.file => {}
                (_, Some(next)) => drop(files.files.insert(next.file.clone())),
                (Some(_), None) => drop(files.files.remove(own.as_os_str())),
            }
        }
        if files == before.files {
            // One that is not served may go all the same: that is noted, too.
            let is_one = turns.iter().any(Turn::is_one);
            return Ok(is_one.then(|| Made::of(before.clone())));
        }
        if let Some(edit) = self.check_edit(files.clone()).await {
            let load::Edit { loaded, learnt } = edit;
            return Ok(Some(Made { loaded, learnt: Some(learnt), references: None }));
        }
        // What is wrong by itself takes no look at what all others say.
        let own = turns.iter().filter_map(|turn| turn.next.as_ref()).map(|next| next.file.clone());
        let own = Files::of(files.root.clone(), own.collect());
        if let Some(faults) = self.check_alone(own).await {
            return Err(faults);
        }
        // Files that are broken stay held as they are.
        let files = quarantine::as_they_are(&files, &before.quarantine);
        let good = Known::Live(without_ended(before, turns));
        let checked = self.examine(files, good, load::check).await?;
        let loaded = checked.result?;
        Ok(Some(Made { loaded, learnt: None, references: Some(checked.references) }))
    }

    /// Keeps changes, and has them served. What cannot be served is not kept.
    pub(super) async fn bring_about(
        &mut self,
        turns: &[Turn],
        made: Option<Made>,
        (by, started): (&By, Instant),
    ) -> Result<(), Refusal> {
        let others: Vec<&Turn> = turns.iter().filter(|turn| turn.is_one()).collect();
        let entries = |pick: fn(&Turn) -> &Option<Entry>| -> Vec<Row> {
            let row = |turn: &&Turn| (turn.id.shared(), pick(turn).clone());
            others.iter().map(row).collect()
        };
        let before = entries(|turn| &turn.kept);
        let were = before.iter().map(|(id, was)| (id.to_string(), Was::of(was.as_ref())));
        let noted = made.as_ref().map(|made| {
            let spec = Arc::clone(&made.loaded.spec);
            (self.announce(by, &spec, were.collect()), spec)
        });
        let rows = noted.as_ref().map(|(noted, _)| self.noted.history().changes_with(noted));
        self.write(entries(|turn| &turn.next), rows).await?;
        if let Some(made) = made
            && let Err(faults) = self.serve(made, started).await
        {
            self.write(before, None).await?;
            return Err(Refusal::Failed(faults));
        }
        if let Some((noted, spec)) = noted {
            self.remember(noted, spec);
        }
        let overlay = &mut self.stored.overlay;
        for turn in turns {
            match &turn.next {
                Some(entry) => drop(overlay.entries.insert(entry.clone())),
                None => drop(overlay.entries.remove(turn.id.as_str())),
            }
            if overlay.unfit.contains_key(turn.id.as_str()) {
                Arc::make_mut(&mut overlay.unfit).remove(turn.id.as_str());
            }
        }
        self.look_again();
        let ids = turns.iter().map(|turn| turn.id.shared());
        self.stored.lowered.suspect(ids);
        self.stored.publish(self.applied.as_ref());
        Ok(())
    }

    /// Which tenants files define beside the API is to be looked up again: others are kept now.
    fn look_again(&mut self) {
        let overlay = &mut self.stored.overlay;
        // A tenant that has just come is in no file, and one that is gone hides nowhere.
        let entries = overlay.entries.clone();
        let is_kept = |id: &String| entries.get(id).is_some();
        if !overlay.shadowed.iter().all(is_kept) {
            Arc::make_mut(&mut overlay.shadowed).retain(|id| is_kept(id));
        }
        // The file may have been written to since: whoever reads it next looks for the new one, too.
        overlay.looked = None;
    }

    async fn write(&mut self, rows: Vec<Row>, noted: Option<Rows>) -> Result<(), StoreError> {
        let (Some(store), Some(path)) = (self.stored.store.clone(), self.stored.path.clone())
        else {
            return Err(StoreError::Off);
        };
        if rows.is_empty() && noted.is_none() {
            return Ok(());
        }
        let write = move |path: &_| store.write(path, &rows, noted.as_ref());
        let written = in_background(&path, write).await;
        if let Err(error) = &written {
            self.stored.let_go(error);
            self.stored.publish(self.applied.as_ref());
        }
        written
    }

    /// Brings a change to life. What was wrong with the files before is wrong with them still.
    pub(super) async fn serve(&mut self, made: Made, started: Instant) -> Result<(), Vec<Fault>> {
        let was = self.live.load();
        self.apply(made.loaded, PATIENCE, started).await?;
        if let Some(learnt) = made.learnt {
            self.memory.learn(learnt);
        }
        if let Some(references) = made.references {
            self.references.follow(references).await;
        }
        let now = self.live.load();
        self.metrics.config_changed(now.generation);
        if was.serving_last_good || was.failed_since.is_some() {
            self.live.publish(Arc::new(Live {
                serving_last_good: was.serving_last_good,
                problems: was.problems.clone(),
                failed_since: was.failed_since,
                ..Live::clone(&now)
            }));
        }
        Ok(())
    }

    /// Which file defines a tenant.
    async fn place_of(&self, before: &Loaded, id: &TenantId) -> Refusal {
        let (files, id) = (without(&before.files), id.clone());
        let find = move || {
            let place = places::place(&files, &["tenants", id.as_str()]);
            Ok(format!("{}:{}", place.file, place.line))
        };
        match checking("looking for a tenant", &self.routes, find).await {
            Ok(place) => Refusal::InFile { place },
            Err(faults) => Refusal::Failed(faults),
        }
    }
}

impl Apart {
    /// A word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Shadowed => "shadowed",
            Self::Unfit(_) => "unfit",
        }
    }
}

impl What {
    /// What is to be kept, beside what is; `None`: nothing more.
    fn of(&self, kept: Option<&Entry>) -> Result<Option<Definition>, Refusal> {
        let next = match (self, kept) {
            (Self::Put(table), _) => Definition::of(table.clone()),
            (Self::Patch(patch), Some(entry)) => entry.definition.patched(patch.clone()),
            (Self::Delete, Some(_)) => return Ok(None),
            (Self::Patch(_) | Self::Delete, None) => return Err(Refusal::Unknown),
        };
        if next.text().len() > LARGEST { Err(Refusal::Large) } else { Ok(Some(next)) }
    }

    /// What is to be kept as it is served, where nothing of what was sent is what a secret is shown as.
    fn entry(&self, id: &TenantId, next: Definition) -> Result<Entry, Vec<Fault>> {
        let masked = match self {
            Self::Put(sent) | Self::Patch(sent) => masked_in(sent, id.as_str()),
            Self::Delete => Vec::new(),
        };
        match Entry::new(id, next) {
            Ok(entry) if masked.is_empty() => Ok(entry),
            made => Err(made.err().into_iter().flatten().chain(masked).collect()),
        }
    }
}

/// What is live without the tenants that are ended: no file that is broken keeps them.
fn without_ended(before: &Loaded, turns: &[Turn]) -> Loaded {
    let mut rest = before.clone();
    for Turn { id, .. } in turns.iter().filter(|turn| turn.next.is_none()) {
        // Others of its id are a file's.
        if rest.files.files.remove(path(id.as_str()).as_os_str()).is_some() {
            Arc::make_mut(&mut rest.spec).tenants.remove(id.as_str());
        }
    }
    rest
}
