//! What the schemas state of each key is held against what the check makes of it: a default is what
//! holds without the key, a bound is where values begin to be refused.

use serde_json::{Map, Value, json};
use tenantry::base::units::byte_size;
use tenantry::config::spec::{RetrySpec, TimeoutsSpec};
use tenantry::config::stated::{self, Stated};
use tenantry::config::{Files, Problems, check_gateway};
use tenantry::resilience::deadline::Deadlines;
use tenantry::resilience::hedging::HedgeRule;
use tenantry::resilience::retry::RetryRule;

use super::reference::{LONGEST, Section, bounds, sections};
use super::{check, schema};

/// One key, in the file that it is of.
struct Key<'s> {
    file: &'static str,
    section: &'s Section<'s>,
    name: &'s str,
    schema: &'s Value,
    stated: Stated,
}

impl Key<'_> {
    fn path(&self) -> String {
        let steps = self.section.steps.join(".");
        format!("{}: {steps}.{}", self.file, self.name)
    }

    /// What a good file means in which the key has this value; `None` = it is not written.
    fn meaning(&self, value: Option<&Value>) -> Result<String, Problems> {
        let mut file = match self.file {
            "gateway.toml" => gateway(),
            _ => routes(),
        };
        let table = table(&mut file, &self.section.steps);
        table.remove(self.name);
        table.extend(value.map(|value| (self.name.to_owned(), value.clone())));
        let text = toml::Table::try_from(&file).unwrap().to_string();
        let files = Files::of_text(self.file, &text);
        if self.file == "gateway.toml" {
            return check_gateway(&files).map(|spec| without_places(&format!("{spec:?}")));
        }
        let spec = check(&files)?;
        let pool = &spec.pools.values().next().unwrap();
        // Levels that are resolved for each request.
        Ok(match self.section.steps.last().map(String::as_str) {
            Some("timeouts") => {
                format!("{:?}", Deadlines::resolve(&TimeoutsSpec::default(), &pool.timeouts))
            }
            Some("retry") => {
                format!("{:?}", RetryRule::resolve(&RetrySpec::default(), &pool.retry))
            }
            Some("hedge") => format!("{:?}", HedgeRule::resolve(None, pool.retry.hedge.as_ref())),
            _ => without_places(&format!("{spec:?}")),
        })
    }

    /// Whether the check has something against this value at the key.
    fn refuses(&self, value: &Value) -> bool {
        let problems = self.meaning(Some(value)).err();
        let ends = |problem: &tenantry::config::Problem| {
            problem.key.rsplit(['.', '[']).next() == Some(self.name)
        };
        problems.is_some_and(|problems| problems.iter().any(ends))
    }
}

/// Calls this with each key of both files.
fn each_key(mut see: impl FnMut(&Key<'_>)) {
    let files = [("gateway.toml", schema::gateway()), ("routes.toml", schema::routes())];
    for (file, schema) in &files {
        for section in &sections(schema) {
            for (name, schema) in section.keys() {
                let stated = stated::read(schema["description"].as_str().unwrap_or_default());
                see(&Key { file, section, name, schema, stated });
            }
        }
    }
}

/// A file with what its tables cannot be without.
fn gateway() -> Value {
    json!({
        "listeners": [{ "address": "unix:/run/tenantry.sock" }],
        "trusted-proxies": { "from": ["10.0.0.0/8"] },
        "tracing": { "exporter": "otlp-http" },
        "usage": { "folder": "usage" },
        "replay-files": { "folder": "replay" },
        "shared-limits": { "url": "redis://10.0.0.5" },
    })
}

fn routes() -> Value {
    let limits = json!({
        "requests": "10/s",
        "concurrency": 5,
        "overflow": "wait",
        "client": { "requests": "10/s", "overflow": "wait" },
        "subject": { "requests": "10/s", "overflow": "wait" },
    });
    json!({
        "error-pages": { "503": { "body": "x" } },
        "identity": { "issuers": { "i": {
            "issuer": "https://a.example", "audience": ["a"], "jwks-file": "tests/config/keys.json",
        }, "u": {
            "issuer": "https://u.example", "audience": ["a"], "jwks-url": "https://u.example/",
            "fetch": {},
        } }, "authorizers": { "z": { "pool": "a" } } },
        "pools": { "a": {
            "endpoints": [{ "address": "10.0.0.1:80" }],
            "health": { "http": "/" },
            "concurrency": {},
            "sticky": { "cookie": "stay", "keys": ["0123456789abcdef0123456789abcdef"] },
        }, "b": { "endpoints": [{ "address": "10.0.0.2:80" }] } },
        "route-sets": { "s": { "routes": [
            { "path": "/a", "limits": limits },
            { "path": "/b", "redirect": { "to": "/x" } },
            { "path": "/c", "respond": {} },
            { "path": "/d", "split": {
                "pools": { "a": 1, "b": 1 }, "canary": { "pool": "b", "rollback": { "errors": "5%" } },
            } },
            { "path": "/e", "state": "maintenance", "maintenance": {} },
            { "path": "/f", "mirror": { "pool": "b" } },
        ] } },
        "tenants": {
            "a": {
                "pool": "a",
                "use": ["s"],
                "cors": { "origins": ["https://a.example"] },
                "limits": limits,
            },
            "b": { "pool": "a", "state": "maintenance", "maintenance": {} },
        },
    })
}

/// The table at the end of these steps; of several elements or entries the one that has the next
/// step already, else the first.
fn table<'f>(file: &'f mut Value, steps: &[String]) -> &'f mut Map<String, Value> {
    let Some((step, rest)) = steps.split_first() else { return file.as_object_mut().unwrap() };
    let next = rest.first().map_or("", String::as_str);
    let has = |value: &Value| value.get(next).is_some();
    let below = match step.as_str() {
        "[]" => {
            let elements = file.as_array_mut().unwrap();
            let at = elements.iter().position(has).unwrap_or_default();
            &mut elements[at]
        }
        "*" => {
            let entries = file.as_object_mut().unwrap();
            let name = entries.iter().find(|(_, value)| has(value)).or(entries.iter().next());
            let name = name.unwrap().0.clone();
            entries.get_mut(&name).unwrap()
        }
        name => {
            let new = match next {
                "[]" => json!([{}]),
                "*" => json!({ "x": {} }),
                _ => json!({}),
            };
            file.as_object_mut().unwrap().entry(name).or_insert(new)
        }
    };
    table(below, rest)
}

/// Where a value is written is no part of what it means.
fn without_places(spec: &str) -> String {
    let mut parts = spec.split("Place {");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once('}').map_or("", |(_, rest)| rest))
}

/// Another value than this for the key, where there is one that surely differs.
fn other(key: &Key<'_>, default: &Value) -> Option<Value> {
    if let Some(words) = key.schema["enum"].as_array() {
        return words.iter().find(|word| *word != default).cloned();
    }
    let ends = [&key.schema["minimum"], &key.schema["maximum"]];
    match (default, key.schema["title"].as_str()) {
        (Value::Bool(value), _) => Some(json!(!value)),
        (Value::Number(_), _) => ends.into_iter().find(|end| *end != default).cloned(),
        (_, Some("duration")) => Some(json!("77s")),
        (_, Some("size")) => Some(json!("77KiB")),
        (_, Some("share")) => Some(json!("77%")),
        _ => None,
    }
}

#[test]
fn every_key_states_what_it_is_for_and_what_holds_without_it() {
    let mut silent = Vec::new();
    each_key(|key| {
        let is_table = key.schema.get("$ref").is_some() && key.schema.get("default").is_none();
        if key.stated.meaning.len() < 4 {
            silent.push(format!("{} has no meaning", key.path()));
        }
        if key.stated.default.is_none() && !is_table {
            silent.push(format!("{} says neither `Default: …` nor `Must be there`", key.path()));
        }
        let words = ["timeout", "interval", "window", "max-age", "size", "memory", "bytes"];
        if key.schema["type"] == "integer" && words.iter().any(|word| key.name.contains(word)) {
            silent.push(format!("{} is a bare number that needs a unit", key.path()));
        }
    });

    assert!(silent.is_empty(), "in the doc comments of src/config/raw:\n{}", silent.join("\n"));
}

#[test]
fn every_stated_default_is_what_holds_without_the_key() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    each_key(|key| {
        let Some(default) = key.schema.get("default") else { return };
        seen += 1;
        let without = key.meaning(None).unwrap_or_else(|found| panic!("{}: {found}", key.path()));
        // That it is written bounds what tenants' own tokens may set, and is kept; it means the same for requests.
        let unwritten = |with: String| with.replace("overflow: Some(Reject)", "overflow: None");
        match key.meaning(Some(default)).map(unwritten) {
            Ok(with) if with == without => {}
            with => wrong.push(format!("{} = {default}: {with:?}\nnot {without}", key.path())),
        }
        if let Some(other) = other(key, default)
            && key.meaning(Some(&other)).is_ok_and(|with| with == without)
        {
            wrong.push(format!("{} = {other} is the same as {default}", key.path()));
        }
    });

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 60, "only {seen} defaults were found");
}

#[test]
fn values_are_taken_up_to_the_bounds_that_are_stated_and_refused_beyond() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    each_key(|key| {
        for (value, good) in around_bounds(key) {
            seen += 1;
            if key.refuses(&value) == good {
                let what = if good { "refused" } else { "taken" };
                wrong.push(format!("{} = {value} is {what}", key.path()));
            }
        }
    });

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 150, "only {seen} bounds were found");
}

/// Values at the bounds of a key and beyond, and whether they are good.
fn around_bounds(key: &Key<'_>) -> Vec<(Value, bool)> {
    let schema = key.schema;
    if let Some(words) = schema["enum"].as_array() {
        let good = words.iter().map(|word| (word.clone(), true));
        return good.chain([(json!("nonsense"), false)]).collect();
    }
    let meaning = &key.stated.meaning;
    let (from, to) = bounds(meaning);
    match (schema["type"].as_str(), schema["title"].as_str()) {
        (Some("integer"), _) => {
            let [least, most] = ["minimum", "maximum"].map(|end| schema[end].as_i64().unwrap());
            let ends = [(least, true), (most, true), (least - 1, false), (most + 1, false)];
            ends.into_iter().map(|(value, good)| (json!(value), good)).collect()
        }
        (_, Some("duration")) => {
            let mut values = vec![(json!("169h"), false)];
            if !meaning.contains("no longer than") {
                values.push((json!(LONGEST), true));
            }
            if meaning.contains("above 0") || from.is_some() {
                values.push((json!("0s"), false));
            } else if meaning.contains("`0s` =") {
                values.push((json!("0s"), true));
            }
            values.extend(from.map(|from| (json!(from), true)));
            values
        }
        (_, Some("size")) => {
            let bytes = |size: &str| byte_size(size).unwrap().0;
            let below = |size: &str| json!(format!("{}B", bytes(size) - 1));
            let above = |size: &str| json!(format!("{}B", bytes(size) + 1));
            let from = from.map(|from| [(json!(from), true), (below(from), false)]);
            let to = to.map(|to| [(json!(to), true), (above(to), false)]);
            from.into_iter().chain(to).flatten().collect()
        }
        (_, Some("share")) => {
            vec![(json!("0%"), true), (json!("100%"), true), (json!("101%"), false)]
        }
        _ => Vec::new(),
    }
}
