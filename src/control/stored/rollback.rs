//! Back to what the tenants of the API were in an earlier generation, as one change. What files say the
//! gateway does not write: that stays as it is.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::model::ids::TenantId;

use super::super::history::{By, Was};
use super::super::reload::Reloader;
use super::Entry;
use super::change::Turn;
use super::definition::{Definition, path};
use super::refusal::Refusal;

/// A wish to go back, and who waits for what becomes of it.
#[derive(Debug)]
pub struct Back {
    /// The number of the generation.
    pub to: u64,
    /// Only tells what would become of it.
    pub dry_run: bool,
    /// Who wishes it.
    pub by: By,
    /// Who waits.
    pub answer: oneshot::Sender<Result<RolledBack, Refusal>>,
}

/// What has become of the tenants, or would.
#[derive(Clone, Debug)]
pub struct RolledBack {
    /// The number of the table that is live: going back is a generation of its own.
    pub generation: u64,
    /// That of the one that was before.
    pub generation_before: u64,
    /// Tenants that are again what they were.
    pub restored: Vec<String>,
    /// Those of them that were not there before.
    pub returned: Vec<String>,
    /// Tenants that are gone again.
    pub removed: Vec<String>,
    /// Tenants that stay as they are, since a file defines them now.
    pub in_files: Vec<String>,
    /// How many generations since then were made by edits of files, which stay.
    pub edits_of_files: usize,
    /// How long it took.
    pub took: Duration,
}

impl Reloader {
    /// Goes back and answers.
    pub(in crate::control) async fn go_back(&mut self, back: Back) {
        let result = self.roll_back(&back).await;
        // Who asked may have left meanwhile.
        drop(back.answer.send(result));
    }

    async fn roll_back(&mut self, back: &Back) -> Result<RolledBack, Refusal> {
        let started = Instant::now();
        self.ready_store(back.dry_run).await?;
        self.note().await;
        let before = self.applied.clone().ok_or(Refusal::NotReady)?;
        let history = self.noted.history();
        let then = history.since(back.to).ok_or(Refusal::Forgotten)?;
        let mut told = RolledBack {
            generation: self.live.load().generation,
            generation_before: self.live.load().generation,
            restored: Vec::new(),
            returned: Vec::new(),
            removed: Vec::new(),
            in_files: Vec::new(),
            edits_of_files: history
                .all()
                .iter()
                .filter(|one| one.generation > back.to && one.kept().next().is_none())
                .filter(|one| one.diff != Default::default())
                .count(),
            took: Duration::ZERO,
        };
        let mut turns = Vec::new();
        for (id, Was { json, marks }) in then {
            let id = TenantId::new(&id)?;
            let kept = self.stored.overlay.entries.get(id.as_str()).cloned();
            let next = json.and_then(|json| Definition::read(&json));
            let next =
                next.map(|next| Entry::new(&id, next)).transpose().map_err(Refusal::Wrong)?;
            let next = next.map(|next| next.marked(marks));
            let turn = Turn { id, kept, next };
            if !turn.is_one() {
                continue;
            }
            let name = turn.id.to_string();
            let is_served = before.files.files.get(path(&name).as_os_str()).is_some();
            if !is_served && before.spec.tenant(&name).is_some() {
                told.in_files.push(name);
                continue;
            }
            if turn.kept.is_none() {
                told.returned.push(name.clone());
            }
            match turn.next {
                Some(_) => told.restored.push(name),
                None => told.removed.push(name),
            }
            turns.push(turn);
        }
        let made = self.make(&before, &turns).await.map_err(Refusal::Wrong)?;
        if !back.dry_run {
            self.bring_about(&turns, made, (&back.by, started)).await?;
            told.generation = self.live.load().generation;
        }
        told.took = started.elapsed();
        Ok(told)
    }
}
