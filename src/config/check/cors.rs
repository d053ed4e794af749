//! Which pages of other origins may use a tenant's answers.

use std::time::Duration;

use http::HeaderValue;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Cors};
use crate::config::spec::{CorsSpec, OriginSpec};
use crate::config::text::Written;

/// Checks what is said of other origins; `None` where nothing can be made of it.
pub(super) fn check(
    At { value: raw, start }: At<Cors>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<CorsSpec> {
    let Some(At { value: origins, start }) = raw.origins else {
        faults.add_missing(key, start, "names no origins", ORIGINS);
        return None;
    };
    if origins.is_empty() {
        faults.add_missing(&key.name("origins"), start, "names no origin", ORIGINS);
    }
    let origins: Vec<OriginSpec> = origins.into_iter().map(|origin| origin.0).collect();
    let credentials = raw.credentials.is_some_and(|At { value, start }| {
        if value && origins.contains(&OriginSpec::Any) {
            let what = "every page could act for whoever is logged in: the origins are \"*\"";
            let hint = "name the origins, or take credentials out".to_owned();
            faults.add(&key.name("credentials"), start, what, Some(hint));
        }
        value
    });
    let max_age = raw.max_age.map(|At { value: Written(time), start }| {
        if time > LONGEST {
            let hint = "write a duration up to 24h, as in \"10m\"".to_owned();
            faults.add(&key.name("max-age"), start, "is longer than a day", Some(hint));
        }
        time
    });
    let methods = raw.methods.unwrap_or_default();
    let headers = |names: Option<Vec<Written<http::HeaderName>>>| {
        list(names.unwrap_or_default().iter().map(|name| name.0.as_str()))
    };
    Some(CorsSpec {
        origins,
        methods: list(methods.iter().map(|method| method.0.as_str())).unwrap_or(METHODS),
        headers: headers(raw.headers),
        expose: headers(raw.expose),
        credentials,
        max_age: max_age.unwrap_or(Duration::from_secs(600)),
    })
}

/// Names as a field lists them; `None` = there are none.
fn list<'n>(names: impl Iterator<Item = &'n str>) -> Option<HeaderValue> {
    let names: Vec<&str> = names.collect();
    // Tokens with commas between them are a valid value.
    HeaderValue::try_from(names.join(", ")).ok().filter(|value| !value.is_empty())
}

const ORIGINS: &str = "write origins = [\"https://app.example.com\"]";
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
/// As long as any browser remembers it.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
