//! Good files, broken as people, editors and templates break them: by what TOML says and by what
//! stands in the text. Each comes from its seed and number alone.

use fastrand::Rng;
use toml::{Table, Value};

/// A good file, broken one to three times.
pub(crate) fn broken(good: &[(String, String)], seed: u64, number: u64) -> Vec<u8> {
    let mut random = Rng::with_seed(seed << 32 ^ number);
    let text = &good[random.usize(..good.len())].1;
    let in_meaning = random.u8(..4) > 0;
    let mut bytes = match text.parse::<Table>() {
        Ok(mut table) if in_meaning => {
            for _ in 0..random.usize(1..4) {
                break_meaning(&mut table, &mut random);
            }
            // What TOML cannot write at all stays as it was.
            toml::to_string(&table).unwrap_or_else(|_| text.clone()).into_bytes()
        }
        _ => text.clone().into_bytes(),
    };
    if !in_meaning || random.u8(..8) == 0 {
        break_text(&mut bytes, &mut random);
    }
    bytes
}

/// Changes one entry somewhere in the table.
fn break_meaning(table: &mut Table, random: &mut Rng) {
    let taken = pick(&Value::Table(table.clone()), random);
    let mut here = table;
    loop {
        let names: Vec<String> = here.keys().cloned().collect();
        if names.is_empty() {
            return add(here, random);
        }
        let name = &names[random.usize(..names.len())];
        let at = random.usize(..64);
        if random.u8(..3) == 0 || !holds_table(&here[name], at) {
            return change(here, name, taken, random);
        }
        let Some(inner) = into(&mut here[name], at) else { return };
        here = inner;
    }
}

fn holds_table(value: &Value, at: usize) -> bool {
    match value {
        Value::Table(_) => true,
        Value::Array(array) => !array.is_empty() && array[at % array.len()].is_table(),
        _ => false,
    }
}

/// A value that is a table, or a table in an array.
fn into(value: &mut Value, at: usize) -> Option<&mut Table> {
    match value {
        Value::Table(table) => Some(table),
        Value::Array(array) => {
            let at = at % array.len();
            array[at].as_table_mut()
        }
        _ => None,
    }
}

/// A value from anywhere.
fn pick(value: &Value, random: &mut Rng) -> Value {
    let inner: Vec<&Value> = match value {
        Value::Table(table) => table.values().collect(),
        Value::Array(array) => array.iter().collect(),
        _ => Vec::new(),
    };
    match random.choice(inner) {
        Some(inner) if random.u8(..4) > 0 => pick(inner, random),
        _ => value.clone(),
    }
}

fn change(table: &mut Table, name: &str, taken: Value, random: &mut Rng) {
    let Some(value) = table.get(name).cloned() else { return };
    match random.u8(..12) {
        0 => drop(table.remove(name)),
        1 | 2 => {
            table.remove(name);
            table.insert(misspelt(name, random), value);
        }
        3 => drop(table.insert(misspelt(name, random), value)),
        4 => drop(table.insert(name.to_owned(), Value::Array(vec![value; random.usize(1..4)]))),
        5 => {
            drop(table.insert(name.to_owned(), Table::from_iter([(name.to_owned(), value)]).into()))
        }
        6 => drop(table.insert(name.to_owned(), taken)),
        7 => add(table, random),
        8 => match table.get_mut(name) {
            Some(Value::Array(array)) if !array.is_empty() => {
                let at = random.usize(..array.len());
                let odd = if random.bool() { array[at].clone() } else { odd(random) };
                array.insert(at, odd);
            }
            Some(Value::String(text)) => *text = misspelt(text, random),
            _ => {}
        },
        _ => drop(table.insert(name.to_owned(), odd(random))),
    }
}

/// Adds what nobody asked for, one or more than are told.
fn add(table: &mut Table, random: &mut Rng) {
    let count = if random.u8(..16) == 0 { 300 } else { 1 };
    let (value, name) = (odd(random), misspelt("pool", random));
    for number in 0..count {
        table.insert(format!("{name}{number}"), value.clone());
    }
}

fn misspelt(name: &str, random: &mut Rng) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    let at = random.usize(..=letters.len());
    match random.u8(..9) {
        0 => letters.truncate(at),
        1 | 2 => letters.insert(at, random.alphanumeric()),
        3 => letters.insert(at, one(&ODD_LETTERS, random)),
        4 => letters.extend(std::iter::repeat_n('x', 700)),
        5 => letters.reverse(),
        6 if at < letters.len() => drop(letters.remove(at)),
        7 if at + 1 < letters.len() => letters.swap(at, at + 1),
        _ => return name.to_uppercase(),
    }
    letters.into_iter().collect()
}

/// A value that hardly fits anywhere.
fn odd(random: &mut Rng) -> Value {
    match random.u8(..10) {
        0 => Value::Integer(one(&NUMBERS, random)),
        1 => Value::Float(one(&FLOATS, random)),
        2 => Value::Boolean(random.bool()),
        3 => Value::Array(vec![odd(random); random.usize(..3)]),
        4 => Value::Table(Table::from_iter([(misspelt("path", random), odd(random))])),
        5 => (0..70).fold(odd(random), |inner, _| Value::Array(vec![inner])),
        6 => (0..70).fold(odd(random), |inner, _| {
            Value::Table(Table::from_iter([("a".to_owned(), inner)]))
        }),
        7 => "1979-05-27T07:32:00Z".parse().map_or(Value::Boolean(true), Value::Datetime),
        _ => Value::String(one(&TEXTS, random).to_owned()),
    }
}

/// Changes the text as an editor, a template or a broken disk may.
fn break_text(bytes: &mut Vec<u8>, random: &mut Rng) {
    let at = random.usize(..=bytes.len());
    let line_at = |at: usize, bytes: &[u8]| {
        let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let end =
            bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |n| at + n + 1);
        start..end
    };
    match random.u8(..9) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(line_at(at, bytes))),
        2 => {
            let line = line_at(at, bytes);
            let twice = bytes[line.clone()].to_vec();
            drop(bytes.splice(line.end..line.end, twice));
        }
        3 => drop(bytes.splice(at..at, one(&NO_TEXT, random).iter().copied())),
        4 => *bytes = bytes.iter().flat_map(|byte| [*byte, 0]).collect(),
        5 => bytes.iter_mut().filter(|byte| **byte == b'=').for_each(|byte| *byte = b':'),
        6 => bytes.retain(|byte| *byte != b'"'),
        7 => {
            let odd = one(&MARKS, random);
            drop(bytes.splice(at..at, odd.bytes().cycle().take(odd.len() * random.usize(1..40))));
        }
        _ => {
            let line = line_at(at, bytes);
            bytes[line].reverse();
        }
    }
}

fn one<T: Copy>(list: &[T], random: &mut Rng) -> T {
    list[random.usize(..list.len())]
}

const NO_TEXT: [&[u8]; 4] = [b"\xff", b"\xc3", b"\0", b"\xed\xa0\x80"];

const ODD_LETTERS: [char; 10] =
    ['\n', '\r', '\u{1b}', '\0', '\u{202e}', '\u{feff}', '"', '.', 'ß', '\u{1f600}'];

const NUMBERS: [i64; 8] = [0, -1, 1, 65_536, i64::MAX, i64::MIN, u32::MAX as i64 + 1, 1 << 53];

const FLOATS: [f64; 6] = [0.0, -0.0, 1.5, f64::MAX, f64::NAN, f64::NEG_INFINITY];

const MARKS: [&str; 10] = ["[", "{a=", "\"", "'''", "\\", "]]", "${", "a.", "\r", "#"];

const TEXTS: [&str; 32] = [
    "",
    " ",
    "\0",
    "\n",
    "\u{1b}[31m",
    "\u{202e}",
    "Some(1)",
    "-1s",
    "1e9s",
    "99999999999999999999h",
    "0ms",
    "1EiB",
    "-1B",
    "18446744073709551616B",
    "NaN%",
    "1e300%",
    "10.0.0.1",
    "10.0.0.1:0",
    "[::1]:",
    "http://a/b",
    "unix:",
    "unix:a",
    "10.0.0.0/33",
    "::/129",
    "/",
    "/{",
    "/*/*",
    "*.*",
    "${NOPE}",
    "${",
    "$${A}",
    "../../../../../../nowhere",
];

#[test]
fn a_broken_file_follows_from_its_seed_and_number() {
    let good = [("a".to_owned(), "[a]\nb = \"c\"\n[[d]]\ne = 5\n".to_owned())];
    let row = |seed| (0..200).map(|number| broken(&good, seed, number)).collect::<Vec<_>>();

    assert_eq!(row(1), row(1));
    assert_ne!(row(1), row(2));
    let unbroken = row(1).iter().filter(|bytes| **bytes == good[0].1.as_bytes()).count();
    assert!(unbroken < 20, "{unbroken} of 200 are as good as before");
}
