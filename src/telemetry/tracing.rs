//! The gateway's own log: which lines are wanted, how they look, and a writer that makes nobody
//! wait.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use super::lines::{self, Lines, LinesError, Output, Plan, Writer};
use super::registry::Metrics;

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A `tracing` filter: `info`, or `warn,tenantry::control=debug`.
    pub filter: String,
    /// How a line looks.
    pub format: Format,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A part of the filter is a single word that is no level.
    #[error(
        "the log filter {filter:?} has {part:?}, which is no level (off, error, warn, info, debug, \
         trace); write a part of the program as \"tenantry::control=debug\""
    )]
    NoLevel {
        /// The whole filter.
        filter: String,
        /// The word.
        part: String,
    },
    /// The filter cannot be read.
    #[error("the log filter {filter:?} cannot be read: {source}")]
    Filter {
        /// The whole filter.
        filter: String,
        /// Why.
        source: ParseError,
    },
    /// The thread that writes cannot be started.
    #[error("the log cannot be written: {0}")]
    Writer(#[from] LinesError),
    /// The process has a log already.
    #[error("the log is installed already")]
    Installed,
    /// The log is gone: the process ends.
    #[error("the log cannot be changed any more")]
    Gone,
}

/// Owns the thread that writes the log. Dropping it writes what is queued, for 2 s at most.
#[derive(Debug)]
pub struct LogOwner {
    writer: Writer<Vec<u8>>,
    levels: Levels,
}

/// What is logged, and how to change that. Clones are handles to the same log.
#[derive(Clone, Debug)]
pub struct Levels {
    configured: Arc<str>,
    now: Arc<Mutex<Arc<str>>>,
    handle: reload::Handle<EnvFilter, Registry>,
}

impl Levels {
    /// The filter that the log began with.
    pub fn configured(&self) -> &str {
        &self.configured
    }

    /// The filter of now.
    pub fn now(&self) -> Arc<str> {
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Logs by this filter from now on, or by the one that the log began with.
    ///
    /// # Errors
    /// When the filter cannot be read: nothing changes then.
    pub fn change(&self, filter: Option<&str>) -> Result<(), LogError> {
        let filter = filter.unwrap_or(&self.configured);
        let parsed = parse(filter)?;
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *now, filter.into());
        self.handle.reload(parsed).map_err(|_| LogError::Gone)?;
        drop(now);
        if *before != *filter {
            // `warn`: it is there by most filters.
            tracing::warn!(before = &*before, now = filter, "what is logged has changed");
        }
        Ok(())
    }
}

impl LogOwner {
    /// What is logged, and how to change that.
    pub fn levels(&self) -> Levels {
        self.levels.clone()
    }

    /// Writes what is queued and ends, within `limit`; tells whether all of it was written.
    pub fn end(self, limit: Duration) -> bool {
        self.writer.end(limit)
    }
}

/// Reads a filter without using it.
///
/// # Errors
/// When it cannot be read. A single word that is no level is refused too: `tracing` takes `inof`
/// for the name of a part of the program and would then log nothing.
pub fn check_filter(filter: &str) -> Result<(), LogError> {
    parse(filter).map(drop)
}

/// Makes the log of the whole process, to standard error.
///
/// # Errors
/// When the filter cannot be read, the writer not be started, or there is a log already.
pub fn install(options: &Options, metrics: &Metrics) -> Result<LogOwner, LogError> {
    let filter = parse(&options.filter)?;
    let (lent, writer) = start(Output::Stderr, metrics)?;
    let (filter, handle) = reload::Layer::new(filter);
    let configured: Arc<str> = options.filter.as_str().into();
    let now = Arc::new(Mutex::new(Arc::clone(&configured)));
    let levels = Levels { configured, now, handle };
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    subscriber(filter, options.format, colour, lent).try_init().map_err(|_| LogError::Installed)?;
    Ok(LogOwner { writer, levels })
}

fn start(output: Output, metrics: &Metrics) -> Result<(Lent, Writer<Vec<u8>>), LinesError> {
    let (lines, writer) = lines::start(Plan {
        name: "log",
        output,
        queue: QUEUE,
        format: Box::new(|line: Vec<u8>, bytes| bytes.extend_from_slice(&line)),
        dropped: Arc::clone(&metrics.lost.log_dropped),
        errors: Arc::clone(&metrics.lost.log_dropped),
        failed: |_| {}, // there is nowhere to say it; the metric tells
    })?;
    Ok((Lent { lines }, writer))
}

fn subscriber(
    filter: reload::Layer<EnvFilter, Registry>,
    format: Format,
    colour: bool,
    writer: Lent,
) -> impl Subscriber + Send + Sync {
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer: Box<dyn Layer<_> + Send + Sync> = match format {
        Format::Text => Box::new(layer.with_ansi(colour)),
        Format::Json => Box::new(layer.json().flatten_event(true)),
    };
    Registry::default().with(layer.with_filter(filter))
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let parts: Vec<&str> = filter.split(',').map(str::trim).collect();
    let is_level = |part: &str| LEVELS.contains(&part.to_ascii_lowercase().as_str());
    let is_word = |part: &str| !part.contains(['=', ':', '[']) && part != env!("CARGO_PKG_NAME");
    if let Some(part) = parts.iter().find(|part| is_word(part) && !is_level(part)) {
        return Err(LogError::NoLevel { filter: filter.to_owned(), part: (*part).to_owned() });
    }
    EnvFilter::builder()
        .parse(parts.join(","))
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })
}

/// Lends the writer of one line to the subscriber.
#[derive(Clone, Debug)]
struct Lent {
    lines: Lines<Vec<u8>>,
}

impl<'a> MakeWriter<'a> for Lent {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

impl Write for Lent {
    /// Takes one whole line: the subscriber writes each with one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.send(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Lines that may wait: a burst at a start with many pools.
const QUEUE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(format: Format, log: impl FnOnce()) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (writer, owner) = start(Output::File(path.clone()), &Metrics::new()).unwrap();
        let filter = parse("info,tenantry::telemetry::tracing=debug").unwrap();
        let (filter, _handle) = reload::Layer::new(filter);

        tracing::subscriber::with_default(subscriber(filter, format, false, writer), log);

        assert!(owner.end(Duration::from_secs(10)));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_line_is_written_when_the_filter_wants_it() {
        let text = logged(Format::Text, || {
            tracing::debug!("wanted");
            tracing::trace!("not wanted");
        });

        assert!(text.contains("DEBUG") && text.contains("wanted"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn what_is_logged_can_be_changed_and_a_bad_filter_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (lent, writer) = start(Output::File(path.clone()), &Metrics::new()).unwrap();
        let (filter, handle) = reload::Layer::new(parse("warn").unwrap());
        let now = Arc::new(Mutex::new("warn".into()));
        let levels = Levels { configured: "warn".into(), now, handle };

        tracing::subscriber::with_default(subscriber(filter, Format::Text, false, lent), || {
            tracing::info!("first");
            levels.change(Some("info")).unwrap();
            tracing::info!("second");
            assert!(levels.change(Some("inof")).is_err());
            tracing::info!("third");
            assert_eq!(&*levels.now(), "info");
            levels.change(None).unwrap();
            tracing::info!("fourth");
        });

        assert!(writer.end(Duration::from_secs(10)));
        assert_eq!(&*levels.now(), "warn");
        let text = std::fs::read_to_string(path).unwrap();
        let has = |word: &str| text.contains(word);
        assert!(!has("first") && has("second") && has("third") && !has("fourth"), "{text}");
    }

    #[test]
    fn a_json_line_is_one_object_whatever_is_in_it() {
        let text = logged(Format::Json, || tracing::info!(name = "a\n\"b", "two\nlines"));

        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["name"], "a\n\"b");
        assert_eq!(line["message"], "two\nlines");
    }

    #[test]
    fn a_bad_filter_is_an_error_that_names_it() {
        for filter in ["info", "WARN, tenantry=debug", "tenantry", "off,hyper=warn"] {
            assert!(check_filter(filter).is_ok(), "{filter:?}");
        }
        for filter in ["", "inof", "info,,warn", "tenantry=loud", "info,tenantry=a=b"] {
            let error = check_filter(filter).unwrap_err().to_string();
            assert!(error.contains(&format!("{filter:?}")), "{error}");
        }
    }
}
