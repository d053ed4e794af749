//! JSON schemas of both files, for editors.

use schemars::SchemaGenerator;
use serde_json::Value;

use super::raw::{Gateway, Routes};
use super::stated;

/// The schema of `gateway.toml`.
pub fn gateway() -> Value {
    finished(SchemaGenerator::default().into_root_schema_for::<Gateway>().to_value())
}

/// The schema of the routes file.
pub fn routes() -> Value {
    finished(SchemaGenerator::default().into_root_schema_for::<Routes>().to_value())
}

fn finished(mut schema: Value) -> Value {
    drop_null(&mut schema);
    stated::put_in(&mut schema);
    schema
}

/// Takes `null` out of every choice: a key of TOML is there or it is not.
fn drop_null(schema: &mut Value) {
    match schema {
        Value::Array(values) => values.iter_mut().for_each(drop_null),
        Value::Object(object) => {
            for list in ["type", "enum", "anyOf"] {
                let Some(Value::Array(values)) = object.get_mut(list) else { continue };
                values.retain(|value| !is_null(value));
                if values.len() > 1 || list == "enum" {
                    continue;
                }
                match (list, values.pop()) {
                    ("anyOf", Some(Value::Object(only))) => {
                        object.remove(list);
                        object.extend(only);
                    }
                    (_, Some(only)) => drop(object.insert(list.to_owned(), only)),
                    (_, None) => drop(object.remove(list)),
                }
            }
            object.values_mut().for_each(drop_null);
        }
        _ => {}
    }
}

fn is_null(value: &Value) -> bool {
    value.is_null() || value == "null" || value.get("type").is_some_and(|kind| kind == "null")
}
