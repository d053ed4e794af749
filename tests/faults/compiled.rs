//! Small programs and libraries in C, for what nothing else on a machine does. They are gone when this is dropped.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::world::process::run;

pub(crate) struct Compiled {
    folder: TempDir,
}

impl Compiled {
    /// To be loaded by a program (`LD_PRELOAD`).
    pub(crate) fn library(source: &str) -> Self {
        Self::made(source, &["-shared", "-fPIC"])
    }

    /// To be run.
    pub(crate) fn program(source: &str) -> Self {
        Self::made(source, &[])
    }

    fn made(source: &str, options: &[&str]) -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a folder") };
        fs::write(this.path("source.c"), source).expect("write a source");
        let mut cc = Command::new("cc");
        cc.args(options).arg("-o").arg(this.made_at()).arg(this.path("source.c")).arg("-ldl");
        let made = run(&mut cc);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        this
    }

    /// Where it is.
    pub(crate) fn made_at(&self) -> PathBuf {
        self.path("made")
    }

    /// A file of its own, as one that tells it to begin.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
