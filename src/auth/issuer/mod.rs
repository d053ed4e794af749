//! The keys of issuers: held where whoever verifies a token finds them, fetched from the issuer, and kept
//! while it is down. Nothing here is on the way of a request but a look at the [`Keyring`].

mod fetch;
mod keeper;
mod keyring;
mod lifetime;

pub use fetch::{FetchFault, Fetched, Fetcher};
pub use keeper::{Beginning, Keeper};
pub use keyring::{Keyring, KeysStatus};
pub use lifetime::of as freshness;
