//! The configuration as its writers see it: golden files, examples, schemas, hostile bytes.
//!
//! `TENANTRY_RENEW=1 cargo test --test config` writes the expected files, the schemas and the
//! reference of all keys anew.

#![expect(clippy::unwrap_used, reason = "a failed test may stop at once")]

#[path = "config/defaults.rs"]
mod defaults;
#[path = "config/reference.rs"]
mod reference;
#[path = "config/wrong.rs"]
mod wrong;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::{ProptestConfig, any, prop, proptest};
use tenantry::config::spec::RoutesSpec;
use tenantry::config::{
    File, Files, Known, Problems, check_gateway, check_routes_with, read_routes, schema,
};

const KNOWN: Known<'static> = Known {
    balancers: &["least-request", "peak-ewma", "round-robin", "random", "ring-hash"],
    keyed: &["ring-hash"],
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn variable(name: &str) -> Option<String> {
    (name == "APP_HOST").then(|| "app.internal".to_owned())
}

fn check(files: &Files) -> Result<RoutesSpec, Problems> {
    check_routes_with(files, &KNOWN, &variable)
}

/// Files of a folder that end so, sorted.
fn files_in(folder: &str, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(end));
    paths.sort();
    paths
}

/// Compares with a committed file, or writes it where that is asked for.
fn compare(path: &Path, found: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("TENANTRY_RENEW").is_some() {
        std::fs::write(path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected != found {
        wrong.push(format!("{}\n--- expected\n{expected}\n--- found\n{found}", path.display()));
    }
}

#[test]
fn every_golden_file_gives_its_meaning_or_its_problems() {
    let mut wrong = Vec::new();
    for path in files_in("tests/config", ".toml") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let files = Files::of_text(name, &text);
        let found = match name.starts_with("gateway") {
            true => match check_gateway(&files) {
                Ok(spec) => format!("{spec:#?}\n"),
                Err(problems) => format!("{problems}\n"),
            },
            false => match check(&files) {
                Ok(spec) => format!("{spec:#?}\n"),
                Err(problems) => format!("{problems}\n"),
            },
        };
        compare(&path.with_extension("expected"), &found, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_example_is_good() {
    for path in files_in("config/examples", ".toml") {
        let files = read_routes(&path).unwrap();

        let spec = check(&files).unwrap_or_else(|problems| panic!("{problems}"));

        assert!(!spec.tenants.is_empty(), "{}", path.display());
    }
}

#[test]
fn the_example_of_many_customers_is_good() {
    let gateway =
        tenantry::config::load_gateway(&root().join("config/examples/customers/gateway.toml"))
            .unwrap_or_else(|problems| panic!("{problems}"));
    let files = read_routes(&gateway.routes).unwrap();

    let routes = check(&files).unwrap_or_else(|problems| panic!("{problems}"));

    assert!(files.files.len() > 4 && routes.tenants.len() > 2);
    assert!(gateway.usage.is_some());
}

#[test]
fn the_files_to_start_from_are_good() {
    let gateway = tenantry::config::load_gateway(&root().join("config/gateway.toml"))
        .unwrap_or_else(|problems| panic!("{problems}"));
    let files = read_routes(&gateway.routes).unwrap();

    let routes = check(&files).unwrap_or_else(|problems| panic!("{problems}"));

    assert_eq!(routes.tenants.len(), 2);
}

/// The TOML blocks of a text that start with this line.
fn blocks<'t>(text: &'t str, first: &str) -> Vec<&'t str> {
    let open = format!("```toml\n{first}\n");
    let starts = text.match_indices(&open).map(|(at, _)| &text[at + "```toml\n".len()..]);
    starts.map(|rest| rest.split_once("```").unwrap().0).collect()
}

#[test]
fn every_block_of_the_docs_is_good() {
    let mut paths = files_in("docs", ".md");
    paths.extend(["README.md", "certs/README.md"].map(|path| root().join(path)));
    let mut count = 0;
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        for block in blocks(&text, "# gateway.toml") {
            check_gateway(&Files::of_text("gateway.toml", block))
                .unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()));
            count += 1;
        }
        for block in blocks(&text, "# routes.toml") {
            check(&Files::of_text("routes.toml", block))
                .unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()));
            count += 1;
        }
    }
    assert!(count > 5, "only {count} blocks were found");
}

#[test]
fn the_committed_schemas_are_those_of_the_code() {
    let mut wrong = Vec::new();
    for (name, schema) in [("gateway", schema::gateway()), ("routes", schema::routes())] {
        let path = root().join(format!("config/schema/{name}.schema.json"));
        compare(&path, &format!("{schema:#}\n"), &mut wrong);
    }
    assert!(wrong.is_empty(), "renew them with TENANTRY_RENEW=1:\n{}", wrong.join("\n"));
}

/// The schema that a file of ours names in its first line.
fn schema_named(path: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(path).unwrap();
    let named = text.lines().next()?.strip_prefix("#:schema ")?;
    path.parent().unwrap().join(named).canonicalize().ok()
}

#[test]
fn every_file_to_start_from_names_its_schema() {
    let folders = [
        "config",
        "config/examples",
        "config/examples/customers",
        "config/examples/customers/routes",
        "deploy/docker",
    ];
    let paths: Vec<PathBuf> = folders.iter().flat_map(|folder| files_in(folder, ".toml")).collect();
    let mut wrong = Vec::new();
    for path in &paths {
        let kind = match path.file_name().unwrap().to_str().unwrap().contains("gateway") {
            true => "gateway",
            false => "routes",
        };
        let schema = root().join(format!("config/schema/{kind}.schema.json"));
        if schema_named(path) != Some(schema.canonicalize().unwrap()) {
            wrong.push(format!(
                "{} should begin with #:schema …/{kind}.schema.json",
                path.display()
            ));
        }
    }

    assert!(paths.len() > 20 && wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Those of the package have it where the package puts it.
#[test]
fn the_files_that_are_installed_name_the_schema_that_is_installed() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("[\"config/schema/*.json\", \"usr/share/tenantry/schema/\","));

    for name in ["gateway", "routes"] {
        let text = root().join(format!("deploy/config/{name}.toml"));
        let text = std::fs::read_to_string(text).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(first, format!("#:schema /usr/share/tenantry/schema/{name}.schema.json"));
        assert!(root().join(format!("config/schema/{name}.schema.json")).exists());
    }
}

#[test]
fn a_folder_is_merged_and_leftovers_are_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("pools.toml", "[pools.a]\nendpoints = [\"10.0.0.1:80\"]\n");
    write("acme.toml", "[tenants.acme]\npool = \"a\"\n");
    for leftover in [".acme.toml.swp", "acme.toml~", "#acme.toml#", ".hidden.toml", "notes.txt"] {
        write(leftover, "this is = = no TOML");
    }
    std::fs::create_dir(folder.path().join("..data")).unwrap();
    std::fs::create_dir(folder.path().join("old.toml")).unwrap();

    let files = read_routes(folder.path()).unwrap();
    let spec = check(&files).unwrap();

    assert_eq!(files.files.len(), 2);
    assert_eq!((spec.pools.len(), spec.tenants.len()), (1, 1));
}

#[test]
fn a_name_in_two_files_is_a_problem_that_names_both() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[tenant]\nfrom = [{ path = \"keep\" }]\n\
                [pools.a]\nendpoints = [\"10.0.0.1:80\"]\n\
                [route-sets.s]\nroutes = [{ pool = \"a\" }]\n[tenants.t]\npool = \"a\"\n";
    std::fs::write(folder.path().join("1.toml"), text).unwrap();
    std::fs::write(folder.path().join("2.toml"), text).unwrap();

    let problems = check(&read_routes(folder.path()).unwrap()).unwrap_err();

    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["tenant", "pools.a", "route-sets.s", "tenants.t"]);
    for problem in &problems {
        assert!(problem.file.ends_with("2.toml"), "{problem}");
        assert!(problem.hint.as_ref().unwrap().contains("1.toml:"), "{problem}");
    }
}

#[test]
fn a_file_that_is_missing_no_text_or_an_empty_folder_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();

    let what = |name: &str| read_routes(&folder.path().join(name)).unwrap_err().to_string();

    assert!(what("none.toml").contains("there is no such file"));
    assert!(what("binary.toml").contains("is not UTF-8"));
    assert!(what("empty").contains("has no *.toml file"));
    assert!(
        read_routes(Path::new("/dev/null")).unwrap_err().to_string().contains("is no regular file")
    );
}

#[test]
fn the_files_that_were_read_survive_being_kept() {
    let files = read_routes(&root().join("config/examples/dns.toml")).unwrap();

    let kept: Files = serde_json::from_str(&serde_json::to_string(&files).unwrap()).unwrap();

    assert_eq!(kept, files);
    assert_eq!(check(&kept).unwrap(), check(&files).unwrap());
}

#[test]
fn authorities_are_read_from_beside_the_file_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let ca = rcgen::generate_simple_self_signed(vec!["ca.test".to_owned()]).unwrap();
    std::fs::write(folder.path().join("ca.pem"), ca.cert.pem()).unwrap();
    std::fs::write(folder.path().join("empty.pem"), "nothing").unwrap();
    let text = "[pools.a]\ndns = \"a:1\"\ntls = { ca = \"ca.pem\" }\n";
    let spec = check(&Files::of_text(folder.path().join("routes.toml"), text)).unwrap();
    let bad = text.replace("ca.pem", "empty.pem");

    let problems = check(&Files::of_text(folder.path().join("routes.toml"), &bad)).unwrap_err();

    let tls = spec.pools.values().next().unwrap().tls.as_ref().unwrap();
    assert_eq!(tls.ca.as_ref().unwrap().certificates.len(), 1);
    assert!(problems.to_string().contains("has no certificate in it"), "{problems}");
}

#[test]
fn what_is_wrong_with_an_authority_is_told_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(folder.path().join("broken.pem"), block).unwrap();
    let text = "[pools.a]\ndns = \"a:1\"\ntls = { ca = \"none.pem\" }\n\
                [pools.b]\ndns = \"b:1\"\ntls = { ca = \"broken.pem\" }\n";

    let problems = check(&Files::of_text(folder.path().join("routes.toml"), text)).unwrap_err();

    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(told[0].contains(":3:14: pools.a.tls.ca: "), "{problems}");
    assert!(told[0].contains("none.pem cannot be read: No such file"), "{problems}");
    assert!(told[1].contains(":6:14: pools.b.tls.ca: "), "{problems}");
    assert!(told[1].contains("broken.pem cannot be used: "), "{problems}");
}

#[test]
fn a_client_certificate_is_read_with_its_key_and_nothing_else_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "other"] {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let path = |end: &str| folder.path().join(format!("{name}.{end}"));
        std::fs::write(path("pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    }
    let checked = |keys: &str| {
        let text = format!("[pools.a]\ndns = \"a:1\"\ntls = {{ {keys} }}\n");
        check(&Files::of_text(folder.path().join("routes.toml"), &text))
    };
    let told = |keys: &str| checked(keys).unwrap_err().to_string();

    let spec = checked("cert = \"one.pem\", key = \"one.key\"").unwrap();
    let alone = told("cert = \"one.pem\"");
    let mismatch = told("cert = \"one.pem\", key = \"other.key\"");
    let none = told("cert = \"none.pem\", key = \"one.pem\"");

    let tls = spec.pools.values().next().unwrap().tls.as_ref().unwrap();
    assert_eq!(tls.identity.as_ref().unwrap().chain.len(), 1);
    assert!(!format!("{spec:?}").contains("PRIVATE"), "keys are never shown");
    assert!(alone.contains(":3:16: pools.a.tls: needs both cert and key"), "{alone}");
    assert!(mismatch.contains(":3:33: pools.a.tls.key: the key "), "{mismatch}");
    assert!(mismatch.contains("is not the one of the certificate"), "{mismatch}");
    assert!(none.contains(":3:16: pools.a.tls.cert: "), "{none}");
    assert!(none.contains("one.pem has no private key in it\n    hint: a PEM file"), "{none}");
}

#[test]
fn a_page_of_many_tenants_is_in_memory_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page.html"), "x".repeat(256 << 10)).unwrap();
    let tenant = |id: usize, page: &str| {
        format!("[tenants.t{id}]\nstate = \"suspended\"\nerror-pages = {{ 403 = {page} }}\n")
    };
    let text: String = (0..10)
        .map(|id| tenant(id, "{ file = \"page.html\" }") + &tenant(10 + id, "{ body = \"b\" }"))
        .collect();
    let files = Files::of_text(folder.path().join("routes.toml"), &text);

    let spec = check(&files).unwrap();

    let pages = spec.tenants.iter().map(|(_, tenant)| tenant.error_pages.as_ref().unwrap());
    let different: std::collections::HashSet<_> =
        pages.map(|pages| std::sync::Arc::as_ptr(&pages.pages[0].1)).collect();
    assert_eq!((spec.tenants.len(), different.len()), (20, 2));
}

#[test]
fn a_page_that_is_too_large_empty_or_no_text_is_told_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large.html"), "x".repeat((256 << 10) + 1)).unwrap();
    std::fs::write(folder.path().join("latin.html"), b"Stra\xdfe").unwrap();
    std::fs::write(folder.path().join("blank.html"), "\n").unwrap();
    for (page, told) in [
        ("large", "is larger than 256 KiB"),
        ("latin", "is not UTF-8 text"),
        ("blank", "is empty, as while it is being written"),
    ] {
        let text = format!("[error-pages]\n404 = {{ file = \"{page}.html\" }}\n");
        let files = Files::of_text(folder.path().join("routes.toml"), &text);

        let problems = check(&files).unwrap_err();

        let problem = problems.iter().next().unwrap();
        assert_eq!((problem.line, problem.key.as_str()), (2, "error-pages.404.file"));
        assert!(problem.what.ends_with(told) && problem.hint.is_some(), "{problem}");
    }
}

#[test]
fn a_flood_of_problems_is_cut_short_and_counted() {
    let mut text = String::new();
    for number in 0..5000 {
        writeln!(text, "[tenants.t{number}]\npool = \"nowhere\"").unwrap();
    }

    let problems = check(&Files::of_text("routes.toml", &text)).unwrap_err();

    assert_eq!(problems.len(), 101);
    assert_eq!(problems.iter().last().unwrap().what, "4900 more problems are not shown");
}

#[test]
fn a_byte_order_mark_and_line_ends_of_windows_do_no_harm() {
    let text = "\u{feff}[pools.a]\r\ndns = \"a:1\"\r\n[tenants.t]\r\npool = \"b\"\r\n";

    let problems = check(&Files::of_text("routes.toml", text)).unwrap_err();

    let problem = problems.iter().next().unwrap();
    assert_eq!((problems.len(), problem.line, problem.column), (1, 4, 8));
}

#[test]
fn a_link_that_leads_nowhere_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("a.toml")).unwrap();

    let problems = read_routes(folder.path()).unwrap_err();

    assert!(problems.to_string().contains("a.toml:1:1: there is no such file"), "{problems}");
}

#[test]
fn a_folder_of_many_wrong_files_is_cut_short_too() {
    let file = |number: usize| File {
        path: Path::new(&format!("{number}.toml")).into(),
        text: format!("[tenants.t{number}]\npool = \"nowhere\"\n").into(),
    };
    let files = (0..3000).map(file).collect();
    let files = Files::of("folder".into(), files);

    let problems = check(&files).unwrap_err();

    assert_eq!(problems.len(), 1001);
    assert_eq!(problems.iter().last().unwrap().what, "2000 more problems are not shown");
}

#[test]
fn values_within_values_without_end_are_refused_without_a_crash() {
    let deep = 300_000;
    let dotted = format!("{}a = 1\n", "a.".repeat(deep));
    let table = format!("[tenants.t.{}a]\n", "a.".repeat(deep));
    let arrays = format!("[tenants.t]\nroutes = {}\n", "[".repeat(deep));
    let inline = format!("x = {}\n", "{a=".repeat(deep));

    for text in [dotted, table, arrays, inline] {
        assert!(check(&Files::of_text("routes.toml", &text)).is_err());
    }
}

#[test]
fn a_hundred_thousand_tenants_are_checked_in_time_that_grows_with_their_number_alone() {
    let text_of = |count: usize| {
        let mut text = "[pools.a]\nendpoints = [\"10.0.0.1:80\"]\n".to_owned();
        (0..count).for_each(|n| writeln!(text, "[tenants.t{n}]\npool = \"a\"").unwrap());
        Files::of_text("routes.toml", &text)
    };
    let timed = |files: &Files| {
        let start = tokio::time::Instant::now();
        let spec = check(files).unwrap();
        (spec.tenants.len(), start.elapsed())
    };
    let (_, small) = timed(&text_of(1_000));

    let (count, large) = timed(&text_of(100_000));

    println!("1,000 tenants: {small:?}, 100,000 tenants: {large:?}");
    assert_eq!(count, 100_000);
    // A hundred times as many: 100 times as long if linear, 10,000 times if quadratic.
    assert!(large < small * 1000, "{small:?} for 1,000, {large:?} for 100,000");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_make_the_reader_panic(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..12),
    ) {
        let folders = ["config/examples", "tests/config"];
        let all: Vec<PathBuf> = folders.iter().flat_map(|f| files_in(f, ".toml")).collect();
        let mut bytes = std::fs::read(which.get(&all)).unwrap();
        for (place, byte, edit) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"[]{}=.\"'$#\n, "[usize::from(byte) % 13]),
                _ => bytes.truncate(bytes.len() - at.min(3)),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let files = Files::of_text("routes.toml", &text);

        for problems in [check(&files).err(), check_gateway(&files).err()].into_iter().flatten() {
            assert!(!problems.is_empty());
            let lines = text.split('\n').count();
            assert!(problems.iter().all(|p| (1..=lines).contains(&p.line) && p.column >= 1));
        }
    }
}
