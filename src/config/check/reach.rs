//! Tenants that no request can name, and routes that no request of their tenant can fit: the ways of
//! `[tenant] from` settle some of a request's host and path. Told, and no reason to refuse the files.

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::spec::{HostSpec, NameFrom, PathTenant, RouteSpec, SegmentSpec, TailSpec};
use crate::model::ids::TenantId;

/// Tells what is out of reach of one tenant. Where one way may lead there, nothing is said of it;
/// which way a request has is not asked.
pub(super) fn tell(
    (id, at): (&TenantId, usize),
    (routes, starts): (&[RouteSpec], &[usize]),
    ways: &[NameFrom],
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) {
    if is_sure(ways) {
        return;
    }
    let ways: Vec<&NameFrom> = ways.iter().filter(|way| may_name(way, id.as_str())).collect();
    if ways.is_empty() {
        let what = "no request can name this tenant";
        faults.doubt(key, at, what, |_| {
            "a host names ids of lower case letters, digits, '-' and '_' alone; add a way to \
             [tenant] from, as in { header = \"X-Tenant-ID\" }"
                .to_owned()
        });
        return;
    }
    let routes_key = key.name("routes");
    for (index, (route, start)) in routes.iter().zip(starts).enumerate() {
        let is_far = |way: &&NameFrom| !may_lead_to(way, id.as_str(), route);
        if ways.iter().all(is_far) && !faults.touches(&routes_key.index(index)) {
            let what = "is never used: no request that names its tenant has such a host and path";
            faults.doubt(&routes_key.index(index), *start, what, |_| {
                let ways: Vec<String> = ways.iter().map(|way| told(way, id.as_str())).collect();
                format!("what names {} is {}", id.as_str(), ways.join(", or "))
            });
        }
    }
}

/// Whether one of these ways leads to each tenant and to each route, so that there is nothing to tell.
pub(super) fn is_sure(ways: &[NameFrom]) -> bool {
    ways.iter().any(|way| match way {
        NameFrom::Header(_)
        | NameFrom::Certificate { .. }
        | NameFrom::Credential(_)
        | NameFrom::Domain
        | NameFrom::Path(PathTenant::Strip) => true,
        NameFrom::Host { .. } | NameFrom::Path(PathTenant::Keep) | NameFrom::Default(_) => false,
    })
}

/// Whether some request names the tenant in one of these ways.
pub(super) fn is_named(ways: &[NameFrom], id: &TenantId) -> bool {
    ways.iter().any(|way| may_name(way, id.as_str()))
}

/// Whether some request names the tenant in this way.
fn may_name(way: &NameFrom, id: &str) -> bool {
    match way {
        NameFrom::Header(_)
        | NameFrom::Certificate { .. }
        | NameFrom::Credential(_)
        | NameFrom::Domain
        | NameFrom::Path(_) => true,
        NameFrom::Host { .. } => !id.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'.'),
        NameFrom::Default(other) => other.as_str() == id,
    }
}

/// Whether some request that names the tenant in this way has the host and path of a route.
fn may_lead_to(way: &NameFrom, id: &str, route: &RouteSpec) -> bool {
    match way {
        NameFrom::Host { prefix, suffix } => {
            let host = format!("{prefix}{id}{suffix}");
            match &route.host {
                None => true,
                Some(HostSpec::Exact(wanted)) => *wanted == host,
                Some(HostSpec::Below(wanted)) => {
                    host.strip_suffix(wanted.as_str()).is_some_and(|rest| rest.ends_with('.'))
                }
            }
        }
        NameFrom::Path(PathTenant::Keep) => match route.path.segments.first() {
            Some(SegmentSpec::Literal(first)) => first == id,
            Some(SegmentSpec::Parameter(_)) => true,
            None => route.path.tail == TailSpec::Any,
        },
        _ => true,
    }
}

/// What a request has that names the tenant in a way that settles something.
fn told(way: &NameFrom, id: &str) -> String {
    match way {
        NameFrom::Host { prefix, suffix } => format!("the host {prefix}{id}{suffix}"),
        _ => format!("a path that begins with /{id}; to have it taken off, write path = \"strip\""),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Files, Known, check_routes_whole};

    /// The keys that are told, of a tenant with these ways and routes.
    fn told(ways: &str, id: &str, routes: &[&str]) -> Vec<String> {
        let routes: String = routes.iter().map(|route| format!("{{ {route} }}, ")).collect();
        let text = format!(
            "tenant.from = [{ways}]\npools.a.dns = \"a:1\"\ntenants.\"{id}\" = \
             {{ pool = \"a\", routes = [{routes}] }}\n"
        );
        let checked = check_routes_whole(
            &Files::of_text("r.toml", &text),
            &Known { balancers: &[], keyed: &[] },
        );
        checked.result.unwrap_or_else(|problems| panic!("{problems}"));
        checked.doubts.into_iter().map(|doubt| doubt.key).collect()
    }

    const HOST: &str = "{ host = \"{tenant}.example.com\" }";
    const KEEP: &str = "{ path = \"keep\" }";

    #[test]
    fn a_route_for_a_host_that_names_somebody_else_is_told() {
        let own = "host = \"acme.example.com\"";
        let below = "host = \"*.example.com\", path = \"/b\"";
        let others = "host = \"globex.example.com\"";
        let far = "host = \"*.acme.example.com\"";

        let told_of = |ways: &str| told(ways, "acme", &[own, below, others, far, "path = \"/c\""]);

        assert_eq!(told_of(HOST), ["tenants.acme.routes[2]", "tenants.acme.routes[3]"]);
        assert_eq!(told_of(&format!("{HOST}, {{ header = \"X-T\" }}")), [""; 0]);
        assert_eq!(told_of(&format!("{HOST}, {{ default = \"acme\" }}")), [""; 0]);
    }

    #[test]
    fn a_route_that_forgets_the_segment_that_stays_is_told() {
        let routes = [
            "path = \"/billing/*\"",
            "path = \"/acme/*\"",
            "path = \"/{t}/x\"",
            "path = \"/*\"",
            "path = \"/\"",
        ];

        let keep = told(KEEP, "acme", &routes);
        let strip = told("{ path = \"strip\" }", "acme", &routes);

        assert_eq!(keep, ["tenants.acme.routes[0]", "tenants.acme.routes[4]"]);
        assert_eq!(strip, [""; 0]);
    }

    #[test]
    fn a_tenant_that_no_host_can_name_is_told() {
        for id in ["Acme", "a.b"] {
            assert_eq!(told(HOST, id, &[]).len(), 1, "{id}");
            assert_eq!(told(&format!("{HOST}, {KEEP}"), id, &[]), [""; 0], "{id}");
        }
        assert_eq!(told(HOST, "a_b-1", &[]), [""; 0]);
    }
}
