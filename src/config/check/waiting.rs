//! How requests wait while nobody of their pool may be picked.

use std::time::Duration;

use crate::base::units::ByteSize;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Wait};
use crate::config::spec::WaitSpec;
use crate::config::text::Written;

use super::above_zero;

/// Checks how requests wait for an endpoint of the pool.
pub(super) fn wait(raw: At<Wait>, key: &Key<'_>, faults: &mut Faults<'_>) -> WaitSpec {
    let At { value: raw, start } = raw;
    let short = raw.short.map(|time| At { value: Written(time), start });
    let time = match short {
        Some(short) => above_zero(Some(short), key, faults),
        None => above_zero(raw.time, &key.name("time"), faults),
    };
    let memory = raw.memory.map(|At { value: Written(memory), start }| {
        if memory < LEAST_MEMORY {
            let hint = "write a size from 64KiB on, as in \"64MiB\"".to_owned();
            faults.add(&key.name("memory"), start, "has no room for one request", Some(hint));
        }
        memory
    });
    WaitSpec {
        time: time.unwrap_or(TIME),
        length: raw.length.map_or(LENGTH, |length| length.size()),
        memory: memory.unwrap_or(MEMORY),
        at_once: raw.at_once.map_or(AT_ONCE, |at_once| at_once.small()),
    }
}

/// 5 s: a restart of most services, and what most clients wait.
const TIME: Duration = Duration::from_secs(5);
/// 2,000: what a busy pool has in a few seconds, at 20 KiB each well within the memory for them.
const LENGTH: usize = 2000;
/// 64 MiB: a small part of what a gateway has for clients.
const MEMORY: ByteSize = ByteSize(64 << 20);
/// 64 KiB: less than that is held by a request with a large head.
const LEAST_MEMORY: ByteSize = ByteSize(64 << 10);
/// 8: enough to keep an endpoint busy that has just come, and few beside what it bears later.
const AT_ONCE: u32 = 8;
