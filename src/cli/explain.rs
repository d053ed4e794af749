//! `tenantry explain`: where a request would go and why, by the files or by a running gateway.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use http::{Method, Uri};
use serde_json::{Value, json};

use crate::config::secrets::Secrets;
use crate::config::{self, Known};
use crate::control::explain::{self, Explained, Question};
use crate::pool::balancer;

use super::asking::{self, Credentials};

/// What request, and who is asked.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The gateway's own file; it names the routes
    #[arg(long, value_name = "PATH", default_value = "config/gateway.toml")]
    config: PathBuf,
    /// Ask the running gateway whose admin API is here, as in http://127.0.0.1:9900
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    admin: Option<Uri>,
    /// The tenant, where the request itself does not name it
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// A header of the request, as in 'X-Beta: 1'
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    credentials: Credentials,
    /// The method, as in GET
    method: Method,
    /// A path, or a URL whose host is the request's
    target: Uri,
}

/// Answers, as text with a line break at its end.
pub(super) fn explain(args: &ExplainArgs) -> anyhow::Result<String> {
    let explained = match &args.admin {
        Some(admin) => ask(admin, args)?,
        None => by_files(args)?,
    };
    if args.json {
        return Ok(serde_json::to_string_pretty(&explained)? + "\n");
    }
    Ok(text(&explained))
}

fn by_files(args: &ExplainArgs) -> anyhow::Result<Explained> {
    let text = config::read_gateway(&args.config)?;
    let gateway = config::check_gateway(&text)?;
    let holds = explain::of_gateway(&gateway, Some(&text));
    let files = config::read_routes(&gateway.routes)?;
    let spec = config::check_routes(
        &files,
        &Known { balancers: balancer::names(), keyed: balancer::keyed_names() },
    )?;
    let told = (&*holds, &Secrets::of(&gateway.access_log.mask));
    explain::explain(files, spec, told, &question(args)?).map_err(|faults| {
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the routes cannot run:\n{}", told.join("\n"))
    })
}

fn question(args: &ExplainArgs) -> anyhow::Result<Question> {
    let headers = args.headers.iter().map(String::as_str);
    Question::new(args.tenant.as_deref(), &args.method, &args.target, headers)
        .map_err(anyhow::Error::msg)
}

fn ask(admin: &Uri, args: &ExplainArgs) -> anyhow::Result<Explained> {
    question(args)?; // what is wrong with it is told here, before anybody is asked
    let asked = ("/api/v1/explain", &body(args));
    let (status, body) = asking::post(admin, asked, &args.credentials, LIMIT)?;
    if !status.is_success() {
        let detail = asking::detail(&body);
        bail!("the admin API answered {status}: {detail}");
    }
    serde_json::from_slice(&body).context("the admin API answered with something else")
}

/// A body, and not a query, which proxies on the way and their logs have: a header may be a credential.
fn body(args: &ExplainArgs) -> Value {
    json!({
        "method": args.method.as_str(),
        "target": args.target.to_string(),
        "tenant": args.tenant,
        "headers": args.headers,
    })
}

/// For people.
fn text(explained: &Explained) -> String {
    let mut text = format!("{}\n  {}\n", explained.request, explained.outcome);
    let place =
        |place: &Option<String>| place.as_ref().map_or(String::new(), |at| format!("  ({at})"));
    text += "\nTenant\n";
    for way in &explained.naming {
        text += &format!("  {} {}{}\n", way.way, way.says, place(&way.place));
    }
    if let Some(tenant) = &explained.tenant {
        text += &format!("  {}{}\n", tenant.name, place(&tenant.place));
    }
    if let Some(plan) = &explained.plan {
        text += &format!("  plan {}{}\n", plan.name, place(&plan.place));
    }
    if !explained.routes.is_empty() {
        text += "\nRoutes\n";
    }
    for route in &explained.routes {
        let verdict = &route.verdict;
        let mark = if verdict.chosen { "takes it" } else { "not" };
        let of = format!("{}.routes[{}]", verdict.of, verdict.index);
        text += &format!("  {mark:<8}  {}  {of}{}\n", verdict.name, place(&route.place));
        for reason in &verdict.reasons {
            text += &format!("            {reason}\n");
        }
    }
    if let Some(pool) = &explained.pool {
        text += &format!("\nPool {}{}\n", pool.name, place(&pool.place));
        for source in &pool.sources {
            text += &format!("  from {source}\n");
        }
        if pool.panicking {
            text += "  too few endpoints are healthy: all are used\n";
        }
        for endpoint in &pool.endpoints {
            let state = if endpoint.eligible { "eligible" } else { "out" };
            text += &format!("  {state:<8}  {}  {}\n", endpoint.address, endpoint.why);
        }
    }
    if !explained.settings.is_empty() {
        text += "\nSettings\n";
    }
    for setting in &explained.settings {
        text += &format!(
            "  {:<37}  {:<34}  {}{}\n",
            setting.key,
            setting.value,
            setting.set_by,
            place(&setting.place)
        );
    }
    text
}

/// 10 s: a hundred thousand tenants are read through in less than one.
const LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_header_of_the_request_is_in_no_url() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let args = ExplainArgs {
            config: PathBuf::new(),
            admin: Some(admin),
            tenant: Some("acme".to_owned()),
            headers: vec!["X-API-Key: do-not-tell".to_owned()],
            json: false,
            credentials: Credentials::default(),
            method: Method::GET,
            target: Uri::from_static("/x?y=z"),
        };

        let request = thread::scope(|scope| {
            let server = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut text, mut bytes) = (String::new(), [0; 1024]);
                while !text.ends_with('}') {
                    let read = stream.read(&mut bytes).unwrap();
                    assert_ne!(read, 0, "{text}");
                    text += std::str::from_utf8(&bytes[..read]).unwrap();
                }
                let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
                text
            });
            let error = format!("{:#}", explain(&args).unwrap_err());
            assert!(error.contains("503"), "{error}");
            server.join().unwrap()
        });

        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /api/v1/explain HTTP/1.1\r\n"), "{head}");
        assert!(!head.contains("do-not-tell"), "{head}");
        assert_eq!(
            serde_json::from_str::<Value>(body).unwrap(),
            json!({"method": "GET", "target": "/x?y=z", "tenant": "acme",
                "headers": ["X-API-Key: do-not-tell"]})
        );
    }
}
