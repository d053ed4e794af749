//! The routes file or folder as text: what is read from the disk and nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::base::sorted::{Keyed, Sorted};
use crate::base::stretch::Stretch;

use super::lines::Lines;
use super::looks::{Looks, Stamp};
use super::problem::{Problem, Problems};
use super::shared_text::{LONG, SharedText, Spare};

/// The files of a configuration as they were read, so that the last good ones can be kept.
#[derive(Clone, Debug, Eq, Serialize, Deserialize)]
pub struct Files {
    /// The file or folder that was asked for.
    pub root: PathBuf,
    /// Its files, by their paths.
    pub files: Sorted<File>,
    /// Which folder it was when all were read, whatever its name: device and inode.
    #[serde(skip)]
    pub folder: Option<(u64, u64)>,
    /// Those of the folder that cannot be read.
    #[serde(skip)]
    pub unread: BTreeMap<Arc<Path>, Unread>,
}

impl PartialEq for Files {
    /// By what they say, wherever they were moved from.
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root && self.files == other.files && self.unread == other.unread
    }
}

/// One file.
#[derive(Clone, Debug, Eq, Serialize, Deserialize)]
pub struct File {
    /// Where it is.
    pub path: Arc<Path>,
    /// What it says.
    pub text: SharedText,
}

/// A file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Why.
    pub problems: Problems,
    /// What it says, as far as that is text; `None` where nobody knows.
    pub text: Option<Arc<str>>,
}

impl From<Problems> for Unread {
    /// Nobody knows what it says.
    fn from(problems: Problems) -> Self {
        Self { problems, text: None }
    }
}

impl File {
    fn new(path: &Path, text: impl Into<SharedText>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

impl Keyed for File {
    type Key = OsStr;

    fn key(&self) -> &OsStr {
        self.path.as_os_str() // by its parts it would be compared far more slowly
    }
}

impl PartialEq for File {
    /// Two readings share what has not changed.
    fn eq(&self, other: &Self) -> bool {
        (Arc::ptr_eq(&self.path, &other.path) || self.key() == other.key())
            && self.text == other.text
    }
}

impl Files {
    /// One file whose text is known already.
    pub fn of_text(path: impl Into<PathBuf>, text: &str) -> Self {
        let path = path.into();
        let file = File::new(&path, text);
        Self::of_file(path, file)
    }

    /// These files, of which all is known.
    pub fn of(root: PathBuf, files: Sorted<File>) -> Self {
        Self { root, files, folder: None, unread: BTreeMap::new() }
    }

    /// One file alone.
    pub(super) fn of_file(root: PathBuf, file: File) -> Self {
        Self::of(root, [file].into_iter().collect())
    }

    /// The folder of a file, where relative paths in it start.
    pub(super) fn folder(&self, file: usize) -> Option<&Path> {
        self.files.nth(file).and_then(|file| file.path.parent())
    }

    /// Why files of the folder cannot be read; `None` where all can be.
    pub(super) fn why_unread(&self) -> Option<Problems> {
        self.unread.values().map(|unread| unread.problems.clone()).reduce(Problems::and)
    }

    /// Whether no file says anything, not even a comment.
    pub(super) fn are_blank(&self) -> bool {
        let is_blank =
            |file: &File| file.text.trim_start_matches(BYTE_ORDER_MARK).trim().is_empty();
        self.files.iter().all(is_blank)
    }
}

/// Reads the routes file, or all `*.toml` files of the routes folder. Hidden files are left out,
/// and with them what editors and Kubernetes' ConfigMaps keep beside the real ones.
///
/// # Errors
/// When the path, or a file in the folder, cannot be read, is no UTF-8 or is too large.
pub fn read_routes(path: &Path) -> Result<Files, Problems> {
    let files = read_routes_again(path, &mut Looks::default())?;
    match files.why_unread() {
        Some(problems) => Err(problems),
        None => Ok(files),
    }
}

/// As [`read_routes`], after a reading before: what looks as it did then is not read, and what says the same
/// shares its text. Of a folder, those files that cannot be read are told beside the others.
///
/// # Errors
/// When the path, or every file in the folder, cannot be read, or they are too large together.
pub fn read_routes_again(path: &Path, looks: &mut Looks) -> Result<Files, Problems> {
    // Before anything in it is: where the folder is replaced meanwhile, it is not taken for the new one.
    let found = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !found.is_dir() {
        looks.begin();
        let file = read_changed(path, SystemTime::now(), looks);
        looks.end();
        return file
            .map(|file| Files::of_file(path.to_owned(), file))
            .map_err(|unread| unread.problems);
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| unreadable(path, &error))? {
        let entry = entry.map_err(|error| unreadable(path, &error))?;
        if is_wanted(&entry) {
            paths.push(entry.path());
        }
    }
    if paths.is_empty() {
        let what = "the folder has no *.toml file".to_owned();
        return Err(Problems::of_file(path, what, "put a routes file into it"));
    }
    paths.sort();
    looks.begin();
    let read = read_all(path, &paths, looks);
    looks.end();
    Ok(Files { folder: Some(identity(&found)), ..read? })
}

/// The files of a folder that was read before, after entries of these names have changed: those alone
/// are read. `None` where it takes a reading of all to tell what there is, or what is wrong: a link, a
/// file that cannot be read, a folder without files, too many bytes, or another folder in its place.
pub fn read_named(before: &Files, names: &BTreeSet<OsString>) -> Option<Files> {
    let is_same = || {
        let found = std::fs::metadata(&before.root).ok();
        found.is_some_and(|found| before.folder == Some(identity(&found)))
    };
    // After the reading too: of another folder, or of none, it would tell what is not so here.
    let now = is_same().then(|| read_entries(before, names)).flatten();
    now.filter(|_| is_same())
}

fn read_entries(before: &Files, names: &BTreeSet<OsString>) -> Option<Files> {
    let mut now = before.clone();
    for name in names.iter().filter(|name| is_wanted_name(name)) {
        let path = before.root.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => {
                let file = read_found(&path, &found, &Spare::default()).ok()?;
                if now.files.get(file.key()) != Some(&file) {
                    now.files.insert(file);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                now.files.remove(path.as_os_str());
            }
            _ => return None,
        }
    }
    let bytes: u64 = now.files.iter().map(|file| file.text.len() as u64).sum();
    (bytes <= MAX_FOLDER_BYTES && !now.files.is_empty()).then_some(now)
}

/// Reads the files of a folder, as far as they are not too large together, and as far as they can be read.
fn read_all(folder: &Path, paths: &[PathBuf], looks: &mut Looks) -> Result<Files, Problems> {
    let mut files = Vec::with_capacity(paths.len());
    let mut unread: BTreeMap<Arc<Path>, Unread> = BTreeMap::new();
    let (mut bytes, now) = (0, SystemTime::now());
    for path in paths {
        match read_changed(path, now, looks) {
            Ok(file) => {
                bytes += file.text.len() as u64;
                files.push(file);
            }
            Err(why) => {
                bytes += why.text.as_ref().map_or(0, |text| text.len() as u64);
                unread.insert(path.as_path().into(), why);
            }
        }
        if bytes > MAX_FOLDER_BYTES {
            let what = "the files of the folder are larger than 256 MiB together".to_owned();
            return Err(Problems::of_file(folder, what, "take out what is no routes file"));
        }
    }
    let files = Files { unread, ..Files::of(folder.to_owned(), files.into_iter().collect()) };
    match files.why_unread() {
        Some(problems) if files.files.is_empty() => Err(problems),
        _ => Ok(files),
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Reads one file, unless it looks as it did when it was read before, or says what it said then.
fn read_changed(path: &Path, now: SystemTime, looks: &mut Looks) -> Result<File, Unread> {
    let found = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    let stamp = Stamp::of(&found, now);
    if let Some(file) = stamp.and_then(|stamp| looks.find(path, stamp)) {
        return Ok(file);
    }
    let file = match looks.last(path) {
        Some(file) if says(&file, &found) => file,
        _ => read_found(path, &found, looks.spare())?,
    };
    // Where another file has come into its place meanwhile, it is not known which of them was read.
    let is_same = |stamp: &Stamp| {
        std::fs::metadata(path).is_ok_and(|again| Stamp::of(&again, now).as_ref() == Some(stamp))
    };
    looks.note(stamp.filter(is_same), &file);
    Ok(file)
}

/// Whether a file on the disk says what this one says. Its text is compared in pieces as it is read: that of
/// a hundred thousand tenants is tens of megabytes, each copy of which would have to be given back.
fn says(file: &File, found: &Metadata) -> bool {
    found.is_file()
        && found.len() == file.text.len() as u64
        && is_read_as(&file.path, file.text.as_bytes()).unwrap_or(false) // reading it tells why
}

fn is_read_as(path: &Path, mut text: &[u8]) -> std::io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    let mut piece = vec![0; text.len().clamp(1, PIECE)];
    let stretch = Stretch::begin();
    loop {
        let read = file.read(&mut piece)?;
        stretch.pause();
        match (read, text.split_at_checked(read)) {
            (0, _) => return Ok(text.is_empty()),
            (_, Some((now, rest))) if piece.starts_with(now) => text = rest,
            _ => return Ok(false),
        }
    }
}

/// Reads one file.
pub(super) fn read_file(path: &Path) -> Result<File, Problems> {
    let found = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    read_found(path, &found, &Spare::default()).map_err(|unread| unread.problems)
}

fn read_found(path: &Path, found: &Metadata, spare: &Spare) -> Result<File, Unread> {
    // Opening a named pipe would wait for its writer, perhaps for ever.
    if !found.is_file() {
        let what = if found.is_dir() { "is a folder, not a file" } else { "is no regular file" };
        return Err(Problems::of_file(path, what.to_owned(), "name a file; it is watched").into());
    }
    let is_long = (LONG as u64..=MAX_BYTES).contains(&found.len());
    if is_long && let Ok(Some(text)) = read_long(path, found.len(), spare) {
        return Ok(File { path: path.into(), text });
    }
    // The size first: what is far too large must cost neither memory nor time, as it is looked at
    // again while it stays. It may still grow while it is read.
    let bytes = match found.len() > MAX_BYTES {
        true => None,
        false => read_bytes(path, found.len()).map_err(|error| unreadable(path, &error))?,
    };
    let Some(bytes) = bytes else {
        let what = "the file is larger than 64 MiB".to_owned();
        let hint = "put the right file back; routes that are so large go into a folder of files";
        return Err(Problems::of_file(path, what, hint).into());
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(File::new(path, text)),
        Err(error) => {
            let problems = not_utf8(path, error.as_bytes(), error.utf8_error().valid_up_to());
            // What is of ASCII is the same in Latin-1 and its like, not so where a sign has more bytes.
            let is_like_ascii = !error.as_bytes().contains(&0);
            let text = is_like_ascii.then(|| String::from_utf8_lossy(error.as_bytes()).into());
            Err(Unread { problems, text })
        }
    }
}

/// The text of a file that has had about so many bytes, piece by piece, so that none of its megabytes is looked at
/// in one go; `None` where it is no text, or has become too large.
fn read_long(path: &Path, about: u64, spare: &Spare) -> std::io::Result<Option<SharedText>> {
    let mut text = spare.room(usize::try_from(about).unwrap_or_default());
    let mut file = std::fs::File::open(path)?;
    let mut piece = vec![0; PIECE];
    let stretch = Stretch::begin();
    // Bytes at its start: those of a character that ends in the next one.
    let mut begun = 0;
    loop {
        let read = file.read(piece.get_mut(begun..).unwrap_or_default())?;
        if read == 0 {
            return Ok((begun == 0).then(|| spare.shared(text)));
        }
        let bytes = piece.get(..begun + read).unwrap_or_default();
        let (known, rest) = match std::str::from_utf8(bytes) {
            Ok(all) => (all, 0),
            Err(error) if error.error_len().is_some() => return Ok(None),
            Err(error) => {
                let known = bytes.get(..error.valid_up_to()).unwrap_or_default();
                (std::str::from_utf8(known).unwrap_or_default(), bytes.len() - known.len())
            }
        };
        text.push_str(known);
        if text.len() as u64 > MAX_BYTES {
            return Ok(None);
        }
        let at = bytes.len() - rest;
        piece.copy_within(at..at + rest, 0);
        begun = rest;
        stretch.pause();
    }
}

/// The bytes of a file that has had about so many; `None` when they are over 64 MiB.
fn read_bytes(path: &Path, about: u64) -> std::io::Result<Option<Vec<u8>>> {
    // With room for one more there is no need to grow at the end, which is found by reading on.
    let mut bytes = Vec::with_capacity(usize::try_from(about).unwrap_or_default() + 1);
    let mut file = std::fs::File::open(path)?.take(MAX_BYTES + 1);
    let stretch = Stretch::begin();
    while file.by_ref().take(PIECE as u64).read_to_end(&mut bytes)? > 0 {
        stretch.pause();
    }
    Ok((bytes.len() as u64 <= MAX_BYTES).then_some(bytes))
}

/// Says which byte is the first that is no UTF-8, and where.
fn not_utf8(path: &Path, bytes: &[u8], at: usize) -> Problems {
    let before = bytes.get(..at).unwrap_or_default();
    let (line, column) = Lines::of(&String::from_utf8_lossy(before)).place(at);
    let byte = bytes.get(at).copied().unwrap_or_default();
    let is_utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    let hint = match is_utf16 {
        true => "this is UTF-16, as some editors save it; save it as UTF-8",
        false => "save it as UTF-8; `iconv -f latin1 -t utf-8` turns Latin-1 into it",
    };
    let problem = Problem {
        file: path.display().to_string(),
        line,
        column,
        key: String::new(),
        what: format!("the file is not UTF-8 text: the byte 0x{byte:02x} is none of it"),
        hint: Some(hint.to_owned()),
    };
    Problems::new(vec![problem])
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problems {
    let (what, hint) = match error.kind() {
        std::io::ErrorKind::NotFound => {
            ("there is no such file".to_owned(), "create it, or correct the path")
        }
        _ => (format!("cannot be read: {error}"), "look at its kind, owner and permissions"),
    };
    Problems::of_file(path, what, hint)
}

/// Whether a file of a folder is part of the configuration: `*.toml`, not hidden, no leftover of
/// an editor (`.a.toml.swp`, `a.toml~`, `#a.toml#` end otherwise or start with a dot), no folder
/// and no pipe. A link that leads nowhere is wanted, so that it is told.
fn is_wanted(entry: &DirEntry) -> bool {
    // What the folder itself tells of an entry costs no call; where a link leads, it does not tell.
    let is_file = || match entry.file_type() {
        Ok(kind) if kind.is_file() => true,
        _ => std::fs::metadata(entry.path()).map_or(true, |metadata| metadata.is_file()),
    };
    is_wanted_name(&entry.file_name()) && is_file()
}

fn is_wanted_name(name: &OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    !name.starts_with(['.', '#']) && name.ends_with(".toml")
}

/// Some editors write it at the start of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// 64 MiB: a million tenants of one line each.
const MAX_BYTES: u64 = 64 << 20;

/// 256 KiB: read within the time that a worker may find its core taken, see [`Stretch`].
const PIECE: usize = 256 << 10;

/// 256 MiB: a folder that was named by mistake must not fill the memory.
const MAX_FOLDER_BYTES: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    /// A file that takes no room on the disk.
    fn sparse(path: &Path, bytes: u64) {
        File::create(path).unwrap().set_len(bytes).unwrap();
    }

    fn told(path: &Path) -> Problem {
        let mut problems = read_routes(path).unwrap_err().into_iter();
        let first = problems.next().unwrap();
        assert_eq!(problems.next(), None);
        assert!(first.hint.is_some(), "{first}");
        first
    }

    #[test]
    fn a_file_of_a_gibibyte_is_refused_by_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.toml");
        sparse(&path, 1 << 30);

        assert!(told(&path).what.contains("is larger than 64 MiB"));
    }

    #[test]
    fn of_a_folder_only_what_has_changed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: usize| folder.path().join(format!("{number}.toml"));
        let write = |number: usize, text: &str| std::fs::write(path(number), text).unwrap();
        (0..20).for_each(|number| write(number, &format!("# {number}")));
        let (mut looks, now) = (Looks::default(), SystemTime::now() + Duration::from_secs(10));
        let paths: Vec<PathBuf> = (0..20).map(path).collect();
        let mut read = |at: SystemTime, paths: &[PathBuf]| {
            looks.begin();
            let files: Vec<_> =
                paths.iter().map(|path| read_changed(path, at, &mut looks).unwrap()).collect();
            looks.end();
            (files, looks.read())
        };

        let (first, all) = read(now, &paths);
        let (again, none) = read(now, &paths[1..]);
        write(7, "# other");
        let (second, changed) = read(now, &paths[1..]);

        assert_eq!((all, none, changed), (20, 0, 1));
        assert!(again[0].text.is(&first[1].text));
        assert_eq!(&*second[6].text, "# other");
        assert_eq!(read(now, &paths).1, 1, "one that was gone meanwhile");
        write(3, "# shortly");
        assert_eq!(
            read(SystemTime::UNIX_EPOCH, &paths).1,
            20,
            "what has just changed is not trusted"
        );
    }

    #[test]
    fn a_long_file_is_read_in_pieces_into_the_memory_of_one_that_nobody_holds_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        let mut looks = Looks::default();
        let mut read = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            read_routes_again(&path, &mut looks).map(|files| files.files.nth(0).unwrap().clone())
        };
        // Of three bytes each, so that most pieces end within one.
        let text = |last: char| "# 12€".repeat(LONG / 6) + &last.to_string();

        let first = read(text('a').as_bytes()).unwrap();
        let second = read(text('b').as_bytes()).unwrap();
        assert_eq!((&*first.text, &*second.text), (&*text('a'), &*text('b')));
        let at = first.text.as_ptr();
        drop(first);
        let third = read(text('c').as_bytes()).unwrap();
        assert_eq!((&*third.text, third.text.as_ptr()), (&*text('c'), at));

        let cut = text('d').replace('d', "€").into_bytes();
        for bytes in [&cut[..cut.len() - 1], &[&cut, &b"\xff"[..]].concat()] {
            let problem = read(bytes).unwrap_err().into_iter().next().unwrap();
            assert!(problem.what.starts_with("the file is not UTF-8 text"), "{problem}");
        }
    }

    #[test]
    fn after_a_change_of_one_name_that_file_is_read_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a.toml", "b.toml", "c.toml"] {
            std::fs::write(path(name), "# old").unwrap();
        }
        let before = read_routes(folder.path()).unwrap();
        let named = |names: &[&str]| {
            let now = read_named(&before, &names.iter().map(Into::into).collect())?;
            let told = |file: &super::File| format!("{}{}", file.path.display(), &*file.text);
            let texts = now.files.iter().map(told);
            Some(texts.map(|text| text.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>())
        };
        for name in ["a.toml", "b.toml", "d.toml", ".e.toml", "f.toml~"] {
            std::fs::write(path(name), "# new").unwrap();
        }
        std::fs::remove_file(path("c.toml")).unwrap();

        let one = ["a.toml# old", "b.toml# new", "c.toml# old"];
        assert_eq!(named(&["b.toml", "never.toml"]).unwrap(), one);
        let all = named(&["b.toml", "c.toml", "d.toml", ".e.toml", "f.toml~"]).unwrap();
        assert_eq!(all, ["a.toml# old", "b.toml# new", "d.toml# new"]);
        assert_eq!(read_named(&before, &[OsString::from("c")].into()), Some(before.clone()));

        std::os::unix::fs::symlink("b.toml", path("link.toml")).unwrap();
        std::fs::create_dir(path("folder.toml")).unwrap();
        std::fs::write(path("latin.toml"), [0xff]).unwrap();
        sparse(&path("large.toml"), MAX_BYTES + 1);
        for name in ["link.toml", "folder.toml", "latin.toml", "large.toml"] {
            assert_eq!(named(&["b.toml", name]), None, "{name}");
        }
        let all: Vec<_> = (0..5).map(|number| format!("{number}.toml")).collect();
        all.iter().for_each(|name| sparse(&path(name), 60 << 20));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(named(&all), None);
    }

    #[test]
    fn a_name_is_not_looked_up_in_another_folder_than_the_one_that_was_read() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        for release in ["one", "two"] {
            std::fs::create_dir_all(at(release).join("routes.d")).unwrap();
            std::fs::write(at(release).join("routes.d/a.toml"), "# same").unwrap();
        }
        let link = |release: &str| {
            std::os::unix::fs::symlink(release, at("next")).unwrap();
            std::fs::rename(at("next"), at("current")).unwrap();
        };
        link("one");
        let before = read_routes(&at("current/routes.d")).unwrap();
        let named = |before: &Files| read_named(before, &["a.toml".into()].into());

        assert_eq!(named(&before).as_ref(), Some(&before));
        link("two");
        assert_eq!(named(&before), None, "it was replaced");
        let again = read_routes(&at("current/routes.d")).unwrap();
        assert_eq!(again, before, "it says the same");
        assert_eq!(named(&again).as_ref(), Some(&before));
        std::fs::rename(at("two"), at("away")).unwrap();
        assert_eq!(named(&again), None, "it was moved away");
        link("away");
        assert!(named(&again).is_some(), "it is back");
    }

    #[test]
    fn a_folder_is_bounded_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            sparse(&folder.path().join(format!("{name}.toml")), 60 << 20);
        }

        let problem = told(folder.path());

        assert_eq!(Path::new(&problem.file), folder.path());
        assert!(problem.what.contains("larger than 256 MiB together"), "{problem}");
    }

    #[test]
    fn the_first_byte_that_is_no_text_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.toml");
        for (bytes, line, column, part) in [
            (&b"# \xc3\xa4\n[pools.a]\ndns = \"stra\xdfe:1\"\n"[..], 3, 12, "0xdf"),
            (b"\xff\xfe[\0", 1, 1, "0xff"),
            (b"a = \"\xe2\x82", 1, 6, "0xe2"),
        ] {
            std::fs::write(&path, bytes).unwrap();

            let problem = told(&path);

            assert_eq!((problem.line, problem.column), (line, column), "{problem}");
            assert!(problem.what.contains(part), "{problem}");
            let utf16 = problem.hint.is_some_and(|hint| hint.contains("UTF-16"));
            assert_eq!(utf16, bytes.starts_with(b"\xff\xfe"));
        }
    }

    #[test]
    fn what_is_no_file_is_told_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), pipe, 0o600.into(), 0).unwrap();
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();

        assert_eq!(told(&path("pipe")).what, "is no regular file");
        assert_eq!(told(Path::new("/dev/zero")).what, "is no regular file");
        assert!(told(&path("loop")).what.starts_with("cannot be read: Too many levels of"));
        let gateway = read_file(&path("folder")).unwrap_err();
        assert!(gateway.to_string().contains("folder:1:1: is a folder, not a file"), "{gateway}");
    }
}
