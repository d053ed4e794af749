//! How a pool's traffic is spread, in words for people.

use crate::config::spec::SpreadSpec;

use super::settings::span;

/// Its keys and what holds for each.
pub(super) fn rows(spec: &SpreadSpec) -> Vec<(&'static str, String)> {
    let mut rows = vec![("overprovisioning", spec.overprovisioning.to_string())];
    match spec.zones {
        None => rows.push(("zones.prefer", false.to_string())),
        Some(zones) => rows.extend([
            ("zones.min-endpoints", zones.min_endpoints.to_string()),
            ("zones.spill-above", zones.spill_above.to_string()),
        ]),
    }
    rows.push(("shard", spec.shard.map_or("all endpoints".to_owned(), |size| size.to_string())));
    match spec.slow_start {
        None => rows.push(("slow-start", "off".to_owned())),
        Some(slow) => rows.extend([
            ("slow-start.window", span(slow.window)),
            ("slow-start.aggression", slow.aggression.to_string()),
            ("slow-start.min", slow.min.to_string()),
        ]),
    }
    rows
}
