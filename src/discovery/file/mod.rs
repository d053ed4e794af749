//! A list file that is read again whenever it changes.

use std::path::Path;

use tokio::io::AsyncReadExt;

use crate::base::watch::{FileEvents, Watcher};
use crate::config::spec::EndpointSpec;

use super::feed::Feed;
use super::list;

/// Reads the file until it is dropped. A list that is empty on purpose empties the pool; a file
/// that cannot be read or understood does not.
pub(super) async fn run(path: &Path, events: &FileEvents, mut feed: Feed) {
    let mut watcher = Watcher::new(path, events).await;
    loop {
        match read(path).await {
            Ok(endpoints) => {
                let found = feed.written(&endpoints);
                feed.state(found).await;
            }
            Err(reason) => feed.fail(reason).await,
        }
        watcher.changed().await;
    }
}

async fn read(path: &Path) -> Result<Vec<EndpointSpec>, String> {
    let explain = |error: std::io::Error| format!("{}: {error}", path.display());
    // Opening a named pipe would wait for its writer, perhaps for ever.
    if !tokio::fs::metadata(path).await.map_err(explain)?.is_file() {
        return Err(format!("{}: not a file", path.display()));
    }
    let file = tokio::fs::File::open(path).await.map_err(explain)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).await.map_err(explain)?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("{}: larger than 16 MiB", path.display()));
    }
    let form = list::Form::of(path)
        .ok_or_else(|| format!("{}: a list of members ends in .json or .toml", path.display()))?;
    list::parse(form, &bytes).map_err(|fault| format!("{}:{fault}", path.display()))
}

/// 16 MiB: about 300,000 addresses; more is a mistake in the path.
const LARGEST: u64 = 16 << 20;

#[cfg(test)]
mod tests;
