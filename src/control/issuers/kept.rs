//! The last good keys of issuers on disk, so that a start serves while an issuer is down or the file of its
//! keys is broken. They are public keys: nothing of it is secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::HeldKeys;
use crate::control::load::in_background;
use crate::control::state::{self, StateError};
use crate::model::jwk::KeySet;

/// The keys of an issuer as they were when they were last good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The file that they are from; `None` = they were fetched.
    pub(super) file: Option<PathBuf>,
    /// When they were read or fetched.
    pub(super) at: SystemTime,
    pub(super) set: KeySet,
}

/// Those of all issuers, by what their tokens have in `iss`.
pub(super) type AllKept = BTreeMap<Arc<str>, Kept>;

/// What the file holds, with the number of its form so that a later version can tell.
#[derive(Serialize, Deserialize)]
struct Form {
    form: u32,
    issuers: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    issuer: Arc<str>,
    file: Option<PathBuf>,
    /// Seconds since 1970.
    at: u64,
    keys: String,
}

/// Those that files said.
pub(super) fn held(kept: &AllKept) -> HeldKeys {
    let mut held = HeldKeys::default();
    for (issuer, kept) in kept {
        if let Some(file) = &kept.file {
            held.insert(issuer, file.clone(), kept.set.clone());
        }
    }
    held
}

/// What was kept before this start. What cannot be used is told, and as good as not there.
pub(super) async fn read(folder: &Path) -> AllKept {
    let from = folder.to_owned();
    let read = in_background("reading the keys of issuers", folder, move || Ok(load(&from))).await;
    match read {
        Ok(Ok(kept)) => return kept,
        Ok(Err(error)) => tracing::warn!(%error, "the kept keys of issuers cannot be used"),
        Err(faults) => faults.iter().for_each(|fault| tracing::error!("{fault}")),
    }
    AllKept::new()
}

/// Keeps the newest of what is sent, until the senders are gone and nothing waits.
pub(super) async fn keep(folder: PathBuf, mut kept: watch::Receiver<AllKept>) {
    let mut is_told = false;
    while kept.changed().await.is_ok() {
        let (to, all) = (folder.clone(), kept.borrow_and_update().clone());
        let save = move || Ok(save(&to, &all));
        match in_background("keeping the keys of issuers", &folder, save).await {
            Ok(Ok(())) => is_told = false,
            Ok(Err(error)) if !is_told => {
                tracing::warn!(%error, "the keys of issuers cannot be kept; {}", state::HINT);
                is_told = true;
            }
            Ok(Err(_)) => {}
            Err(faults) => faults.iter().for_each(|fault| tracing::error!("{fault}")),
        }
    }
}

fn load(folder: &Path) -> Result<AllKept, StateError> {
    let form: Option<Form> = state::read(folder, NAME)?;
    let one = |Entry { issuer, file, at, keys }: Entry| {
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at))?;
        let (set, _) = KeySet::read_usable(keys.as_bytes()).ok()?; // as when they came
        Some((issuer, Kept { file, at, set }))
    };
    Ok(form.into_iter().flat_map(|form| form.issuers).filter_map(one).collect())
}

fn save(folder: &Path, kept: &AllKept) -> Result<(), StateError> {
    let seconds = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let entry = |(issuer, kept): (&Arc<str>, &Kept)| Entry {
        issuer: Arc::clone(issuer),
        file: kept.file.clone(),
        at: seconds(kept.at).as_secs(),
        keys: kept.set.text().to_owned(),
    };
    let form = Form { form: FORM, issuers: kept.iter().map(entry).collect() };
    state::write(folder, NAME, &form)
}

const NAME: &str = "issuer-keys.json";
const FORM: u32 = 1;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn set() -> KeySet {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let key = format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{x}\"}}");
        KeySet::read(format!("{{\"keys\":[{key}]}}").as_bytes()).unwrap()
    }

    #[test]
    fn a_set_with_an_odd_key_that_was_fetched_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let odd = set().text().replace(":[", ":[{\"kty\":\"RSA\"},");
        let (set, unusable) = KeySet::read_usable(odd.as_bytes()).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let kept = AllKept::from([("https://a".into(), Kept { file: None, at, set })]);

        save(folder.path(), &kept).unwrap();

        assert_eq!((load(folder.path()).unwrap(), unusable), (kept, vec![0]));
    }

    #[test]
    fn what_was_kept_is_found_again_and_what_is_damaged_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let fetched = Kept { file: None, at, set: set() };
        let read = Kept { file: Some("keys.json".into()), ..fetched.clone() };
        let kept = AllKept::from([("https://a".into(), fetched), ("https://b".into(), read)]);
        assert_eq!(load(folder.path()).unwrap(), AllKept::new());

        save(&folder.path().join("state"), &kept).unwrap();

        assert_eq!(load(&folder.path().join("state")).unwrap(), kept);
        let path = folder.path().join(NAME);
        for text in ["", "[]", "{\"form\":1}", "{\"form\":1,\"issuers\":[{}]}"] {
            fs::write(&path, text).unwrap();
            assert!(load(folder.path()).is_err(), "{text}");
        }
        let entry = "{\"issuer\":\"i\",\"file\":null,\"at\":1,\"keys\":\"{}\"}";
        fs::write(&path, format!("{{\"form\":1,\"issuers\":[{entry}]}}")).unwrap();
        assert_eq!(load(folder.path()).unwrap(), AllKept::new());
        fs::write(
            &path,
            format!(
                "{{\"form\":1,\"issuers\":[{}]}}",
                entry.replace(":1,", ":18446744073709551615,")
            ),
        )
        .unwrap();
        assert_eq!(load(folder.path()).unwrap(), AllKept::new());
    }
}
