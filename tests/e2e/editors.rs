//! What editors and shells make of what the program hands out: the schemas, the completions, the
//! manual pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::PROGRAM;
use crate::world::process::run;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn printed(arguments: &[&str]) -> String {
    let output = run(Command::new(PROGRAM).args(arguments));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// What the language server of editors finds in files that name their schema; empty = nothing.
fn taplo(files: &[PathBuf]) -> String {
    let program = root().join("target/taplo/bin/taplo");
    let output = run(Command::new(program)
        .args(["lint", "--colors", "never", "--no-auto-config"])
        .args(files)
        .current_dir(root()));
    match output.status.success() {
        true => String::new(),
        false => String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn an_editor_finds_the_schema_of_each_file_by_its_first_line_and_marks_mistakes() {
    let folders = [
        "config",
        "config/examples",
        "config/examples/customers",
        "config/examples/customers/routes",
        "deploy/docker",
        "examples/comments",
    ];
    let files: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("schema")).expect("a folder");
    for name in ["gateway", "routes"] {
        let schema = folder.path().join(format!("schema/{name}.schema.json"));
        fs::write(schema, printed(&["schema", name])).expect("write the schema");
    }
    let broken = |name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(root().join("config").join(name)).expect("read it");
        assert!(text.contains(from), "{from} is not in {name}");
        let path = folder.path().join(name);
        fs::write(&path, text.replacen(from, to, 1)).expect("write it");
        taplo(&[path])
    };

    let found = taplo(&files);
    let unknown = broken("gateway.toml", "state =", "sate =");
    let kind = broken("routes.toml", "attempts = 3", "attempts = \"three\"");

    assert!(files.len() > 20 && found.is_empty(), "{found}");
    assert!(unknown.contains("'sate' was unexpected"), "{unknown}");
    assert!(kind.contains("\"three\""), "{kind}");
}

#[test]
fn bash_completes_commands_options_and_choices() {
    let complete = |words: &[&str]| {
        let script = "source <(\"$0\" completions bash); COMP_WORDS=(tenantry \"$@\"); \
                      COMP_CWORD=$#; _tenantry tenantry \"${!#}\" \"${@: -2:1}\"; \
                      printf '%s\\n' \"${COMPREPLY[@]}\"";
        let output = run(Command::new("bash").args(["-c", script, PROGRAM]).args(words));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };

    assert_eq!(complete(&["ex"]), ["explain"]);
    assert_eq!(complete(&["check", "--str"]), ["--strict"]);
    assert_eq!(complete(&["schema", "ga"]), ["gateway"]);
    assert_eq!(complete(&["check", "--format", ""]), ["text", "json"]);
}

#[test]
fn the_manual_pages_are_whole_and_without_a_fault_of_their_form() {
    let all = printed(&["man"]);
    let named = all.split("tenantry\\-").skip(1).filter_map(|rest| rest.split("(1)").next());
    let commands: Vec<&str> = named.filter(|name| *name != "help").collect();
    assert!(commands.len() > 8, "{commands:?}");

    let pages = commands.iter().map(|name| printed(&["man", name])).chain([all.clone()]);
    for page in pages {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("page.1");
        fs::write(&path, page).expect("write the page");
        let set = run(Command::new("groff").args(["-man", "-ww", "-Tutf8", "-z"]).arg(&path));
        let said = String::from_utf8_lossy(&set.stderr);
        assert!(set.status.success() && said.is_empty(), "{said}");
    }
}
