//! `tenantry key`: makes an API key and the lines that the routes file needs to know it. The key is
//! shown once and kept nowhere.

use anyhow::Context;
use clap::Args;

use crate::auth::api_key;
use crate::model::ids::TenantId;
use crate::model::key::KeyDigest;

/// For whom.
#[derive(Args, Debug)]
pub(super) struct KeyArgs {
    /// The tenant whose key it is
    #[arg(default_value = "TENANT")]
    tenant: String,
    /// What the key is called in the files
    #[arg(default_value = "NAME")]
    name: String,
}

/// A new key, and the lines for the routes file.
///
/// # Errors
/// When the system has no randomness, or a name cannot be one.
pub(super) fn key(args: &KeyArgs) -> anyhow::Result<String> {
    for (what, name) in [("tenant", &args.tenant), ("key", &args.name)] {
        TenantId::new(name).map_err(|error| anyhow::anyhow!("the name of the {what} {error}"))?;
    }
    let key = api_key::generate().ok().context("the system has no randomness")?;
    let digest = KeyDigest::of(key.as_bytes());
    let quoted = |name: &str| match name.contains('.') {
        true => format!("\"{name}\""),
        false => name.to_owned(),
    };
    let (tenant, name) = (quoted(&args.tenant), quoted(&args.name));
    Ok(format!(
        "# The key, for the client alone: it is shown once and kept nowhere.\n{key}\n\n\
         # For the routes file, which is no secret.\n[tenants.{tenant}.keys.{name}]\n\
         hash = \"{digest}\"\n"
    ))
}

#[cfg(test)]
mod tests {
    use crate::config::{Files, Known, check_routes};

    use super::*;

    #[test]
    fn what_is_printed_is_what_the_routes_need() {
        let args = KeyArgs { tenant: "acme".into(), name: "ci.build".into() };

        let text = key(&args).unwrap();

        let secret = text.lines().find(|line| line.starts_with("tenantry_")).unwrap();
        let (_, lines) = text.split_once("no secret.\n").unwrap();
        let routes = format!("[tenants.acme]\nstate = \"suspended\"\n{lines}");
        let spec =
            check_routes(&Files::of_text("r.toml", &routes), &Known { balancers: &[], keyed: &[] });
        let spec = spec.unwrap_or_else(|problems| panic!("{problems}"));
        let [key] = spec.tenant("acme").unwrap().keys() else { panic!("no key") };
        assert_eq!((&*key.name, key.digest), ("ci.build", KeyDigest::of(secret.as_bytes())));
        assert!(!lines.contains(secret));
        let wrong = KeyArgs { tenant: "a b".into(), name: "x".into() };
        assert!(super::key(&wrong).is_err());
    }
}
