//! What is committed below `fuzz/`: seeds, and the words that libFuzzer mixes in.

use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// The seeds of a target by name.
pub(crate) fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder("corpus").join(target)).expect("read a corpus");
    let mut seeds = Vec::new();
    for entry in entries {
        let entry = entry.expect("a seed");
        let name = entry.file_name().to_string_lossy().into_owned();
        seeds.push((name, fs::read(entry.path()).expect("read a seed")));
    }
    seeds.sort();
    assert!(seeds.len() > 5, "the seeds of {target} were not found");
    seeds
}

/// The words of a target, in the form of libFuzzer's dictionaries: `"text"` a line, where `\xAB` is
/// a byte.
pub(crate) fn words(target: &str) -> Vec<Vec<u8>> {
    let path = folder("dictionaries").join(target);
    let text = fs::read_to_string(path).expect("read a dictionary");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| word(line).unwrap_or_else(|| panic!("no word of {target}: {line}"))).collect()
}

fn word(line: &str) -> Option<Vec<u8>> {
    let mut rest = line.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let mut word = Vec::new();
    while let [first, after @ ..] = rest {
        (rest, _) = match (first, after) {
            (b'\\', [b'x', digits @ ..]) => {
                let (digits, after) = digits.split_at_checked(2)?;
                let digits = std::str::from_utf8(digits).ok()?;
                (after, word.push(u8::from_str_radix(digits, 16).ok()?))
            }
            (b'\\', [mark @ (b'\\' | b'"'), after @ ..]) => (after, word.push(*mark)),
            (b'\\', _) => return None,
            (plain, after) => (after, word.push(*plain)),
        };
    }
    Some(word)
}

#[test]
fn a_word_of_a_dictionary_is_read_as_libfuzzer_reads_it() {
    assert_eq!(word("\"a\\x0d\\\"\\\\b\""), Some(b"a\r\"\\b".to_vec()));
    assert_eq!(word("\"\\n\""), None);
    assert_eq!(word("a"), None);
}

#[test]
fn every_target_has_all_that_belongs_to_it() {
    let read = |name: &str| fs::read_to_string(folder(name)).expect("read a file");
    let (manifest, script, readme) = (read("Cargo.toml"), read("run"), read("README.md"));
    let entries = fs::read_dir(folder("fuzz_targets")).expect("read the targets");
    let mut targets = 0;
    for entry in entries {
        let file = entry.expect("a target").file_name().to_string_lossy().into_owned();
        let target = file.strip_suffix(".rs").expect("a target is a file of Rust");
        let code = read(&format!("fuzz_targets/{file}"));
        assert!(code.contains(&format!("use tenantry_fuzz::{target}::")), "{target}");
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} has no binary");
        let named = |line: &str| line.split([' ', '"']).any(|word| word == target);
        let list = script.lines().find(|line| line.starts_with("readonly TARGETS="));
        assert!(list.is_some_and(named), "{target} is not run");
        assert!(readme.contains(&format!("| `{target}` |")), "{target} is not explained");
        assert!(!seeds(target).is_empty() && !words(target).is_empty(), "{target}");
        targets += 1;
    }
    assert_eq!(targets, 7);
}
