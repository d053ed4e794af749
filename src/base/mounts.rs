//! File systems that may stop answering, as those of the network and those that a program serves.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the file system of a path is mounted, by the path's name, where it is another than the first one and on no device of
/// the machine. Asks no file system for anything.
pub fn apart(path: &Path) -> Option<PathBuf> {
    apart_in(&fs::read_to_string("/proc/self/mountinfo").ok()?, path)
}

/// As [`apart`]; the table is as in proc(5).
fn apart_in(table: &str, path: &Path) -> Option<PathBuf> {
    let mut found: Option<(PathBuf, bool)> = None;
    for line in table.lines() {
        let Some((mount, is_device)) = mounted(line) else { continue };
        let is_longer =
            |before: &(PathBuf, bool)| mount.as_os_str().len() >= before.0.as_os_str().len();
        if path.starts_with(&mount) && found.as_ref().is_none_or(is_longer) {
            found = Some((mount, is_device));
        }
    }
    let (mount, is_device) = found?;
    (!is_device && mount.parent().is_some()).then_some(mount)
}

/// Where one is mounted, and whether it is on a device.
fn mounted(line: &str) -> Option<(PathBuf, bool)> {
    let (head, _) = line.split_once(" - ")?;
    let mut fields = head.split(' ');
    // What is on no device has a number of the kernel's own, whatever its source is called.
    let is_device = !fields.nth(2)?.starts_with("0:");
    Some((unescaped(fields.nth(1)?).into(), is_device))
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
        let of = |path: &str| apart_in(TABLE, Path::new(path));

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
        assert_eq!(apart(Path::new("/proc/self/stat")), Some("/proc".into()));
    }
}
