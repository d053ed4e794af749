//! What keeps requests together on one endpoint of a pool: keys that are hashed, and signed cookies.

use std::path::Path;

use http::HeaderName;
use http::header::{CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::pem::PemFault;
use crate::config::raw::{At, HashKeys, Sticky};
use crate::config::spec::{HashBy, SameSite, Secret, StickySpec};
use crate::config::text::{CookieName, FilePath, Written};

use super::{Known, above_zero, beside};

/// Checks the key `hash` of a pool with this balancer; `at` is where the pool is written.
pub(super) fn hash(
    raw: Option<At<HashKeys>>,
    (balance, at, known): (&str, usize, &Known<'_>),
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<HashBy> {
    const FORMS: &str = "write hash = \"tenant\", \"path\", \"client-address\", { header = \"X-User\" } \
                         or { cookie = \"session\" }";
    let own = key.name("hash");
    let is_keyed = known.keyed.contains(&balance);
    let Some(At { value: HashKeys(raw), start }) = raw else {
        if is_keyed {
            let what = format!("{balance} does not know what to hash");
            faults.add_missing(key, at, &what, FORMS);
        }
        return Vec::new();
    };
    if !is_keyed && known.balancers.contains(&balance) {
        let hint = format!("leave it out, or write balance = \"{}\"", known.keyed.join("\" or \""));
        let what = format!("is not for {balance}, which hashes nothing");
        faults.add_missing(&own, start, &what, &hint); // not told where it is wrong itself
    }
    if raw.is_empty() {
        faults.add_missing(&own, start, "names nothing to hash", FORMS);
    }
    if raw.len() > MOST_PARTS {
        let hint = format!("name up to {MOST_PARTS}");
        faults.add(&own, start, "names too many parts of a request", Some(hint));
    }
    let mut all = Vec::with_capacity(raw.len());
    for mut part in raw {
        const ONE: &str =
            "write { header = \"X-User\" } or { cookie = \"session\" }, and both as an array";
        let (by, second) = (part.by.pop(), part.by.pop());
        if second.is_some() {
            let what = "needs either a header or a cookie, and has both";
            faults.add(&own, start, what, Some(ONE.to_owned()));
        }
        let Some(by) = by else {
            faults.add_missing(&own, start, "needs either a header or a cookie", ONE);
            continue;
        };
        if all.contains(&by) {
            faults.add(&own, start, format!("names {by} twice"), Some("keep one".to_owned()));
        }
        if let HashBy::Header(name) = &by
            && NEVER_THERE.contains(name)
        {
            let what = format!("names {by}, which ends at the gateway: no request has it as a key");
            let hint = "name a field of the application, as in { header = \"X-User\" }".to_owned();
            faults.add(&own, start, what, Some(hint));
        }
        // Every request has these.
        if let Some(HashBy::Tenant | HashBy::Path) = all.last() {
            let what = format!("names {by} behind a part that every request has");
            let hint = "write what not all requests have first".to_owned();
            faults.add(&own, start, what, Some(hint));
        }
        all.push(by);
    }
    all
}

/// Checks the key `sticky` of a pool.
pub(super) fn sticky(
    At { value: raw, start }: At<Sticky>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Box<StickySpec>> {
    if raw.cookie.is_none() {
        faults.add_missing(key, start, "the cookie has no name", "write cookie = \"shop-sticky\"");
    }
    let keys = match (raw.key_file, raw.keys) {
        (Some(file), None) => keys_of_file(file, folder, &key.name("key-file"), faults),
        (None, Some(keys)) => keys_of_text(keys, &key.name("keys"), faults),
        (Some(_), Some(keys)) => {
            let hint = "keep key-file, or keys".to_owned();
            faults.add(&key.name("keys"), keys.start, "are in key-file already", Some(hint));
            None
        }
        (None, None) => {
            let hint =
                "write key-file = \"sticky.keys\", with a line of openssl rand -hex 32 in it";
            faults.add_missing(key, start, "there is no key to sign with", hint);
            None
        }
    };
    let max_age = above_zero(raw.max_age, &key.name("max-age"), faults);
    let same_site = raw.same_site.map_or(SameSite::Lax, |same_site| same_site.0);
    if let (SameSite::None, Some(At { value: false, start })) = (same_site, &raw.secure) {
        let what = "must be true with same-site = \"none\": browsers take no such cookie else";
        faults.add(&key.name("secure"), *start, what, Some("leave it out".to_owned()));
    }
    let secure = match same_site {
        SameSite::None => Some(true),
        SameSite::Strict | SameSite::Lax => raw.secure.map(|secure| secure.value),
    };
    let path = raw.path.map_or_else(|| "/".into(), |path| path.0.0);
    if let Some(Written(CookieName(name))) = &raw.cookie {
        // RFC 6265bis §4.1.3: browsers take no other ones of these names, in whichever case.
        let has = |prefix: &str| {
            name.get(..prefix.len()).is_some_and(|own| own.eq_ignore_ascii_case(prefix))
        };
        let is_host = has("__Host-");
        if (is_host || has("__Secure-")) && secure != Some(true) {
            let what = format!("browsers take no cookie {name} that is not secure");
            faults.add_missing(key, start, &what, "write secure = true, or another name");
        }
        if is_host && &*path != "/" {
            let what = format!("browsers take no cookie {name} for the path {path}");
            faults.add_missing(key, start, &what, "leave path out, or write __Secure-");
        }
    }
    Some(Box::new(StickySpec {
        cookie: raw.cookie?.0.0,
        keys: keys?,
        max_age,
        path,
        same_site,
        secure,
    }))
}

fn keys_of_file(
    At { value: Written(FilePath(path)), start }: At<Written<FilePath>>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Vec<Secret>> {
    const HINT: &str = "write one key a line, as openssl rand -hex 32 makes them";
    let path = beside(folder, path);
    let read = faults.read(&path);
    let (what, hint) = match read.as_ref().map(|bytes| std::str::from_utf8(bytes)) {
        Ok(Ok(text)) => {
            let lines = text.lines().map(str::trim).zip(1..);
            let keys = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
            match keys_of(keys.map(|(line, number)| (line, format!(" in line {number}")))) {
                Ok(keys) => return Some(keys),
                Err(what) => (what, HINT),
            }
        }
        Ok(Err(_)) => ("is no text".to_owned(), HINT),
        Err(fault @ (PemFault::Unreadable(_) | PemFault::NoFile)) => {
            (fault.to_string(), fault.hint(HINT))
        }
        Err(fault) => (fault.to_string(), HINT),
    };
    faults.add(key, start, format!("{} {what}", path.display()), Some(hint.to_owned()));
    None
}

fn keys_of_text(
    At { value: raw, start }: At<Vec<At<String>>>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Vec<Secret>> {
    let keys = raw.iter().map(|key| key.value.trim()).zip(1..);
    match keys_of(keys.map(|(key, number)| (key, format!(" at place {number}")))) {
        Ok(keys) => Some(keys),
        Err(what) => {
            let hint = "openssl rand -hex 32 makes one; keep it out of the file: \"${STICKY_KEY}\"";
            faults.add_missing(key, start, &what, hint);
            None
        }
    }
}

/// The keys with where each is; or what is wrong with them, which never tells one.
fn keys_of<'k>(written: impl Iterator<Item = (&'k str, String)>) -> Result<Vec<Secret>, String> {
    let mut keys: Vec<Secret> = Vec::new();
    for (key, place) in written {
        if key.len() < SHORTEST {
            return Err(format!("has a key of fewer than {SHORTEST} characters{place}"));
        }
        if keys.iter().any(|known| known.0 == key) {
            return Err(format!("has a key a second time{place}"));
        }
        if keys.len() == MOST_KEYS {
            return Err(format!("has more than {MOST_KEYS} keys"));
        }
        keys.push(Secret(key.to_owned()));
    }
    if keys.is_empty() { Err("has no key in it".to_owned()) } else { Ok(keys) }
}

/// Fields of the connection (RFC 9110 §7.6.1), which are taken out before a request's key is made.
const NEVER_THERE: [HeaderName; 5] = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
/// 8: each is looked for in turn.
const MOST_PARTS: usize = 8;
/// 32 characters: 128 bits where they are hexadecimal.
const SHORTEST: usize = 32;
/// 8: a cookie is tried with each of them.
const MOST_KEYS: usize = 8;
