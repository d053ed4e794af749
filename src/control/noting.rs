//! Notes each generation once it is live, whoever has brought it about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::spec::RoutesSpec;
use crate::telemetry::audit_log::{AuditLog, Event, Line, Turn};

use super::generation::Fault;
use super::history::{By, Cause, Diff, Generation, History, Was};
use super::reload::Reloader;

/// What was noted last.
pub(super) struct Noted {
    history: History,
    /// What that generation was made from.
    spec: Option<Arc<RoutesSpec>>,
    /// Who is about to bring the next one about, where it is somebody else than the files.
    pub(super) by: Option<By>,
    /// Hears of each generation, and of files that are refused.
    audit: AuditLog,
}

impl Noted {
    /// What was kept of another start.
    pub(super) fn after(history: History, audit: AuditLog) -> Self {
        Self { history, spec: None, by: Some(By::of(Cause::Start)), audit }
    }

    /// The number of the newest generation that was noted; 0 = there is none.
    pub(super) fn last(&self) -> u64 {
        self.history.last()
    }

    /// What was noted.
    pub(super) fn history(&self) -> History {
        self.history.clone()
    }
}

impl Reloader {
    /// Notes what is live, unless it is noted.
    pub(super) async fn note(&mut self) {
        let by = self.noted.by.take();
        let (generation, since) = {
            let live = self.live.load();
            (live.generation, live.since)
        };
        let (Some(applied), true) = (&self.applied, generation > self.noted.history.last()) else {
            return;
        };
        let spec = Arc::clone(&applied.spec);
        let diff = self.noted.spec.as_ref().map(|before| Diff::of(before, &spec));
        let noted = Generation {
            generation,
            at: since,
            by: by.unwrap_or_else(|| By::of(Cause::Files)),
            diff: diff.unwrap_or_default(),
            before: BTreeMap::new(),
            marks: BTreeMap::new(),
            is_emptied: false,
        };
        self.stored.remember(self.noted.history.changes_with(&noted)).await;
        self.remember(noted, spec);
    }

    /// What a change of these tenants is noted as, before it is live.
    pub(super) fn announce(
        &self,
        by: &By,
        now: &RoutesSpec,
        were: BTreeMap<String, Was>,
    ) -> Generation {
        let marked = were.iter().filter(|(_, was)| !was.marks.is_empty());
        let marks = marked.map(|(id, was)| (id.clone(), was.marks.clone())).collect();
        let diff = self.noted.spec.as_ref().map(|before| Diff::of(before, now));
        Generation {
            generation: self.live.load().generation + 1,
            at: SystemTime::now(),
            by: by.clone(),
            diff: diff.unwrap_or_default(),
            before: were.into_iter().map(|(id, was)| (id, was.json)).collect(),
            marks,
            is_emptied: false,
        }
    }

    /// It is live.
    pub(super) fn remember(&mut self, noted: Generation, spec: Arc<RoutesSpec>) {
        let before = self.noted.history.last();
        self.noted.audit.note(&Line {
            generation: Some(Turn { before, after: noted.generation }),
            diff: serde_json::to_value(&noted.diff).ok(),
            ..by_whom(&noted.by, Event::Generation)
        });
        self.noted.spec = Some(spec);
        self.noted.history.add(noted);
    }
    /// Tells the audit log of files that are refused: where, and not what they say.
    pub(super) fn note_refusal(&self, problems: &[Fault]) {
        let files = By::of(Cause::Files);
        self.noted.audit.note(&Line {
            about: problems.first().map(|problem| problem.file.display().to_string()),
            problems: Some(problems.len()),
            ..by_whom(self.noted.by.as_ref().unwrap_or(&files), Event::FilesRefused)
        });
    }
}

/// A line of the audit log about what somebody has brought about.
fn by_whom(by: &By, event: Event) -> Line {
    let who = by.name.clone().unwrap_or_else(|| by.kind.as_str().to_owned());
    Line { who: Some(who), from: by.from.clone(), ..Line::new(event) }
}
