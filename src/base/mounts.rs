//! File systems that may stop answering, as those of the network and those that a program serves.

use std::fs;
use std::path::{Path, PathBuf};

/// A file system at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub at: PathBuf,
    /// The kernel's number of that; what is mounted there later has another one.
    id: u64,
}

/// The file system of a path, by the path's name, where it is another than the first one and on no device of the machine.
/// Asks no file system for anything.
pub fn apart(path: &Path) -> Option<Mount> {
    apart_in(&table()?, path)
}

/// Whether it is still mounted there; also where nobody can tell.
pub fn is_there(mount: &Mount) -> bool {
    table().is_none_or(|table| is_in(&table, mount))
}

fn table() -> Option<String> {
    fs::read_to_string("/proc/self/mountinfo").ok()
}

/// As [`apart`]; the table is as in proc(5).
fn apart_in(table: &str, path: &Path) -> Option<Mount> {
    let mut found: Option<(Mount, bool)> = None;
    for line in table.lines() {
        let Some((mount, is_device)) = mounted(line) else { continue };
        let is_longer =
            |before: &(Mount, bool)| mount.at.as_os_str().len() >= before.0.at.as_os_str().len();
        if path.starts_with(&mount.at) && found.as_ref().is_none_or(is_longer) {
            found = Some((mount, is_device));
        }
    }
    let (mount, is_device) = found?;
    (!is_device && mount.at.parent().is_some()).then_some(mount)
}

fn is_in(table: &str, mount: &Mount) -> bool {
    table.lines().filter_map(mounted).any(|(found, _)| found == *mount)
}

/// What is mounted, and whether it is on a device.
fn mounted(line: &str) -> Option<(Mount, bool)> {
    let (head, _) = line.split_once(" - ")?;
    let mut fields = head.split(' ');
    let id = fields.next()?.parse().ok()?;
    // What is on no device has a number of the kernel's own, whatever its source is called.
    let is_device = !fields.nth(1)?.starts_with("0:");
    let at = unescaped(fields.nth(1)?).into();
    Some((Mount { at, id }, is_device))
}

/// A name in which four characters that separate fields are written by their numbers.
fn unescaped(name: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(name.to_owned(), |name, (number, sign)| name.replace(number, sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /proc rw - proc proc rw
30 22 0:40 / /mnt/share rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2
31 22 254:2 / /mnt/share/disk rw - xfs /dev/vdb rw
32 22 0:41 / /mnt/a\\040b rw - fuse.sshfs host: rw
33 22 0:42 / /mnt/fuse rw - fuse /dev/fuse rw
a line without meaning
";

    #[test]
    fn a_file_system_on_no_device_is_told_by_where_it_is_mounted() {
        let of = |path: &str| apart_in(TABLE, Path::new(path)).map(|mount| mount.at);

        assert_eq!(of("/mnt/share/acme/tls.pem"), Some("/mnt/share".into()));
        assert_eq!(of("/mnt/a b/tls.pem"), Some("/mnt/a b".into()));
        assert_eq!(
            of("/mnt/fuse/tls.pem"),
            Some("/mnt/fuse".into()),
            "whatever its source is called"
        );
        assert_eq!(of("/mnt/share/disk/tls.pem"), None, "it is on a device");
        assert_eq!(of("/mnt/shared/tls.pem"), None);
        assert_eq!(of("/etc/tls.pem"), None);
        assert_eq!(apart_in("22 1 0:1 / / rw - overlay overlay rw", Path::new("/a")), None);
        assert_eq!(apart_in("", Path::new("/a")), None);
        let proc = apart(Path::new("/proc/self/stat")).unwrap();
        assert!(proc.at == Path::new("/proc") && is_there(&proc));
    }

    #[test]
    fn what_is_mounted_in_place_of_another_is_told_apart() {
        let share = apart_in(TABLE, Path::new("/mnt/share/a")).unwrap();
        let again = TABLE.replace("30 22 0:40", "34 22 0:40");

        assert!(is_in(TABLE, &share));
        assert!(!is_in(&again, &share) && !is_in("", &share));
        assert_ne!(apart_in(&again, Path::new("/mnt/share/a")), Some(share));
    }
}
