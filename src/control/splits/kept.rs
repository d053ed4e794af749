//! Which canaries are rolled back, on disk: a restart gives none of them its share again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::control::load::in_background;
use crate::control::state::{self, StateError};

use super::absent::Absent;
use super::{Id, RolledBack};

/// That the canary of a split was rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Which edition of the split.
    pub(super) edition: u64,
    pub(super) rolled_back: RolledBack,
}

/// What the file holds, with the number of its form so that a later version can tell.
#[derive(Serialize, Deserialize)]
struct Form {
    form: u32,
    /// Those that are gone for longest first.
    rolled_back: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    split: String,
    edition: String,
    /// Seconds of Unix time.
    since: u64,
    reason: String,
    why: String,
}

/// What was rolled back before; nothing where the file cannot be used, which is told.
pub(super) async fn load(folder: &Path) -> Absent {
    let from = folder.to_owned();
    let read = in_background("reading the roll-backs", folder, move || Ok(read(&from))).await;
    match read {
        Ok(Ok(kept)) => return kept,
        Ok(Err(error)) => tracing::error!(%error,
            "nobody knows which canaries were rolled back: all of them get their shares"),
        Err(faults) => faults.iter().for_each(|fault| tracing::error!("{fault}")),
    }
    Absent::default()
}

/// Keeps what is rolled back.
///
/// # Errors
/// In words, when the disk refuses.
pub(super) async fn save(folder: &Path, kept: Vec<(Id, Kept)>) -> Result<(), String> {
    let to = folder.to_owned();
    let written =
        in_background("keeping the roll-backs", folder, move || Ok(write(&to, &kept))).await;
    match written {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(faults) => Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    }
}

fn read(folder: &Path) -> Result<Absent, StateError> {
    let form: Option<Form> = state::read(folder, NAME)?;
    let mut absent = Absent::default();
    let rows = form.into_iter().flat_map(|form| form.rolled_back);
    absent.extend(rows.filter_map(Row::kept));
    Ok(absent)
}

fn write(folder: &Path, kept: &[(Id, Kept)]) -> Result<(), StateError> {
    let rolled_back = kept.iter().map(Row::of).collect();
    state::write(folder, NAME, &Form { form: FORM, rolled_back })
}

impl Row {
    fn of((id, kept): &(Id, Kept)) -> Self {
        let Kept { edition, rolled_back: RolledBack { since, reason, why } } = kept;
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (reason, why) = (reason.to_string(), why.to_string());
        Self { split: id.to_string(), edition: format!("{edition:016x}"), since, reason, why }
    }

    /// What it says, where that can be read.
    fn kept(self) -> Option<(Id, Kept)> {
        let Id(edition) = Id::read(&self.edition)?;
        let since = UNIX_EPOCH.checked_add(Duration::from_secs(self.since))?;
        let (reason, why) = (Arc::from(self.reason), Arc::from(self.why));
        let rolled_back = RolledBack { since, reason, why };
        Some((Id::read(&self.split)?, Kept { edition, rolled_back }))
    }
}

const NAME: &str = "splits.json";
const FORM: u32 = 1;
