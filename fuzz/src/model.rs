//! docs/routing.md word by word, as slow and plain as it can be: which tenant a request names, and
//! which of its routes takes it.

use std::cmp::Ordering;

/// A route as it is written in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sketch {
    /// `shop.test`, or `*.test`; `None` for any.
    pub(crate) host: Option<&'static str>,
    /// The pattern.
    pub(crate) path: String,
    /// Sorted; empty for any.
    pub(crate) methods: Vec<&'static str>,
    /// Names with the value that one of them must have.
    pub(crate) headers: Vec<(&'static str, Option<&'static str>)>,
    /// The same of parameters.
    pub(crate) query: Vec<(&'static str, Option<&'static str>)>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its method.
    pub(crate) method: &'static str,
    /// Its path.
    pub(crate) path: String,
    /// The query without its `?`.
    pub(crate) query: Option<String>,
    /// The host of an absolute target.
    pub(crate) authority: Option<HostText>,
    /// The `Host` fields.
    pub(crate) hosts: Vec<HostText>,
    /// Other fields: names in lower case with their values.
    pub(crate) fields: Vec<(&'static str, &'static str)>,
}

/// The text of a host, and the host that it means, if it means one.
pub(crate) type HostText = (&'static str, Option<&'static str>);

/// A way in which a request names its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// This field.
    Header(&'static str),
    /// What stands between these two.
    Host(&'static str, &'static str),
    /// The first segment, taken off.
    Strip,
    /// The first segment, left in.
    Keep,
    /// This one.
    Default(&'static str),
}

/// What a request names: a tenant and the path that is left, or what is wrong.
pub(crate) type Named = Result<(String, String), Wrong>;

/// Why no tenant is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// No way is present.
    Missing,
    /// A way that is present is wrong.
    Ambiguous,
    /// There is no such tenant.
    Unknown,
}

/// The tenant by the first way that is present.
pub(crate) fn name(ways: &[Way], tenants: &[&str], asked: &Asked) -> Named {
    for way in ways {
        let (id, path) = match *way {
            Way::Default(id) => (id.to_owned(), asked.path.clone()),
            Way::Header(name) => match asked.values(name)[..] {
                [] => continue,
                [id] if is_id(id) => (id.to_owned(), asked.path.clone()),
                _ => return Err(Wrong::Ambiguous),
            },
            Way::Host(before, after) => {
                if asked.authority.is_none() && asked.hosts.len() > 1 {
                    return Err(Wrong::Ambiguous);
                }
                let label = asked.host().and_then(|host| between(host, before, after));
                let Some(label) = label else { continue };
                (label.to_owned(), asked.path.clone())
            }
            Way::Strip | Way::Keep => {
                let mut segments = asked.path.split('/').skip(1);
                let Some(id) = segments.next().filter(|first| !first.is_empty()) else { continue };
                if !is_id(id) {
                    return Err(Wrong::Ambiguous);
                }
                let rest: Vec<&str> = segments.collect();
                let left = format!("/{}", rest.join("/"));
                (id.to_owned(), if *way == Way::Strip { left } else { asked.path.clone() })
            }
        };
        let known = tenants.contains(&id.as_str());
        return if known { Ok((id, path)) } else { Err(Wrong::Unknown) };
    }
    Err(Wrong::Missing)
}

/// The label of a host that fits: exactly one.
fn between<'h>(host: &'h str, before: &str, after: &str) -> Option<&'h str> {
    let label = host.strip_prefix(before)?.strip_suffix(after)?;
    (is_id(label) && !label.contains('.')).then_some(label)
}

fn is_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    (1..=128).contains(&text.len()) && text.chars().all(plain)
}

/// The place of the route that wins, in the order of `routes`: the own ones, then those of the sets.
pub(crate) fn choose(routes: &[Sketch], asked: &Asked, path: &str) -> Option<usize> {
    let takers = routes.iter().enumerate().filter(|(_, route)| takes(route, asked, path));
    takers.min_by(|one, other| before(one.1, other.1).then(one.0.cmp(&other.0))).map(|(at, _)| at)
}

/// Whether all conditions of a route hold.
fn takes(route: &Sketch, asked: &Asked, path: &str) -> bool {
    let host = match (route.host, asked.host()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wanted), Some(host)) => match wanted.strip_prefix('*') {
            Some(below) => host.len() > below.len() && host.ends_with(below),
            None => host == wanted,
        },
    };
    host && fits(&route.path, path)
        && (route.methods.is_empty() || route.methods.contains(&asked.method))
        && route.headers.iter().all(|(name, wanted)| {
            let values = asked.values(name);
            wanted.map_or(!values.is_empty(), |wanted| values.contains(&wanted))
        })
        && route.query.iter().all(|(name, wanted)| {
            let pairs = asked.query.as_deref().unwrap_or_default().split('&');
            let mut pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(name), decoded(value))
            });
            pairs.any(|(own, value)| {
                own == name.as_bytes() && wanted.is_none_or(|wanted| value == wanted.as_bytes())
            })
        })
}

/// Whether a pattern takes a path.
fn fits(pattern: &str, path: &str) -> bool {
    if !path.starts_with('/') {
        return pattern == "/*";
    }
    let (pattern, open) = match pattern.rsplit_once("/*") {
        Some((before, _)) => (before, true),
        None => (pattern, false),
    };
    let wanted: Vec<&str> = pattern.split('/').skip(1).collect();
    let given: Vec<&str> = path.split('/').skip(1).collect();
    let long_enough = given.len() >= wanted.len() && (open || given.len() == wanted.len());
    let one = |(wanted, given): (&&str, &&str)| match wanted.starts_with('{') {
        true => !given.is_empty(),
        false => wanted == given,
    };
    long_enough && wanted.iter().zip(&given).all(one)
}

/// The questions in turn: less is more specific.
fn before(one: &Sketch, other: &Sketch) -> Ordering {
    let host = |route: &Sketch| match route.host {
        Some(host) if !host.starts_with('*') => (0, 0),
        Some(host) => (1, -(host.len() as i64)),
        None => (2, 0),
    };
    let more = |count: usize| -(count as i64);
    host(one)
        .cmp(&host(other))
        .then_with(|| kinds(&one.path).cmp(&kinds(&other.path)))
        .then_with(|| one.methods.is_empty().cmp(&other.methods.is_empty()))
        .then_with(|| more(one.headers.len()).cmp(&more(other.headers.len())))
        .then_with(|| more(one.query.len()).cmp(&more(other.query.len())))
}

/// Segment by segment: literal, parameter, the end of an exact path, the `/*` of an open one.
fn kinds(pattern: &str) -> Vec<u8> {
    let mut kinds: Vec<u8> = Vec::new();
    for segment in pattern.split('/').skip(1) {
        match segment.chars().next() {
            Some('*') => {
                kinds.push(3);
                return kinds;
            }
            Some('{') => kinds.push(1),
            _ => kinds.push(0),
        }
    }
    kinds.push(2);
    kinds
}

/// As a form means it. A `%` without two hexadecimal digits stands for itself.
fn decoded(text: &str) -> Vec<u8> {
    let text = text.replace('+', " ");
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|two| two.bytes().all(|c| c.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    bytes
}

impl Asked {
    fn values(&self, name: &str) -> Vec<&'static str> {
        let named = self.fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| *value).collect()
    }

    /// The host of the target, else of the one field.
    fn host(&self) -> Option<&'static str> {
        match (self.authority, &self.hosts[..]) {
            (Some((_, host)), _) => host,
            (None, [(_, host)]) => *host,
            _ => None,
        }
    }
}
