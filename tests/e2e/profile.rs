//! What cargo starts in place of rustc: release builds are laid out by the profile in `pgo/`, and
//! all others are left alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What `pgo/rustc` makes of these words, where `echo` stands for rustc.
fn wrapped(words: &[&str], environment: &str) -> Output {
    let mut command = Command::new(root().join("pgo/rustc"));
    command.arg("echo").args(words).env_remove("TENANTRY_PGO");
    if !environment.is_empty() {
        command.env("TENANTRY_PGO", environment);
    }
    command.output().expect("pgo/rustc starts")
}

fn said(words: &[&str], environment: &str) -> String {
    let output = wrapped(words, environment);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn release() -> Vec<&'static str> {
    vec!["--crate-name", "http", "-C", "opt-level=3", "-C", "lto=thin", "-C", "codegen-units=1"]
}

#[test]
fn a_release_is_built_by_the_profile_and_nothing_else_is() {
    let words = said(&release(), "");
    let used = words.strip_prefix(&release().join(" ")).expect("the words that came go first");
    let profile = root().join("pgo/tenantry.profdata");
    assert!(used.contains(&format!("profile-use={}", profile.display())), "{used}");

    for others in [
        &["--crate-name", "http", "-C", "opt-level=3"][..],
        &["--crate-name", "build_script_build", "-C", "codegen-units=1"],
        &["-vV"],
        &["-", "--crate-name", "___", "--print=file-names"],
    ] {
        assert_eq!(said(others, ""), others.join(" "));
    }
}

#[test]
fn the_environment_says_whether_it_is_used_or_recorded() {
    assert_eq!(said(&release(), "off"), release().join(" "));
    assert!(said(&release(), "record:/a b/c").ends_with("-C profile-generate=/a b/c"));

    let refused = wrapped(&release(), "on");
    assert!(!refused.status.success());
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("neither \"off\" nor \"record:FOLDER\": on"), "{why}");
}

#[test]
fn cargo_is_told_to_start_it() {
    let config = std::fs::read_to_string(root().join(".cargo/config.toml")).expect("it is there");
    assert!(config.contains("rustc-wrapper = \"pgo/rustc\""), "{config}");
}
