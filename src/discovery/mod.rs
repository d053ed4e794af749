//! Where the endpoints of a pool come from. A source always reports its full set; it never talks
//! to the pool itself: `control` puts the sets of a pool's sources together and hands them on.

pub mod resolver;

mod dns;
mod feed;
mod file;
mod fixed;
mod list;
mod settle;
mod srv;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::base::tasks::{Stopped, Tasks};
use crate::base::watch::FileEvents;
use crate::config::spec::SourceSpec;
use crate::model::members::Found;

use feed::Feed;
use resolver::Resolver;

/// One running source. The caller gives each a number of its own and never the same twice, so that
/// a late report of a source that was stopped is not taken for its successor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey(pub u64);

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which source.
    pub source: SourceKey,
    /// What happened.
    pub event: Event,
}

/// What happened at a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The full set of this source, after a change or after a time of failure.
    Members(Vec<Found>),
    /// One more try brought nothing that can be used. The set that was reported last stays.
    Failed {
        /// Why, for a person.
        reason: String,
        /// How many members the set that stays has.
        kept: usize,
    },
}

/// A running source. Dropping it ends the source.
#[derive(Debug)]
pub struct Source {
    /// What it is, as in `dns billing.internal:8080`; also the `origin` of what it finds.
    pub label: Arc<str>,
    tasks: Tasks,
}

impl Source {
    /// Ends the source and waits for its end; nothing is reported afterwards.
    pub async fn stop(self) -> Stopped {
        self.tasks.stop(STOP_LIMIT).await
    }
}

/// What all sources share.
#[derive(Clone, Debug)]
pub struct Means {
    /// Looks names up.
    pub resolver: Resolver,
    /// Tells of changes of files.
    pub files: FileEvents,
}

/// Starts a source. Its reports go to `reports`; the first comes as soon as something is known.
pub fn spawn(
    spec: &SourceSpec,
    key: SourceKey,
    means: &Means,
    reports: &mpsc::Sender<Report>,
) -> Source {
    let label: Arc<str> = label(spec).into();
    let (spec, means, reports) = (spec.clone(), means.clone(), reports.clone());
    let mut tasks = Tasks::new("discovery");
    let of_feed = Arc::clone(&label);
    tasks.spawn_again(move |mut stop| {
        let feed = Feed::new(key, Arc::clone(&of_feed), reports.clone());
        let (spec, means) = (spec.clone(), means.clone());
        async move {
            tokio::select! {
                () = stop.requested() => {}
                () = run(spec, means, feed) => {}
            }
        }
    });
    Source { label, tasks }
}

/// The members of a pool: the sets of its sources, in the order in which the config names the
/// sources. An address that two of them name counts as the first one says, and is draining where any of
/// them says so: who takes one out means it.
pub fn merge<'a>(sets: impl IntoIterator<Item = &'a [Found]>) -> Vec<Found> {
    let mut known = HashMap::new();
    let mut all: Vec<Found> = Vec::new();
    for found in sets.into_iter().flatten() {
        let at = *known.entry(&found.address).or_insert(all.len());
        match all.get_mut(at) {
            Some(first) => first.draining |= found.draining,
            None => all.push(found.clone()),
        }
    }
    all
}

async fn run(spec: SourceSpec, means: Means, feed: Feed) {
    match spec {
        SourceSpec::Fixed(endpoints) => fixed::run(&endpoints, feed).await,
        SourceSpec::Dns { name, port } => dns::run(&means.resolver, &name, port, feed).await,
        SourceSpec::Srv { name } => srv::run(&means.resolver, &name, feed).await,
        SourceSpec::File(path) => file::run(&path, &means.files, feed).await,
    }
}

/// What a source is called in logs and metrics, as in `dns billing.internal:8080`.
pub fn label(spec: &SourceSpec) -> String {
    match spec {
        SourceSpec::Fixed(_) => "static".to_owned(),
        SourceSpec::Dns { name, port } => format!("dns {name}:{port}"),
        SourceSpec::Srv { name } => format!("srv {name}"),
        SourceSpec::File(path) => format!("file {}", path.display()),
    }
}

/// 1 s: a source only waits, so it hears the word at once.
const STOP_LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod laws;
#[cfg(test)]
mod nameserver;
