//! The audit log: one line of JSON for each change that somebody asks for, and for each generation that
//! goes live. A thread writes the lines and has the disk keep them before whoever waits hears of it.
//!
//! **Invariant:** a line that cannot be written refuses and delays nothing for longer than a second: it is
//! counted, and told in the gateway's own log.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::base::throttle::Throttle;

use super::keeping::AUDIT_LOG_LOST;
use super::lines::LinesError;
use super::registry::Metrics;

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// When, as RFC 3339 in UTC.
    pub time: String,
    /// What it tells of.
    pub event: Event,
    /// What the answer has in `X-Request-ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// As the file of tokens or a certificate has it, or what else has brought it about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// By what it is known: `token`, with the first digits of its digest, or `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// What it may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The address that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The method of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Its path, without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The tenant that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What else it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Whether it only asked what would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// The status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The generation that was live, and the one that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Turn<u64>>,
    /// The tag of what was kept of the tenant, and of what is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<Turn<Option<String>>>,
    /// The keys that are others: never their values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// What is other in a generation, as the history has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Value>,
    /// How many problems files have that are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<usize>,
    /// How many lines were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Somebody has asked for a change.
    Request,
    /// A generation is live.
    Generation,
    /// Files were refused; what was live stays.
    FilesRefused,
    /// So many requests that were refused have no line of their own.
    LeftOut,
}

/// What was, and what is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turn<T> {
    /// Before.
    pub before: T,
    /// After.
    pub after: T,
}

/// The names of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Keys {
    /// New ones.
    pub added: Vec<String>,
    /// Those with another value.
    pub changed: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
    /// How many more there are.
    pub more: usize,
}

impl Keys {
    /// Adds one, by whether it was there and is there.
    pub fn add(&mut self, key: &str, was: bool, is: bool) {
        if self.added.len() + self.changed.len() + self.removed.len() >= MOST_KEYS {
            self.more += 1;
            return;
        }
        let list = match (was, is) {
            (false, _) => &mut self.added,
            (true, true) => &mut self.changed,
            (true, false) => &mut self.removed,
        };
        list.push(key.chars().take(LONGEST_KEY).collect());
    }
}

impl Line {
    /// Of now, with nothing said.
    pub fn new(event: Event) -> Self {
        Self {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            event,
            id: None,
            who: None,
            shown: None,
            role: None,
            from: None,
            method: None,
            path: None,
            tenant: None,
            about: None,
            dry_run: None,
            status: None,
            generation: None,
            etag: None,
            keys: None,
            diff: None,
            problems: None,
            count: None,
        }
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        match serde_json::to_writer(&mut *bytes, self) {
            Ok(()) => bytes.push(b'\n'),
            Err(error) => tracing::error!(%error, "a line of the audit log cannot be made: a bug"),
        }
    }
}

/// How many lines there may be of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// All of them.
    None,
    /// Of requests that are refused to one who is known, some a minute: what one asks for hides nothing of another.
    Refused,
    /// Of those who are not known, some a minute: anybody may send them.
    Strangers,
}

/// Takes lines. Clones take them for the same file.
#[derive(Clone, Debug)]
pub struct AuditLog {
    /// `None` = there is none.
    desk: Option<Desk>,
}

#[derive(Clone, Debug)]
struct Desk {
    queue: SyncSender<Message>,
    floods: Arc<Floods>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Floods {
    /// By who they are and what they are known by: no more than there are tokens.
    refused: Mutex<HashMap<String, Throttle>>,
    strangers: Mutex<Throttle>,
}

#[derive(Debug)]
enum Message {
    /// A line with its end, and who waits for it to be kept.
    Line(Vec<u8>, Option<oneshot::Sender<()>>),
    /// Look at the owner's words.
    Nudge,
}

/// Owns the file. Dropping it writes what waits.
#[derive(Debug)]
pub struct AuditLogOwner {
    writing: Option<Writing>,
}

#[derive(Debug)]
struct Writing {
    queue: SyncSender<Message>,
    words: Arc<Words>,
    done: Receiver<()>,
}

#[derive(Debug, Default)]
struct Words {
    end: AtomicBool,
    reopen: AtomicBool,
}

impl AuditLog {
    /// No audit log.
    pub fn off() -> Self {
        Self { desk: None }
    }

    /// Opens the file and starts the thread; `None` = there is none.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not be started.
    pub fn start(
        path: Option<&Path>,
        metrics: &Arc<Metrics>,
    ) -> Result<(Self, AuditLogOwner), LinesError> {
        let Some(path) = path else { return Ok((Self::off(), AuditLogOwner { writing: None })) };
        for why in ["queue", "write"] {
            metrics.add(&AUDIT_LOG_LOST, &[why], 0);
        }
        let file =
            open(path).map_err(|source| LinesError::Open { path: path.to_owned(), source })?;
        let (queue, messages) = sync_channel(QUEUE);
        let (alive, done) = sync_channel(0);
        let words = Arc::new(Words::default());
        let floods = Arc::new(Floods {
            refused: Mutex::default(),
            strangers: Mutex::new(Throttle::new(STRANGERS, MINUTE)),
        });
        let mut writer = Writer {
            path: path.to_owned(),
            file,
            messages,
            words: Arc::clone(&words),
            floods: Arc::clone(&floods),
            metrics: Arc::clone(metrics),
            failing: false,
        };
        let run = move || {
            writer.run();
            drop::<SyncSender<()>>(alive); // tells the owner, after the last line
        };
        thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(run)
            .map_err(LinesError::Thread)?;
        let desk = Desk { queue: queue.clone(), floods, metrics: Arc::clone(metrics) };
        let writing = Some(Writing { queue, words, done });
        Ok((Self { desk: Some(desk) }, AuditLogOwner { writing }))
    }

    /// Writes a line, and waits until the disk has it or cannot take it, at most for a second.
    pub async fn tell(&self, line: &Line, bound: Bound) {
        let Some(desk) = self.desk.as_ref().filter(|desk| desk.floods.admits(bound, line)) else {
            return;
        };
        let (kept, hears) = oneshot::channel();
        desk.send(line, Some(kept));
        // Who does not hear goes on: what became of the line is counted.
        drop(timeout(PATIENCE, hears).await);
    }

    /// Has a line written soon.
    pub fn note(&self, line: &Line) {
        if let Some(desk) = &self.desk {
            desk.send(line, None);
        }
    }
}

impl Desk {
    fn send(&self, line: &Line, kept: Option<oneshot::Sender<()>>) {
        let mut bytes = Vec::with_capacity(512);
        line.append_to(&mut bytes);
        if self.queue.try_send(Message::Line(bytes, kept)).is_err() {
            self.metrics.add(&AUDIT_LOG_LOST, &["queue"], 1);
            tracing::error!("a line of the audit log is lost: too many wait for the disk");
        }
    }
}

impl Floods {
    fn admits(&self, bound: Bound, line: &Line) -> bool {
        match bound {
            Bound::None => true,
            Bound::Refused => {
                let [shown, who] = [&line.shown, &line.who].map(|it| it.as_deref().unwrap_or("-"));
                let mut refused = locked(&self.refused);
                let own = refused.entry(format!("{shown} {who}"));
                own.or_insert_with(|| Throttle::new(REFUSED, MINUTE)).admits()
            }
            Bound::Strangers => locked(&self.strangers).admits(),
        }
    }

    /// Lines that tell how many have none.
    fn append_left_out(&self, bytes: &mut Vec<u8>) {
        let mut refused = locked(&self.refused);
        let known = refused.values().map(Throttle::take_left_out).sum();
        refused.retain(|_, throttle| !throttle.is_over());
        drop(refused);
        let unknown = locked(&self.strangers).take_left_out();
        for (who, count) in [("known", known), ("unknown", unknown)] {
            if count > 0 {
                let line = Line {
                    who: Some(who.to_owned()),
                    count: Some(count),
                    ..Line::new(Event::LeftOut)
                };
                line.append_to(bytes);
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AuditLogOwner {
    /// Opens the file anew, after it was moved away. If that fails the old one is written on.
    pub fn reopen(&self) {
        if let Some(writing) = &self.writing {
            writing.words.reopen.store(true, Ordering::Release);
            writing.nudge();
        }
    }

    /// Writes what waits and ends, within `limit`; tells whether all of it was written.
    pub fn end(self, limit: Duration) -> bool {
        self.writing.as_ref().is_none_or(|writing| writing.end(limit))
    }
}

impl Writing {
    fn nudge(&self) {
        // A full queue keeps the thread awake: it looks at the words after a batch.
        drop(self.queue.try_send(Message::Nudge));
    }

    fn end(&self, limit: Duration) -> bool {
        self.words.end.store(true, Ordering::Release);
        self.nudge();
        // The thread drops its sender when it ends, which disconnects.
        self.done.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.end(END_LIMIT);
    }
}

struct Writer {
    path: PathBuf,
    file: File,
    messages: Receiver<Message>,
    words: Arc<Words>,
    floods: Arc<Floods>,
    metrics: Arc<Metrics>,
    failing: bool,
}

impl Writer {
    fn run(&mut self) {
        loop {
            let first = match self.messages.recv_timeout(TOLD) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.take(first);
            if self.words.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            if self.words.end.load(Ordering::Acquire) {
                return self.take(None);
            }
        }
    }

    /// Writes what waits as one piece, so that many are kept by one wait for the disk.
    fn take(&mut self, first: Option<Message>) {
        let (mut bytes, mut waiting, mut lines) = (Vec::new(), Vec::new(), 0);
        for message in first.into_iter().chain(self.messages.try_iter().take(QUEUE)) {
            if let Message::Line(line, kept) = message {
                bytes.extend(line);
                waiting.extend(kept);
                lines += 1;
            }
        }
        self.floods.append_left_out(&mut bytes);
        if bytes.is_empty() {
            return;
        }
        match self.write(bytes) {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("the audit log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.metrics.add(&AUDIT_LOG_LOST, &["write"], lines);
                if !self.failing {
                    let path = self.path.display();
                    tracing::error!(%path, %error, "the audit log cannot be written: its lines are \
                        lost until it can, and changes are made all the same");
                }
                self.failing = true;
            }
        }
        drop(waiting); // which wakes them
    }

    fn write(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        if self.failing && ends_within_a_line(&self.file) {
            bytes.insert(0, b'\n');
        }
        self.file.write_all(&bytes)?;
        match self.file.sync_data() {
            // A pipe, say, has no disk.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            done => done,
        }
    }

    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => {
                tracing::error!(%error, "the audit log's old file is written on");
            }
        }
    }
}

/// Opens the file to append to. What a process that was killed has left of a line is ended, where the file may
/// be read. What is no file, as a pipe, is only written to, and nobody waits for who reads it.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE);
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return options.custom_flags(NO_WAIT).open(path);
    }
    let mut file = match options.read(true).open(path) {
        Err(why) if why.kind() == ErrorKind::PermissionDenied => options.read(false).open(path)?,
        opened => opened?,
    };
    if ends_within_a_line(&file) {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn ends_within_a_line(file: &File) -> bool {
    let length = file.metadata().map_or(0, |about| about.len());
    let mut last = [b'\n'];
    let Some(at) = length.checked_sub(1) else { return false };
    file.read_exact_at(&mut last, at).is_ok() && last != *b"\n"
}

/// Who has changed what is for those alone who run the gateway. A file that is there already keeps its
/// mode.
const MODE: u32 = 0o600;

/// `O_NONBLOCK`: without a reader a pipe cannot be opened, and one that is full takes nothing.
const NO_WAIT: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// 1,024 lines, some hundred KiB: more than a disk that hangs for a moment leaves waiting.
const QUEUE: usize = 1024;

/// 1 s: a disk that works takes some milliseconds. Who asks for a change waits no longer for one that
/// does not.
const PATIENCE: Duration = Duration::from_secs(1);

/// 10 s: how soon it is told that lines were left out, where no other line comes.
const TOLD: Duration = Duration::from_secs(10);

const MINUTE: Duration = Duration::from_secs(60);

/// 20 a minute: enough to see that somebody tries, and from where.
const STRANGERS: u32 = 20;

/// 50 a minute: a script that does not look at its answers.
const REFUSED: u32 = 50;

/// 50: more than one reads in a line.
const MOST_KEYS: usize = 50;

/// 200 characters: a key may have a name of the caller's own.
const LONGEST_KEY: usize = 200;

/// 2 s: what waits is written in milliseconds; a disk that hangs is not waited for.
const END_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn line(who: &str) -> Line {
        Line { who: Some(who.to_owned()), ..Line::new(Event::Request) }
    }

    fn told(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    fn names(path: &Path) -> Vec<String> {
        told(path).iter().map(|line| line["who"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn a_line_is_in_the_file_once_whoever_told_it_goes_on_and_is_the_owner_s_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let (log, owner) = AuditLog::start(Some(&path), &Arc::new(Metrics::new())).unwrap();

        log.tell(&line("alice"), Bound::None).await;

        let lines = told(&path);
        assert_eq!((lines.len(), &lines[0]["who"]), (1, &Value::from("alice")));
        assert_eq!(lines[0]["event"], "request");
        humantime::parse_rfc3339(lines[0]["time"].as_str().unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(owner.end(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_made_anew_and_what_was_cut_off_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit.log"), folder.path().join("audit.log.1"));
        fs::write(&path, "{\"who\":\"before\"").unwrap();
        let (log, owner) = AuditLog::start(Some(&path), &Arc::new(Metrics::new())).unwrap();
        log.tell(&line("first"), Bound::None).await;
        fs::rename(&path, &old).unwrap();

        owner.reopen();
        log.tell(&line("second"), Bound::None).await; // perhaps in the same batch as the word
        log.tell(&line("third"), Bound::None).await;
        log.note(&line("last"));
        assert!(owner.end(Duration::from_secs(10)));

        let old = fs::read_to_string(old).unwrap();
        assert!(old.starts_with("{\"who\":\"before\"\n{\"time\""), "{old}");
        assert!(names(&path).ends_with(&["third".to_owned(), "last".to_owned()]));
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_counted_and_holds_up_nobody() {
        let metrics = Arc::new(Metrics::new());
        let (log, _owner) = AuditLog::start(Some(Path::new("/dev/full")), &metrics).unwrap();

        for _ in 0..3 {
            log.tell(&line("alice"), Bound::None).await;
        }

        let lost = "tenantry_audit_log_lost_total{why=\"write\"} 3";
        assert!(metrics.render().unwrap().contains(lost), "{}", metrics.render().unwrap());
    }

    #[tokio::test]
    async fn of_a_flood_some_lines_are_written_and_the_others_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let (log, owner) = AuditLog::start(Some(&path), &Arc::new(Metrics::new())).unwrap();

        for _ in 0..1000 {
            log.tell(&line("x"), Bound::Strangers).await;
        }
        log.tell(&line("alice"), Bound::None).await;
        log.tell(&line("bob"), Bound::Refused).await;
        assert!(owner.end(Duration::from_secs(10)));

        let lines = told(&path);
        let of = |who: &str| lines.iter().filter(|line| line["who"] == who).count();
        assert_eq!((of("x"), of("alice"), of("bob")), (STRANGERS as usize, 1, 1));
        let left_out: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
        assert_eq!(left_out, 1000 - u64::from(STRANGERS));
        assert!(lines.iter().any(|line| line["event"] == "left-out" && line["who"] == "unknown"));
    }

    #[tokio::test]
    async fn what_one_is_refused_hides_nothing_of_what_another_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let (log, owner) = AuditLog::start(Some(&path), &Arc::new(Metrics::new())).unwrap();
        let of = |shown: &str| Line { shown: Some(shown.to_owned()), ..line("ci") };

        for _ in 0..500 {
            log.tell(&of("token 1"), Bound::Refused).await;
        }
        log.tell(&of("token 2"), Bound::Refused).await;
        assert!(owner.end(Duration::from_secs(10)));

        let lines = told(&path);
        let of = |shown: &str| lines.iter().filter(|line| line["shown"] == shown).count();
        assert_eq!((of("token 1"), of("token 2")), (REFUSED as usize, 1));
        let left_out: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
        assert_eq!(left_out, 500 - u64::from(REFUSED));
    }

    #[tokio::test]
    async fn a_pipe_that_nobody_reads_holds_up_neither_the_start_nor_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.pipe");
        let metrics = Arc::new(Metrics::new());
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(AuditLog::start(Some(&path), &metrics).is_err());

        // Reading and writing, it opens without another end.
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let (log, owner) = AuditLog::start(Some(&path), &metrics).unwrap();
        log.tell(&line(&"x".repeat(100_000)), Bound::None).await; // more than a pipe takes
        assert!(owner.end(Duration::from_secs(10)));

        let lost = "tenantry_audit_log_lost_total{why=\"write\"} 1";
        assert!(metrics.render().unwrap().contains(lost), "{}", metrics.render().unwrap());
        drop(reader);
    }

    #[test]
    fn of_many_keys_some_are_named() {
        let mut keys = Keys::default();
        for number in 0..MOST_KEYS + 7 {
            keys.add(&format!("k{number}"), number % 2 == 0, number % 3 == 0);
        }

        assert_eq!(keys.added.len() + keys.changed.len() + keys.removed.len(), MOST_KEYS);
        assert_eq!((keys.more, keys.added[0].as_str(), keys.removed[0].as_str()), (7, "k1", "k2"));
    }
}
