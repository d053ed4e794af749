//! What tenants have used of their quotas, on disk: read at the start, written every few seconds where
//! it has changed, and once more when all requests have ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::tasks::{Stop, Tasks};
use crate::base::ticks::Turns;
use crate::config::spec::NamedPath;
use crate::limits::quota::{Quotas, Used};

use super::load::in_background;
use super::state::{self, StateError};

/// What the file holds, with the number of its form so that a later version can tell.
#[derive(Serialize, Deserialize)]
struct Form {
    form: u32,
    used: Vec<Used>,
}

/// What was used before, and from now on kept in the folder for what must outlive a restart, where
/// there is one.
pub async fn start(state: Option<&NamedPath>, tasks: &mut Tasks) -> Arc<Quotas> {
    match state {
        Some(folder) => start_in(folder.path.clone(), tasks).await,
        None => Arc::default(),
    }
}

async fn start_in(folder: PathBuf, tasks: &mut Tasks) -> Arc<Quotas> {
    let quotas = Arc::<Quotas>::default();
    let from = folder.clone();
    let read = in_background("reading the quotas", &folder, move || Ok(load(&from))).await;
    match read {
        Ok(Ok(used)) => quotas.restore(used),
        Ok(Err(error)) => {
            tracing::error!(%error, "what was used of quotas is lost: all of them are whole")
        }
        Err(faults) => faults.iter().for_each(|fault| tracing::error!("{fault}")),
    }
    let (kept, last) = (Arc::clone(&quotas), quotas.used(SystemTime::now()));
    tasks.spawn_vital(|stop| keep(folder, (kept, last), stop));
    quotas
}

/// Keeps what differs from what was kept `last`.
async fn keep(folder: PathBuf, (quotas, mut last): (Arc<Quotas>, Vec<Used>), stop: Stop) {
    let mut turns = Turns::each(INTERVAL, stop);
    let mut told = false;
    while turns.next().await {
        let now = quotas.used(SystemTime::now());
        if now == last {
            continue;
        }
        let (to, used) = (folder.clone(), now.clone());
        let written = in_background("keeping the quotas", &folder, move || Ok(save(&to, used)));
        match written.await {
            Ok(Ok(())) => (last, told) = (now, false),
            Ok(Err(error)) if !told => {
                tracing::error!(%error, "what is used of quotas cannot be kept; {}", state::HINT);
                told = true;
            }
            Ok(Err(_)) => {}
            Err(faults) => faults.iter().for_each(|fault| tracing::error!("{fault}")),
        }
    }
}

fn load(folder: &Path) -> Result<Vec<Used>, StateError> {
    let form: Option<Form> = state::read(folder, NAME)?;
    Ok(form.map_or_else(Vec::new, |form| form.used))
}

fn save(folder: &Path, used: Vec<Used>) -> Result<(), StateError> {
    state::write(folder, NAME, &Form { form: FORM, used })
}

const NAME: &str = "quotas.json";
const FORM: u32 = 1;
/// 5 s: what is lost where the process is killed. A file of a hundred thousand tenants is 7 MB.
const INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use crate::config::spec::{Period, QuotaSpec};

    use super::*;

    const DAILY: QuotaSpec = QuotaSpec { requests: 3, period: Period::Month };

    fn spend(quotas: &Quotas) -> bool {
        quotas
            .of("acme")
            .spend(DAILY, SystemTime::now())
            .map(crate::limits::quota::Spent::go)
            .is_ok()
    }

    #[tokio::test]
    async fn what_was_used_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("not/yet/there");
        for expected in [[true, true], [true, false], [false, false]] {
            let mut tasks = Tasks::new("test");
            let quotas = start_in(folder.clone(), &mut tasks).await;
            assert_eq!([spend(&quotas), spend(&quotas)], expected);
            tasks.stop(Duration::from_secs(10)).await;
        }
    }

    #[tokio::test]
    async fn a_damaged_file_is_told_and_does_no_further_harm() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), "{\"form\":1,\"used\":[{}]}").unwrap();
        assert!(load(folder.path()).unwrap_err().to_string().contains("quotas.json is damaged"));

        let mut tasks = Tasks::new("test");
        let quotas = start_in(folder.path().to_owned(), &mut tasks).await;
        assert!(spend(&quotas));
        tasks.stop(Duration::from_secs(10)).await;

        assert_eq!(load(folder.path()).unwrap().len(), 1);
    }
}
