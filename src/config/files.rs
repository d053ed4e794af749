//! The routes file or folder as text: what is read from the disk and nothing more.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// The files of a configuration as they were read, so that the last good ones can be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// The file or folder that was asked for.
    pub root: PathBuf,
    /// Its files, sorted by name.
    pub files: Vec<File>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: Arc<str>,
}

impl Files {
    /// One file whose text is known already.
    pub fn of_text(path: impl Into<PathBuf>, text: &str) -> Self {
        let path = path.into();
        Self { root: path.clone(), files: vec![File { path, text: text.into() }] }
    }

    /// The folder of a file, where relative paths in it start.
    pub(super) fn folder(&self, file: usize) -> Option<&Path> {
        self.files.get(file).and_then(|file| file.path.parent())
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
/// When the path, or a file in the folder, cannot be read, is no UTF-8 or is over 64 MiB.
pub fn read_routes(path: &Path) -> Result<Files, Problems> {
    let kind = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?.file_type();
    if !kind.is_dir() {
        // Opening a named pipe would wait for its writer, perhaps for ever.
        if !kind.is_file() {
            let what = "neither a file nor a folder".to_owned();
            return Err(Problems::of_file(path, what, "the routes are watched: name a file"));
        }
        return Ok(Files { root: path.to_owned(), files: vec![read_file(path)?] });
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| unreadable(path, &error))? {
        let entry = entry.map_err(|error| unreadable(path, &error))?.path();
        if is_wanted(&entry) {
            paths.push(entry);
        }
    }
    if paths.is_empty() {
        let what = "the folder has no *.toml file".to_owned();
        return Err(Problems::of_file(path, what, "put a routes file into it"));
    }
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    let mut problems: Option<Problems> = None;
    for path in &paths {
        match (read_file(path), &mut problems) {
            (Ok(file), _) => files.push(file),
            (Err(new), Some(all)) => all.extend(new),
            (Err(new), none) => *none = Some(new),
        }
    }
    match problems {
        Some(problems) => Err(problems),
        None => Ok(Files { root: path.to_owned(), files }),
    }
}

/// Reads one file.
pub(super) fn read_file(path: &Path) -> Result<File, Problems> {
    let bytes = read_bytes(path).map_err(|error| unreadable(path, &error))?;
    let Some(bytes) = bytes else {
        let what = "the file is larger than 64 MiB".to_owned();
        return Err(Problems::of_file(path, what, "split it into a folder of files"));
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(File { path: path.to_owned(), text: text.into() }),
        Err(_) => {
            let what = "the file is not UTF-8 text".to_owned();
            Err(Problems::of_file(path, what, "save it as UTF-8"))
        }
    }
}

/// The bytes of a file; `None` when they are over 64 MiB.
pub(super) fn read_bytes(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MAX_BYTES).then_some(bytes))
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
fn is_wanted(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let leftover = name.starts_with(['.', '#']) || !name.ends_with(".toml");
    !leftover && std::fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

/// Some editors write it at the start of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// 64 MiB: a million tenants of one line each.
const MAX_BYTES: u64 = 64 << 20;
