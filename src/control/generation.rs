//! What is live: the number of the table, where it came from, what the last reload found wrong,
//! and the pools with their sources. Published whole by control, read by the admin API and at a
//! scrape; the data path never looks at it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::auth::issuer::KeysStatus;
use crate::base::fair::Gate;
use crate::base::snapshot::Snapshot;
use crate::config::Problem;
use crate::config::spec::{AdaptiveSpec, RoutesSpec};
use crate::model::answer_times::AnswerTimes;
use crate::model::breakers::Breakers;
use crate::model::members::Members;
use crate::model::overrun::Overrun;
use crate::tls::expiry::Expiry;

use super::load::Loaded;
use super::quarantine::Held;

use super::standing::Standing;
use super::stored;

/// What is live at one instant.
#[derive(Clone, Debug)]
pub struct Live {
    /// The number of the table that requests are routed by; 0 = none yet.
    pub generation: u64,
    /// When this table went live.
    pub since: SystemTime,
    /// The files were broken at the start: the last good table that was kept on disk serves.
    pub serving_last_good: bool,
    /// What the last reload found wrong; empty = the files of now are what is live.
    pub problems: Vec<Fault>,
    /// Since when reloads fail; `None` = the last one worked.
    pub failed_since: Option<SystemTime>,
    /// How many tenants are served, and what is being worked on.
    pub standing: Standing,
    /// Every pool, in the order of the names.
    pub pools: Vec<LivePool>,
    /// Every issuer of tokens, in the order of what they have in `iss`.
    pub issuers: Vec<LiveIssuer>,
    /// The files' texts and what they mean.
    pub(super) loaded: Option<Arc<Loaded>>,
    /// When the certificates that pools are reached with end.
    pub ends: Vec<Expiry>,
}

/// The listeners' certificates that are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveCertificates {
    /// What the last reading found wrong: where something is, what was in use before stays.
    pub problems: Vec<Fault>,
    /// Since when readings fail; `None` = the last one worked.
    pub failed_since: Option<SystemTime>,
    /// What makes one doubt the files of now.
    pub doubts: Vec<Fault>,
    /// When those that are in use end.
    pub ends: Vec<Expiry>,
}

impl LiveCertificates {
    /// None is in use.
    pub fn none() -> Self {
        let (problems, doubts) = (Vec::new(), Vec::new());
        Self { problems, failed_since: None, doubts, ends: Vec::new() }
    }
}

/// One fault of the config files, as an operator reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1; `None` where the fault has no place in the text.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// The offending key, as in `pools.shop.balance`; `None` where the text is no TOML.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self {
            file: problem.file.into(),
            line: Some(problem.line),
            column: Some(problem.column),
            key: Some(problem.key).filter(|key| !key.is_empty()),
            what: problem.what,
            hint: problem.hint,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        f.write_str(": ")?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.what)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

/// One pool that is live.
#[derive(Clone, Debug)]
pub struct LivePool {
    /// Its name.
    pub name: Arc<str>,
    /// Its number for metrics.
    pub slot: u32,
    /// Its members and their live state.
    pub members: Arc<Members>,
    /// Lets in so many requests at once; `None` = any number.
    pub gate: Option<Arc<Gate>>,
    /// What bounds it while it is overrun; `None` = nothing does.
    pub overrun: Option<Arc<Overrun>>,
    /// By what its limit follows how long requests take, and how long they do; `None` = it stands still.
    pub adaptive: Option<(AdaptiveSpec, Arc<AnswerTimes>)>,
    /// How its tenants' breakers stand; `None` = each request is tried.
    pub breakers: Option<Arc<Breakers>>,
    /// Whether it has a breaker of its own besides.
    pub has_own_breaker: bool,
    /// How many endpoints each tenant has; `None` = all have all.
    pub shard: Option<usize>,
    /// Where its members come from, in the order of the config.
    pub sources: Vec<SourceStatus>,
}

/// One issuer of tokens that is live.
#[derive(Clone, Debug)]
pub struct LiveIssuer {
    /// What it is called in the files.
    pub name: Arc<str>,
    /// What its tokens have in `iss`.
    pub issuer: Box<str>,
    /// Where its keys come from.
    pub place: String,
    /// How it stands with them. Writer: who fetches or reads them.
    pub status: Snapshot<KeysStatus>,
}

/// One source of a pool. Clones are handles to the same status.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    /// As in `dns billing.internal:8080`.
    pub name: Arc<str>,
    /// What it said last. Writer: the source's own task.
    pub last: Snapshot<SourceResult>,
}

impl SourceStatus {
    /// A source that has not answered yet.
    pub fn new(name: Arc<str>) -> Self {
        Self { name, last: Snapshot::new(Arc::new(SourceResult::Waiting)) }
    }
}

/// What a source said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceResult {
    /// Nothing yet.
    Waiting,
    /// A set of members.
    Found {
        /// When it said so.
        at: SystemTime,
        /// How many members it named.
        members: usize,
    },
    /// It failed; the set that it named before is kept.
    Failed {
        /// When it failed.
        at: SystemTime,
        /// Why.
        error: String,
    },
}

/// What a reload on request brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// The files are live.
    Live {
        /// The number of the table; the same as before where nothing had changed.
        generation: u64,
        /// How long it took.
        took: Duration,
    },
    /// Some files are broken: what was live in their place stays.
    Refused {
        /// The number of the table that is live.
        generation: u64,
        /// All that is wrong.
        problems: Vec<Fault>,
    },
}

#[cfg(test)]
impl Live {
    /// As if this text were live.
    pub fn with_routes(self, text: &str) -> Self {
        let files = crate::config::Files::of_text("routes.toml", text);
        let loaded = super::load::check(files, Default::default()).result.unwrap();
        Self { generation: 1, loaded: Some(Arc::new(loaded)), ..self }
    }
}

impl Live {
    /// What the live files mean; `None` while nothing is live.
    pub fn spec(&self) -> Option<&RoutesSpec> {
        self.loaded.as_ref().map(|loaded| loaded.spec.as_ref())
    }

    /// The files of the disk that the table was made from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.loaded.iter().flat_map(|loaded| &loaded.files.files);
        files.map(|file| &*file.path).filter(|path| !stored::is_of_api(path))
    }

    /// Files that are broken, whose tenants are held as they were.
    pub fn quarantine(&self) -> &[Held] {
        self.loaded.as_ref().map_or(&[], |loaded| &loaded.quarantine)
    }

    /// The file that defines a tenant, where that is broken.
    pub fn quarantined_by(&self, tenant: &str) -> Option<&Path> {
        self.loaded.as_ref()?.quarantine.find(tenant).map(Held::path)
    }

    /// What makes one doubt the files that are live, though they can be used.
    pub fn doubts(&self) -> &[Fault] {
        self.loaded.as_ref().map_or(&[], |loaded| &loaded.doubts)
    }

    /// The same, under another number.
    pub(super) fn numbered(&self, generation: u64) -> Arc<Self> {
        Arc::new(Self { generation, ..self.clone() })
    }

    /// Nothing is live yet.
    pub fn none() -> Self {
        Self {
            generation: 0,
            since: SystemTime::UNIX_EPOCH,
            serving_last_good: false,
            problems: Vec::new(),
            failed_since: None,
            standing: Standing::default(),
            pools: Vec::new(),
            issuers: Vec::new(),
            loaded: None,
            ends: Vec::new(),
        }
    }
}
