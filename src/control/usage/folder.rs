//! The folder of the files that are billed by. A file has the name of its hour once it is finished,
//! and is never changed then; until then it ends in `.partial`. **Invariant:** what stands in two
//! files was counted twice by nobody, so that the sum of all of them is what was used.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::stretch::LongText;
use crate::control::state::{self, StateError, refused};
use crate::telemetry::usage::{Counts, Hour, Lines};

use super::line::{Amounts, Line, written};

/// The folder, and whose files of it these are.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) gateway: String,
}

/// A file. An hour has several where the clock was set back after the first was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) hour: Hour,
    pub(super) part: u32,
}

/// What is there of this gateway.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) finished: BTreeSet<Name>,
    pub(super) partial: BTreeSet<Name>,
}

/// Why nothing can be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum UsageError {
    /// The disk refuses.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another process writes the same files.
    #[error(
        "another process holds {path}: one that is ending soon, or a gateway of the same name; give \
         each a `gateway` of its own in [usage]",
        path = .0.display()
    )]
    Held(PathBuf),
}

impl Folder {
    /// Keeps all other processes from writing the same files, as long as the file is held.
    pub(super) fn lock(&self) -> Result<File, UsageError> {
        state::make(&self.path)?;
        let path = self.path.join(format!(".{}.lock", self.gateway));
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(refused("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(UsageError::Held(path)),
            Err(TryLockError::Error(error)) => Err(refused("lock", &path)(error).into()),
        }
    }

    /// Whether this is the file that keeps others away: it may have been removed, with the folder.
    pub(super) fn is_held_by(&self, lock: &File) -> bool {
        let there = fs::metadata(self.path.join(format!(".{}.lock", self.gateway)));
        let (Ok(there), Ok(held)) = (there, lock.metadata()) else { return false };
        (there.dev(), there.ino()) == (held.dev(), held.ino())
    }

    /// What is there.
    pub(super) fn list(&self) -> Result<Listing, StateError> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(&self.path).map_err(refused("read", &self.path))? {
            let entry = entry.map_err(refused("read", &self.path))?;
            let name = entry.file_name();
            let Some(text) = name.to_str() else { continue };
            match text.strip_suffix(PARTIAL) {
                Some(text) => listing.partial.extend(self.name(text)),
                None => listing.finished.extend(self.name(text)),
            }
        }
        Ok(listing)
    }

    /// Writes what is known so far, whole or not at all.
    pub(super) fn save(&self, name: Name, lines: &Lines) -> Result<(), StateError> {
        let text = self.text(name.hour, lines);
        let file = format!("{}{PARTIAL}", self.file(name));
        let damaged = |source| StateError::Damaged { path: self.path.join(&file), source };
        state::replace(&self.path, &file, &text.map_err(damaged)?)
    }

    /// Finishes a file that has been saved: as this one, or as the first further part of its hour
    /// that is not there. Whether that has reached the disk is another matter.
    pub(super) fn finish(&self, name: Name) -> Result<(), StateError> {
        let (partial, mut to) = (self.partial(name), name);
        while self.finished(to).exists() {
            to.part += 1;
        }
        fs::rename(&partial, self.finished(to)).map_err(refused("rename", &partial))
    }

    /// Makes what was saved a part of another file that is about to be saved. Where nothing is there
    /// nothing is to be done.
    pub(super) fn become_of(&self, name: Name, other: Name) -> Result<(), StateError> {
        let path = self.partial(name);
        match fs::rename(&path, self.partial(other)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(refused("rename", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Deletes a finished file.
    pub(super) fn delete(&self, name: Name) -> Result<(), StateError> {
        let path = self.finished(name);
        fs::remove_file(&path).map_err(refused("remove", &path))
    }

    /// Puts aside what is not understood, for people.
    pub(super) fn set_aside(&self, name: Name) -> Result<(), StateError> {
        let path = self.partial(name);
        let mut aside = self.path.join(format!("{}.damaged", self.file(name)));
        let mut number = 1;
        while aside.exists() {
            number += 1;
            aside = self.path.join(format!("{}.damaged-{number}", self.file(name)));
        }
        fs::rename(&path, aside).map_err(refused("rename", &path))
    }

    /// What was saved of an hour that is not over.
    pub(super) fn read_partial(&self, name: Name) -> Result<Lines, StateError> {
        self.read(&self.partial(name))
    }

    /// What a finished file says.
    pub(super) fn read_finished(&self, name: Name) -> Result<Lines, StateError> {
        self.read(&self.finished(name))
    }

    fn read(&self, path: &Path) -> Result<Lines, StateError> {
        let file = File::open(path).map_err(refused("read", path))?;
        let mut lines = Lines::new();
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(refused("read", path))?;
            let damaged = |source| StateError::Damaged { path: path.to_owned(), source };
            let line: Line = serde_json::from_slice(&line).map_err(damaged)?;
            lines.entry(Arc::from(line.tenant)).or_default().merge(&Counts::from(&line.amounts));
        }
        Ok(lines)
    }

    fn text(&self, hour: Hour, lines: &Lines) -> Result<Vec<u8>, serde_json::Error> {
        let hour = written(hour);
        let mut text = LongText::begin();
        for (tenant, counts) in lines {
            let amounts = Amounts::from(counts);
            let (hour, gateway, tenant) = (hour.clone(), self.gateway.clone(), tenant.to_string());
            serde_json::to_writer(&mut text, &Line { hour, gateway, tenant, amounts })?;
            // Writing to memory never fails.
            text.write_all(b"\n").ok();
        }
        Ok(text.into_bytes())
    }

    fn finished(&self, name: Name) -> PathBuf {
        self.path.join(self.file(name))
    }

    fn partial(&self, name: Name) -> PathBuf {
        self.path.join(format!("{}{PARTIAL}", self.file(name)))
    }

    fn file(&self, Name { hour, part }: Name) -> String {
        let part = if part > 1 { format!("-{part}") } else { String::new() };
        let hour = written(hour);
        let hour = hour.get(..HOUR).unwrap_or(&hour);
        format!("{hour}{part}.{}{END}", self.gateway)
    }

    /// The reverse; `None` where it is nothing of this gateway.
    fn name(&self, file: &str) -> Option<Name> {
        let rest =
            file.strip_suffix(END)?.strip_suffix(self.gateway.as_str())?.strip_suffix('.')?;
        let (hour, part) = rest.split_at_checked(HOUR)?;
        let time = humantime::parse_rfc3339(&format!("{hour}:00:00Z")).ok()?;
        let part = match part {
            "" => 1,
            part => part.strip_prefix('-')?.parse().ok()?,
        };
        let name = Name { hour: Hour::of(time), part };
        (self.file(name) == file).then_some(name)
    }
}

impl Listing {
    /// The first part of an hour that is not finished.
    pub(super) fn free(&self, hour: Hour) -> Name {
        let parts = self.finished.iter().filter(|name| name.hour == hour);
        Name { hour, part: parts.map(|name| name.part).max().unwrap_or(0) + 1 }
    }
}

/// As in `2026-03-01T09`.
const HOUR: usize = 13;
const END: &str = ".ndjson";
const PARTIAL: &str = ".partial";
