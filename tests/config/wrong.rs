//! Each key of both files with values of every wrong kind: what does not fit is told at its place,
//! once, with what to write instead.

use serde_json::Value;
use tenantry::config::{Files, Problems, check_gateway, schema, stated};

use super::check;
use super::reference::sections;

/// A value as it is written, and of which kind it is.
const VALUES: &[(&str, &str)] = &[
    ("boolean", "true"),
    ("boolean", "false"),
    ("integer", "-1"),
    ("integer", "7"),
    ("integer", "9007199254740993"),
    ("number", "1.5"),
    ("number", "-inf"),
    ("number", "nan"),
    ("date", "1979-05-27T07:32:00Z"),
    ("date", "07:32:00"),
    ("string", "\"\""),
    ("string", "\"\\u0000\""),
    ("string", "\"no such word\""),
    ("array", "[[\"inner\"]]"),
    ("array", "[[]]"),
    ("array", "[1.5]"),
    ("array", "[\"no such word\"]"),
    ("array", "[1979-05-27]"),
    ("array", "[{ zzz = 1 }]"),
    ("object", "{ zzz = 1 }"),
    ("object", "{ zzz = { zzz = 1.5 } }"),
];

/// Texts that no key of such a kind takes.
const TEXTS: &[(&str, &[&str])] = &[
    ("duration", &["-1s", "5", "1.5", "s", "1y", "NaNs", "1e9s", "169h", "99999999999999999999h"]),
    ("size", &["-1B", "1.5", "B", "1ZiB", "1025GiB", "99999999999999999999B"]),
    ("share", &["-1%", "101%", "%", "1e400%", "NaN%", "1"]),
    ("name of a header", &["X Y", "é", "a:b"]),
    ("address with a port", &["10.0.0.1", "10.0.0.1:", "10.0.0.1:65536", "[::1]", "localhost"]),
    ("network", &["10.0.0.0/33", "::/129", "10.0.0.1/8", "10.0.0.0/-1"]),
];

struct Key<'s> {
    file: &'static str,
    root: &'s Value,
    steps: &'s [String],
    name: &'s str,
    schema: &'s Value,
}

impl Key<'_> {
    fn told(&self) -> String {
        format!("{}: {}.{}", self.file, self.steps.join("."), self.name)
    }

    /// A file that says this, all in one line, and where in it the value is, in characters.
    fn written(&self, value: &str) -> (String, std::ops::RangeInclusive<usize>) {
        let (mut before, mut after) = (format!("{} = ", self.name), String::new());
        let outer = self.steps.iter().enumerate().rev();
        for (at, step) in outer {
            let name = match step.as_str() {
                "[]" => {
                    before.insert_str(0, "[{ ");
                    after.push_str(" }]");
                    continue;
                }
                "*" if at
                    .checked_sub(1)
                    .and_then(|above| self.steps.get(above))
                    .is_some_and(|above| above == "error-pages") =>
                {
                    "503"
                }
                "*" => "x",
                name => name,
            };
            let is_list = self.steps.get(at + 1).is_some_and(|below| below == "[]");
            let (open, close) = if is_list { ("", "") } else { ("{ ", " }") };
            before = format!("{name} = {open}{before}");
            after.push_str(close);
        }
        let start = before.chars().count() + 1;
        (format!("{before}{value}{after}\n"), start..=start + value.chars().count())
    }

    fn problems(&self, text: &str) -> Option<Problems> {
        let files = Files::of_text(self.file, text);
        match self.file {
            "gateway.toml" => check_gateway(&files).err(),
            _ => check(&files).err(),
        }
    }

    fn takes(&self, kind: &str) -> bool {
        takes(self.root, self.schema, kind)
    }

    /// What its text is, as the schema has it.
    fn title(&self) -> Option<&str> {
        let schema = resolved(self.root, self.schema);
        let one = schema.get("items").map_or(schema, |items| resolved(self.root, items));
        one["title"].as_str()
    }
}

fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let name = schema.get("$ref").and_then(Value::as_str);
    name.and_then(|name| root.pointer(&name[1..])).unwrap_or(schema)
}

/// Whether a value of this kind may fit.
fn takes(root: &Value, schema: &Value, kind: &str) -> bool {
    let schema = resolved(root, schema);
    let any = ["anyOf", "oneOf"].iter().filter_map(|list| schema[*list].as_array()).flatten();
    let mut any = any.peekable();
    if any.peek().is_some() {
        return any.into_iter().any(|one| takes(root, one, kind));
    }
    let is_kind = |value: &Value| value.as_str() == Some(kind);
    let word = schema["enum"].as_array().and_then(|words| words.first()).or(schema.get("const"));
    match (&schema["type"], word) {
        (Value::Array(kinds), _) => kinds.iter().any(is_kind),
        (Value::Null, Some(word)) => match word {
            Value::String(_) => kind == "string",
            Value::Bool(_) => kind == "boolean",
            _ => kind == "integer",
        },
        (one, _) => is_kind(one),
    }
}

/// Calls this with each key of both files.
fn each_key(mut see: impl FnMut(&Key<'_>)) {
    for (file, root) in [("gateway.toml", schema::gateway()), ("routes.toml", schema::routes())] {
        for section in sections(&root) {
            for (name, schema) in section.keys() {
                see(&Key { file, root: &root, steps: &section.steps, name, schema });
            }
        }
    }
}

/// What is wrong with what is said of a value at a key. `must` be refused.
fn judge(key: &Key<'_>, value: &str, must: bool, wrong: &mut Vec<String>) {
    let (text, place) = key.written(value);
    let problems = key.problems(&text);
    let all: Vec<_> = problems.iter().flatten().collect();
    let here: Vec<_> = all.iter().filter(|problem| place.contains(&problem.column)).collect();
    let mut say = |what: &str| {
        let list = problems.as_ref().map_or(String::new(), ToString::to_string);
        wrong.push(format!("{}: {what}\n  {text}  {}", key.told(), list.replace('\n', "\n  ")));
    };
    if must && here.is_empty() {
        say("is not refused at its place");
    }
    let is_whole = |problem: &tenantry::config::Problem| {
        problem.column == *place.start() && problem.what.ends_with("does not fit here")
    };
    if here.len() > 1 && here.iter().any(|problem| is_whole(problem)) {
        say("is told of the whole and of a part");
    }
    for problem in &all {
        if problem.line != 1 || problem.what.is_empty() {
            say("has a problem without a place");
        }
        if problem.hint.as_ref().is_none_or(String::is_empty) {
            say("has a problem without a hint");
        }
    }
}

#[test]
fn a_value_of_a_wrong_kind_is_told_at_its_place_once_and_with_what_to_write() {
    let (mut wrong, mut keys) = (Vec::new(), 0);
    each_key(|key| {
        keys += 1;
        for (kind, value) in VALUES {
            judge(key, value, !key.takes(kind), &mut wrong);
        }
    });
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(keys > 150, "only {keys} keys");
}

/// The example of a table in a hint.
fn example(hint: &str) -> Option<&str> {
    let (_, from) = hint.split_once(", as in {")?;
    Some(from).filter(|from| from.ends_with('}') && !from.contains('…'))
}

#[test]
fn a_table_that_a_hint_shows_is_one_that_fits() {
    let (mut wrong, mut shown) = (Vec::new(), 0);
    each_key(|key| {
        let problems = key.problems(&key.written("1.5").0);
        let hints = problems.iter().flatten().filter_map(|problem| problem.hint.as_deref());
        for table in hints.filter_map(example) {
            shown += 1;
            let (text, place) = key.written(&format!("{{{table}"));
            let told = key.problems(&text);
            // Files and pools of the example are not there.
            let misfits = told.iter().flatten().filter(|one| {
                place.contains(&one.column)
                    && (one.what.contains("does not fit") || one.what.contains("there is no key"))
            });
            wrong.extend(misfits.map(|one| format!("{}: {text}  {one}", key.told())));
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(shown > 25, "only {shown} examples");
}

#[test]
fn a_text_that_is_out_of_range_or_none_of_its_kind_is_told_at_its_place() {
    let (mut wrong, mut keys) = (Vec::new(), 0);
    each_key(|key| {
        let Some(title) = key.title() else { return };
        let Some((_, texts)) = TEXTS.iter().find(|(kind, _)| *kind == title) else { return };
        keys += 1;
        for text in *texts {
            let value = match key.takes("array") {
                true => format!("[\"{text}\"]"),
                false => format!("\"{text}\""),
            };
            judge(key, &value, true, &mut wrong);
        }
        let meaning = stated::read(key.schema["description"].as_str().unwrap()).meaning;
        if title == "duration" && (meaning.contains("above 0") || meaning.contains("from `1s`")) {
            judge(key, "\"0s\"", true, &mut wrong);
        }
    });
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(keys > 50, "only {keys} keys");
}

#[test]
fn a_number_out_of_its_range_is_told_at_its_place() {
    let (mut wrong, mut keys) = (Vec::new(), 0);
    each_key(|key| {
        let schema = resolved(key.root, key.schema);
        let (least, most) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
        let (Some(least), Some(most)) = (least, most) else { return };
        keys += 1;
        for number in [least - 1, most.saturating_add(1), i64::MIN] {
            if !(least..=most).contains(&number) {
                judge(key, &number.to_string(), true, &mut wrong);
            }
        }
    });
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(keys > 20, "only {keys} keys");
}
