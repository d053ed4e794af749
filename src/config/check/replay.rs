//! The meaning of `[replay-files]`.

use std::path::Path;

use crate::base::units::ByteSize;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, ReplayFiles};
use crate::config::spec::ReplaySpec;

use super::gateway::named;

/// Checks the key `replay-files`.
pub(super) fn check(
    At { value: raw, start }: At<ReplayFiles>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<ReplaySpec> {
    if raw.folder.is_none() {
        let hint = "write folder = \"replay\"";
        faults.add_missing(key, start, "does not say where the files are", hint);
    }
    let memory = raw.memory.map_or(ByteSize(256 << 10), |size| {
        if size.value.0 > MOST_IN_MEMORY {
            let what = format!("{} is out of range", size.value.0);
            let hint = "write a size up to 16MiB, as in \"256KiB\"".to_owned();
            faults.add(&key.name("memory"), size.start, what, Some(hint));
        }
        size.value.0
    });
    Some(ReplaySpec {
        folder: named(raw.folder?, folder, &key.name("folder"), faults),
        memory,
        space: raw.space.map_or(ByteSize(1 << 30), |size| size.0),
        files: raw.files.map_or(256, |files| files.size()),
    })
}

/// What a tenant may keep in all by default.
const MOST_IN_MEMORY: ByteSize = ByteSize(16 << 20);
