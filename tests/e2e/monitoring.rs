//! What config/prometheus/ and config/grafana/ bring: promtool's tests, a real Prometheus that scrapes
//! a gateway, and that no rule and no panel asks for what is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::gateway::Gateway;
use crate::world::process::{Backend, Process, run};
use crate::world::{Answer, PYTHON, curl, eventually, free_port};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rules(name: &str) -> PathBuf {
    root().join("config/prometheus").join(name)
}

fn promtool(arguments: &[&str]) {
    let mut promtool = Command::new("promtool");
    let done = run(promtool.args(arguments).current_dir(root().join("config/prometheus")));
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && !said.contains("FAILED"), "{said}");
}

/// The rules of a file, as YAML has them.
fn rules_of(name: &str) -> Vec<Value> {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let read = run(Command::new(PYTHON).args(["-c", script]).arg(rules(name)));
    let file: Value = serde_json::from_slice(&read.stdout).expect("YAML");
    let groups = file["groups"].as_array().expect("groups").iter();
    groups.flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

fn dashboard() -> Value {
    let text = fs::read_to_string(root().join("config/grafana/tenantry.json"));
    serde_json::from_str(&text.expect("read the dashboard")).expect("JSON")
}

/// Every expression of the dashboard, with the title of its panel.
fn asked_by_panels(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (title.to_owned(), text(&target["expr"])))
    });
    let marks = dashboard["annotations"]["list"].as_array().expect("annotations").iter();
    let marks = marks.filter(|mark| mark["builtIn"] != 1);
    targets.chain(marks.map(|mark| (text(&mark["name"]), text(&mark["expr"])))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// An expression with what Grafana puts in for its variables where everything is chosen.
fn filled(expr: &str) -> String {
    let filled = expr.replace("$__rate_interval", "1m");
    ["$instance", "$pool", "$tenant"].iter().fold(filled, |expr, name| expr.replace(name, ".*"))
}

#[test]
fn promtool_finds_nothing_in_the_configuration_and_each_alert_fires_when_it_should() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "tenantry.test.yml"]);
}

#[test]
fn each_alert_is_tested_has_a_runbook_and_a_severity() {
    let tests = fs::read_to_string(rules("tenantry.test.yml")).expect("read the tests");
    let runbook = fs::read_to_string(root().join("docs/alerts.md")).expect("read the runbook");
    let alerts = rules_of("tenantry.alerts.yml");
    for alert in &alerts {
        let name = text(&alert["alert"]);
        let anchor = format!("docs/alerts.md#{}", name.to_lowercase());
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} is in no test");
        assert!(runbook.contains(&format!("\n## {name}\n")), "{name} has no section");
        assert_eq!(alert["annotations"]["runbook"], anchor.as_str());
        let severity = text(&alert["labels"]["severity"]);
        assert!(["critical", "warning", "info"].contains(&severity.as_str()), "{name}");
    }
    assert_eq!(
        runbook.matches("\n## Tenantry").count(),
        alerts.len(),
        "a section without an alert"
    );
}

/// What docs/metrics.md says of a metric: its labels, and its row.
fn documented() -> BTreeMap<String, (BTreeSet<String>, String)> {
    let text = fs::read_to_string(root().join("docs/metrics.md")).expect("read the metrics");
    let code = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut found = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        for name in code(cells[0]) {
            let endings: &[&str] = match cells[1] {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            for ending in endings {
                let labels = code(cells.get(2).copied().unwrap_or_default()).into_iter().collect();
                found.insert(format!("{name}{ending}"), (labels, row.to_owned()));
            }
        }
    }
    found
}

/// One metric of an expression: its name, and label, operator and value of each matcher.
type Selector = (String, Vec<(String, String)>);

/// The metrics that an expression asks for, and the labels that it groups by. Our expressions have no
/// `{` besides those of matchers, and no braces in their values.
fn asked(expr: &str) -> (Vec<Selector>, Vec<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (mut selectors, mut grouped) = (Vec::new(), Vec::new());
    let mut rest = expr;
    while let Some(start) = rest.find(is_word) {
        let word: String = rest[start..].chars().take_while(|c| is_word(*c)).collect();
        rest = &rest[start + word.len()..];
        if ["by", "on", "without", "ignoring"].contains(&word.as_str()) {
            let (list, after) = rest.split_once(')').expect("the end of a list");
            let names = list.trim_start_matches([' ', '(']).split(',');
            grouped.extend(names.map(|name| name.trim().to_owned()));
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('{') {
            let (matchers, after) = inside.split_once('}').expect("the end of matchers");
            let pairs = matchers.split(", ").filter_map(|matcher| matcher.split_once('='));
            let pair = |(name, value): (&str, &str)| {
                let value = value.trim_matches(|c| matches!(c, '~' | '"'));
                (name.trim_end_matches('!').to_owned(), value.to_owned())
            };
            selectors.push((word, pairs.map(pair).collect()));
            rest = after;
        } else if word.contains("tenantry") || word.starts_with("process_") || word == "up" {
            selectors.push((word, Vec::new()));
        }
    }
    (selectors, grouped)
}

/// What is wrong with the names in an expression.
fn unknown(expr: &str, records: &BTreeMap<String, String>) -> Vec<String> {
    let documented = documented();
    let (selectors, grouped) = asked(expr);
    let mut wrong = Vec::new();
    let mut labels: BTreeSet<String> = ["job", "instance", "le"].map(str::to_owned).into();
    for (name, matchers) in &selectors {
        let row = match (name.as_str(), documented.get(name), records.get(name)) {
            ("up" | "ALERTS", ..) => continue,
            (_, Some((own, row)), _) => {
                labels.extend(own.iter().cloned());
                row.as_str()
            }
            (_, None, Some(record)) => {
                labels.extend(asked(record).1);
                ""
            }
            _ => {
                wrong.push(format!("there is no metric {name}"));
                continue;
            }
        };
        for (label, value) in matchers {
            if !labels.contains(label) {
                wrong.push(format!("{name} has no label {label}"));
            }
            let is_open = ["job", "instance", "pool", "tenant"].contains(&label.as_str());
            for word in value.split('|').filter(|_| !is_open) {
                if !row.contains(&format!("`{word}`")) {
                    wrong.push(format!("docs/metrics.md knows no {label}={word} of {name}"));
                }
            }
        }
    }
    wrong.extend(grouped.iter().filter(|by| !labels.contains(*by)).map(|by| format!("by {by}")));
    wrong
}

#[test]
fn no_rule_and_no_panel_asks_for_a_metric_or_label_that_is_not_there() {
    let recording = rules_of("tenantry.recording.yml");
    let records: BTreeMap<String, String> =
        recording.iter().map(|rule| (text(&rule["record"]), text(&rule["expr"]))).collect();
    let all = recording.iter().chain(&rules_of("tenantry.alerts.yml")).cloned().collect::<Vec<_>>();
    let rules = all.iter().map(|rule| {
        let name = rule.get("alert").or(rule.get("record")).expect("a name");
        (text(name), text(&rule["expr"]))
    });
    let panels = asked_by_panels(&dashboard());
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, expr) in rules.chain(panels.into_iter().map(|(name, expr)| (name, filled(&expr)))) {
        count += asked(&expr).0.len();
        wrong.extend(unknown(&expr, &records).into_iter().map(|what| format!("{name}: {what}")));
    }

    assert!(count > 80, "only {count} metrics were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(unknown("sum by (pool) (up)", &records), ["by pool"]);
    assert_eq!(unknown("tenantry_none{a=\"b\"}", &records).len(), 1);
    assert_eq!(unknown("tenantry_requests_total{class=\"6xx\", color=\"red\"}", &records).len(), 3);
}

#[test]
fn the_dashboard_is_made_as_grafana_wants_it() {
    let dashboard = dashboard();
    let keys = ["uid", "title", "tags", "schemaVersion", "templating", "time", "panels"];
    assert!(keys.iter().all(|key| !dashboard[*key].is_null()), "{keys:?}");
    // It is imported as a new one, into any Grafana: an id is of one installation alone.
    assert!(dashboard["id"].is_null() && dashboard["__inputs"].is_null());
    let mut sources = BTreeSet::new();
    each_source(&dashboard, &mut |source| sources.extend([source.to_string()]));
    let grafana = json!({ "type": "grafana", "uid": "-- Grafana --" });
    let chosen = json!({ "type": "prometheus", "uid": "${datasource}" });
    assert_eq!(sources, BTreeSet::from([grafana.to_string(), chosen.to_string()]));
    each_variable_is_there_and_asks_for_what_is_there(&dashboard);
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = text(&panel["title"]);
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: its id is taken");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| {
            panel["gridPos"][side].as_u64().unwrap_or_else(|| panic!("{title}: {side}"))
        });
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is wider than the page");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies over another panel");
        }
        let kind = text(&panel["type"]);
        if kind == "row" {
            continue;
        }
        assert!(["timeseries", "stat", "table"].contains(&kind.as_str()), "{title}: {kind}");
        assert!(!text(&panel["description"]).is_empty(), "{title} says nothing of itself");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        let targets = panel["targets"].as_array().expect("targets");
        let names: BTreeSet<String> = targets.iter().map(|target| text(&target["refId"])).collect();
        assert!(!targets.is_empty() && names.len() == targets.len(), "{title}: its queries");
        for part in targets.iter().chain([panel]) {
            assert_eq!(part["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
}

/// Calls `tell` with every data source that is named.
fn each_source(part: &Value, tell: &mut impl FnMut(&Value)) {
    let parts = part.as_object().into_iter().flatten();
    for (name, value) in parts {
        if name == "datasource" {
            tell(value);
        }
        each_source(value, tell);
    }
    part.as_array().into_iter().flatten().for_each(|part| each_source(part, tell));
}

/// The variables that Grafana fills: the metric and the label that each asks for.
fn variables(dashboard: &Value) -> BTreeMap<String, Option<(String, String)>> {
    let variables = dashboard["templating"]["list"].as_array().expect("variables").iter();
    let asked = |variable: &Value| {
        let query = variable["query"]["query"].as_str()?;
        let inside = query.strip_prefix("label_values(")?.strip_suffix(')')?;
        let (metric, label) = inside.rsplit_once(", ")?;
        Some((metric.to_owned(), label.to_owned()))
    };
    variables.map(|variable| (text(&variable["name"]), asked(variable))).collect()
}

fn each_variable_is_there_and_asks_for_what_is_there(dashboard: &Value) {
    let variables = variables(dashboard);
    assert_eq!(variables["datasource"], None);
    for (name, asked) in variables.iter().filter(|(name, _)| *name != "datasource") {
        let (metric, label) = asked.as_ref().unwrap_or_else(|| panic!("{name} asks for nothing"));
        let wrong = unknown(&format!("sum by ({label}) ({metric})"), &BTreeMap::new());
        assert_eq!(wrong, [""; 0], "{name}");
    }
    let known = |name: &str| variables.contains_key(name) || name == "__rate_interval";
    for (title, expr) in asked_by_panels(dashboard) {
        for used in expr.split('$').skip(1) {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name: String = used.chars().take_while(|c| is_word(*c)).collect();
            assert!(known(&name), "{title}: there is no variable {name}");
        }
    }
}

/// A real Prometheus with our configuration, at a pace for tests.
struct Prometheus {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    fn start(gateway: &Gateway) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let admin = gateway.admin_url();
        let paced = |name: &str| {
            let text = fs::read_to_string(rules(name)).expect("read our configuration");
            let text = text.replace("127.0.0.1:9900", admin.trim_start_matches("http://"));
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            for line in &mut lines {
                for pace in ["scrape_interval: ", "evaluation_interval: ", "for: "] {
                    if line.trim_start().starts_with(pace) {
                        let indent = line.len() - line.trim_start().len();
                        let time = if pace == "for: " { "0s" } else { "200ms" };
                        *line = format!("{}{pace}{time}", " ".repeat(indent));
                    }
                }
            }
            fs::write(folder.path().join(name), lines.join("\n")).expect("write a file");
        };
        for name in ["prometheus.yml", "tenantry.recording.yml", "tenantry.alerts.yml"] {
            paced(name);
        }
        let port = free_port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let log = fs::File::create(path("log")).expect("make the log file");
        let process = Process::start(
            Command::new("prometheus")
                .arg(format!("--config.file={}", path("prometheus.yml")))
                .arg(format!("--storage.tsdb.path={}", path("data")))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log),
        );
        let prometheus = Self { port, _process: process, _folder: folder };
        eventually("Prometheus", || prometheus.get("/-/ready", &[]).status, |now| *now == 200);
        prometheus
    }

    fn get(&self, path: &str, options: &[&str]) -> Answer {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        curl(&[&[url.as_str()], options].concat())
    }

    fn query(&self, expr: &str) -> Value {
        let expr = format!("query={expr}");
        self.get("/api/v1/query", &["--get", "--data-urlencode", &expr]).json()
    }

    /// The rules, as it has evaluated them: name and health.
    fn rules(&self) -> Vec<Value> {
        let groups = self.get("/api/v1/rules", &[]).json();
        let groups = groups["data"]["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().flat_map(|g| g["rules"].as_array().cloned().unwrap_or_default()).collect()
    }

    /// The alerts that fire, with their labels.
    fn firing(&self) -> Vec<Value> {
        let alerts = self.get("/api/v1/alerts", &[]).json();
        let alerts = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
        alerts.into_iter().filter(|alert| alert["state"] == "firing").collect()
    }

    fn fires(&self, name: &str) -> Option<Value> {
        self.firing().into_iter().find(|alert| alert["labels"]["alertname"] == name)
    }
}

#[test]
fn a_real_prometheus_scrapes_the_gateway_and_tells_what_goes_wrong() {
    let mut backend = Backend::start("shop-1");
    let routes = format!(
        "[pools.shop]\nendpoints = [\"{}\"]\nhealth = {{ http = \"/\", interval = \"100ms\" }}\n\
         retry = {{ attempts = 1 }}\n\n[tenants.acme]\npool = \"shop\"\n",
        backend.address
    );
    let mut gateway = Gateway::start(&routes);
    assert_eq!(gateway.get("acme", "/", &[]).status, 200);
    let prometheus = Prometheus::start(&gateway);

    // All is well: each rule has been evaluated, and none of them has anything to tell.
    let count = rules_of("tenantry.alerts.yml").len() + rules_of("tenantry.recording.yml").len();
    let evaluated = |rules: &Vec<Value>| {
        rules.len() == count && rules.iter().all(|rule| rule["health"] == "ok")
    };
    eventually("all rules", || prometheus.rules(), evaluated);
    let seen = || {
        gateway.get("acme", "/", &[]);
        prometheus.query("pool:tenantry_requests:rate5m{pool=\"shop\"} > 0")
    };
    eventually("the requests", seen, |answer| answer["data"]["result"].get(0).is_some());
    // A scrape that had to wait for a core was too late, and fires until the next one.
    eventually("a gateway that is well", || prometheus.firing(), Vec::is_empty);
    every_panel_gets_an_answer(&prometheus);

    backend.crash();
    let fail = |name: &'static str| {
        let ask = || {
            gateway.get("acme", "/", &[]);
            prometheus.fires(name)
        };
        eventually(name, ask, Option::is_some).expect("an alert")
    };
    let gone = fail("TenantryPoolWithoutEndpoints");
    assert_eq!(gone["labels"]["pool"], "shop");
    assert_eq!(gone["annotations"]["summary"], "Pool shop has no healthy endpoint");
    assert_eq!(fail("TenantryPoolFailsFast")["labels"]["severity"], "critical");

    gateway.edit("[tenants.acme]\npool = \"nowhere\"\n");
    let refused = || prometheus.fires("TenantryConfigRefused");
    eventually("an edit that is refused", refused, Option::is_some);
    gateway.edit(&routes);
    backend.restart("shop-1");
    let names = |alerts: &Vec<Value>| {
        let names = alerts.iter().map(|alert| text(&alert["labels"]["alertname"]));
        names.filter(|name| !name.starts_with("TenantryPoolFails")).count()
    };
    eventually("the end of it", || prometheus.firing(), |alerts| names(alerts) == 0);

    gateway.signal("KILL");
    gateway.wait();
    let down = || prometheus.fires("TenantryDown");
    eventually("a gateway that is gone", down, Option::is_some);
}

/// Each expression of the dashboard is understood, and most of them have something to show.
fn every_panel_gets_an_answer(prometheus: &Prometheus) {
    let panels = asked_by_panels(&dashboard());
    let silent = || -> Vec<&str> {
        let is_silent = |(title, expr): &&(String, String)| {
            let answer = prometheus.query(&filled(expr));
            assert_eq!(answer["status"], "success", "{title}: {answer}");
            answer["data"]["result"].get(0).is_none()
        };
        panels.iter().filter(is_silent).map(|(title, _)| title.as_str()).collect()
    };
    // A scrape that came too late leaves nothing with a value until the next one. No trouble, no certificates: those
    // panels are rightly empty.
    eventually("most panels", silent, |silent| silent.len() * 3 < panels.len());
    for (name, asked) in variables(&dashboard()) {
        let Some((metric, label)) = asked else { continue };
        let url = format!("/api/v1/label/{label}/values");
        let metric = format!("match[]={metric}");
        let answer = prometheus.get(&url, &["--get", "--data-urlencode", &metric]).json();
        assert!(answer["data"].get(0).is_some(), "{name} has nothing to choose: {answer}");
    }
}
