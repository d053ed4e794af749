//! Broken files by the thousand: each is refused with problems that a person can act on, or it means
//! something that can run.

use std::fs;
use std::path::Path;

use tenantry::config::{Problems, load_gateway, read_routes};

use crate::breaking::broken;
use crate::entries::routes::{Routes, judge_words};
use crate::{judged, number};

/// The good files that are committed, by name.
fn good_files(folders: &[(&str, &str)]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for (folder, prefix) in folders {
        for entry in fs::read_dir(root.join(folder)).expect("read a folder") {
            let path = entry.expect("a file").path();
            let name = path.file_name().expect("its name").to_string_lossy().into_owned();
            if name.starts_with(prefix) && name.ends_with(".toml") {
                files.push((name, fs::read_to_string(&path).expect("read a file")));
            }
        }
    }
    files.sort();
    files
}

/// Breaks the files so often, and judges what is said of each.
fn break_all(good: &[(String, String)], inputs: u64, judge: &dyn Fn(&[u8])) {
    assert!(good.len() > 4, "the good files were not found");
    let seed = number("TENANTRY_FUZZ_SEED").unwrap_or(1);
    let inputs = number("TENANTRY_FUZZ_INPUTS").unwrap_or(inputs);
    for number in 0..inputs {
        let input = broken(good, seed, number);
        judged("broken", &format!("seed-{seed}-{number}"), &input, &judge);
    }
}

/// As it is told for a file on the disk; bytes that are no text have their place, too.
fn judge_file<T>(bytes: &[u8], read: impl Fn(&Path) -> Result<T, Problems>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broken.toml");
    fs::write(&path, bytes).expect("write it");
    let Err(problems) = read(&path) else { return };
    let lines = bytes.split(|byte| *byte == b'\n').count();
    for problem in &problems {
        assert_eq!(Path::new(&problem.file), path, "{problem:?}");
        assert!((1..=lines).contains(&problem.line), "no such line: {problem:?}");
        judge_words(problem);
    }
}

#[test]
fn routes_broken_in_any_way_are_told_with_place_and_hint_or_can_run() {
    let good =
        good_files(&[("config/examples", ""), ("tests/config", "good-"), ("config", "routes")]);
    let routes = Routes::start();
    break_all(&good, 600, &|bytes| {
        routes.run(bytes);
        if std::str::from_utf8(bytes).is_err() {
            judge_file(bytes, read_routes);
        }
    });
}

#[test]
fn a_gateway_file_broken_in_any_way_is_told_with_place_and_hint_or_can_be_loaded() {
    let good = good_files(&[("tests/config", "gateway-good-"), ("config", "gateway")]);
    break_all(&good, 600, &|bytes| judge_file(bytes, load_gateway));
}
