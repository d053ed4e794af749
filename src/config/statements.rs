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
    source: Source<'t>,
    tokens: Lexer<'t>,
    /// Of the next token.
    line: u32,
    stretch: Stretch,
}

impl<'t> Statements<'t> {
    /// Of a text of less than 4 GiB.
    pub(super) fn of(text: &'t str) -> Self {
        let source = Source::new(text);
        Self { source, tokens: source.lex(), line: 1, stretch: Stretch::begin() }
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
        let (Ok(start), Ok(end)) =
            (u32::try_from(token.span().start()), u32::try_from(token.span().end()))
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
                    return u32::try_from(token.span().end()).ok();
                }
                _ => {}
            }
        }
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
        let start = u32::try_from(first.span().start()).ok()?;
        Some(Statement { kind, names, start, end, line })
    }
}

fn is_between(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Whitespace | TokenKind::Newline | TokenKind::Comment)
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}
