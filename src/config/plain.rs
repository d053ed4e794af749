//! Names and values of files, as they are told: in one line, no longer than somebody reads, and with
//! nothing in them that changes how a terminal shows the rest.

/// The text with such characters escaped, and with its middle cut out where it has more than `most`
/// characters: where something begins and what is wrong with it stand at the ends.
pub(super) fn plain(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most * 2));
    let count = text.chars().count();
    let (head, tail) = (most * 2 / 3, most / 3);
    for (at, c) in text.chars().enumerate() {
        if count > most && at >= head && at < count - tail {
            if at == head {
                line.push('…');
            }
            continue;
        }
        match c.is_control() || is_invisible(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// Marks of direction, ends of lines and what takes no room: they make a text look like another one.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// 200 characters: a key of a file that was not broken is shorter.
pub(super) const KEY_LENGTH: usize = 200;

/// 300 characters: what is wrong is told in one sentence, beside the value.
pub(super) const WHAT_LENGTH: usize = 300;

/// 600 characters: the longest is the list of the keys of a table.
pub(super) const HINT_LENGTH: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(plain("a\u{1b}[31m\nb\tß😀", 50), "a\\u{1b}[31m\\nb\\tß😀");
        assert_eq!(plain("\u{202e}lmth\u{feff}", 50), "\\u{202e}lmth\\u{feff}");
    }

    #[test]
    fn a_long_text_keeps_its_ends() {
        let long = format!("\"{}\" is no duration", "x".repeat(9000));

        let told = plain(&long, 60);

        assert!(told.starts_with("\"xxxx") && told.ends_with("x\" is no duration"), "{told}");
        assert_eq!(told.chars().count(), 61);
        assert_eq!(plain("short", 5), "short");
    }
}
