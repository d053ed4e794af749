//! The reference of all keys in docs/configuration/, made of the schemas.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;
use tenantry::config::stated;

use super::{compare, root, schema};

/// A table of keys: where it stands in its file, and what its schema says.
pub(crate) struct Section<'s> {
    /// The keys on the way there; `[]` is an element of an array, `*` an entry of any name.
    pub(crate) steps: Vec<String>,
    pub(crate) schema: &'s Value,
}

impl<'s> Section<'s> {
    /// Its keys with their schemas.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'s String, &'s Value)> + use<'s> {
        self.schema["properties"].as_object().into_iter().flatten()
    }

    fn heading(&self) -> String {
        let names = self.steps.iter().filter(|step| *step != "[]");
        let names: Vec<&str> =
            names.map(|step| if step == "*" { "NAME" } else { step.as_str() }).collect();
        let name = names.join(".");
        match self.steps.last().map(String::as_str) {
            None => "At the top".to_owned(),
            Some("[]") => format!("`[[{name}]]`"),
            Some(_) => format!("`[{name}]`"),
        }
    }
}

/// Every table of keys once, where it comes first.
pub(crate) fn sections(root: &Value) -> Vec<Section<'_>> {
    walk(root, |old, new| !std::ptr::eq(old.schema, new.schema))
}

/// Every table of keys in each place where it may stand.
fn places(root: &Value) -> Vec<Section<'_>> {
    walk(root, |old, new| old.steps != new.steps)
}

/// Every table of keys that differs from all before it.
fn walk(root: &Value, differs: impl Fn(&Section<'_>, &Section<'_>) -> bool) -> Vec<Section<'_>> {
    let mut sections = vec![Section { steps: Vec::new(), schema: root }];
    let mut at = 0;
    while at < sections.len() {
        let steps = sections[at].steps.clone();
        let mut found = Vec::new();
        let mut keys: Vec<_> = sections[at].keys().collect();
        // What a plan says are tables of a tenant, which are described there.
        keys.sort_by_key(|(key, _)| *key == "plans");
        for (key, property) in keys {
            let steps = [steps.clone(), vec![key.clone()]].concat();
            tables(root, property, steps, &mut found);
        }
        at += 1;
        let mut end = at;
        for new in found {
            if sections.iter().all(|old| differs(old, &new)) {
                sections.insert(end, new);
                end += 1;
            }
        }
    }
    sections
}

fn tables<'s>(
    root: &'s Value,
    schema: &'s Value,
    steps: Vec<String>,
    found: &mut Vec<Section<'s>>,
) {
    let schema = resolved(root, schema);
    let below = |step: &str| [steps.clone(), vec![step.to_owned()]].concat();
    if let Some(items) = schema.get("items") {
        tables(root, items, below("[]"), found);
    }
    if let Some(values @ Value::Object(_)) = schema.get("additionalProperties") {
        tables(root, values, below("*"), found);
    }
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        tables(root, choice, steps.clone(), found);
    }
    if schema.get("properties").is_some() {
        found.push(Section { steps, schema });
    }
}

/// What a reference stands for; the description beside it is the key's own.
fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let name = schema.get("$ref").and_then(Value::as_str);
    name.map_or(schema, |name| root.pointer(&name[1..]).unwrap())
}

/// Where each table is described, by its schema: more than once where it may stand in several places.
type Links = BTreeMap<*const Value, Vec<String>>;

/// What may be written; `own` is where a table that stands in this place alone would be described.
fn value(root: &Value, schema: &Value, (links, own): (&Links, &str)) -> String {
    let schema = resolved(root, schema);
    if let Some(anchors) = links.get(&std::ptr::from_ref(schema)) {
        let anchor = anchors.iter().find(|anchor| *anchor == own).unwrap_or(&anchors[0]);
        return format!("[table](#{anchor})");
    }
    let links = (links, own);
    if let Some(choices) = schema["anyOf"].as_array() {
        let words: Vec<String> = choices.iter().map(|choice| value(root, choice, links)).collect();
        return words.join(", or ");
    }
    if let Some(only) = schema.get("const") {
        return format!("`{only}`");
    }
    match schema["type"].as_str() {
        _ if schema["type"] == serde_json::json!(["integer", "number"]) => "number".to_owned(),
        _ if schema["type"].is_array() => "number or text".to_owned(),
        Some("array") => format!("array: {}", value(root, &schema["items"], links)),
        Some("object") => {
            format!("by name: {}", value(root, &schema["additionalProperties"], links))
        }
        Some("integer") => "number".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("string") => schema["title"].as_str().unwrap_or("text").to_owned(),
        _ => "word".to_owned(),
    }
}

fn range(root: &Value, schema: &Value, meaning: &str) -> String {
    let schema = resolved(root, schema);
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> =
            words.iter().map(|word| format!("`{}`", word.to_string().trim_matches('"'))).collect();
        return words.join(", ");
    }
    match (schema["type"].as_str(), schema["title"].as_str()) {
        (Some("array"), _) => range(root, &schema["items"], ""),
        (Some("object"), _) => range(root, &schema["additionalProperties"], ""),
        (Some("integer"), _) => format!("{} to {}", schema["minimum"], schema["maximum"]),
        (_, Some("duration")) if meaning.contains("`0s` =") => format!("`0s` to `{LONGEST}`"),
        (_, Some("duration")) => {
            let (from, _) = bounds(meaning);
            let to =
                meaning.split_once("no longer than `").and_then(|(_, to)| to.split('`').next());
            format!("`{}` to `{}`", from.unwrap_or("1ms"), to.unwrap_or(LONGEST))
        }
        (_, Some("share")) => "`0%` to `100%`".to_owned(),
        (_, Some("size")) => match bounds(meaning) {
            (None, None) => "any".to_owned(),
            (from, to) => {
                let to = to.map_or(String::new(), |to| format!(" to `{to}`"));
                format!("from `{}`{to}", from.unwrap_or("0B"))
            }
        },
        _ => String::new(),
    }
}

/// The bounds that a meaning names: "from `1KiB` to `1MiB`", "up to `16MiB`".
pub(crate) fn bounds(meaning: &str) -> (Option<&str>, Option<&str>) {
    let after = |mark: &str| meaning.split_once(mark).and_then(|(_, rest)| rest.split('`').next());
    (after("from `"), after("up to `").or_else(|| after("` to `")))
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The page of one file.
fn page(file: &str, root: &Value) -> String {
    // In routes.toml most tables may stand in several places, where they mean the same.
    let sections = if file == "gateway.toml" { places(root) } else { sections(root) };
    let mut links = Links::new();
    for section in &sections {
        links.entry(section.schema).or_default().push(anchor(&section.heading()));
    }
    let mut page = format!(
        "# Every key of `{file}`\n\n\
         Made of the [schema](../../config/schema/{0}.schema.json) by \
         `TENANTRY_RENEW=1 cargo test --test config`: an edit here\nwould be lost. \
         [configuration.md](../configuration.md) is the guide, and tells how values are written.\n\n",
        file.trim_end_matches(".toml"),
    );
    for section in &sections {
        let heading = section.heading();
        writeln!(page, "- [{heading}](#{})", anchor(&heading)).unwrap();
    }
    for section in &sections {
        let about = one_line(section.schema["description"].as_str().unwrap());
        writeln!(page, "\n## {}\n\n{about}\n", section.heading()).unwrap();
        page += "| key | meaning | value | default | range |\n|---|---|---|---|---|\n";
        for (key, property) in section.keys() {
            let stated = stated::read(property["description"].as_str().unwrap());
            let cells = [
                format!("`{key}`"),
                stated.meaning.clone(),
                value(root, property, (&links, &(anchor(&section.heading()) + key))),
                stated.default.unwrap_or_default(),
                range(root, property, &stated.meaning),
            ];
            let cells = cells.map(|cell| cell.replace('|', "\\|"));
            writeln!(page, "| {} |", cells.join(" | ")).unwrap();
        }
    }
    page
}

#[test]
fn the_reference_is_that_of_the_schemas() {
    let mut wrong = Vec::new();
    for (file, schema) in [("gateway.toml", schema::gateway()), ("routes.toml", schema::routes())] {
        let path = root().join("docs/configuration").join(file).with_extension("md");
        compare(&path, &page(file, &schema), &mut wrong);
    }
    assert!(wrong.is_empty(), "renew it with TENANTRY_RENEW=1:\n{}", wrong.join("\n"));
}

#[test]
fn every_table_of_the_schemas_has_a_heading_of_its_own() {
    for schema in [schema::gateway(), schema::routes()] {
        let mut anchors: Vec<String> =
            sections(&schema).iter().map(|section| anchor(&section.heading())).collect();
        let count = anchors.len();
        anchors.sort();
        anchors.dedup();

        assert!(count > 10 && anchors.len() == count, "{anchors:?}");
    }
}

#[test]
fn every_link_of_the_guide_into_the_reference_leads_to_a_heading() {
    let guide = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let mut links = 0;
    for (name, schema) in [("gateway", schema::gateway()), ("routes", schema::routes())] {
        let anchors: Vec<String> =
            sections(&schema).iter().map(|section| anchor(&section.heading())).collect();
        for link in guide.split(&format!("(configuration/{name}.md#")).skip(1) {
            let link = link.split(')').next().unwrap();
            assert!(anchors.iter().any(|anchor| anchor == link), "{name}.md#{link}: {anchors:?}");
            links += 1;
        }
    }
    assert!(links > 2, "{links}");
}

/// A week; [`super::defaults`] holds it against the check.
pub(crate) const LONGEST: &str = "168h";
