//! `tenantry schema`: prints the JSON schema of one of the two files.

use crate::config::schema;

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// `gateway.toml`.
    Gateway,
    /// The routes file.
    Routes,
}

/// The schema as text, with a line break at its end.
pub fn schema(which: Which) -> String {
    let schema = match which {
        Which::Gateway => schema::gateway(),
        Which::Routes => schema::routes(),
    };
    format!("{schema:#}\n")
}
