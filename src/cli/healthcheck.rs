//! `tenantry healthcheck`: whether a running gateway is ready, for containers without a shell.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use http::Uri;

use super::asking::{self, Credentials};

/// Who is asked, and what.
#[derive(Args, Debug)]
pub(super) struct HealthcheckArgs {
    /// Where the admin API is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9900")]
    admin: Uri,
    /// Ask whether it lives (/healthz), not whether it is ready (/readyz)
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    credentials: Credentials,
}

/// Says what the gateway says.
///
/// # Errors
/// When it does not answer, or not that all is well; the sentence has the reason.
pub(super) fn healthcheck(args: &HealthcheckArgs) -> anyhow::Result<String> {
    let path = if args.live { "/healthz" } else { "/readyz" };
    let (status, body) = asking::get(&args.admin, path, &args.credentials, LIMIT)?;
    if !status.is_success() {
        bail!("the gateway at {} answered {status}: {}", args.admin, asking::detail(&body));
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// 2 s: it answers from memory.
const LIMIT: Duration = Duration::from_secs(2);
