//! A file of secret tokens, one a line, that is read again when it changes. What is kept of a token
//! is its digest, and what is shown is compared in a time that tells nothing of it.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};

use super::snapshot::Snapshot;
use super::tasks::{Blocking, Stop};
use super::watch::{FileEvents, Watcher};

/// The tokens of a file.
pub struct Tokens {
    known: Vec<Digest>,
}

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokensError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is no file of tokens.
    #[error("is larger than {MAX_SIZE} bytes")]
    Large,
    /// There is none in it.
    #[error("has no token in it")]
    Empty,
    /// One is easily guessed.
    #[error("has a token of fewer than {SHORTEST} characters in line {0}")]
    Short(usize),
    /// One could not be sent as a header.
    #[error("has a character in line {0} that no token may have")]
    Unsendable(usize),
}

impl TokensError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read(_) => "look at the path, the owner and the permissions",
            _ => "write one token a line, as openssl rand -hex 32 makes them",
        }
    }
}

impl Tokens {
    /// Reads a file: one token a line, and lines for people that begin with `#`.
    ///
    /// # Errors
    /// When it cannot be read, or what is in it are no tokens.
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        if fs::metadata(path)?.len() > MAX_SIZE {
            return Err(TokensError::Large);
        }
        Self::parse(&fs::read_to_string(path)?)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// When what is in it are no tokens.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let lines = text.lines().map(str::trim).zip(1..);
        let tokens = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let known: Vec<Digest> =
            tokens.map(|(token, line)| one(token, line)).collect::<Result<_, _>>()?;
        if known.is_empty() { Err(TokensError::Empty) } else { Ok(Self { known }) }
    }

    /// Whether this is one of them. It is compared with all, so that the time tells of none.
    pub fn has(&self, shown: &[u8]) -> bool {
        let shown = digest(&SHA256, shown);
        self.known.iter().fold(false, |found, known| found | is_same(known, &shown))
    }

    fn are(&self, others: &Self) -> bool {
        self.known.len() == others.known.len()
            && self.known.iter().zip(&others.known).all(|(one, other)| is_same(one, other))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("count", &self.known.len()).finish_non_exhaustive()
    }
}

/// Whom a file of tokens is no secret to. Its group may read it: services read files of root so.
pub fn doubt(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o007 != 0)
        .then(|| format!("{} can be read by everybody (mode {mode:04o})", path.display()))
}

/// Keeps the tokens as their file is, until `stop`. A file that cannot be used changes nothing.
pub async fn follow(path: PathBuf, tokens: Snapshot<Tokens>, events: FileEvents, mut stop: Stop) {
    let mut watcher = Watcher::new(path.clone(), &events).await;
    loop {
        // Before anything else: it may have changed since the start has read it.
        let file = path.clone();
        match Blocking::start(move || (Tokens::read(&file), doubt(&file))).ended().await {
            Some((Ok(new), doubt)) if !new.are(&tokens.load()) => {
                tracing::warn!(file = %path.display(), count = new.known.len(), "other tokens hold now");
                tokens.publish(Arc::new(new));
                if let Some(doubt) = doubt {
                    tracing::warn!("{doubt}");
                }
            }
            Some((Err(error), _)) => {
                let (file, hint) = (path.display(), error.hint());
                tracing::error!(%file, %error, hint, "the tokens stay as they were");
            }
            Some((Ok(_), _)) | None => {}
        }
        tokio::select! {
            () = stop.requested() => return,
            () = watcher.changed() => {}
        }
    }
}

fn one(token: &str, line: usize) -> Result<Digest, TokensError> {
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokensError::Unsendable(line));
    }
    if token.len() < SHORTEST {
        return Err(TokensError::Short(line));
    }
    Ok(digest(&SHA256, token.as_bytes()))
}

fn is_same(one: &Digest, other: &Digest) -> bool {
    verify_slices_are_equal(one.as_ref(), other.as_ref()).is_ok()
}

/// 16 characters: 64 bits where they are hexadecimal, more than can be tried over a network.
const SHORTEST: usize = 16;
/// 64 KiB: a thousand tokens. A wrong path must not be read into memory.
const MAX_SIZE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_whole_line_and_lines_for_people_are_none() {
        let tokens = Tokens::parse("# ours\r\n0123456789abcdef\r\n\n  fedcba9876543210\n").unwrap();

        for good in ["0123456789abcdef", "fedcba9876543210"] {
            assert!(tokens.has(good.as_bytes()), "{good}");
        }
        for bad in ["", "# ours", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF"] {
            assert!(!tokens.has(bad.as_bytes()), "{bad}");
        }
        assert!(!format!("{tokens:?}").contains("0123"), "tokens are never shown");
    }

    #[test]
    fn a_file_without_a_good_token_is_an_error_that_names_the_line() {
        let told = |text: &str| Tokens::parse(text).unwrap_err().to_string();

        assert_eq!(told("# later\n\n"), "has no token in it");
        assert!(told("0123456789abcdef\nshort\n").ends_with("in line 2"));
        assert!(told("0123456789 abcdef").starts_with("has a character in line 1"));
        assert!(told("0123456789abcdef\u{e4}").starts_with("has a character in line 1"));
    }
}
