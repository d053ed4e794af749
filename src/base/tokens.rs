//! A file of secret tokens, one a line, alone or with who has it and what that one may do. It is read again when it changes. What is kept of a token
//! is its digest, and what is shown is compared in a time that tells nothing of it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};

use super::role::{NoRole, Role};
use super::snapshot::Snapshot;
use super::tasks::{Blocking, Stop};
use super::watch::{FileEvents, Watcher};

/// The tokens of a file.
pub struct Tokens {
    known: Vec<(Digest, Arc<Holder>)>,
}

/// Who has a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// As the file has it, or the line that a nameless token is in.
    pub name: Arc<str>,
    /// What it may do; who has a nameless one may do everything.
    pub role: Role,
    /// The first digits of the token's digest (SHA-256): tells two tokens apart and tells nobody one.
    pub mark: Arc<str>,
}

/// What the lines of a file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A token alone, or one after a name and a role.
    Roles,
    /// A token alone: who has one may do the one thing that the file is for.
    Bare,
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
    /// A line is neither a token nor a name, a role and a token.
    #[error("has {1} words in line {0}")]
    Words(usize, usize),
    /// A name and a role stand where they would say nothing.
    #[error(
        "has more than a token in line {0}: tokens of this file have neither a name nor a role"
    )]
    Roles(usize),
    /// A role is none.
    #[error("has in line {0} a second word that is no role: {1}")]
    Role(usize, NoRole),
    /// One is there twice.
    #[error("has the token of line {0} a second time in line {1}")]
    Twice(usize, usize),
    /// One could not be sent as a header.
    #[error("has a character in line {0} that no token may have")]
    Unsendable(usize),
}

impl TokensError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read(_) => "look at the path, the owner and the permissions",
            Self::Twice(..) => "give each one a token of its own",
            Self::Roles(_) => {
                "write the token alone: whoever has one may do what the file is for, and nothing else"
            }
            Self::Role(..) | Self::Words(..) => {
                "a line is a token alone, or NAME ROLE TOKEN with blanks between"
            }
            _ => "write one token a line, as openssl rand -hex 32 makes them",
        }
    }
}

impl Tokens {
    /// Reads a file: one token a line, by itself or, where the form has that, after a name and a role, and lines for
    /// people that begin with `#`.
    ///
    /// # Errors
    /// When it cannot be read, or what is in it are no tokens.
    pub fn read(path: &Path, form: Form) -> Result<Self, TokensError> {
        if fs::metadata(path)?.len() > MAX_SIZE {
            return Err(TokensError::Large);
        }
        Self::parse_as(form, &fs::read_to_string(path)?)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// When what is in it are no tokens.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        Self::parse_as(Form::Roles, text)
    }

    fn parse_as(form: Form, text: &str) -> Result<Self, TokensError> {
        let lines = text.lines().map(str::trim).zip(1..);
        let tokens = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let mut known: Vec<(Digest, Arc<Holder>)> = Vec::new();
        let mut lines = BTreeMap::new();
        for (text, line) in tokens {
            if form == Form::Bare && text.split_ascii_whitespace().nth(1).is_some() {
                return Err(TokensError::Roles(line));
            }
            let (digest, holder) = one(text, line)?;
            if let Some(first) = lines.insert(digest.as_ref().to_vec(), line) {
                return Err(TokensError::Twice(first, line));
            }
            known.push((digest, holder));
        }
        if known.is_empty() { Err(TokensError::Empty) } else { Ok(Self { known }) }
    }

    /// Whether this is one of them. It is compared with all, so that the time tells of none.
    pub fn has(&self, shown: &[u8]) -> bool {
        self.find(shown).is_some()
    }

    /// Who has this one. It is compared with all, so that the time tells of none.
    pub fn find(&self, shown: &[u8]) -> Option<&Arc<Holder>> {
        let shown = digest(&SHA256, shown);
        self.known.iter().fold(None, |found, (known, holder)| match is_same(known, &shown) {
            true => Some(holder),
            false => found,
        })
    }

    fn are(&self, others: &Self) -> bool {
        self.known.len() == others.known.len()
            && self
                .known
                .iter()
                .zip(&others.known)
                .all(|((one, holder), (other, others))| is_same(one, other) && holder == others)
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
pub async fn follow(
    (path, form): (PathBuf, Form),
    tokens: Snapshot<Tokens>,
    events: FileEvents,
    mut stop: Stop,
) {
    let mut watcher = Watcher::new(path.clone(), &events).await;
    loop {
        // Before anything else: it may have changed since the start has read it.
        let file = path.clone();
        match Blocking::start(move || (Tokens::read(&file, form), doubt(&file))).ended().await {
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

fn one(text: &str, line: usize) -> Result<(Digest, Arc<Holder>), TokensError> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (token, name, role) = match words.as_slice() {
        [token] => (*token, format!("line {line}"), Role::Admin),
        [name, role, token] => {
            // It is never told: words in another order have the token here.
            let role = role.parse().map_err(|error| TokensError::Role(line, error))?;
            (*token, (*name).to_owned(), role)
        }
        words => return Err(TokensError::Words(line, words.len())),
    };
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokensError::Unsendable(line));
    }
    if token.len() < SHORTEST {
        return Err(TokensError::Short(line));
    }
    let digest = digest(&SHA256, token.as_bytes());
    let mark: String = digest.as_ref().iter().take(MARK).map(|b| format!("{b:02x}")).collect();
    let holder = Holder { name: name.into(), role, mark: mark.into() };
    Ok((digest, Arc::new(holder)))
}

fn is_same(one: &Digest, other: &Digest) -> bool {
    verify_slices_are_equal(one.as_ref(), other.as_ref()).is_ok()
}

/// 4 bytes of a digest: a few thousand tokens have different ones, and a token stays as unknown as it was.
const MARK: usize = 4;
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
    fn a_token_may_come_with_who_has_it_and_what_that_one_may_do() {
        let tokens = Tokens::parse(
            "0123456789abcdef\n ci  operator\t1123456789abcdef\nshop tenant:acme 2123456789abcdef\n",
        )
        .unwrap();

        let told = |shown: &str| {
            let holder = tokens.find(shown.as_bytes())?;
            Some((holder.name.to_string(), holder.role.to_string()))
        };
        let of = |name: &str, role: &str| Some((name.to_owned(), role.to_owned()));
        assert_eq!(told("0123456789abcdef"), of("line 1", "admin"));
        assert_eq!(told("1123456789abcdef"), of("ci", "operator"));
        assert_eq!(told("2123456789abcdef"), of("shop", "tenant:acme"));
        assert_eq!(told("ci"), None);
    }

    #[test]
    fn where_tokens_have_no_roles_a_line_with_one_is_an_error_that_says_so() {
        let read = |text: &str| Tokens::parse_as(Form::Bare, text);
        assert!(read("0123456789abcdef\n# x y z\n").is_ok());

        let error = read("0123456789abcdef\nci viewer 1123456789abcdef\n").unwrap_err();

        assert!(error.to_string().contains("more than a token in line 2"), "{error}");
        assert!(!format!("{error} {}", error.hint()).contains("1123"));
        let error = read("ci 1123456789abcdef\n").unwrap_err();
        assert!(!error.hint().contains("ROLE"), "{}", error.hint());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("debug.tokens");
        fs::write(&path, "ci admin 1123456789abcdef\n").unwrap();
        assert!(
            Tokens::read(&path, Form::Bare).is_err() && Tokens::read(&path, Form::Roles).is_ok()
        );
    }

    #[test]
    fn a_token_in_the_place_of_another_word_is_never_told() {
        for text in ["alice 9f86d081884c7d65 admin", "9f86d081884c7d65 x y z", "9f86d081884c7d65 x"]
        {
            let error = Tokens::parse(text).unwrap_err();

            let told = format!("{error} {error:?} {}", error.hint());
            assert!(!told.contains("9f86"), "{told}");
        }
    }

    #[test]
    fn a_file_without_a_good_token_is_an_error_that_names_the_line() {
        let told = |text: &str| Tokens::parse(text).unwrap_err().to_string();

        assert_eq!(told("# later\n\n"), "has no token in it");
        assert!(told("0123456789abcdef\nshort\n").ends_with("in line 2"));
        assert_eq!(told("0123456789 abcdef"), "has 2 words in line 1");
        assert!(told("# x\nci root 0123456789abcdef").starts_with("has in line 2 a second word"));
        assert_eq!(
            told("0123456789abcdef\n#\nx viewer 0123456789abcdef"),
            "has the token of line 1 a second time in line 3"
        );
        assert!(told("ci viewer short").ends_with("in line 1"));
        assert!(told("0123456789abcdef\u{e4}").starts_with("has a character in line 1"));
    }
}
