//! The last good routes on disk, so that a restart on a broken file can still serve. What is kept
//! is the text before `${VAR}` substitution: no secret of the environment reaches the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::stretch::Stretch;
use crate::config::Files;

/// The place of the last good routes.
#[derive(Clone, Debug)]
pub struct State {
    folder: PathBuf,
    /// The routes file or folder whose text is kept.
    routes: PathBuf,
}

/// Why the last good routes cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The disk refuses.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{path} is damaged: {source}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// Another gateway keeps its routes in the same folder.
    #[error(
        "{path} was kept of {root}, which are the routes of another gateway; \
         give each gateway a `state` folder of its own",
        path = path.display(), root = root.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The routes that it was kept of.
        root: PathBuf,
    },
}

/// What the file holds, with the number of its form so that a later version can tell.
#[derive(Serialize, Deserialize)]
struct Form<T> {
    form: u32,
    #[serde(flatten)]
    content: T,
}

impl State {
    /// The state of `routes` in `folder`, which is made when something is first kept.
    pub fn new(folder: PathBuf, routes: PathBuf) -> Self {
        Self { folder, routes }
    }

    /// Keeps `good` in place of what was kept before: whole or not at all, also when the machine
    /// stops within it.
    ///
    /// # Errors
    /// When the disk refuses; what was kept before is still there then.
    pub fn keep(&self, good: &Files) -> Result<(), StateError> {
        write(&self.folder, NAME, &Form { form: FORM, content: good })
    }

    /// What was kept last; `None` where nothing ever was.
    ///
    /// # Errors
    /// When the file is there and cannot be read or understood, or is of other routes.
    pub fn load(&self) -> Result<Option<Files>, StateError> {
        let form: Option<Form<Files>> = read(&self.folder, NAME)?;
        match form.map(|form| form.content) {
            Some(Files { root, .. }) if are_others(&root, &self.routes) => {
                Err(StateError::Foreign { path: self.path(), root })
            }
            content => Ok(content),
        }
    }

    /// Where the last good routes are kept.
    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }
}

/// Whether two paths lead to two things. Where one leads nowhere, as when a file was deleted or the
/// working folder is another one, nothing speaks against them.
fn are_others(left: &Path, right: &Path) -> bool {
    match (fs::canonicalize(left), fs::canonicalize(right)) {
        (Ok(left), Ok(right)) => left != right,
        _ => false,
    }
}

/// What the file of this name holds; `None` where there is none.
pub(super) fn read<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
) -> Result<Option<T>, StateError> {
    let path = folder.join(name);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused("read", &path)(error)),
    };
    let content = serde_json::from_slice(&text);
    content.map(Some).map_err(|source| StateError::Damaged { path, source })
}

/// Puts a file of this name that holds this in the place of the one before, as [`replace`] does.
pub(super) fn write<T: Serialize>(
    folder: &Path,
    name: &str,
    content: &T,
) -> Result<(), StateError> {
    put(folder, name, |file| Ok(serde_json::to_writer(file, content)?))
}

/// Puts a file of this name in the place of the one before: whole or not at all, also when the machine
/// stops within it. The folder is made where there is none.
pub(super) fn replace(folder: &Path, name: &str, text: &[u8]) -> Result<(), StateError> {
    put(folder, name, |file| file.write_all(text))
}

fn put(
    folder: &Path,
    name: &str,
    write: impl FnOnce(&mut BufWriter<Paced>) -> io::Result<()>,
) -> Result<(), StateError> {
    make(folder)?;
    let (path, draft) = (folder.join(name), folder.join(format!("{name}.new")));
    write_through(&draft, write).map_err(refused("write", &draft))?;
    fs::rename(&draft, &path).map_err(refused("replace", &path))?;
    sync(folder)
}

/// Makes a folder for its owner alone where there is none.
pub(super) fn make(folder: &Path) -> Result<(), StateError> {
    let mut maker = fs::DirBuilder::new();
    maker.recursive(true).mode(0o700).create(folder).map_err(refused("make the folder", folder))
}

/// Without this a rename may be lost when the machine stops.
pub(super) fn sync(folder: &Path) -> Result<(), StateError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(refused("sync the folder", folder))
}

/// Writes a file that only its owner may read, down to the disk.
fn write_through(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<Paced>) -> io::Result<()>,
) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut paced = BufWriter::with_capacity(PIECE, Paced { file, stretch: Stretch::begin() });
    write(&mut paced)?;
    paced.into_inner()?.file.sync_all()
}

/// A file that is written in pieces, between which others may have the core. The files of a hundred thousand tenants
/// are tens of megabytes: whole in memory they would have to be given back.
struct Paced {
    file: File,
    stretch: Stretch,
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stretch.pause();
        self.file.write(bytes.get(..PIECE).unwrap_or(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

pub(super) fn refused(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { action, path, source }
}

/// What to do where nothing can be kept.
pub const HINT: &str =
    "name a folder that the gateway may write, as in \"/var/lib/tenantry\", or \"off\"";

/// 64 KiB: made and written within the time that a worker may find its core taken.
const PIECE: usize = 64 << 10;

const NAME: &str = "last-good.json";
const FORM: u32 = 1;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn good(text: &str) -> Files {
        Files::of_text("routes.toml", text)
    }

    #[test]
    fn what_was_kept_last_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path().join("not/yet/there"), "routes.toml".into());
        assert!(state.load().unwrap().is_none());

        state.keep(&good("a = \"${SECRET}\"")).unwrap();
        state.keep(&good("b = 1")).unwrap();

        assert_eq!(state.load().unwrap(), Some(good("b = 1")));
    }

    #[test]
    fn only_the_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path().to_owned(), "routes.toml".into());

        state.keep(&good("")).unwrap();

        assert_eq!(fs::metadata(state.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path().to_owned(), "routes.toml".into());
        state.keep(&good("")).unwrap();
        for text in ["", "{", "[]", "{\"form\":1}", "\u{0}"] {
            fs::write(state.path(), text).unwrap();

            let error = state.load().unwrap_err().to_string();

            assert!(error.contains("last-good.json is damaged"), "{error}");
        }
    }

    #[test]
    fn what_another_gateway_kept_is_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let [ours, theirs] = ["ours.toml", "theirs.toml"].map(|name| folder.path().join(name));
        for routes in [&ours, &theirs] {
            fs::write(routes, "").unwrap();
        }
        let state = |routes: &Path| State::new(folder.path().join("state"), routes.to_owned());
        state(&theirs).keep(&Files::of_text(&theirs, "a = 1")).unwrap();

        let error = state(&ours).load().unwrap_err().to_string();

        assert!(error.contains("theirs.toml, which are the routes of another gateway"), "{error}");
        assert!(state(&theirs).load().unwrap().is_some());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();

        let error = State::new(file.join("state"), "routes.toml".into())
            .keep(&good(""))
            .unwrap_err()
            .to_string();

        assert!(error.contains("file/state"), "{error}");
    }
}
