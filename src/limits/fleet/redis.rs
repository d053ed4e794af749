//! Redis, or Valkey, as the store of the limits that gateways share: one connection, one script.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, Value, cmd, pipe};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::base::tasks::Tasks;
use crate::config::spec::{PasswordSpec, Protocol, RedisAt, SharedLimitsSpec};
use crate::limits::gcra::{Pace, Ticks};
use crate::model::address::Address;
use crate::tls::client::{self, ClientTlsError, SystemRoots};
use crate::upstream::dial;

use super::fault::Fault;
use super::store::{Answer, Ask, Store};

/// What is run for each question.
pub const SCRIPT: &str = include_str!("gcra.lua");

/// A server, and the connection to it.
pub struct Redis {
    spec: SharedLimitsSpec,
    tls: Option<Arc<ClientConfig>>,
    open: Option<Open>,
}

/// A connection.
struct Open {
    connection: MultiplexedConnection,
    /// How the server calls the script.
    script: String,
    /// How much it may still say.
    allowance: Arc<AtomicUsize>,
    /// What drives the connection; it ends with this.
    _driver: Tasks,
}

impl Redis {
    /// Not reached yet.
    ///
    /// # Errors
    /// When it is to be reached by TLS, and whom to trust cannot be used.
    pub fn new(spec: &SharedLimitsSpec) -> Result<Self, ClientTlsError> {
        let tls = spec.tls.as_ref().map(|tls| {
            let config = client::build(tls, Protocol::H1, &SystemRoots::default())?;
            let mut config = ClientConfig::clone(&config);
            config.alpn_protocols.clear(); // what is spoken here has no name there
            Ok(Arc::new(config))
        });
        Ok(Self { spec: spec.clone(), tls: tls.transpose()?, open: None })
    }

    /// Asks on the connection that there is.
    async fn once(&mut self, asks: &[Ask]) -> Result<Vec<Answer>, Fault> {
        let Some(open) = &mut self.open else {
            return Err(Fault::Broken("there is no connection".to_owned()));
        };
        let answers = timeout(self.spec.timeout, open.ask(asks)).await;
        let answers = answers.unwrap_or(Err(Fault::Timeout(self.spec.timeout)));
        if answers.is_err() {
            self.open = None; // an answer that has not come in time may come yet
        }
        answers
    }

    async fn connect(&self) -> Result<Open, Fault> {
        let (allowance, wire) = self.dial().await?;
        let mut driver = Tasks::new("shared limits");
        let mut info = RedisConnectionInfo::default()
            .set_db(self.spec.database.into())
            .set_lib_name("tenantry", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &self.spec.user {
            info = info.set_username(user);
        }
        if let Some(password) = password(self.spec.password.as_ref()).await? {
            info = info.set_password(password);
        }
        // Time is bounded by who calls.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let opened = MultiplexedConnection::new_with_config(&info, wire, config).await;
        let (mut connection, drive) = opened.map_err(|error| fault(&error))?;
        driver.spawn(|_stop| drive);
        let load = cmd("SCRIPT").arg("LOAD").arg(SCRIPT).to_owned();
        let script = match connection.send_packed_command(&load).await {
            Ok(Value::BulkString(name)) => String::from_utf8(name).ok(),
            Ok(Value::SimpleString(name)) => Some(name),
            Ok(Value::ServerError(error)) => return Err(fault(&error.into())),
            Ok(_) => None,
            Err(error) => return Err(fault(&error)),
        };
        let script = script.ok_or_else(|| Fault::Nonsense("it knows no scripts".to_owned()))?;
        let mut open = Open { connection, script, allowance, _driver: driver };
        // A word that ends at once: where it cannot be written, no limit can.
        let (key, pace) = (format!("{}:probe", self.spec.prefix), Pace::of_numbers(1, 1));
        let probe = Ask { key, pace, spent: 0, own: 1, wanted: 0, back: 0, age: Ticks(0) };
        open.ask(&[probe]).await?;
        Ok(open)
    }

    async fn dial(&self) -> Result<(Arc<AtomicUsize>, Bounded), Fault> {
        let unreachable = |error: io::Error| Fault::Unreachable(error.to_string());
        let allowance = Arc::new(AtomicUsize::new(MOST_SAID));
        let bounded = |wire: Pin<Box<dyn Wire>>| {
            let left = Arc::clone(&allowance);
            (Arc::clone(&allowance), Bounded { wire, left })
        };
        let stream = match &self.spec.at {
            RedisAt::Net(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            }
            RedisAt::Unix(path) => dial::connect(&Address::Unix(path.clone())).await,
        };
        let stream = stream.map_err(unreachable)?;
        let (Some(config), RedisAt::Net(host, _)) = (&self.tls, &self.spec.at) else {
            return Ok(bounded(Box::pin(stream)));
        };
        let secured = client::secure(stream, config, (self.spec.tls.as_ref(), host)).await;
        Ok(bounded(Box::pin(secured.map_err(unreachable)?)))
    }
}

impl Store for Redis {
    async fn open(&mut self) -> Result<(), Fault> {
        self.open = None;
        let limit = self.spec.timeout;
        let opened = timeout(limit, self.connect()).await;
        self.open = Some(opened.map_err(|_| Fault::Timeout(limit))??);
        Ok(())
    }

    async fn ask(&mut self, asks: &[Ask]) -> Result<Vec<Answer>, Fault> {
        match self.once(asks).await {
            // It may have died while nobody used it, which says nothing of the server. Where it has died
            // behind its work, what has passed is counted twice: too strictly, and for once. The rest is
            // not asked again, since nobody would know of what was given.
            Err(Fault::Broken(_)) => {
                self.open().await?;
                let again = asks.iter().map(|ask| Ask { wanted: 0, back: 0, ..ask.clone() });
                self.once(&again.collect::<Vec<_>>()).await
            }
            answers => answers,
        }
    }

    fn place(&self) -> &str {
        &self.spec.place
    }
}

impl Open {
    async fn ask(&mut self, asks: &[Ask]) -> Result<Vec<Answer>, Fault> {
        if asks.is_empty() {
            return Ok(Vec::new());
        }
        let mut known = self.run(asks).await?;
        let is_unknown =
            |value: &Value| matches!(value, Value::ServerError(error) if error.code() == NO_SCRIPT);
        let unknown = known.iter().enumerate().filter(|(_, value)| is_unknown(value));
        let unknown: Vec<_> = unknown.map(|(at, _)| at).collect();
        if !unknown.is_empty() {
            // Somebody has flushed its scripts: none of those has run.
            let load = cmd("SCRIPT").arg("LOAD").arg(SCRIPT).to_owned();
            let loaded = self.connection.send_packed_command(&load).await;
            loaded.map_err(|error| fault(&error))?;
            let again = unknown.iter().filter_map(|at| asks.get(*at).cloned());
            let again = self.run(&again.collect::<Vec<_>>()).await?;
            for (at, value) in unknown.into_iter().zip(again) {
                known[at] = value;
            }
        }
        known.into_iter().map(answer).collect()
    }

    async fn run(&mut self, asks: &[Ask]) -> Result<Vec<Value>, Fault> {
        self.allowance.store(MOST_SAID, Ordering::Relaxed);
        let mut calls = pipe();
        for ask in asks {
            let Ask { key, pace, spent, own, wanted, back, age } = ask;
            let age = age.0 / 16_000; // in microseconds
            let numbers = [pace.interval(), pace.depth(), *spent, *own, *wanted, *back, age];
            calls.cmd("EVALSHA").arg(&self.script).arg(1).arg(key).arg(&numbers);
        }
        let values = self.connection.send_packed_commands(&calls, 0, asks.len()).await;
        values.map_err(|error| fault(&error))
    }
}

fn answer(value: Value) -> Result<Answer, Fault> {
    let number = |value: &Value| match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let known = match &value {
        Value::ServerError(error) => return Err(fault(&error.clone().into())),
        Value::Array(parts) => match parts.as_slice() {
            [granted, ahead] => number(granted).zip(number(ahead)).map(|both| (both, false)),
            [granted, ahead, Value::Int(1)] => {
                number(granted).zip(number(ahead)).map(|both| (both, true))
            }
            _ => None,
        },
        _ => None,
    };
    match known {
        Some(((granted, ahead), replaced)) => Ok(Answer { granted, ahead, replaced }),
        None => Err(Fault::Nonsense("it is not what the script answers".to_owned())),
    }
}

/// What an error of the library, or the server's own, is here.
fn fault(error: &RedisError) -> Fault {
    // The server's words may hold what was sent: keep to its first line.
    let words = error.to_string();
    let words = words.lines().next().unwrap_or_default();
    let words: String = words.chars().take(LONGEST_WORDS).collect();
    match error.code() {
        Some("LOADING" | "MASTERDOWN" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN") => {
            Fault::Loading(words)
        }
        Some("READONLY" | "NOREPLICAS" | "MISCONF") => Fault::ReadOnly(words),
        // Before version 7, what a script ran into is only in its words.
        _ if words.contains("-READONLY") => Fault::ReadOnly(words),
        _ if words.contains("-OOM") => Fault::OutOfMemory(words),
        Some("OOM") => Fault::OutOfMemory(words),
        // The library says it so of a user who may not choose the database.
        _ if words.contains("no permissions") => Fault::Denied(words),
        // The last one is its word to strangers while it has no password.
        Some("NOAUTH" | "NOPERM" | "WRONGPASS" | "DENIED") => Fault::Denied(words),
        Some(_) => Fault::Nonsense(words),
        None if error.kind() == redis::ErrorKind::AuthenticationFailed => Fault::Denied(words),
        None if error.kind() == redis::ErrorKind::Parse => Fault::Nonsense(words),
        None => Fault::Broken(words),
    }
}

/// What is shown; a file is read each time, so that it can be changed.
async fn password(spec: Option<&PasswordSpec>) -> Result<Option<String>, Fault> {
    let read = |path: &Path| {
        let told = format!("{} cannot be read", path.display());
        let path = path.to_owned();
        async move {
            let text = tokio::fs::read_to_string(path).await;
            text.map_err(|error| Fault::Denied(format!("{told}: {error}")))
        }
    };
    Ok(match spec {
        None => None,
        Some(PasswordSpec::Text(secret)) => Some(secret.0.clone()),
        Some(PasswordSpec::File(file)) => {
            Some(read(&file.path).await?.trim_end_matches(['\r', '\n']).to_owned())
        }
    })
}

/// The two ends of a connection's bytes.
trait Wire: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Wire for T {}

/// A connection whose other end may say so much and no more: whoever it is, it does not fill this
/// process's memory.
struct Bounded {
    wire: Pin<Box<dyn Wire>>,
    left: Arc<AtomicUsize>,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.wire.as_mut().poll_read(context, buffer);
        let more = buffer.filled().len().saturating_sub(before);
        let less = |left: usize| left.checked_sub(more);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => read,
            Err(_) => Poll::Ready(Err(io::Error::other("it says far more than an answer is"))),
        }
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.as_mut().poll_shutdown(context)
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("place", &self.spec.place).finish_non_exhaustive()
    }
}

const NO_SCRIPT: &str = "NOSCRIPT";
/// 256 KiB: some 256 answers of 50 bytes, errors of a kilobyte each.
const MOST_SAID: usize = 256 << 10;
const LONGEST_WORDS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_script_answers_is_an_answer() {
        let of = |parts: Vec<Value>| answer(Value::Array(parts)).ok();
        let known = |replaced| Some(Answer { granted: 3, ahead: 16, replaced });
        assert_eq!(of(vec![Value::Int(3), Value::Int(16)]), known(false));
        assert_eq!(of(vec![Value::Int(3), Value::Int(16), Value::Int(1)]), known(true));
        for parts in [
            vec![],
            vec![Value::Int(3)],
            vec![Value::Int(-1), Value::Int(16)],
            vec![Value::Int(1), Value::Nil],
            vec![Value::Int(1), Value::Int(1), Value::Int(2)],
        ] {
            assert_eq!(of(parts), None);
        }
        assert_eq!(answer(Value::Okay).unwrap_err().reason(), "nonsense");
    }
}
