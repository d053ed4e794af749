//! The meaning of `[shared-limits]`.

use std::path::Path;
use std::time::Duration;

use crate::base::units::Percent;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, SharedLimits};
use crate::config::spec::{PasswordSpec, Secret, SharedLimitsSpec};
use crate::config::text::{FilePath, Written};

use super::gateway::named;
use super::pool_tls::ByUrl;

/// Checks the key `shared-limits`.
pub(super) fn check(
    At { value: raw, start }: At<SharedLimits>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Box<SharedLimitsSpec>> {
    if raw.url.is_none() {
        let hint = "write url = \"redis://10.0.0.5:6379\"";
        faults.add_missing(key, start, "does not say where the server is", hint);
    }
    let is_secure = raw.url.as_ref().is_some_and(|url| url.value.0.secure);
    let by_url = ByUrl { key: "url", scheme: "redis", is_secure };
    let tls = by_url.tls(raw.tls, folder, &key.name("tls"), faults);
    let has_password = raw.password.is_some() || raw.password_file.is_some();
    let user = raw.user.map(|At { value, start }| {
        if !has_password {
            let hint = "write password = \"${…}\" or password-file = \"…\" beside it".to_owned();
            faults.add(&key.name("user"), start, "has no password", Some(hint));
        }
        value
    });
    let password = password((raw.password, raw.password_file), folder, key, faults);
    let timeout = raw.timeout.map_or(Duration::from_millis(200), |timeout| {
        let time = timeout.value.0;
        if !(SHORTEST..=LONGEST).contains(&time) {
            let what = format!("{} is out of range", humantime::format_duration(time));
            let hint = "write a time from 10ms to 10s, as in \"200ms\"".to_owned();
            faults.add(&key.name("timeout"), timeout.start, what, Some(hint));
        }
        time
    });
    let url = raw.url?.value.0;
    Some(Box::new(SharedLimitsSpec {
        place: url.text,
        at: url.at,
        database: url.database,
        user,
        password,
        tls,
        timeout,
        reserve: raw.reserve.map_or(Percent::new(20.0), |reserve| reserve.0),
        prefix: raw.prefix.map_or_else(|| "tenantry".to_owned(), |prefix| prefix.0.0),
    }))
}

fn password(
    (text, file): (Option<At<String>>, Option<At<Written<FilePath>>>),
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<PasswordSpec> {
    if let (Some(text), Some(_)) = (&text, &file) {
        let hint = "keep password-file, or password".to_owned();
        faults.add(&key.name("password"), text.start, "is there twice", Some(hint));
    }
    if let Some(At { value, start }) = text {
        if value.is_empty() {
            let hint = "leave it out where there is none".to_owned();
            faults.add(&key.name("password"), start, "is empty", Some(hint));
        }
        return Some(PasswordSpec::Text(Secret(value)));
    }
    Some(PasswordSpec::File(named(file?, folder, &key.name("password-file"), faults)))
}

/// Less is about what a network takes.
const SHORTEST: Duration = Duration::from_millis(10);
/// Longer is no answer.
const LONGEST: Duration = Duration::from_secs(10);
