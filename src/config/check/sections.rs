//! Tenants as they stand in a file, each apart from the rest of it. Whoever has a hundred thousand of
//! them has hardly anything else, and most say the same: they need not be read as one document.

use std::borrow::Cow;
use std::ops::Range;

use crate::config::statements::{Kind, Name, Statements};

/// A file in two parts.
#[derive(Debug)]
pub(super) struct Sections<'t> {
    /// The file with blanks in place of its tenants, so that all else is where it was.
    pub(super) rest: Cow<'t, str>,
    /// Its tenants, in the order of the file.
    pub(super) tenants: Vec<Section>,
}

impl Sections<'_> {
    /// Of a part of a file, beside all else of it.
    pub(super) fn alone(tenants: Vec<Section>) -> Self {
        Self { rest: Cow::Borrowed(""), tenants }
    }
}

/// All that follows each other about one tenant: whole lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Its bytes in the file.
    pub(super) span: Range<u32>,
    /// Where its id is.
    name: Range<u32>,
    /// How it begins.
    pub(super) form: Form,
}

/// How a section begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// As `[tenants.acme]`.
    Header,
    /// As `acme = `, below `[tenants]`.
    Entry,
    /// As one of these, in other words: with quotes, blanks or double brackets.
    OtherHeader,
    /// As [`Form::OtherHeader`].
    OtherEntry,
}

impl Section {
    /// The same in a text that has so many bytes more before it.
    pub(super) fn moved(self, by: u32) -> Self {
        let moved = |span: Range<u32>| span.start + by..span.end + by;
        Self { span: moved(self.span), name: moved(self.name), form: self.form }
    }

    /// What it says.
    pub(super) fn text<'t>(&self, file: &'t str) -> &'t str {
        slice(file, &self.span)
    }

    /// The id, and the bytes after it: what the section means hangs on those alone. `None` where that
    /// is not sure.
    pub(super) fn parts<'t>(&self, file: &'t str) -> Option<(&'t str, Range<u32>)> {
        let is_plain = matches!(self.form, Form::Header | Form::Entry);
        is_plain.then(|| (slice(file, &self.name), self.name.end..self.span.end))
    }
}

/// The bytes of a text; nothing where it has none there.
pub(super) fn slice<'t>(text: &'t str, span: &Range<u32>) -> &'t str {
    text.get(span.start as usize..span.end as usize).unwrap_or_default()
}

/// Takes a file apart. `None` where its tenants stand in a way that has to be read as a whole; whether
/// the parts are TOML is for who reads them to find out, and whether a tenant is there twice.
pub(super) fn split(text: &str) -> Option<Sections<'_>> {
    split_by(text, Statements::pass_plain)
}

/// Passes lines about a tenant that follow one; tells where they end.
type Pass<'t> = fn(&mut Statements<'t>, &str, u32) -> Option<u32>;

fn split_by<'t>(text: &'t str, pass: Pass<'t>) -> Option<Sections<'t>> {
    let mut tenants: Vec<Section> = Vec::new();
    let (mut place, mut last) = (Place::Top, None);
    let mut statements = Statements::of(text);
    while let Some(statement) = statements.next() {
        let (span, [first, second]) = (statement.start..statement.end, statement.names);
        // A byte order mark is nothing at the start of a text and a fault elsewhere.
        if text.as_bytes().get(span.start as usize) == Some(&0xef) {
            return None;
        }
        let is_tenants = first.as_ref().is_some_and(|name| name.text == TABLE);
        let new = match (statement.kind, place) {
            (Kind::Value, Place::Top) if is_tenants => return None,
            (Kind::Value, Place::Tenant) => None,
            (Kind::Value, Place::Table) => first,
            (Kind::Value, Place::Top | Place::Other) => continue,
            (Kind::List, _) if is_tenants && second.is_none() => return None,
            (Kind::Table | Kind::List, _) => {
                let before = place;
                place = Place::of(is_tenants, second.is_some());
                match (place, second) {
                    (Place::Tenant, Some(id)) if before == Place::Tenant && is(&last, &id) => None,
                    (Place::Tenant, id) => id,
                    _ => continue,
                }
            }
        };
        match (new, tenants.last_mut()) {
            (Some(id), Some(section))
                if place == Place::Table && continues(section, &last, &id) =>
            {
                section.span.end = span.end;
            }
            (Some(id), _) => {
                let form = form(text, &span, statement.kind, &id);
                tenants.push(Section { span, name: id.span.clone(), form });
                last = Some(id.text);
            }
            (None, Some(section)) => section.span.end = span.end,
            // A key below `[tenants]` that is no key.
            (None, None) => return None,
        }
        if place == Place::Tenant
            && let (Some(section), Some(id)) = (tenants.last_mut(), &last)
            && let Some(end) = pass(&mut statements, id, section.span.end)
        {
            section.span.end = end;
        }
    }
    Some(Sections { rest: rest(text, &tenants), tenants })
}

/// What the statements are about that follow a header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// There was none yet.
    Top,
    /// `[tenants]`.
    Table,
    /// `[tenants.acme]`, or something below it.
    Tenant,
    /// Another one.
    Other,
}

impl Place {
    fn of(is_tenants: bool, has_id: bool) -> Self {
        match (is_tenants, has_id) {
            (true, true) => Self::Tenant,
            (true, false) => Self::Table,
            (false, _) => Self::Other,
        }
    }
}

fn is(last: &Option<Cow<'_, str>>, id: &Name<'_>) -> bool {
    last.as_ref().is_some_and(|last| *last == id.text)
}

/// Whether a line below `[tenants]` is about the same tenant as the one before it.
fn continues(section: &Section, last: &Option<Cow<'_, str>>, id: &Name<'_>) -> bool {
    matches!(section.form, Form::Entry | Form::OtherEntry) && is(last, id)
}

fn form(text: &str, span: &Range<u32>, kind: Kind, id: &Name<'_>) -> Form {
    let before = slice(text, &(span.start..id.span.start));
    match kind {
        Kind::Table if id.is_bare && before == HEADER => Form::Header,
        Kind::Table | Kind::List => Form::OtherHeader,
        Kind::Value if id.is_bare && before.is_empty() => Form::Entry,
        Kind::Value => Form::OtherEntry,
    }
}

/// A text with blanks in place of its tenants, and of blank lines between two.
fn rest<'t>(text: &'t str, tenants: &[Section]) -> Cow<'t, str> {
    if tenants.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut rest = String::with_capacity(text.len());
    let blanks = |rest: &mut String, mut count: usize| {
        while count > 0 {
            let some = BLANKS.get(..count).unwrap_or(BLANKS);
            rest.push_str(some);
            count -= some.len();
        }
    };
    let mut done = 0;
    for Section { span, .. } in tenants {
        let between = slice(text, &(done..span.start));
        match done > 0 && is_blank(between) {
            true => blanks(&mut rest, between.len()),
            false => rest.push_str(between),
        }
        blanks(&mut rest, (span.end - span.start) as usize);
        done = span.end;
    }
    rest.push_str(text.get(done as usize..).unwrap_or_default());
    Cow::Owned(rest)
}

/// Whether blanks may stand in its place: a carriage return by itself is a fault.
fn is_blank(between: &str) -> bool {
    between.split("\r\n").all(|part| part.trim_matches([' ', '\t', '\n']).is_empty())
}

/// 64 at once.
const BLANKS: &str = "                                                                ";
const TABLE: &str = "tenants";
const HEADER: &str = "[tenants.";

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// The sections of a text, and its rest without blanks.
    fn told(text: &str) -> Option<(Vec<&str>, String)> {
        let Sections { rest, tenants } = split(text)?;
        assert_eq!(rest.len(), text.len());
        let rest: Vec<&str> = rest.split_whitespace().collect();
        Some((tenants.iter().map(|section| section.text(text)).collect(), rest.join(" ")))
    }

    #[test]
    fn each_tenant_stands_apart_and_all_else_is_where_it_was() {
        let text = "[pools.a] # [tenants.x]\ndns = \"a:1\"\n\n[tenants.a]\npool = \"a\"\n# one\nuse = [\n]\n\n\
                    [tenants.a.tracing]\nsample = \"1%\"\n[[tenants.\"b\".routes]]\n# two\n[tenants]\n\
                    c.pool = \"a\"\nc.use = []\nd = { pool = '''\n[tenants.e]\n''' }\n";

        let (sections, rest) = told(text).unwrap();

        assert_eq!(
            sections,
            [
                "[tenants.a]\npool = \"a\"\n# one\nuse = [\n]\n\n[tenants.a.tracing]\nsample = \"1%\"\n",
                "[[tenants.\"b\".routes]]\n",
                "c.pool = \"a\"\nc.use = []\n",
                "d = { pool = '''\n[tenants.e]\n''' }\n",
            ]
        );
        assert_eq!(rest, "[pools.a] # [tenants.x] dns = \"a:1\" # two [tenants]");
        assert_eq!(split(text).unwrap().rest.find("# two"), text.find("# two"));
    }

    /// Lines about tenants, of which most are passed, and of what is none.
    const LINES: &[&str] = &[
        "[tenants.a]",
        "[tenants.a]",
        "[tenants.b]",
        "[tenants.\"a.b\"]",
        "[tenants.\"\"]",
        "[tenants.a.b]",
        "[[tenants.a.routes]]",
        "[[tenants.a.b]",
        "[tenants.a.b]]",
        "[tenants..c]",
        "[tenants]",
        "[pools.a]",
        "a = 1",
        "a.b = \"x\" ",
        "a b = [\"]\", { c = \"#\" }]",
        "a = \"\"",
        "a = \"\"\"",
        "a = '''",
        "a = '\"'",
        "a = \"\\\"\"",
        "a = \"",
        "a = [",
        "]",
        "a = ]]",
        "a",
        "= 1",
        "a = 1 # \"",
        "a = [ # ]",
        "a = [']'",
        "a = [\"\\\"]\\\"\"",
        "a = \"\"\"x\"",
        "a = 1\r",
        "a = 1\ra = [",
        "a = x\"[\"",
        "  a = 1",
        "",
        "# c",
        "\u{feff}a = 1",
        "\"a\" = 1",
    ];

    proptest! {
        #[test]
        fn plain_lines_are_passed_as_if_they_were_read(
            lines in vec(select(LINES), 0..12),
            ends in any::<bool>(),
        ) {
            let text = lines.join("\n") + if ends { "\n" } else { "" };
            let of = |sections: Option<Sections<'_>>| {
                sections.map(|Sections { rest, tenants }| (rest.into_owned(), tenants))
            };

            prop_assert_eq!(of(split(&text)), of(split_by(&text, |_, _, _| None)));
        }
    }

    #[test]
    fn only_the_bytes_after_a_plain_id_tell_what_a_section_means() {
        let text =
            "[tenants.a]\nx = 1\n[tenants.\"b\"]\n[ tenants.c]\n[tenants]\nd = {}\n\"e\" = {}\n";

        let sections = split(text).unwrap().tenants;

        let parts: Vec<_> = sections
            .iter()
            .map(|section| section.parts(text).map(|(id, tail)| (id, slice(text, &tail))))
            .collect();
        assert_eq!(parts, [Some(("a", "]\nx = 1\n")), None, None, Some(("d", " = {}\n")), None]);
    }

    #[test]
    fn what_is_one_table_for_toml_is_not_taken_apart() {
        for text in [
            "tenants = {}\n[tenants.a]\n",
            "tenants.a.pool = \"a\"\n",
            "[[tenants]]\n",
            "[tenants.a]\n\u{feff}x = 1\n",
        ] {
            assert_eq!(told(text), None, "{text:?}");
        }
        assert!(told("").is_some());
    }
}
