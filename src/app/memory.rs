//! How much memory the process may use: what the machine has, or less where its group is bounded.

use std::fs;
use std::path::Path;

use crate::base::units::ByteSize;

/// The budget for what clients and endpoints hold, in bytes: what is configured, or a quarter of
/// what the process may use. Another part is the kernel's, for the sockets.
pub fn budget(configured: Option<ByteSize>) -> u64 {
    let quarter = || usable(Path::new("/")).map_or(FALLBACK, |usable| (usable / 4).max(LEAST));
    configured.map_or_else(quarter, |size| size.0)
}

/// What one client may hold of that, in bytes. By default one alone does not make memory short for others, which it is from
/// one half on; over TLS what is under way may come to that.
pub fn share(configured: Option<ByteSize>, budget: u64) -> u64 {
    match configured {
        None => budget / 8 * 3,
        Some(ByteSize(0)) => u64::MAX,
        Some(size) => size.0,
    }
}

/// What the process may use, in bytes, as the files below `root` say.
fn usable(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok();
    let machine = machine.as_deref().and_then(total);
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let bounds = groups.lines().flat_map(|line| bounds(root, line));
    machine.into_iter().chain(bounds).min()
}

/// `MemTotal:  24683924 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The bounds of a group and of those that it is in: `0::/a/b` of cgroups 2, `4:memory:/a/b` of
/// cgroups 1. Within a container the path may be the one outside, and the files are at the root.
fn bounds(root: &Path, line: &str) -> Vec<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (folder, file) = match parts.next() {
        Some("") => ("sys/fs/cgroup", "memory.max"),
        Some(kinds) if kinds.split(',').any(|kind| kind == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let path = parts.next().unwrap_or_default().trim_start_matches('/');
    let groups = Path::new(path).ancestors();
    // `max` is no number, and no bound.
    let bound = |group: &Path| {
        let text = fs::read_to_string(root.join(folder).join(group).join(file)).ok()?;
        text.trim().parse().ok()
    };
    groups.filter_map(bound).collect()
}

/// 256 MiB, where the system does not say what there is.
const FALLBACK: u64 = 256 << 20;
/// 16 MiB: less would serve nobody.
const LEAST: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\n");

    fn check(files: &[(&str, &str)], expected: Option<u64>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(usable(folder.path()), expected, "{files:?}");
    }

    #[test]
    fn the_smallest_bound_of_all_groups_around_the_process_counts() {
        let group = ("proc/self/cgroup", "0::/a/b\n");
        check(&[], None);
        check(&[MACHINE], Some(1_024_000));
        check(&[MACHINE, group, ("sys/fs/cgroup/a/b/memory.max", "max\n")], Some(1_024_000));
        check(&[MACHINE, group, ("sys/fs/cgroup/a/b/memory.max", "5000\n")], Some(5000));
        check(&[MACHINE, group, ("sys/fs/cgroup/a/memory.max", "6000\n")], Some(6000));
        check(&[MACHINE, group, ("sys/fs/cgroup/memory.max", "7000\n")], Some(7000));
        let old = ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a\n");
        let limit = "sys/fs/cgroup/memory/a/memory.limit_in_bytes";
        check(&[MACHINE, old, (limit, "8000\n")], Some(8000));
        check(&[MACHINE, old, (limit, "9223372036854771712\n")], Some(1_024_000));
    }

    #[test]
    fn what_is_configured_counts_and_else_a_quarter() {
        assert_eq!(budget(Some(ByteSize(5))), 5);
        let usable = usable(Path::new("/")).unwrap();
        assert_eq!(budget(None), (usable / 4).max(LEAST));
    }
}
