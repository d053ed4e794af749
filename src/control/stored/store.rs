//! The file that keeps the tenants of the API: an embedded database, so that a change of one is on the
//! disk as a whole or not at all, and costs the same among a hundred thousand.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind::NotADirectory, ErrorKind::NotFound};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition, TableError,
};

use crate::model::ids::TenantId;

use super::super::history::{Generation, Rows};
use super::definition::Definition;
use super::{Entry, Marks};

/// The open file. Clones are handles to the same one; nobody else has it meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Store {
    database: Arc<Database>,
}

/// What is in the file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    /// Ids of which it has what is no tenant.
    pub(super) unread: Vec<String>,
    /// The newest last.
    pub(super) generations: Vec<Generation>,
}

/// What has become of a tenant; `None` = it is gone.
pub(super) type Row = (Arc<str>, Option<Entry>);

/// Why tenants cannot be kept or read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no place for them.
    #[error("`state` is off in gateway.toml: tenants of the API need a folder to be kept in")]
    Off,
    /// Another process has the file.
    #[error("another gateway keeps its tenants in {path}", path = path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Another version of the gateway has written it.
    #[error("{path} is of another version of the gateway", path = path.display())]
    OtherForm {
        /// The file.
        path: PathBuf,
    },
    /// It is not what a gateway writes.
    #[error("{path} is damaged: {why}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        why: String,
    },
    /// The disk refuses.
    #[error("{path} cannot be used: {why}", path = path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
}

/// The file in a `state` folder.
pub(super) fn path_in(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

impl Store {
    /// Opens the file, which is made where there is none, and reads it.
    pub(super) fn open(path: &Path) -> Result<(Self, Contents), StoreError> {
        let refused = |error: io::Error| of_io(path, &error);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refused)?;
        }
        // What keys are known by is nobody else's.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(refused)?;
        let database = FileBackend::new(file).and_then(|file| builder().create_with_backend(file));
        let database = database.map_err(|error| of_opening(path, error))?;
        let contents = read(&database, path)?;
        Ok((Self { database: Arc::new(database) }, contents))
    }

    /// Writes what has become of tenants, and the generations that it is noted as, down to the disk: all
    /// of it or nothing.
    pub(super) fn write(
        &self,
        path: &Path,
        rows: &[Row],
        noted: Option<&Rows>,
    ) -> Result<(), StoreError> {
        self.try_write(rows, noted).map_err(|error| of_use(path, error))
    }

    fn try_write(&self, rows: &[Row], noted: Option<&Rows>) -> Result<(), redb::Error> {
        let change = self.database.begin_write()?;
        {
            change.open_table(ABOUT)?.insert("form", FORM)?;
            let mut tenants = change.open_table(TENANTS)?;
            let mut marks = change.open_table(MARKS)?;
            for (id, entry) in rows {
                match entry {
                    Some(entry) => drop(tenants.insert(&**id, entry.definition.text())?),
                    None => drop(tenants.remove(&**id)?),
                }
                match entry.as_ref().and_then(|entry| entry.marks.text()) {
                    Some(text) => drop(marks.insert(&**id, text.as_str())?),
                    None => drop(marks.remove(&**id)?),
                }
            }
        }
        if let Some(noted) = noted {
            let mut history = change.open_table(HISTORY)?;
            if noted.is_whole {
                history.retain(|_, _| false)?;
            }
            // What another gateway has left of later ones is of no table of this one.
            if let Some((last, _)) = noted.rows.last() {
                history.retain_in(*last.., |_, _| false)?;
            }
            for (number, one) in &noted.rows {
                match one.as_ref().map(serde_json::to_string) {
                    Some(Ok(text)) => drop(history.insert(number, text.as_str())?),
                    _ => drop(history.remove(number)?),
                }
            }
        }
        Ok(change.commit()?)
    }
}

/// Reads the file as it is, whoever has it, and changes nothing. None of it is no file.
pub(super) fn peek(path: &Path) -> Result<Contents, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {
            return Ok(Contents::default());
        }
        Err(error) => return Err(of_io(path, &error)),
    };
    let copy = InMemoryBackend::new();
    let filled = copy.set_len(bytes.len() as u64).and_then(|()| copy.write(0, &bytes));
    filled.map_err(|error| of_io(path, &error))?;
    let database = builder().create_with_backend(copy).map_err(|error| of_opening(path, error))?;
    read(&database, path)
}

/// Puts a damaged file aside, where somebody may look at it; gives its new name.
pub(super) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = path.with_file_name(format!("{NAME}.damaged-{}", now.as_millis()));
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

fn read(database: &Database, path: &Path) -> Result<Contents, StoreError> {
    let refused = |error: redb::Error| of_use(path, error);
    let reading = database.begin_read().map_err(|error| refused(error.into()))?;
    match reading.open_table(ABOUT) {
        Ok(about) => {
            let form = about.get("form").map_err(|error| refused(error.into()))?;
            if form.is_none_or(|form| form.value() != FORM) {
                return Err(StoreError::OtherForm { path: path.to_owned() });
            }
        }
        // Nothing was ever kept.
        Err(TableError::TableDoesNotExist(_)) => return Ok(Contents::default()),
        Err(error) => return Err(refused(error.into())),
    }
    let tenants = reading.open_table(TENANTS).map_err(|error| refused(error.into()))?;
    let marks = match reading.open_table(MARKS) {
        Ok(marks) => Some(marks),
        // A gateway has written it that kept none: all is the operators'.
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(refused(error.into())),
    };
    let (mut entries, mut unread) = (Vec::new(), Vec::new());
    for entry in tenants.iter().map_err(|error| refused(error.into()))? {
        let (id, json) = entry.map_err(|error| refused(error.into()))?;
        let (id, json) = (id.value(), json.value());
        let entry = TenantId::new(id).ok().zip(Definition::read(json));
        let entry = entry.and_then(|(id, definition)| Entry::new(&id, definition).ok());
        let marked = marks.as_ref().map(|marks| marks.get(id)).transpose();
        let marked = marked.map_err(|error| refused(error.into()))?.flatten();
        match entry {
            Some(entry) => entries.push(match marked {
                Some(text) => entry.marked(Marks::read(text.value())),
                None => entry,
            }),
            // The others are none the worse for it.
            None => unread.push(id.to_owned()),
        }
    }
    let mut generations = Vec::new();
    match reading.open_table(HISTORY) {
        Ok(history) => {
            for one in history.iter().map_err(|error| refused(error.into()))? {
                let (_, text) = one.map_err(|error| refused(error.into()))?;
                // One that cannot be read is forgotten, as those are that are older.
                match serde_json::from_str(text.value()) {
                    Ok(one) => generations.push(one),
                    Err(_) => generations.clear(),
                }
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(refused(error.into())),
    }
    Ok(Contents { entries, unread, generations })
}

fn of_opening(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Busy { path: path.to_owned() },
        DatabaseError::UpgradeRequired(_) => StoreError::OtherForm { path: path.to_owned() },
        error => of_use(path, error.into()),
    }
}

fn of_use(path: &Path, error: redb::Error) -> StoreError {
    match error {
        redb::Error::Io(error) => of_io(path, &error),
        redb::Error::Corrupted(why) => StoreError::Damaged { path: path.to_owned(), why },
        error => StoreError::Refused { path: path.to_owned(), why: error.to_string() },
    }
}

fn of_io(path: &Path, error: &io::Error) -> StoreError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
            StoreError::Damaged { path, why }
        }
        _ => StoreError::Refused { path, why },
    }
}

const NAME: &str = "tenants.redb";
const TENANTS: TableDefinition<'_, &str, &str> = TableDefinition::new("tenants");
/// The keys of tenants that their own tokens have written last.
const MARKS: TableDefinition<'_, &str, &str> = TableDefinition::new("marks");
const HISTORY: TableDefinition<'_, u64, &str> = TableDefinition::new("history");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const FORM: u64 = 1;

/// 4 MiB: it is read once, and written a tenant at a time.
const CACHE: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    fn entry(id: &str, pool: &str) -> Entry {
        let definition = Definition::of(json!({ "pool": pool }).as_object().unwrap().clone());
        Entry::new(&TenantId::new(id).unwrap(), definition).unwrap()
    }

    fn told(entries: &[Entry]) -> Vec<(String, String)> {
        entries.iter().map(|one| (one.id.to_string(), one.definition.text().to_owned())).collect()
    }

    #[test]
    fn what_was_written_last_is_read_by_the_next_and_by_whoever_looks() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(&folder.path().join("not/yet/there"));
        let (store, contents) = Store::open(&path).unwrap();
        assert!(contents.entries.is_empty());

        for (id, pool) in [("b", Some("1")), ("a", Some("2")), ("b", Some("3")), ("c", Some("4"))] {
            let entry = pool.map(|pool| entry(id, pool));
            store.write(&path, &[(id.into(), entry)], None).unwrap();
        }
        store.write(&path, &[("c".into(), None), ("never".into(), None)], None).unwrap();

        let expected = [("a", "2"), ("b", "3")]
            .map(|(id, pool)| (id.to_owned(), format!("{{\"pool\":\"{pool}\"}}")));
        assert_eq!(told(&peek(&path).unwrap().entries), expected, "while it is open");
        assert!(matches!(Store::open(&path), Err(StoreError::Busy { .. })));
        drop(store);
        assert_eq!(told(&Store::open(&path).unwrap().1.entries), expected);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it_and_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(folder.path());
        let (store, _) = Store::open(&path).unwrap();
        for number in 0..200 {
            let id = format!("t{number}");
            let row = (id.as_str().into(), Some(entry(&id, "a")));
            store.write(&path, &[row], None).unwrap();
        }
        drop(store);
        let good = fs::read(&path).unwrap();
        let mut bads = vec![b"[tenants]".to_vec(), vec![0; 100_000], good[..5000].to_vec()];
        // The first page has copies of what it says, so that one byte of it does no harm.
        for at in [0, 3, 70, 200] {
            let mut bad = good.clone();
            bad[at..at + 60].fill(0xa5);
            bads.push(bad);
        }
        for bad in bads {
            fs::write(&path, &bad).unwrap();
            for error in [Store::open(&path).err(), peek(&path).err()].into_iter().flatten() {
                let is_told = matches!(
                    error,
                    StoreError::Damaged { .. }
                        | StoreError::OtherForm { .. }
                        | StoreError::Refused { .. }
                );
                assert!(is_told && error.to_string().contains("tenants.redb"), "{error}");
            }
        }
    }

    #[test]
    fn marks_are_kept_beside_a_tenant_and_go_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(folder.path());
        let (store, _) = Store::open(&path).unwrap();
        let told = || {
            let entries = peek(&path).unwrap().entries;
            let keys = |one: &Entry| one.marks.keys().collect::<Vec<_>>().join(" ");
            entries.iter().map(|one| format!("{}: {}", one.id, keys(one))).collect::<Vec<_>>()
        };
        let write = |id: &str, entry: Option<Entry>| {
            store.write(&path, &[(id.into(), entry)], None).unwrap();
        };
        let marked =
            |id: &str| entry(id, "a").marked(Marks::of(["limits.requests", "cors.origins"]));

        write("acme", Some(marked("acme")));
        write("globex", Some(marked("globex")));
        assert_eq!(
            told(),
            ["acme: cors.origins limits.requests", "globex: cors.origins limits.requests"]
        );
        write("globex", Some(entry("globex", "b")));
        write("acme", None);
        write("acme", Some(entry("acme", "a")));
        assert_eq!(told(), ["acme: ", "globex: "]);
    }

    #[test]
    fn a_store_of_a_gateway_that_kept_no_marks_opens_without_any() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(folder.path());
        let (store, _) = Store::open(&path).unwrap();
        store.write(&path, &[("acme".into(), Some(entry("acme", "a")))], None).unwrap();
        let change = store.database.begin_write().unwrap();
        assert!(change.delete_table(MARKS).unwrap());
        change.commit().unwrap();
        drop(store);

        let (store, contents) = Store::open(&path).unwrap();

        assert!(contents.entries[0].marks.is_empty() && contents.unread.is_empty());
        let marked = entry("acme", "b").marked(Marks::of(["cors.origins"]));
        store.write(&path, &[("acme".into(), Some(marked))], None).unwrap();
        assert_eq!(peek(&path).unwrap().entries[0].marks, Marks::of(["cors.origins"]));
    }

    #[test]
    fn no_file_is_nothing_and_is_not_made_by_looking() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(folder.path());

        assert!(peek(&path).unwrap().entries.is_empty());
        assert!(!path.exists());
    }

    #[test]
    fn what_is_put_aside_leaves_room_for_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(folder.path());
        fs::write(&path, "no store").unwrap();

        let aside = put_aside(&path).unwrap();

        assert_eq!(fs::read(&aside).unwrap(), b"no store");
        assert!(aside.display().to_string().contains("tenants.redb.damaged-"));
        assert!(Store::open(&path).is_ok());
    }
}
