//! What was asked: the files' words, checked as a whole, as typed values. A file that is wrong in
//! any place gives no meaning at all, only the list of everything that is wrong with it.

pub mod answers;
mod check;
mod faults;
mod files;
mod key;
pub mod leaves;
mod lines;
mod misplaced;
pub mod nearest;
pub mod pem;
pub mod places;
mod plain;
mod problem;
mod raw;
pub mod schema;
pub mod spec;
pub mod stated;
mod substitute;
mod syntax;
mod text;
mod tree;

use std::path::Path;

use check::Lost;
pub use check::{Checked, Known};
pub use files::{File, Files, read_routes};
pub use problem::{Place, Problem, Problems};

use spec::{GatewaySpec, RoutesSpec};

/// Reads and checks `gateway.toml`. Relative paths in it start at its folder.
///
/// # Errors
/// Everything that is wrong with it; a missing file is one fault.
pub fn load_gateway(path: &Path) -> Result<GatewaySpec, Problems> {
    check_gateway(&read_gateway(path)?)
}

/// Reads `gateway.toml`.
///
/// # Errors
/// When it cannot be read, is no UTF-8 or is too large.
pub fn read_gateway(path: &Path) -> Result<Files, Problems> {
    let file = files::read_file(path)?;
    Ok(Files { root: path.to_owned(), files: vec![file] })
}

/// Checks the text of `gateway.toml` that was read already.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check_gateway(files: &Files) -> Result<GatewaySpec, Problems> {
    check::check_gateway(files, &environment)
}

/// Checks the routes files. Reads the certificates, keys and pages that they name, and nothing else.
///
/// # Errors
/// Everything that is wrong with all of them.
pub fn check_routes(files: &Files, known: &Known<'_>) -> Result<RoutesSpec, Problems> {
    check_routes_whole(files, known).result
}

/// As [`check_routes`]; tells which files were read beside the routes, wrong ones too.
pub fn check_routes_whole(files: &Files, known: &Known<'_>) -> Checked {
    check::check_routes(files, known, &environment, Lost::Problem)
}

/// Checks routes files that were kept from another start. The pages that they name need not be
/// there any more: without its page an answer is the gateway's own.
pub fn check_kept_routes(files: &Files, known: &Known<'_>) -> Checked {
    check::check_routes(files, known, &environment, Lost::LeftOut)
}

/// As [`check_routes`], with variables from elsewhere than the process's environment.
///
/// # Errors
/// Everything that is wrong with all of them.
pub fn check_routes_with(
    files: &Files,
    known: &Known<'_>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<RoutesSpec, Problems> {
    check::check_routes(files, known, lookup, Lost::Problem).result
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
