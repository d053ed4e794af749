//! Splits a text into statements: a lexer's tokens tell where each ends, and nothing is parsed. What
//! comes of a text that is no TOML is for who asked to find out, by parsing it.

use std::borrow::Cow;
use std::ops::Range;

use toml_parser::Source;
use toml_parser::lexer::{Lexer, Token, TokenKind};

use crate::base::stretch::Stretch;

/// A header, or a key with its value.
pub(super) struct Statement<'t> {
    pub(super) kind: Kind,
    pub(super) names: Names<'t>,
    pub(super) start: u32,
    pub(super) end: u32,
    /// The number of its first line, from 1.
    pub(super) line: u32,
}

/// The first two of the names that a key is made of: the others are within the entry.
pub(super) type Names<'t> = [Option<Name<'t>>; 2];

/// One name of a key.
#[derive(Clone)]
pub(super) struct Name<'t> {
    /// What it says.
    pub(super) text: Cow<'t, str>,
    /// Where it is written.
    pub(super) span: Range<u32>,
    /// Whether it is written without quotes.
    pub(super) is_bare: bool,
}

/// What a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `[a.b]`
    Table,
    /// `[[a.b]]`
    List,
    /// `a.b = 1`
    Value,
}

/// The statements of a text, up to one that does not end.
pub(super) struct Statements<'t> {
    text: &'t str,
    /// The text from `base` on.
    source: Source<'t>,
    base: usize,
    tokens: Lexer<'t>,
    /// Of the next token.
    line: u32,
    stretch: Stretch,
}

impl<'t> Statements<'t> {
    /// Of a text of less than 4 GiB.
    pub(super) fn of(text: &'t str) -> Self {
        let source = Source::new(text);
        let (tokens, stretch) = (source.lex(), Stretch::begin());
        Self { text, source, base: 0, tokens, line: 1, stretch }
    }

    /// Passes lines that stand as nearly all do about a tenant, faster than statement by statement: values that end
    /// in their line, and headers of tables below it. They follow a statement about the same one, which ends at
    /// `from`. Tells where the last of them ends; `None` where there is none.
    pub(super) fn pass_plain(&mut self, id: &str, from: u32) -> Option<u32> {
        let is_plain = !id.is_empty() && id.bytes().all(is_bare);
        let (from, mut at) = (from as usize, from as usize);
        while let Some(line) = line(self.text.as_bytes(), at)
            && (is_plain_value(line) || (is_plain && is_below(id, line)))
        {
            at += line.len();
            self.line += 1;
            self.stretch.step();
        }
        if at == from {
            return None;
        }
        self.base = at;
        self.source = Source::new(self.text.get(at..)?);
        self.tokens = self.source.lex();
        u32::try_from(at).ok()
    }

    /// Takes a name, as far as it is one.
    fn name(&self, token: Token, names: &mut Names<'t>) {
        let is_name = matches!(
            token.kind(),
            TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString
        );
        let (Some(free), true) = (names.iter_mut().find(|name| name.is_none()), is_name) else {
            return;
        };
        let mut text = Cow::default();
        if let Some(raw) = self.source.get(token) {
            raw.decode_key(&mut text, &mut ());
        }
        let (Some(start), Some(end)) =
            (self.place(token.span().start()), self.place(token.span().end()))
        else {
            return;
        };
        let is_bare = token.kind() == TokenKind::Atom && text.bytes().all(is_bare);
        *free = Some(Name { text, span: start..end, is_bare });
    }

    /// Reads up to the end of a statement, and tells where that is.
    fn rest(&mut self) -> Option<u32> {
        let mut depth = 0_usize;
        loop {
            let token = self.token()?;
            match token.kind() {
                TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => depth += 1,
                TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                    depth = depth.saturating_sub(1);
                }
                TokenKind::Newline if depth > 0 => {}
                TokenKind::Newline | TokenKind::Eof => {
                    return self.place(token.span().end());
                }
                _ => {}
            }
        }
    }

    /// A place in what is read, in the text.
    fn place(&self, at: usize) -> Option<u32> {
        u32::try_from(self.base + at).ok()
    }

    fn token(&mut self) -> Option<Token> {
        let token = self.tokens.next()?;
        self.line += match token.kind() {
            TokenKind::Newline => 1,
            TokenKind::MlBasicString | TokenKind::MlLiteralString => {
                let text = self.source.get(token).map_or("", |raw| raw.as_str());
                u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX)
            }
            _ => 0,
        };
        Some(token)
    }
}

impl<'t> Iterator for Statements<'t> {
    type Item = Statement<'t>;

    fn next(&mut self) -> Option<Statement<'t>> {
        self.stretch.step();
        let (line, first) = loop {
            let line = self.line;
            match self.token()? {
                token if is_between(token.kind()) => {}
                token if token.kind() == TokenKind::Eof => return None,
                token => break (line, token),
            }
        };
        let mut names = Names::default();
        let kind = match first.kind() {
            TokenKind::LeftSquareBracket => match self.token()? {
                token if token.kind() == TokenKind::LeftSquareBracket => Kind::List,
                token => {
                    self.name(token, &mut names);
                    Kind::Table
                }
            },
            _ => {
                self.name(first, &mut names);
                Kind::Value
            }
        };
        let last = match kind {
            Kind::Value => TokenKind::Equals,
            Kind::Table | Kind::List => TokenKind::RightSquareBracket,
        };
        let end = loop {
            match self.token()? {
                token if token.kind() == last => break self.rest()?,
                token if token.kind() == TokenKind::Eof => return None,
                token => self.name(token, &mut names),
            }
        };
        let start = self.place(first.span().start())?;
        Some(Statement { kind, names, start, end, line })
    }
}

fn is_between(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Whitespace | TokenKind::Newline | TokenKind::Comment)
}

/// The line that begins there, with its end. One that has none is the last. One before a byte order mark is left to
/// the lexer, which skips such a mark where it begins anew, and so are those with a CR, which may be all that ends them.
fn line(text: &[u8], at: usize) -> Option<&[u8]> {
    let rest = text.get(at..)?;
    let end = memchr::memchr2(b'\n', b'\r', rest).filter(|end| rest.get(*end) == Some(&b'\n'))?;
    let (line, behind) = rest.split_at_checked(end + 1)?;
    (behind.first() != Some(&BYTE_ORDER_MARK)).then_some(line)
}

/// Whether a line is a bare key and a value that ends with it, and holds nothing that takes a lexer: comments,
/// escapes, strings of several lines and other quotes.
fn is_plain_value(line: &[u8]) -> bool {
    let parts = memchr::memchr(b'=', line).and_then(|at| line.split_at_checked(at));
    let Some((key, value)) = parts else { return false };
    let is_key = |byte: &u8| is_bare(*byte) || matches!(byte, b'.' | b' ');
    key.first().is_some_and(|first| is_bare(*first)) && key.iter().all(is_key) && ends(value)
}

/// Whether the byte there follows one of these.
fn follows(text: &[u8], at: usize, those: &[u8]) -> bool {
    let before = at.checked_sub(1).and_then(|at| text.get(at));
    before.is_some_and(|before| those.contains(before))
}

/// Whether all strings and brackets of a value end in its line.
fn ends(value: &[u8]) -> bool {
    let (mut depth, mut is_quoted) = (0_usize, false);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            b'"' if value.get(at..at + 3) == Some(b"\"\"\"") => return false,
            // Within a word it begins no string.
            b'"' if !is_quoted && !follows(value, at, b" =[{,.") => return false,
            b'"' => is_quoted = !is_quoted,
            b'\\' | b'\'' | b'#' => return false,
            b'[' | b'{' if !is_quoted => depth += 1,
            b']' | b'}' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    depth == 0 && !is_quoted
}

/// Whether a line is the header of a table below a tenant, or of one of a list of these.
fn is_below(id: &str, line: &[u8]) -> bool {
    let Some(names) = line.strip_suffix(b"]\n").and_then(|line| line.strip_prefix(b"[")) else {
        return false;
    };
    let of_list = names.strip_suffix(b"]").and_then(|names| names.strip_prefix(b"["));
    let of_tenant = of_list.unwrap_or(names).strip_prefix(b"tenants.");
    let below = of_tenant.and_then(|names| names.strip_prefix(id.as_bytes())?.strip_prefix(b"."));
    below.is_some_and(|names| names.iter().all(|byte| is_bare(*byte) || *byte == b'.'))
}

/// The first byte of one.
const BYTE_ORDER_MARK: u8 = 0xef;

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}
