//! What was asked: the files' words, checked as a whole, as typed values. A file that is wrong in
//! any place gives no meaning at all, only the list of everything that is wrong with it.

pub mod answers;
mod check;
pub mod defined;
mod faults;
mod files;
pub mod grants;
mod key;
pub mod leaves;
mod lines;
mod looks;
mod misplaced;
pub mod nearest;
pub mod pem;
pub mod places;
mod plain;
mod problem;
mod raw;
pub mod schema;
pub mod secrets;
mod shared_text;
pub mod spec;
pub mod stated;
mod statements;
mod substitute;
mod syntax;
mod text;
mod tree;

use std::path::Path;

use check::{Before, Lost, Terms};
pub use check::{
    Checked, Edited, HeldKeys, Known, Last, Learnt, Memory, Spoken, may_be_among, names_in,
    spoken_of,
};
pub use files::{File, Files, Unread, read_named, read_routes, read_routes_again};
pub use looks::{Looks, Stamp};
pub use problem::{Place, Problem, Problems};
pub use shared_text::SharedText;

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
    files::read_file(path).map(|file| Files::of_file(path.to_owned(), file))
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
    check_routes_again(files, known, None, &mut Memory::default())
}

/// As [`check_routes_whole`], beside files that were checked before. What their tenants meant stands
/// where the new ones say the same: only what is said anew is read.
///
/// `before` is what they meant; `memory` is what was remembered of them, and what of these is to be
/// remembered. Where these are wrong, it stays as it is.
pub fn check_routes_again(
    files: &Files,
    known: &Known<'_>,
    before: Option<&RoutesSpec>,
    memory: &mut Memory,
) -> Checked {
    let held = before.map_or_else(|| memory.held.clone(), HeldKeys::of);
    let (held, most_kept) = (Some(&held), memory.most_kept);
    let terms = Terms { known, lookup: &environment, lost: Lost::Problem, held, most_kept };
    check::check_routes(files, &terms, Before { spec: before, memory })
}

/// As [`check_routes_again`], of files of which few are others than those of before: only those are
/// checked. `None` where that does not do: where they say more than tenants, where something is
/// wrong with them or odd about them, or where something outside of them has a part in it.
pub fn check_routes_edited(files: &Files, known: &Known<'_>, last: &Last<'_>) -> Option<Edited> {
    let (held, most_kept) = (None, last.memory.most_kept);
    let terms = Terms { known, lookup: &environment, lost: Lost::Problem, held, most_kept };
    check::check_edited(files, &terms, last)
}

/// What is wrong with files of tenants alone, each by itself, beside those that were checked last: so that what
/// is wrong anyhow takes no reading of all of them. `None` where nothing is, and where that is not known.
pub fn check_routes_alone(files: &Files, known: &Known<'_>, last: &Last<'_>) -> Option<Problems> {
    let (held, most_kept) = (None, last.memory.most_kept);
    let terms = Terms { known, lookup: &environment, lost: Lost::Problem, held, most_kept };
    check::check_alone(files, &terms, last)
}

/// Checks routes files that were kept from another start. The pages that they name need not be
/// there any more: without its page an answer is the gateway's own. Nor need the keys of issuers: those that
/// `memory` holds do as well, and where there are none the issuer's tokens are not accepted.
pub fn check_kept_routes(files: &Files, known: &Known<'_>, memory: &Memory) -> Checked {
    let (held, most_kept) = (Some(&memory.held), memory.most_kept);
    let terms = Terms { known, lookup: &environment, lost: Lost::LeftOut, held, most_kept };
    check::check_routes(files, &terms, Before { spec: None, memory: &mut Memory::default() })
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
    let terms = Terms { known, lookup, lost: Lost::Problem, held: None, most_kept: None };
    let before = Before { spec: None, memory: &mut Memory::default() };
    check::check_routes(files, &terms, before).result
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
