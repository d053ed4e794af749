//! What paths lead through: the links on their way, the files at their ends, and what they look like.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Which folder it is, whatever its name: device and inode. One that was deleted may pass its own on
/// to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

/// Everything that decides what is found at some paths, at one instant.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// The names whose change matters: each link on a way, the file at its end or the first name
    /// that is missing, and the folders that hold them.
    names: BTreeSet<PathBuf>,
    /// The folders that hold those names, and their identity.
    folders: BTreeMap<PathBuf, Identity>,
    /// The folders at the ends of paths: each of their entries matters.
    whole: BTreeSet<PathBuf>,
}

/// Where the folders of paths lead, each being followed once. `None`: nowhere.
type Followed = HashMap<PathBuf, Option<PathBuf>>;

impl Trace {
    /// Follows `paths` as they are now. One that leads nowhere is followed as far as it goes.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let (mut trace, mut followed) = (Self::default(), Followed::new());
        for path in paths {
            // An error means an empty path or no working folder: there is nothing to follow then.
            let Ok(path) = std::path::absolute(path) else { continue };
            let Some(end) = trace.follow(&path, &mut followed) else { continue };
            if end.is_dir() {
                trace.heed_whole(end);
            }
        }
        trace
    }

    /// A folder at the end of a path.
    fn heed_whole(&mut self, folder: PathBuf) {
        self.heed(&folder, folder.clone());
        for entry in entries(&folder) {
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                self.walk(PathBuf::from("/"), &entry.path());
            }
        }
        self.whole.insert(folder);
    }

    /// A digest of what everything on the way looks like now.
    pub(super) fn look(&self) -> u64 {
        let mut digest = DefaultHasher::new();
        for name in &self.names {
            digest_name(name, &mut digest);
        }
        for whole in &self.whole {
            let mut names: Vec<PathBuf> = entries(whole).map(|entry| entry.path()).collect();
            names.sort_unstable();
            for name in names {
                digest_name(&name, &mut digest);
            }
        }
        digest.finish()
    }

    /// Whether the same folders are to be watched as for `other`.
    pub(super) fn watches_as(&self, other: &Self) -> bool {
        self.folders == other.folders
    }

    /// The folders to watch.
    pub(super) fn folders(&self) -> impl Iterator<Item = (&Path, Identity)> {
        self.folders.iter().map(|(folder, identity)| (folder.as_path(), *identity))
    }

    /// Whether this is one of the folders to watch.
    pub(super) fn is_in(&self, folder: &Path) -> bool {
        self.folders.contains_key(folder)
    }

    /// Whether a change of `path` matters.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        let mut above = path.ancestors();
        self.names.contains(path)
            || (!self.whole.is_empty() && above.any(|folder| self.whole.contains(folder)))
    }

    /// The name of an entry of the one folder at the end of a path, where it is an entry like others: a
    /// link is none, as what it leads to matters as well.
    pub(super) fn entry<'p>(&self, path: &'p Path) -> Option<&'p OsStr> {
        let is_within = self.whole.len() == 1 && self.whole.contains(path.parent()?);
        path.file_name().filter(|_| is_within && !self.names.contains(path))
    }

    /// Tells where a path ends. Many files of one folder lead through it once.
    fn follow(&mut self, path: &Path, followed: &mut Followed) -> Option<PathBuf> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return self.walk(PathBuf::from("/"), path);
        };
        if !followed.contains_key(folder) {
            let end = self.walk(PathBuf::from("/"), folder);
            followed.insert(folder.to_path_buf(), end);
        }
        let here = followed.get(folder)?.clone()?;
        self.walk(here, Path::new(name))
    }

    /// Walks a path from `here` on, part by part as the system does, and tells where it ends.
    fn walk(&mut self, mut here: PathBuf, path: &Path) -> Option<PathBuf> {
        let mut ahead = parts(path);
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            match part {
                Part::Root => here = PathBuf::from("/"),
                Part::Up => drop(here.pop()),
                Part::Name(name) => {
                    let next = here.join(name);
                    match fs::symlink_metadata(&next) {
                        Ok(found) if found.is_dir() => here = next,
                        Ok(found) if found.is_symlink() => {
                            self.heed(&here, next.clone());
                            links += 1;
                            if links > MAX_LINKS {
                                return None;
                            }
                            let mut target = parts(&fs::read_link(&next).ok()?);
                            target.append(&mut ahead);
                            ahead = target;
                        }
                        Ok(_) => {
                            self.heed(&here, next.clone());
                            here = next;
                        }
                        Err(_) => {
                            self.heed(&here, next);
                            return None;
                        }
                    }
                }
            }
        }
        Some(here)
    }

    fn heed(&mut self, folder: &Path, name: PathBuf) {
        self.names.insert(name);
        if !self.folders.contains_key(folder) {
            let identity = fs::metadata(folder)
                .map_or(Identity(0, 0), |found| Identity(found.dev(), found.ino()));
            self.names.insert(folder.to_path_buf()); // its own end is an event on it
            self.folders.insert(folder.to_path_buf(), identity);
        }
    }
}

enum Part {
    Root,
    Up,
    Name(OsString),
}

fn parts(path: &Path) -> VecDeque<Part> {
    path.components()
        .filter_map(|component| match component {
            Component::RootDir => Some(Part::Root),
            Component::ParentDir => Some(Part::Up),
            Component::Normal(name) => Some(Part::Name(name.to_owned())),
            Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// A folder that cannot be read looks like an empty one; its owner reports it on reading.
fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Takes in the name itself and, where it is a link, what it leads to.
fn digest_name(name: &Path, digest: &mut DefaultHasher) {
    name.hash(digest);
    let look = fs::symlink_metadata(name);
    let is_link = look.as_ref().is_ok_and(Metadata::is_symlink);
    digest_look(look, digest);
    if is_link {
        digest_look(fs::metadata(name), digest);
    }
}

/// A folder's own times are left out: they change with each file that comes and goes in it, also
/// those that do not matter; and the entries that matter are taken in one by one.
fn digest_look(look: io::Result<Metadata>, digest: &mut DefaultHasher) {
    match look {
        Ok(look) if look.is_dir() => (look.dev(), look.ino()).hash(digest),
        Ok(look) => {
            (look.dev(), look.ino(), look.size()).hash(digest);
            (look.mtime(), look.mtime_nsec(), look.ctime(), look.ctime_nsec()).hash(digest);
        }
        Err(error) => error.kind().hash(digest),
    }
}

/// 40: as many links as Linux itself follows before it gives up.
const MAX_LINKS: u32 = 40;
