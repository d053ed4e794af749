//! The file of the tokens that let operators in: one a line. It is read again when it changes.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::Digest;

use crate::base::snapshot::Snapshot;
use crate::base::tasks::{Blocking, Stop};
use crate::base::watch::{FileEvents, Watcher};

use super::access::{fingerprint, is_same};

/// The tokens that let somebody in, as what they are compared by.
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
    /// There is no token in it.
    #[error("has no token in it")]
    Empty,
    /// One is too short.
    #[error("line {line} has a token of fewer than {SHORTEST} characters")]
    Short {
        /// Which line, from 1.
        line: usize,
    },
    /// One cannot be sent.
    #[error("line {line} has a character that no token may have")]
    Character {
        /// Which line, from 1.
        line: usize,
    },
}

impl TokensError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read(_) => "look at the path, the owner and the permissions",
            Self::Empty | Self::Short { .. } | Self::Character { .. } => {
                "write one token a line, as openssl rand -hex 32 makes them"
            }
        }
    }
}

impl Tokens {
    /// Reads a file: a token a line, lines that begin with `#` are for people.
    ///
    /// # Errors
    /// When there is none, or one that is no token.
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        Self::parse(&fs::read_to_string(path)?)
    }

    fn parse(text: &str) -> Result<Self, TokensError> {
        let mut known = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (token, line) = (line.trim(), index + 1);
            if token.is_empty() || token.starts_with('#') {
                continue;
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(TokensError::Character { line });
            }
            if token.len() < SHORTEST {
                return Err(TokensError::Short { line });
            }
            known.push(fingerprint(token));
        }
        if known.is_empty() { Err(TokensError::Empty) } else { Ok(Self { known }) }
    }

    /// Whether this is one of them. All are compared, so that nothing shows which one it is like.
    pub(super) fn has(&self, token: &str) -> bool {
        let shown = fingerprint(token);
        self.known.iter().fold(false, |found, known| found | is_same(known, &shown))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("count", &self.known.len()).finish()
    }
}

/// Whom a file of tokens is no secret to. Its group may read it: services read files of root so.
pub fn doubt(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o007 != 0)
        .then(|| format!("{} can be read by everybody (mode {mode:04o})", path.display()))
}

/// Keeps the tokens as their file is until `stop`. A file that cannot be used changes nothing.
pub async fn follow(path: PathBuf, tokens: Snapshot<Tokens>, events: FileEvents, mut stop: Stop) {
    let mut watcher = Watcher::new(path.clone(), &events).await;
    loop {
        // First of all: it may have changed since the start has read it.
        let owned = path.clone();
        let read = Blocking::start(move || (Tokens::read(&owned), doubt(&owned))).ended().await;
        match read {
            Some((Ok(new), doubt)) => {
                let before = tokens.load();
                let same = before.known.len() == new.known.len()
                    && before.known.iter().zip(&new.known).all(|(old, new)| is_same(old, new));
                if !same {
                    let count = new.known.len();
                    tokens.publish(Arc::new(new));
                    tracing::warn!(count, "the admin API takes other tokens");
                    if let Some(doubt) = doubt {
                        tracing::warn!("{doubt}");
                    }
                }
            }
            Some((Err(error), _)) => {
                let (file, hint) = (path.display(), error.hint());
                tracing::error!(%file, %error, hint, "the admin API keeps the tokens that it has");
            }
            None => {}
        }
        tokio::select! {
            () = stop.requested() => return,
            () = watcher.changed() => {}
        }
    }
}

/// 16 characters: 64 bits where they are hexadecimal. Nobody guesses them over a network.
const SHORTEST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_line_and_nothing_but_a_whole_one_lets_in() {
        let tokens = Tokens::parse("# ours\n0123456789abcdef\r\n\n  fedcba9876543210  \n").unwrap();

        assert!(tokens.has("0123456789abcdef") && tokens.has("fedcba9876543210"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "# ours", "0123456789ABCDEF"] {
            assert!(!tokens.has(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_file_that_everybody_may_read_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |mode: u32| {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            doubt(file.path())
        };

        assert_eq!((with(0o600), with(0o640)), (None, None));
        assert!(with(0o644).unwrap().ends_with("(mode 0644)"));
    }

    #[test]
    fn a_file_without_tokens_lets_nobody_in_and_is_an_error() {
        let check = |text: &str, what: &str| {
            let error = Tokens::parse(text).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        };
        check("", "no token");
        check("# later\n", "no token");
        check("0123456789abcdef\nsecret\n", "line 2 has a token of fewer than 16");
        check("0123456789 abcdef\n", "line 1 has a character");
        check("0123456789äabcdef\n", "line 1 has a character");
    }
}
