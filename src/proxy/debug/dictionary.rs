//! A dictionary of structured fields (RFC 8941 §3.2) as text, within a bound. Whatever text is put into
//! it, the whole is valid.

use std::time::Duration;

use http::HeaderValue;

/// A dictionary that is being written.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    text: String,
    cut: bool,
}

/// One value, or one entry of a list.
pub(super) enum Item<'t> {
    /// A text, which may come from anywhere.
    Text(&'t str),
    /// A word of our own.
    Word(&'static str),
    /// A number.
    Whole(u64),
    /// A time, in milliseconds.
    Time(Duration),
}

impl Dictionary {
    /// A member with one value.
    pub(super) fn member(&mut self, key: &str, item: &Item<'_>) {
        self.whole(key, |text| {
            text.push('=');
            item.write(text);
        });
    }

    /// A member with one value, and what is said of it.
    pub(super) fn described(&mut self, key: &str, item: &Item<'_>, of: &[(&str, Item<'_>)]) {
        self.whole(key, |text| {
            text.push('=');
            item.write(text);
            describe(text, of);
        });
    }

    /// A member that is there, and what is said of it.
    pub(super) fn settings(&mut self, key: &str, of: &[(&str, Item<'_>)]) {
        self.whole(key, |text| describe(text, of));
    }

    /// A member that is a list; what is said of each entry comes with it.
    pub(super) fn list<'t>(
        &mut self,
        key: &str,
        entries: impl Iterator<Item = (Item<'t>, Vec<(&'t str, Item<'t>)>)>,
    ) {
        self.whole(key, |text| {
            text.push_str("=(");
            for (number, (item, of)) in entries.enumerate() {
                if number > 0 {
                    text.push(' ');
                }
                item.write(text);
                describe(text, &of);
            }
            text.push(')');
        });
    }

    /// As a field's value. It says so where something was left out.
    pub(super) fn value(mut self) -> Option<HeaderValue> {
        if self.cut {
            self.text.push_str(if self.text.is_empty() { "cut" } else { ", cut" });
        }
        HeaderValue::try_from(self.text).ok()
    }

    /// One member as a whole, or nothing of it where it is too much.
    fn whole(&mut self, key: &str, write: impl FnOnce(&mut String)) {
        let before = self.text.len();
        if before > 0 {
            self.text.push_str(", ");
        }
        self.text.push_str(key);
        write(&mut self.text);
        if self.text.len() > LARGEST {
            self.text.truncate(before);
            self.cut = true;
        }
    }
}

impl Item<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => quote(text, out),
            Self::Word(word) => out.push_str(word),
            Self::Whole(number) => *out += &number.min(&MOST).to_string(),
            Self::Time(time) => {
                let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(MOST);
                *out += &format!("{}.{:03}", micros / 1000, micros % 1000);
            }
        }
    }
}

fn describe(text: &mut String, of: &[(&str, Item<'_>)]) {
    for (key, item) in of {
        text.push(';');
        text.push_str(key);
        text.push('=');
        item.write(text);
    }
}

/// A string (RFC 8941 §3.3.3) has nothing but printable ASCII: other bytes become `%XX`.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    let mut left = LONGEST;
    for byte in text.bytes() {
        if left == 0 {
            out.push_str("...");
            break;
        }
        left -= 1;
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => *out += &format!("%{byte:02X}"),
        }
    }
    out.push('"');
}

/// 160 bytes: the longest id or name of the config and some words around it.
const LONGEST: usize = 160;
/// 4 KiB: what servers and clients take as one field.
const LARGEST: usize = 4 << 10;
/// RFC 8941 §3.3.1: numbers of up to 15 digits, times of 12 and 3.
const MOST: u64 = 999_999_999_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Dictionary)) -> String {
        let mut dictionary = Dictionary::default();
        write(&mut dictionary);
        dictionary.value().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn members_lists_and_what_is_said_of_them_are_written_as_the_rfc_has_it() {
        let written = text(|out| {
            out.member("generation", &Item::Whole(7));
            out.described("pool", &Item::Text("a"), &[("since", Item::Word("now"))]);
            out.settings("retry", &[("attempts", Item::Whole(3))]);
            let time = Item::Time(Duration::from_micros(1_234_005));
            out.list(
                "tries",
                [(Item::Text("b"), vec![("at", time)]), (Item::Text("c"), vec![])].into_iter(),
            );
            out.list("none", std::iter::empty());
        });

        let expected = "generation=7, pool=\"a\";since=now, retry;attempts=3, \
                        tries=(\"b\";at=1234.005 \"c\"), none=()";
        assert_eq!(written, expected);
    }

    #[test]
    fn no_text_leaves_its_quotation_marks() {
        let written = text(|out| out.member("a", &Item::Text("x\", b=\"\\\r\n\u{e4}%")));

        assert_eq!(written, "a=\"x\\\", b=\\\"\\\\%0D%0A%C3%A4%\"");
    }

    #[test]
    fn another_s_reader_takes_what_is_written_of_any_text() {
        let mut random = fastrand::Rng::with_seed(8941);
        for _ in 0..500 {
            let any: String = (0..random.usize(0..300)).map(|_| random.char(..)).collect();
            let time = Duration::from_nanos(random.u64(..));
            let written = text(|out| {
                out.described("a", &Item::Text(&any), &[("t", Item::Time(time))]);
                out.settings("s", &[("x", Item::Text(&any)), ("y", Item::Whole(random.u64(..)))]);
                let entry = (Item::Text(&any), vec![("w", Item::Word("reused"))]);
                out.list("l", std::iter::once(entry));
            });

            let read = sfv::Parser::new(&written).parse::<sfv::Dictionary>();

            assert_eq!(read.map(|read| read.len()).ok(), Some(3), "{written}");
        }
    }

    #[test]
    fn it_stays_within_its_bound_and_says_what_is_missing() {
        let long = "\"".repeat(100_000);

        let written = text(|out| {
            for _ in 0..1000 {
                out.member("a", &Item::Text(&long));
            }
            out.member("last", &Item::Whole(u64::MAX));
        });

        assert!(written.len() <= LARGEST + 5, "{}", written.len());
        assert!(written.ends_with(", cut"), "{written}");
        assert!(written.starts_with(&format!("a=\"{}...\", a=", "\\\"".repeat(LONGEST))));
    }
}
