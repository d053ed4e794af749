//! Splits a file into pieces, each about one entry: a lexer's tokens tell where statements end, and
//! nothing is parsed. The text is known to be TOML.

use std::borrow::Cow;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use toml_parser::Source;
use toml_parser::lexer::{Lexer, Token, TokenKind};

/// An entry, by a number of its table and its name. Two of the same number are unlikely, and cost no
/// more than to read both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry(u64);

impl Entry {
    /// `name` is `None` for what is of the table itself.
    pub(super) fn of(table: &str, name: Option<&str>) -> Self {
        Self(FixedState::default().hash_one((table, name)))
    }
}

/// Some whole lines of a file, about one entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) entry: Entry,
    pub(super) file: u32,
    pub(super) start: u32,
    pub(super) end: u32,
    /// The number of its first line, from 1.
    pub(super) line: u32,
}

/// Adds the pieces of a file.
pub(super) fn split(text: &str, file: u32, pieces: &mut Vec<Piece>) {
    let source = Source::new(text);
    let mut reader = Reader { source, tokens: source.lex(), line: 1 };
    let mut section = Section::Top;
    // Tables that are lists of tables, as in `[[listeners]]`: their elements have no names.
    let mut lists: Vec<Cow<'_, str>> = Vec::new();
    let mut last: Option<Piece> = None;
    while let Some(mut statement) = reader.statement() {
        if let (Kind::List, [Some(table), None]) = (statement.kind, &statement.names)
            && !lists.contains(table)
        {
            lists.push(table.clone());
        }
        if statement.kind != Kind::Value && statement.names[0].iter().any(|it| lists.contains(it)) {
            (statement.kind, statement.names[1]) = (Kind::List, None);
        }
        let entry = section.entry(&statement);
        if statement.kind != Kind::Value {
            section = Section::of(statement.kind, statement.names);
        }
        match &mut last {
            // Lines of one entry that follow each other are one piece.
            Some(last) if last.entry == entry => last.end = statement.end,
            _ => {
                let Statement { start, end, line, .. } = statement;
                pieces.extend(last.replace(Piece { entry, file, start, end, line }));
            }
        }
    }
    pieces.extend(last);
}

/// The first two of the names that a key is made of: the others are within the entry.
type Names<'t> = [Option<Cow<'t, str>>; 2];

fn entry(names: &Names<'_>) -> Entry {
    let [table, name] = names.each_ref().map(Option::as_deref);
    Entry::of(table.unwrap_or_default(), name)
}

/// What the statements are about that follow a header.
enum Section<'t> {
    /// There was no header yet.
    Top,
    /// A table, as in `[tenants]`: each key is an entry.
    Table(Cow<'t, str>),
    /// One entry, as in `[tenants.acme]`.
    Entry(Entry),
}

impl<'t> Section<'t> {
    fn of(kind: Kind, names: Names<'t>) -> Self {
        let whole = entry(&names);
        match (kind, names) {
            (Kind::Table, [Some(table), None]) => Self::Table(table),
            _ => Self::Entry(whole),
        }
    }

    fn entry(&self, statement: &Statement<'_>) -> Entry {
        match (self, statement.kind) {
            (Self::Entry(entry), Kind::Value) => *entry,
            (Self::Table(table), Kind::Value) => Entry::of(table, statement.names[0].as_deref()),
            (Self::Top, _) | (_, Kind::Table | Kind::List) => entry(&statement.names),
        }
    }
}

/// A header, or a key with its value.
struct Statement<'t> {
    kind: Kind,
    names: Names<'t>,
    start: u32,
    end: u32,
    line: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `[a.b]`
    Table,
    /// `[[a.b]]`
    List,
    /// `a.b = 1`
    Value,
}

struct Reader<'t> {
    source: Source<'t>,
    tokens: Lexer<'t>,
    /// Of the next token.
    line: u32,
}

impl<'t> Reader<'t> {
    fn statement(&mut self) -> Option<Statement<'t>> {
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

    /// Takes a name, as far as it is one.
    fn name(&self, token: Token, names: &mut Names<'t>) {
        let is_name = matches!(
            token.kind(),
            TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString
        );
        let (Some(free), true) = (names.iter_mut().find(|name| name.is_none()), is_name) else {
            return;
        };
        let mut name = Cow::default();
        if let Some(raw) = self.source.get(token) {
            raw.decode_key(&mut name, &mut ());
        }
        *free = Some(name);
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

fn is_between(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Whitespace | TokenKind::Newline | TokenKind::Comment)
}
