//! The meaning of `[usage]`.

use std::path::Path;
use std::time::Duration;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Usage};
use crate::config::spec::UsageSpec;

use super::gateway::named;

/// Checks the key `usage`.
pub(super) fn check(
    At { value: raw, start }: At<Usage>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<UsageSpec> {
    if raw.folder.is_none() {
        let hint = "write folder = \"usage\"";
        faults.add_missing(key, start, "does not say where the files are", hint);
    }
    let flush_interval = raw.flush_interval.map_or(Duration::from_secs(10), |interval| {
        let time = interval.value.0;
        if !(SHORTEST..=LONGEST).contains(&time) {
            let what = format!("{} is out of range", humantime::format_duration(time));
            let hint = "write a time from 2s to 1h, as in \"10s\"".to_owned();
            faults.add(&key.name("flush-interval"), interval.start, what, Some(hint));
        }
        time
    });
    Some(UsageSpec {
        folder: named(raw.folder?, folder, &key.name("folder"), faults),
        gateway: raw.gateway.map(|name| name.0.0),
        flush_interval,
        keep_hours: raw.keep_hours.map_or(0, |hours| hours.size()),
    })
}

/// Workers tell once a second of what they have counted.
const SHORTEST: Duration = Duration::from_secs(2);
/// Files are of an hour.
const LONGEST: Duration = Duration::from_secs(3600);
