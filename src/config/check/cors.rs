//! Which pages of other origins may use a tenant's answers.

use std::time::Duration;

use http::HeaderValue;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Cors};
use crate::config::spec::{CorsSpec, OriginSpec};
use crate::config::text::Written;

/// Checks what is said of other origins; `None` where nothing can be made of it. `plan` is what holds where
/// nothing is said.
pub(super) fn check(
    At { value: raw, start }: At<Cors>,
    plan: Option<&CorsSpec>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<CorsSpec> {
    let named = match (raw.origins, plan) {
        (Some(origins), _) => origins,
        (None, Some(plan)) => {
            At { value: plan.origins.iter().cloned().map(Written).collect(), start }
        }
        (None, None) => {
            if !faults.is_partial() {
                faults.add_missing(key, start, "names no origins", ORIGINS);
            }
            return None;
        }
    };
    let At { value: origins, start } = named;
    if origins.is_empty() {
        faults.add_missing(&key.name("origins"), start, "names no origin", ORIGINS);
    }
    let origins: Vec<OriginSpec> = origins.into_iter().map(|origin| origin.0).collect();
    let of_plan = plan.is_some_and(|plan| plan.credentials).then_some(At { value: true, start });
    let credentials = raw.credentials.or(of_plan).is_some_and(|At { value, start }| {
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
    let methods = raw
        .methods
        .map(|methods| list(methods.iter().map(|method| method.0.as_str())).unwrap_or(METHODS));
    let headers =
        |names: Option<Vec<Written<http::HeaderName>>>, of_plan: fn(&CorsSpec) -> _| match names {
            Some(names) => list(names.iter().map(|name| name.0.as_str())),
            None => plan.and_then(of_plan),
        };
    Some(CorsSpec {
        origins,
        methods: methods.or(plan.map(|plan| plan.methods.clone())).unwrap_or(METHODS),
        headers: headers(raw.headers, |plan| plan.headers.clone()),
        expose: headers(raw.expose, |plan| plan.expose.clone()),
        credentials,
        max_age: max_age.or(plan.map(|plan| plan.max_age)).unwrap_or(Duration::from_secs(600)),
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
