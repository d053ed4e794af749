//! The places that `gateway.toml` names, certificates apart: whether they can be used. `check` and a start say
//! the same of them, at the place that names them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::base::tokens::{self, Form, Tokens};
use crate::config::Problem;
use crate::config::spec::{AccessLogOutput, GatewaySpec, NamedPath};
use crate::control::state;

/// Why the files of the access log and of the audit log cannot be opened for writing. Creates nothing.
pub fn logs(gateway: &GatewaySpec) -> Vec<Problem> {
    let access_log = match &gateway.access_log.output {
        AccessLogOutput::File(file) => Some(file),
        AccessLogOutput::Stdout | AccessLogOutput::Off => None,
    };
    access_log.into_iter().chain(&gateway.audit_log).filter_map(not_appended_to).collect()
}

/// Why a file cannot be opened for writing, or made.
fn not_appended_to(NamedPath { path, place }: &NamedPath) -> Option<Problem> {
    let refusal = match fs::metadata(path) {
        Ok(found) if found.is_dir() => Refusal::kind(path, "it is a folder, not a file"),
        Ok(_) => Refusal::of(access(path, Access::WRITE_OK), path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = parent(&end_of_links(path));
            match fs::metadata(&folder) {
                Ok(found) if found.is_dir() => {
                    Refusal::of(access(&folder, Access::WRITE_OK | Access::EXEC_OK), &folder)?
                }
                Ok(_) => Refusal::kind(&folder, "it is not a folder"),
                Err(error) => Refusal::system(&folder, &error),
            }
        }
        Err(error) => Refusal::system(path, &error),
    };
    let what = format!("{} cannot be opened for writing: {}", path.display(), refusal.beside(path));
    Some(place.problem(what, refusal.hint.to_owned()))
}

/// Why the last good routes cannot be kept. Creates nothing.
pub fn state(gateway: &GatewaySpec) -> Option<Problem> {
    let NamedPath { path, place } = gateway.state.as_ref()?;
    let why = unwritable(path)?;
    let what = format!("the last good routes cannot be kept: {why}");
    Some(place.problem(what, state::HINT.to_owned()))
}

/// Why what tenants use cannot be written. Creates nothing.
pub fn usage(gateway: &GatewaySpec) -> Option<Problem> {
    let NamedPath { path, place } = &gateway.usage.as_ref()?.folder;
    let what = format!("what tenants use cannot be written: {}", unwritable(path)?);
    let hint = "name a folder that the gateway may write, as in \"/var/lib/tenantry/usage\"";
    Some(place.problem(what, hint.to_owned()))
}

/// Why nothing can be written into a folder that is made where there is none.
fn unwritable(path: &Path) -> Option<String> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // Folders on its way that are missing are made when something is first kept.
    let (found, there) = absolute
        .ancestors()
        .map(|folder| (fs::metadata(folder), folder))
        .find(|(found, folder)| found.is_ok() || fs::symlink_metadata(folder).is_ok())?;
    let refusal = match found {
        Ok(found) if !found.is_dir() => Refusal::kind(there, "it is not a folder"),
        Ok(_) => Refusal::of(access(there, Access::WRITE_OK | Access::EXEC_OK), there)?,
        Err(error) => Refusal::system(there, &error),
    };
    Some(refusal.beside(Path::new("")))
}

/// Why files of tokens cannot be used.
pub fn tokens(gateway: &GatewaySpec) -> Vec<Problem> {
    let problem = |(NamedPath { path, place }, form): (&NamedPath, Form)| {
        let error = Tokens::read(path, form).err()?;
        Some(place.problem(format!("{} {error}", path.display()), error.hint().to_owned()))
    };
    files_of_tokens(gateway).filter_map(problem).collect()
}

/// Whom else tokens are known to.
pub fn readable_tokens(gateway: &GatewaySpec) -> Vec<Problem> {
    let problem = |(NamedPath { path, place }, _): (&NamedPath, Form)| {
        let hint = format!("keep it to the gateway's user and group: chmod o= {}", path.display());
        Some(place.problem(tokens::doubt(path)?, hint))
    };
    files_of_tokens(gateway).filter_map(problem).collect()
}

fn files_of_tokens(gateway: &GatewaySpec) -> impl Iterator<Item = (&NamedPath, Form)> {
    let admin = gateway.admin.iter().flat_map(|admin| &admin.token_file);
    let debug = gateway.debug_tokens.iter().map(|file| (file, Form::Bare));
    debug.chain(admin.map(|file| (file, Form::Roles)))
}

/// Why something cannot be written.
struct Refusal {
    at: PathBuf,
    why: String,
    hint: &'static str,
}

impl Refusal {
    fn of(allowed: rustix::io::Result<()>, at: &Path) -> Option<Self> {
        allowed.err().map(|error| Self::system(at, &error.into()))
    }

    fn system(at: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                "create the folder, or correct the path; it starts at the folder of this file"
            }
            _ => "look at the owner and the permissions; `check` must run as the gateway's user",
        };
        Self { at: at.to_path_buf(), why: error.to_string(), hint }
    }

    fn kind(at: &Path, why: &str) -> Self {
        Self { at: at.to_path_buf(), why: why.to_owned(), hint: "correct the path" }
    }

    /// The reason, in a sentence that has named `path` already.
    fn beside(&self, path: &Path) -> String {
        if self.at == path {
            return self.why.clone();
        }
        format!("{}: {}", self.at.display(), self.why)
    }
}

/// Where a write would go: a link that leads nowhere yet is followed, as the system does.
fn end_of_links(path: &Path) -> PathBuf {
    let mut end = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&end) {
            Ok(target) => end = parent(&end).join(target),
            Err(_) => break, // no link
        }
    }
    end
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// 40: as many links as Linux itself follows before it gives up.
const MAX_LINKS: u32 = 40;
