//! `tenantry history` and `tenantry rollback`: what a running gateway's last generations were, and back
//! to one of them.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use http::{Method, StatusCode, Uri};
use serde_json::Value;

use super::asking::{self, Credentials};

/// Of which gateway.
#[derive(Args, Debug)]
pub(super) struct HistoryArgs {
    /// The admin API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9900")]
    admin: Uri,
    #[command(flatten)]
    shown: Credentials,
    /// Tell all of this one generation
    generation: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Back to which generation, and of which gateway.
#[derive(Args, Debug)]
pub(super) struct RollbackArgs {
    /// The generation, as `tenantry history` lists them
    generation: u64,
    /// The admin API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9900")]
    admin: Uri,
    #[command(flatten)]
    shown: Credentials,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
}

/// What is to be printed.
pub(super) fn history(args: &HistoryArgs) -> anyhow::Result<String> {
    let path = match args.generation {
        Some(generation) => format!("/api/v1/history/{generation}"),
        None => "/api/v1/history".to_owned(),
    };
    let told = ask(&args.admin, &args.shown, Method::GET, &path)?;
    if args.json || args.generation.is_some() {
        return Ok(serde_json::to_string_pretty(&told)? + "\n");
    }
    let mut text = String::new();
    for one in told["generations"].as_array().into_iter().flatten() {
        text += &(line(one) + "\n");
    }
    Ok(text)
}

/// What is to be printed.
pub(super) fn rollback(args: &RollbackArgs) -> anyhow::Result<String> {
    let dry_run = if args.dry_run { "?dry_run=1" } else { "" };
    let path = format!("/api/v1/rollback/{}{dry_run}", args.generation);
    let told = ask(&args.admin, &args.shown, Method::POST, &path)?;
    let mut text = String::new();
    for (key, mark) in [("restored", "~"), ("removed", "-")] {
        for id in told[key].as_array().into_iter().flatten().filter_map(Value::as_str) {
            text += &format!("{mark} tenants.{id}\n");
        }
    }
    for id in told["in_files"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        text += &format!("! tenants.{id} stays: a file defines it now\n");
    }
    if text.is_empty() {
        text += "nothing changes of the tenants that the API keeps\n";
    }
    if let Some(warning) = told["warning"].as_str() {
        text += &format!("! {warning}\n");
    }
    text += &match args.dry_run {
        true => "nothing was changed: it was a dry run\n".to_owned(),
        false => format!("generation {} is live\n", told["generation"]),
    };
    Ok(text)
}

fn ask(admin: &Uri, shown: &Credentials, method: Method, path: &str) -> anyhow::Result<Value> {
    let (status, body) = asking::send(admin, (method, path), shown, LIMIT)?;
    if status != StatusCode::OK {
        bail!("the admin API answers {status}: {}", asking::detail(&body));
    }
    Ok(serde_json::from_slice(&body)?)
}

/// One generation for people: number, time, who, and what was other.
fn line(one: &Value) -> String {
    let by = &one["by"];
    let who = match (by["name"].as_str(), by["from"].as_str()) {
        (Some(name), Some(from)) => format!("{name} at {from}"),
        (None, Some(from)) => format!("operator at {from}"),
        (Some(name), None) => name.to_owned(),
        (None, None) => by["kind"].as_str().unwrap_or_default().to_owned(),
    };
    let mut parts = Vec::new();
    for (table, noun) in [("tenants", "tenants"), ("pools", "pools"), ("route_sets", "route sets")]
    {
        let of = |kind: &str, mark: &str| {
            let names = &one["diff"][table][kind];
            let count = names["count"].as_u64().unwrap_or_default();
            let first = names["first"][0].as_str().unwrap_or_default();
            match count {
                0 => None,
                1 => Some(format!("{mark}{first}")),
                more => Some(format!("{mark}{first} and {} more", more - 1)),
            }
        };
        let told: Vec<String> = [("added", "+"), ("changed", "~"), ("removed", "-")]
            .into_iter()
            .filter_map(|(kind, mark)| of(kind, mark))
            .collect();
        if !told.is_empty() {
            parts.push(format!("{noun} {}", told.join(" ")));
        }
    }
    for (key, noun) in [("naming", "naming"), ("error_pages", "error pages")] {
        if one["diff"][key] == true {
            parts.push(noun.to_owned());
        }
    }
    let what = if parts.is_empty() { "-".to_owned() } else { parts.join(", ") };
    format!(
        "{:>6}  {}  {who}: {what}",
        one["generation"].as_u64().unwrap_or_default(),
        one["at"].as_str().unwrap_or_default(),
    )
}

/// 30 s: as long as the API takes for a change.
const LIMIT: Duration = Duration::from_secs(35);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_generation_is_one_line() {
        let none = json!({"count": 0, "first": []});
        let others = |added: Value| json!({"added": added, "changed": none, "removed": none});
        let one = json!({
            "generation": 17,
            "at": "2026-03-01T10:05:42.003Z",
            "by": {"kind": "operator", "name": "alice", "from": "10.0.0.7"},
            "diff": {
                "tenants": others(json!({"count": 3, "first": ["acme", "b", "c"]})),
                "pools": others(none.clone()),
                "route_sets": others(none.clone()),
                "naming": true,
                "error_pages": false,
            },
        });

        assert_eq!(
            line(&one),
            "    17  2026-03-01T10:05:42.003Z  alice at 10.0.0.7: tenants +acme and 2 more, naming"
        );
        let start = json!({"generation": 1, "at": "t", "by": {"kind": "start"}});
        assert_eq!(line(&start), "     1  t  start: -");
    }
}
