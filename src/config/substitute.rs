//! `${VAR}` in text values. Keys, numbers and comments are left alone.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::DeValue;

use super::faults::Faults;
use super::key::Key;

/// Looks a variable up; `None` = it is not set.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces `${VAR}` in every text of a value. A text whose variable is missing or whose braces
/// are wrong is a fault and stays as it is; what else does not fit about it is not told.
pub(super) fn substitute(
    node: &mut Spanned<DeValue<'_>>,
    key: &Key<'_>,
    lookup: Lookup<'_>,
    faults: &mut Faults<'_>,
) {
    let start = node.span().start;
    match node.get_mut() {
        DeValue::String(text) if text.contains("${") => match expand(text, lookup) {
            Ok(expanded) => *text = Cow::Owned(expanded),
            Err((what, hint)) => faults.add_substitution(key, start, what, hint),
        },
        DeValue::Array(array) => {
            for (index, element) in array.iter_mut().enumerate() {
                substitute(element, &key.index(index), lookup, faults);
            }
        }
        DeValue::Table(table) => {
            for (name, value) in table.iter_mut() {
                substitute(value, &key.name(name.get_ref()), lookup, faults);
            }
        }
        _ => {}
    }
}

/// Replaces `${VAR}` and turns `$${` into `${`. A `$` that no brace follows stays.
fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, (String, String)> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        let after = after.strip_prefix("${").unwrap_or_default();
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            let what = "a `${` without a `}`".to_owned();
            return Err((what, "write `${NAME}`, or `$${` for the two characters".to_owned()));
        };
        if !is_name(name) {
            let what = format!("{name:?} is not the name of an environment variable");
            let hint = "a name is of letters, digits and '_', as in `${APP_HOST}`; \
                        write `$${` for the two characters";
            return Err((what, hint.to_owned()));
        }
        let Some(value) = lookup(name) else {
            let what = format!("the environment variable {name} is not set");
            return Err((what, format!("start the gateway with {name} in its environment")));
        };
        out.push_str(&value);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let lookup = |name: &str| (name == "HOST").then(|| "app".to_owned());

        assert_eq!(expand(text, &lookup).ok().as_deref(), expected, "{text:?}");
    }

    #[test]
    fn variables_are_replaced_and_an_escape_stays_as_text() {
        check("${HOST}:8080", Some("app:8080"));
        check("a${HOST}b${HOST}", Some("aappbapp"));
        check("$${HOST}", Some("${HOST}"));
        check("costs $5", Some("costs $5"));
        check("${MISSING}", None);
        check("${HOST", None);
        check("${}", None);
        check("${1A}", None);
    }
}
