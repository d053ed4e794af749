//! Issuers of signed tokens.

use std::path::Path;
use std::time::Duration;

use http::HeaderName;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Issuer, Issuers, Pairs};
use crate::config::spec::{IssuerSpec, NameFrom};
use crate::config::text::Written;
use crate::model::ids::TenantId;

use super::access::is_taken;
use super::issuer_keys::{self, Known, Raw};

/// Checks all issuers; `key` is that of their table, `folder` that of its file.
pub(super) fn check(
    raw: Option<Issuers>,
    naming: &[NameFrom],
    (folder, known): (Option<&Path>, &Known<'_>),
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<IssuerSpec> {
    let mut issuers: Vec<IssuerSpec> = Vec::new();
    for (At { value: name, start }, raw) in raw.map(|raw| raw.0).unwrap_or_default() {
        let key = key.name(&name);
        let own = one((&name, raw), naming, (folder, known), &key, faults);
        let Some(issuer) = own else { continue };
        if issuers.iter().any(|other| other.issuer == issuer.issuer) {
            let hint = Some("put the keys of both into one file".to_owned());
            faults.add(&key, start, "is an issuer that is there already", hint);
        }
        issuers.push(issuer);
    }
    issuers
}

fn one(
    (name, At { value: raw, start }): (&str, At<Issuer>),
    naming: &[NameFrom],
    (folder, known): (Option<&Path>, &Known<'_>),
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<IssuerSpec> {
    let issuer = raw.issuer.filter(|issuer| !issuer.value.is_empty());
    let audience = raw.audience.filter(|audience| !audience.value.is_empty());
    for (is_there, what, hint) in [
        (
            issuer.is_some(),
            "does not say what its tokens have in iss",
            "write issuer = \"https://…\"",
        ),
        (
            audience.is_some(),
            "does not say whom its tokens must be for: one for any other service would do",
            "write audience = [\"…\"], as the issuer puts it into aud",
        ),
    ] {
        if !is_there {
            faults.add_missing(key, start, what, hint);
        }
    }
    let leeway = raw.leeway.map(|At { value: Written(time), start }| {
        if time > MOST_LEEWAY {
            let hint = Some("write a duration up to 5m, as in \"30s\"".to_owned());
            faults.add(&key.name("leeway"), start, "is longer than five minutes", hint);
        }
        time
    });
    let tenants = raw.tenants.map(|names| tenants(names, &key.name("tenants"), faults));
    let headers = headers(raw.headers, naming, &key.name("headers"), faults);
    let own = issuer.as_ref().map_or("", |issuer| &issuer.value);
    let keys = Raw { file: raw.jwks_file, url: raw.jwks_url, fetch: raw.fetch };
    let keys = issuer_keys::check(keys, (own, start), (folder, known), key, faults);
    Some(IssuerSpec {
        name: name.into(),
        issuer: issuer?.value.into(),
        audience: audience?.value.into_iter().map(Into::into).collect(),
        keys: keys?,
        tenants,
        tenant_claim: raw.tenant_claim.unwrap_or_else(|| "tenant".to_owned()).into(),
        subject_claim: raw.subject_claim.unwrap_or_else(|| "sub".to_owned()).into(),
        leeway: leeway.unwrap_or(Duration::from_secs(30)),
        headers,
        forward: raw.forward_token.unwrap_or(false),
    })
}

fn tenants(names: Vec<At<String>>, key: &Key<'_>, faults: &mut Faults<'_>) -> Vec<TenantId> {
    let mut tenants = Vec::new();
    for (place, At { value: name, start }) in names.into_iter().enumerate() {
        match TenantId::new(&name) {
            Ok(id) => tenants.push(id),
            Err(error) => {
                let hint = "write the ids of tenants, as in [\"acme\"]".to_owned();
                faults.add(&key.index(place), start, error.to_string(), Some(hint));
            }
        }
    }
    tenants
}

fn headers(
    raw: Option<Pairs<HeaderName, String>>,
    naming: &[NameFrom],
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<(HeaderName, Box<str>)> {
    let mut headers = Vec::new();
    for (At { value: name, start }, claim) in raw.map(|raw| raw.0).unwrap_or_default() {
        if is_taken(&name, naming) {
            let what = format!("the header {name} has a meaning of its own");
            let hint = "take a header that nothing else uses, as in \"X-Email\"".to_owned();
            faults.add(&key.name(name.as_str()), start, what, Some(hint));
        }
        headers.push((name, claim.into()));
    }
    headers
}

/// 5 minutes: clocks that differ by more are broken.
const MOST_LEEWAY: Duration = Duration::from_secs(300);
