//! The meaning of `[replay-files]`, and what retry rules may ask of it.

use std::path::Path;

use crate::base::spool;
use crate::base::units::ByteSize;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, ReplayFiles};
use crate::config::spec::{MOST_IN_MEMORY, MostKept, ReplaySpec};
use crate::config::text::Written;

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

/// Tells of a retry rule that asks for more of a body than can ever be kept. `key` is that of the rule.
pub(super) fn tell(
    asked: &At<Written<ByteSize>>,
    most: Option<MostKept>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) {
    let Some(MostKept { memory, file }) = most else { return };
    let whole = ByteSize(memory.0.saturating_add(file.map_or(0, |file| file.0)));
    let size = asked.value.0;
    if size <= whole {
        return;
    }
    let (why, instead) = match file {
        None => {
            let why = "without [replay-files] in gateway.toml";
            (why, "or [replay-files] with a folder into gateway.toml".to_owned())
        }
        Some(_) => {
            let space = ByteSize((size.0 - memory.0).saturating_mul(spool::SHARE as u64));
            let why = "as a tenant has a quarter of space in [replay-files] of gateway.toml,";
            (why, format!("or space = \"{space}\" there"))
        }
    };
    let what = format!("is more than is ever kept: {why} no more than {whole} of a body are");
    faults.doubt(&key.name("replay"), asked.start, &what, |_| {
        format!("write replay = \"{whole}\", {instead}")
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Files, Known, Memory, check_routes_again, check_routes_edited};
    use crate::config::{Last, check_gateway};

    const KNOWN: Known<'_> = Known { balancers: &["least-request"], keyed: &[] };

    /// What is known of a gateway with this text.
    fn beside(gateway: &str) -> Memory {
        let spec = check_gateway(&Files::of_text("g.toml", gateway)).unwrap();
        Memory::default().beside(Some(MostKept::of(spec.replay.as_ref())))
    }

    /// What is told of routes with these rules: of a pool, of a route set, and of a tenant.
    fn told(memory: &mut Memory, [pool, set, tenant]: [&str; 3]) -> Vec<String> {
        let text = format!(
            "[pools.a]\ndns = \"a:1\"\nretry.replay = \"{pool}\"\n\
             [[route-sets.s.routes]]\nretry.replay = \"{set}\"\n\
             [tenants.t]\npool = \"a\"\n[[tenants.t.routes]]\nretry.replay = \"{tenant}\"\n"
        );
        let files = Files::of_text("r.toml", &text);
        let checked = check_routes_again(&files, &KNOWN, None, memory);
        checked.result.unwrap_or_else(|problems| panic!("{problems}"));
        checked.doubts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rule_that_asks_for_more_than_memory_has_where_there_are_no_files_is_told() {
        let mut memory = beside("# all defaults\n");

        let all = told(&mut memory, ["64MiB", "16385KiB", "1GiB"]);
        let none = told(&mut memory, ["16MiB", "64KiB", "0B"]);

        let keys = ["pools.a", "route-sets.s.routes[0]", "tenants.t.routes[0]"];
        assert_eq!(all.len(), 3, "{all:?}");
        for (told, key) in all.iter().zip(keys) {
            assert!(
                told.contains(&format!("{key}.retry.replay: is more than is ever kept: ")),
                "{told}"
            );
        }
        assert_eq!(
            all[0],
            "r.toml:3:16: pools.a.retry.replay: is more than is ever kept: without [replay-files] in \
             gateway.toml no more than 16MiB of a body are\n    hint: write replay = \"16MiB\", or \
             [replay-files] with a folder into gateway.toml"
        );
        assert_eq!(none, [""; 0]);
    }

    #[test]
    fn a_rule_that_asks_for_more_than_a_quarter_of_the_files_is_told() {
        let files = "[replay-files]\nfolder = \"f\"\nmemory = \"1MiB\"\nspace = \"252MiB\"\n";
        let mut memory = beside(files);

        let all = told(&mut memory, ["64MiB", "65MiB", "1MiB"]);

        assert_eq!(
            all,
            [
                "r.toml:5:16: route-sets.s.routes[0].retry.replay: is more than is ever kept: as a tenant has \
              a quarter of space in [replay-files] of gateway.toml, no more than 64MiB of a body are\n    \
              hint: write replay = \"64MiB\", or space = \"256MiB\" there"
            ]
        );
        let mut mended = beside(&files.replace("252", "256"));
        assert_eq!(told(&mut mended, ["64MiB", "65MiB", "1MiB"]), [""; 0]);
    }

    #[test]
    fn nothing_is_told_where_the_gateways_own_file_is_not_known() {
        assert_eq!(told(&mut Memory::default(), ["64MiB", "64MiB", "64MiB"]), [""; 0]);
    }

    #[test]
    fn an_edit_that_asks_for_too_much_is_left_to_the_reading_of_all_files() {
        let text = |size: &str| {
            let files = format!(
                "[pools.a]\ndns = \"a:1\"\n[tenants.t]\npool = \"a\"\n\
                 [[tenants.t.routes]]\nretry.replay = \"{size}\"\n"
            );
            Files::of_text("r.toml", &files)
        };
        let (mut memory, before) = (beside("# all defaults\n"), text("1MiB"));
        let spec = check_routes_again(&before, &KNOWN, None, &mut memory).result.unwrap();

        let now = text("17MiB");
        let again = check_routes_again(&now, &KNOWN, Some(&spec), &mut memory);
        let last = Last { files: &now, spec: &again.result.unwrap(), memory: &memory };

        assert_eq!(again.doubts.len(), 1, "what was remembered does not hide it");
        let edited = text("18MiB");
        assert!(check_routes_edited(&edited, &KNOWN, &last).is_none());
        let once_more = check_routes_again(&now, &KNOWN, None, &mut memory);
        assert_eq!(once_more.doubts.len(), 1, "nor does reading it twice");
    }
}
