//! Where the keys of an issuer come from: a file, which is read here, or a URL, which is not asked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::pem::PemFault;
use crate::config::raw::{At, Fetch};
use crate::config::spec::{FetchSpec, KeysSpec, RoutesSpec, UpstreamTlsSpec};
use crate::config::text::{FilePath, KeysUrl, Written};
use crate::model::jwk::KeySet;

use super::pool_tls::ByUrl;
use super::{Lost, above_zero, beside};

/// Keys of files that were good: while a file is broken, its last good keys hold, and nothing else has to
/// wait for it.
#[derive(Clone, Debug, Default)]
pub struct HeldKeys(BTreeMap<Box<str>, (PathBuf, KeySet)>);

impl HeldKeys {
    /// Those that are live.
    pub fn of(spec: &RoutesSpec) -> Self {
        let mut held = Self::default();
        for issuer in &spec.naming.identity.issuers {
            if let KeysSpec::File { path, set, .. } = &issuer.keys {
                held.insert(&issuer.issuer, path.clone(), set.clone());
            }
        }
        held
    }

    /// An issuer's keys, which this file said.
    pub fn insert(&mut self, issuer: &str, path: PathBuf, set: KeySet) {
        self.0.insert(issuer.into(), (path, set));
    }

    /// What this file of an issuer said.
    fn find(&self, issuer: &str, path: &Path) -> Option<&KeySet> {
        self.0.get(issuer).filter(|(known, _)| known == path).map(|(_, set)| set)
    }
}

/// What is known besides the files.
#[derive(Clone, Copy)]
pub(super) struct Known<'k> {
    pub(super) held: Option<&'k HeldKeys>,
    pub(super) lost: Lost,
}

/// What an issuer says of its keys.
pub(super) struct Raw {
    pub(super) file: Option<At<Written<FilePath>>>,
    pub(super) url: Option<At<Written<KeysUrl>>>,
    pub(super) fetch: Option<At<Fetch>>,
}

/// Checks it; `key` is that of the issuer, which begins at `start` and has this in `iss`.
pub(super) fn check(
    raw: Raw,
    (issuer, start): (&str, usize),
    (folder, known): (Option<&Path>, &Known<'_>),
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<KeysSpec> {
    let is_secure = raw.url.as_ref().map(|url| url.value.0.0.secure);
    let fetch_at = raw.fetch.as_ref().map(|fetch| fetch.start);
    let terms = terms(raw.fetch, is_secure, folder, &key.name("fetch"), faults);
    match (raw.file, raw.url) {
        (Some(file), None) => {
            if let Some(start) = fetch_at {
                let hint = "take it out, or write jwks-url = \"https://…\" in place of jwks-file";
                let what = "says how keys are fetched, and they are read from a file";
                faults.add(&key.name("fetch"), start, what, Some(hint.to_owned()));
            }
            file_of(file, issuer, (folder, known), &key.name("jwks-file"), faults)
        }
        (None, Some(url)) => url_of(url, terms, &key.name("jwks-url"), faults),
        (Some(_), Some(url)) => {
            let what = "the keys are in jwks-file already";
            let hint = Some("keep one of the two".to_owned());
            faults.add(&key.name("jwks-url"), url.start, what, hint);
            None
        }
        (None, None) => {
            let hint = "write jwks-url = \"https://…/jwks.json\" or jwks-file = \"keys.json\"";
            faults.add_missing(key, start, "has no keys", hint);
            None
        }
    }
}

fn file_of(
    At { value: Written(FilePath(path)), start }: At<Written<FilePath>>,
    issuer: &str,
    (folder, known): (Option<&Path>, &Known<'_>),
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<KeysSpec> {
    const HINT: &str = "save what the issuer publishes: a JSON object with an array \"keys\"";
    let path = beside(folder, path);
    let (what, hint) = match faults.read(&path) {
        Ok(bytes) => match KeySet::read(&bytes) {
            Ok(set) => return Some(KeysSpec::File { path, set, fault: None }),
            Err(error) => (error.to_string(), HINT),
        },
        Err(fault @ (PemFault::Unreadable(_) | PemFault::NoFile)) => {
            (fault.to_string(), fault.hint(HINT))
        }
        Err(fault) => (fault.to_string(), HINT),
    };
    let what = format!("{} {what}", path.display());
    let held = known.held.and_then(|held| held.find(issuer, &path)).cloned();
    let Some(set) = held.or((known.lost == Lost::LeftOut).then(KeySet::default)) else {
        faults.add(key, start, what, Some(hint.to_owned()));
        return None;
    };
    let instead = match set.is_empty() {
        true => "no token of the issuer is accepted until it is mended",
        false => "the keys that it had when it was good are used until it is mended",
    };
    faults.doubt(key, start, &format!("{what}; {instead}"), |_| hint.to_owned());
    Some(KeysSpec::File { path, set, fault: Some(what.into()) })
}

fn url_of(
    At { value: Written(KeysUrl(url)), start }: At<Written<KeysUrl>>,
    terms: Terms,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<KeysSpec> {
    let is_here =
        url.host == "localhost" || url.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if !url.secure && !is_here {
        let what = "anybody on the way could put other keys in the place of the issuer's";
        let hint = "write https://…; http:// is for what runs on this machine".to_owned();
        faults.add(key, start, what, Some(hint));
    }
    let (authority, port) = url.authority();
    let path = url.path.unwrap_or_else(|| "/".to_owned());
    let Terms { tls, timeout, min_refresh, max_refresh, stale } = terms;
    Some(KeysSpec::Url(Arc::new(FetchSpec {
        host: url.host,
        port,
        authority,
        path,
        tls,
        timeout,
        min_refresh,
        max_refresh,
        stale,
    })))
}

/// How keys are fetched, wherever that is.
struct Terms {
    tls: Option<UpstreamTlsSpec>,
    timeout: Duration,
    min_refresh: Duration,
    max_refresh: Duration,
    stale: Duration,
}

/// Checks the key `fetch`; `is_secure` as the URL is, where there is one.
fn terms(
    fetch: Option<At<Fetch>>,
    is_secure: Option<bool>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Terms {
    let (fetch, fetch_at) = fetch.map_or_else(Default::default, |raw| (raw.value, raw.start));
    let is_secure = is_secure.or(fetch.tls.as_ref().map(|tls| tls.value.on)).unwrap_or(true);
    let by_url = ByUrl { key: "jwks-url", scheme: "http", is_secure };
    let tls = by_url.tls(fetch.tls, folder, &key.name("tls"), faults);
    let timeout = above_zero(fetch.timeout, &key.name("timeout"), faults);
    let min_refresh = fetch.min_refresh.map(|At { value: Written(time), start }| {
        if time < Duration::from_secs(1) {
            let hint = Some("write a duration from 1s to 168h, as in \"1m\"".to_owned());
            faults.add(&key.name("min-refresh"), start, "is shorter than a second", hint);
        }
        time
    });
    let (min_refresh, max_refresh) =
        (min_refresh.unwrap_or(MIN_REFRESH), fetch.max_refresh.map(|at| (at.value.0, at.start)));
    let (max_refresh, max_at) = max_refresh.unwrap_or((MAX_REFRESH.max(min_refresh), fetch_at));
    if max_refresh < min_refresh {
        let hint = Some("write a longer one, or a shorter min-refresh (default 1m)".to_owned());
        faults.add(&key.name("max-refresh"), max_at, "is shorter than min-refresh", hint);
    }
    let stale = fetch.stale.map(|at| (at.value.0, at.start));
    let (stale, stale_at) = stale.unwrap_or((STALE.max(max_refresh), fetch_at));
    if stale < max_refresh {
        let hint = Some("write a longer one, or a shorter max-refresh (default 1h)".to_owned());
        let what = "is shorter than max-refresh: keys would go before others are asked for";
        faults.add(&key.name("stale"), stale_at, what, hint);
    }
    let timeout = timeout.unwrap_or(TIMEOUT);
    Terms { tls, timeout, min_refresh, max_refresh, stale }
}

const TIMEOUT: Duration = Duration::from_secs(5);
const MIN_REFRESH: Duration = Duration::from_secs(60);
/// 1 h: a key that was taken out for a reason is believed no longer.
const MAX_REFRESH: Duration = Duration::from_secs(3600);
/// 24 h: somebody has slept and looked meanwhile.
const STALE: Duration = Duration::from_secs(24 * 3600);
