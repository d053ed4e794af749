//! The texts of configuration files.
//!
//! An input is text; where it has a NUL, another file of the folder begins. A file is refused with
//! problems that name places in it, or it means something that can run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, Request};
use tenantry::config::spec::RoutesSpec;
use tenantry::config::{
    Checked, File, Files, Known, Problem, Problems, check_gateway, check_routes_whole,
    check_routes_with,
};
use tenantry::model::endpoint::Health;
use tenantry::model::ids::{Label, PoolId};
use tenantry::model::members::Members;
use tenantry::pool::{Pool, balancer};
use tenantry::routing::action::Action;
use tenantry::routing::naming::Shown;
use tenantry::routing::redirect::Values;
use tenantry::routing::table::Table;
use tenantry::routing::{Query, compile};

/// The target.
#[derive(Debug)]
pub struct Routes;

impl Routes {
    /// Needs nothing.
    pub fn start() -> Self {
        Self
    }

    /// Runs one input.
    pub fn run(&self, input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        // A file of authorities is read, and a device may have no end.
        if text.contains("/dev") || text.contains("/proc") {
            return;
        }
        let files = folder(&text);
        match check_routes_with(&files, &known(), &variable) {
            Ok(spec) => judge_meaning(&spec),
            Err(problems) => judge_problems(&problems, &files),
        }
        if let Err(problems) = check_gateway(&files_of(&text)) {
            judge_problems(&problems, &files_of(&text));
        }
    }
}

/// What the text of one routes file means.
pub(crate) fn checked(text: &str) -> Result<RoutesSpec, Problems> {
    check_routes_with(&files_of(text), &known(), &variable)
}

/// As [`checked`], with what makes one doubt it.
pub(crate) fn checked_whole(text: &str) -> Checked {
    check_routes_whole(&files_of(text), &known())
}

/// The pools of a spec, without endpoints.
pub(crate) fn pools(spec: &RoutesSpec) -> BTreeMap<PoolId, Arc<Pool>> {
    let pool = |(slot, (id, spec)): (usize, (&PoolId, &_))| {
        let label = Label { name: Arc::clone(&id.0), slot: u32::try_from(slot).expect("few") };
        let members = Arc::new(Members::new(1, Health::Unchecked, 0.5));
        let pool = Pool::build(label, Arc::clone(spec), members, 0, None);
        (id.clone(), Arc::new(pool.expect("a checked pool can be built")))
    };
    spec.pools.iter().enumerate().map(pool).collect()
}

fn known() -> Known<'static> {
    Known { balancers: balancer::names(), keyed: balancer::keyed_names() }
}

fn variable(name: &str) -> Option<String> {
    match name {
        "A" => Some("127.0.0.1".to_owned()),
        "B" => Some("\"\n[".to_owned()),
        _ => None,
    }
}

fn files_of(text: &str) -> Files {
    Files::of_text("routes.toml", text)
}

fn folder(text: &str) -> Files {
    let file = |(number, text): (usize, &str)| File {
        path: Path::new(&format!("{number}.toml")).into(),
        text: text.into(),
    };
    let files = text.split('\0').enumerate().map(file).collect();
    Files::of(PathBuf::from("routes"), files)
}

/// Each problem stands within its file, and is told in one line where that is asked for.
fn judge_problems(problems: &Problems, files: &Files) {
    assert!(!problems.is_empty(), "refused without a problem");
    assert!(problems.len() <= 100 * files.files.len() + 1, "a flood: {}", problems.len());
    for problem in problems {
        let file = files.files.iter().find(|file| *file.path == *Path::new(&problem.file));
        let text = file.map_or("", |file| &file.text);
        assert!(file.is_some() || Path::new(&problem.file) == files.root, "{problem:?}");
        let line = problem.line.checked_sub(1).and_then(|line| text.split('\n').nth(line));
        let line = line.unwrap_or_else(|| panic!("no such line: {problem:?}"));
        let columns = 1..=line.chars().count() + 1;
        assert!(columns.contains(&problem.column), "no such column: {problem:?}");
        judge_words(problem);
    }
}

/// What is said is for people: one line that is no longer than they read, with what to do, and
/// without what would change how a terminal shows it.
pub fn judge_words(problem: &Problem) {
    assert!(!problem.what.is_empty(), "{problem:?}");
    assert!(problem.hint.as_ref().is_some_and(|hint| !hint.is_empty()), "no hint: {problem:?}");
    let told = problem.in_one_line();
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    assert!(!told.chars().any(is_odd), "not plain: {told:?}");
    assert!(told.chars().count() <= LONGEST, "too long: {told}");
    for word in ["Option<", "Spanned", "newtype", "tuple struct", "enum variant", "$__", "DeValue"]
    {
        assert!(!told.contains(word), "the words of a programmer: {told}");
    }
    let of_rust = ["Some(", "None,", "Ok(", "Err("];
    let quoted = told.contains("Some(1)"); // a value of a file
    assert!(quoted || !of_rust.iter().any(|word| told.contains(word)), "{told}");
}

/// 1,200 characters: a key, a value and what to write, each cut in its middle where it is long.
const LONGEST: usize = 1200;

/// Whatever is accepted compiles whole, and can be asked.
fn judge_meaning(spec: &RoutesSpec) {
    let table = compile(spec, None, &pools(spec), 1);
    assert_eq!(table.tenants().len(), spec.tenants.len());
    for (id, spec) in &spec.tenants {
        let tenant = table.tenant(id.as_str()).expect("every tenant is there");
        let routes = tenant.routes.as_deref();
        let whole = tenant.pool.is_some() == spec.pool.is_some()
            && routes.is_some_and(|routes| routes.own.is_some()) != spec.routes.is_empty()
            && routes.map_or(0, |routes| routes.sets.len()) == spec.route_sets.len();
        assert!(whole, "a part of {id} is missing");
        for path in ["/", "/a", "/a/b/", "*", "/users/7/x"] {
            ask(&table, id.as_str(), path);
        }
    }
}

/// What a request is done with: names a tenant if it can, and has its route's texts filled in.
fn ask(table: &Table, id: &str, path: &str) {
    let request = Request::builder().uri(path).header("x-tenant-id", id).header("host", "a.test");
    let (head, ()) = request.body(()).expect("a request").into_parts();
    drop(table.name(&head, &Shown::default()));
    let tenant = table.tenant(id).expect("every tenant is there");
    let (host, headers) = (Some("a.test"), &HeaderMap::new());
    let query = Query { host, path, method: &head.method, headers, query: Some("a=b") };
    let Some(route) = tenant.find(&query) else { return };
    if path.starts_with('/') {
        assert!(route.rewrite.path(path).starts_with('/'), "{path} becomes no path: {route:?}");
    }
    route.request_headers.apply(&mut head.headers.clone());
    route.response_headers.apply(&mut HeaderMap::new());
    if let Action::Redirect(redirect) = &route.action {
        let values = Values { scheme: "http", host: "a.test", path, query: None, tenant: id };
        let location = redirect.render(&values);
        assert!(location.bytes().all(|byte| matches!(byte, b'!'..=b'~')), "{location:?}");
    }
}
