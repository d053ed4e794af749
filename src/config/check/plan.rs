//! Plans, and what a tenant begins with: what its plan says, or what is built in. A plan is checked once,
//! whoever uses it, and what is wrong with it is told of it alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{At, Plan, Tenant};
use crate::config::spec::TenantSpec;

use super::answers::Pages;
use super::gather::{Entries, Entry};
use super::{Scope, tenant, undefined};

/// Plans by name; `None` where something is wrong with one.
pub(super) type Plans = BTreeMap<Arc<str>, Option<Arc<TenantSpec>>>;

/// What a tenant begins with.
pub(super) struct Base {
    /// Its plan, and where it is named.
    pub(super) plan: Option<(Arc<str>, usize)>,
    /// What holds where it says nothing.
    pub(super) spec: Arc<TenantSpec>,
    /// Whether that is all: what is missing may be said by a plan that is wrong or not there.
    pub(super) is_whole: bool,
}

impl Base {
    /// Without a plan.
    fn built_in() -> Self {
        Self { plan: None, spec: Arc::default(), is_whole: true }
    }

    /// Of a tenant.
    pub(super) fn of(
        plan: Option<At<String>>,
        plans: &Plans,
        key: &Key<'_>,
        faults: &mut Faults<'_>,
    ) -> Self {
        let Some(At { value: name, start }) = plan else { return Self::built_in() };
        let Some((name, plan)) = plans.get_key_value(name.as_str()) else {
            faults
                .add_undefined(&key.name("plan"), start, || undefined("plan", &name, plans.keys()));
            return Self { is_whole: false, ..Self::built_in() };
        };
        let (spec, is_whole) = (plan.clone().unwrap_or_default(), plan.is_some());
        Self { plan: Some((Arc::clone(name), start)), spec, is_whole }
    }
}

/// Checks all plans.
pub(super) fn check_all(
    raw: Entries<Plan>,
    scope: &Scope<'_>,
    pages: &mut Pages,
    faults: &mut Faults<'_>,
) -> Plans {
    let mut plans = Plans::new();
    for (name, entry) in raw {
        let root = Key::root(entry.file);
        let table = root.name("plans");
        let key = table.name(&name);
        let spec = entry.raw.and_then(|Plan(raw)| {
            let raw = of_many(raw, &key, faults);
            let entry = Entry { file: entry.file, at: entry.at, raw: Some(raw) };
            tenant::said(entry, &Base::built_in(), (scope, pages), &key, faults)
                .map(|said| said.spec)
        });
        let is_right = !faults.touches(&key);
        plans.insert(name, spec.filter(|_| is_right).map(Arc::new));
    }
    plans
}

/// What many tenants can say alike; refuses what one alone can have.
fn of_many(mut raw: Tenant, key: &Key<'_>, faults: &mut Faults<'_>) -> Tenant {
    let key_of = raw.keys.take().and_then(|keys| Some(keys.0.first()?.0.start));
    let domain = raw.domains.take().map(|domains| domains.start);
    let certificate = raw.certificates.take().map(|certificates| certificates.start);
    let route = raw.routes.take().and_then(|routes| Some(routes.first()?.start));
    let plan = raw.plan.take().map(|plan| plan.start);
    let refused = [
        (
            "keys",
            key_of,
            "a key names one tenant",
            "write it below the tenant: [tenants.ID.keys.NAME]",
        ),
        (
            "domains",
            domain,
            "a host names one tenant",
            "write it below the tenant: [tenants.ID] domains = [\"…\"]",
        ),
        (
            "certificates",
            certificate,
            "a certificate is for the domains of one tenant",
            "write it below the tenant: [[tenants.ID.certificates]]",
        ),
        (
            "routes",
            route,
            "a plan has no routes of its own",
            "write them into a route set, [[route-sets.NAME.routes]], and use = [\"NAME\"] here",
        ),
        ("plan", plan, "a plan has no plan", "say here what that plan says"),
    ];
    for (name, start, what, hint) in refused {
        if let Some(start) = start {
            faults.add(&key.name(name), start, what, Some(hint.to_owned()));
        }
    }
    raw
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::config::spec::RoutesSpec;
    use crate::config::{Files, Known, Problems, check_routes};

    use super::*;

    /// Keys of a tenant, each with values that it may have.
    const KEYS: &[(&str, &[&str])] = &[
        ("state", &["\"active\"", "\"suspended\"", "\"maintenance\""]),
        ("maintenance.retry-after", &["\"1m\"", "\"2m\""]),
        ("maintenance.allow", &["[\"10.0.0.0/8\"]", "[]"]),
        ("pool", &["\"a\"", "\"b\""]),
        ("use", &["[]", "[\"s\"]", "[\"s\", \"r\"]"]),
        ("limits.requests", &["\"1/s\"", "\"50/m\""]),
        ("limits.scope", &["\"shared\"", "\"gateway\""]),
        ("limits.concurrency", &["1", "5"]),
        ("limits.overflow", &["\"wait\"", "\"reject\""]),
        ("limits.wait", &["\"2s\"", "\"3s\""]),
        ("limits.waiting", &["7", "8"]),
        ("limits.client.requests", &["\"1/s\"", "\"5/s\""]),
        ("limits.client.overflow", &["\"wait\"", "\"reject\""]),
        ("limits.subject.requests", &["\"1/s\"", "\"5/s\""]),
        ("limits.subject.overflow", &["\"wait\"", "\"reject\""]),
        ("limits.client.concurrency", &["1", "5"]),
        ("limits.subject.concurrency", &["1", "5"]),
        ("limits.subject.quota", &["\"5/day\"", "\"5/month\""]),
        ("limits.quota", &["\"5/day\"", "\"5/month\""]),
        ("limits.upload", &["\"1MiB/s\"", "\"2MiB/s\""]),
        ("limits.download", &["\"1MiB/s\"", "\"2MiB/s\""]),
        ("limits.max-body", &["\"1MiB\"", "\"2MiB\""]),
        ("limits.fields", &["\"always\"", "\"refused\""]),
        (
            "error-pages.503",
            &["{ body = \"1\" }", "{ body = \"2\", content-type = \"text/plain\" }"],
        ),
        ("error-pages.5xx", &["{ body = \"3\" }", "{ body = \"4\" }"]),
        ("access-log.sample", &["\"1%\"", "\"2%\""]),
        ("tracing.sample", &["\"1%\"", "\"2%\""]),
        ("replay-memory", &["\"1MiB\"", "\"16MiB\""]),
        ("authenticate", &["[\"api-key\"]"]),
        ("authorize", &["\"x\"", "\"y\""]),
        ("allow", &["[\"10.0.0.0/8\"]", "[\"unix\"]"]),
        ("deny", &["[\"10.0.0.0/9\"]", "[]"]),
        ("methods", &["[\"GET\"]", "[\"GET\", \"PUT\"]"]),
        ("cors.origins", &["[\"https://a.example\"]", "[\"*\"]"]),
        ("cors.methods", &["[\"PUT\"]", "[]"]),
        ("cors.headers", &["[\"X-A\"]", "[]"]),
        ("cors.expose", &["[\"X-B\"]", "[]"]),
        ("cors.credentials", &["true", "false"]),
        ("cors.max-age", &["\"1m\"", "\"2m\""]),
        ("queue.weight", &["1", "9"]),
        ("queue.priority", &["\"batch\"", "\"normal\""]),
        ("queue.length", &["0", "5"]),
        ("queue.wait", &["\"1s\"", "\"2s\""]),
        ("tenant-keys", &["[]", "[\"cors\", \"limits.requests\"]"]),
    ];

    const SHARED: &str = "[identity.authorizers]\nx = { pool = \"a\" }\ny = { pool = \"b\" }\n\
                          [pools.a]\ndns = \"a:1\"\n[pools.b]\ndns = \"b:1\"\n\
                          [route-sets.s]\nroutes = [{ path = \"/s\", pool = \"b\" }]\n\
                          [route-sets.r]\nroutes = [{ path = \"/r\" }]\n";

    fn meaning(text: &str) -> Result<RoutesSpec, Problems> {
        let files = Files::of_text("r.toml", &format!("{SHARED}{text}"));
        check_routes(&files, &Known { balancers: &["least-request"], keyed: &[] })
    }

    /// What the tenant `t` of a text means.
    fn tenant(text: &str) -> Option<TenantSpec> {
        let spec = meaning(text).ok()?;
        Some(TenantSpec { plan: None, ..TenantSpec::clone(spec.tenant("t")?) })
    }

    /// What is said of each key: nothing, or one of its values.
    fn words() -> impl Strategy<Value = Vec<Option<usize>>> {
        let one = proptest::option::weighted(0.3, 0_usize..3);
        proptest::collection::vec(one, KEYS.len())
    }

    fn text(words: &[Option<usize>]) -> String {
        let line = |((key, values), said): (&(&str, &[&str]), &Option<usize>)| {
            said.map(|at| format!("{key} = {}\n", values[at % values.len()]))
        };
        KEYS.iter().zip(words).filter_map(line).collect()
    }

    proptest! {
        #[test]
        fn a_tenant_of_a_plan_is_one_that_says_all_of_it_itself(plan in words(), own in words()) {
            let both: Vec<Option<usize>> =
                own.iter().zip(&plan).map(|(own, plan)| own.or(*plan)).collect();
            let by_plan =
                format!("[plans.p]\n{}[tenants.t]\nplan = \"p\"\n{}", text(&plan), text(&own));
            let by_itself = format!("[tenants.t]\n{}", text(&both));

            if let (Some(by_plan), Some(by_itself)) = (tenant(&by_plan), tenant(&by_itself)) {
                prop_assert_eq!(by_plan, by_itself);
            }
        }
    }

    #[test]
    fn each_key_that_may_be_in_a_plan_is_among_those_that_are_compared() {
        let schema = crate::config::schema::routes();
        let keys = schema["$defs"]["Plan"]["properties"].as_object().unwrap();

        for key in keys.keys() {
            let starts = |known: &&str| known.split('.').next() == Some(key);
            assert!(KEYS.iter().any(|(known, _)| starts(known)), "{key} is not in KEYS");
        }
    }

    #[test]
    fn a_burst_is_one_with_the_requests_beside_it() {
        let plan = "[plans.p]\npool = \"a\"\nlimits = { requests = \"10/s\", burst = 20 }\n";
        let limits = |own: &str| {
            let spec = tenant(&format!("{plan}[tenants.t]\nplan = \"p\"\n{own}"))?;
            let requests = spec.limits?.requests?;
            Some((requests.rate.count, requests.burst))
        };

        assert_eq!(limits(""), Some((10, 20)));
        assert_eq!(limits("limits.concurrency = 5\n"), Some((10, 20)));
        assert_eq!(limits("limits.requests = \"500/s\"\n"), Some((500, 500)));
        assert_eq!(limits("limits.burst = 30\n"), None);
    }

    #[test]
    fn a_written_reject_is_told_from_none_in_a_plan_and_in_a_tenant() {
        use crate::config::spec::Overflow;
        let overflow = |plan: &str, own: &str| {
            let plan =
                format!("[plans.p]\npool = \"a\"\nlimits = {{ requests = \"9/s\"{plan} }}\n");
            let spec = tenant(&format!("{plan}[tenants.t]\nplan = \"p\"\n{own}")).unwrap();
            spec.limits.unwrap().overflow
        };
        let (wait, reject) = (", overflow = \"wait\"", ", overflow = \"reject\"");
        let waits = |found: Option<Overflow>| matches!(found, Some(Overflow::Wait { .. }));

        assert_eq!(overflow("", ""), None);
        assert_eq!(overflow("", "limits.concurrency = 5\n"), None);
        assert_eq!(overflow(reject, "limits.concurrency = 5\n"), Some(Overflow::Reject));
        assert!(waits(overflow(reject, "limits.overflow = \"wait\"\n")));
        assert!(waits(overflow(wait, "limits.concurrency = 5\n")));
        assert_eq!(overflow(wait, "limits.overflow = \"reject\"\n"), Some(Overflow::Reject));
    }

    #[test]
    fn what_is_wrong_with_a_plan_is_told_of_it_alone() {
        let text = "[plans.p]\npool = \"c\"\nlimits = {}\n[plans.q]\nuse = [\"r\"]\n\
                    [tenants.t]\nplan = \"p\"\n[tenants.u]\nplan = \"p\"\nlimits.burst = 5\n\
                    [tenants.v]\nplan = \"q\"\n[tenants.w]\nplan = \"pp\"\nqueue.wait = \"0s\"\n";

        let problems = meaning(text).unwrap_err();

        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "plans.p.pool",
                "plans.p.limits",
                "tenants.u.limits.burst",
                "tenants.v.plan",
                "tenants.w.plan",
                "tenants.w.queue.wait"
            ]
        );
        let hint = |at: usize| problems.iter().nth(at).unwrap().hint.clone().unwrap();
        assert_eq!(hint(4), "define it: [plans.pp]; defined are p, q");
    }

    /// Keys of all problems.
    fn keys_of(text: &str) -> Vec<String> {
        meaning(text).unwrap_err().iter().map(|problem| problem.key.clone()).collect()
    }

    #[test]
    fn nobody_is_told_that_something_is_missing_which_a_broken_plan_may_say() {
        let own = "limits = { overflow = \"wait\", wait = \"2s\", client.overflow = \"wait\" }\n\
                   cors.max-age = \"1m\"\n[tenants.u]\nplan = \"NAME\"\nlimits = {}\n\
                   [tenants.v]\nplan = \"NAME\"\nlimits.waiting = 5\n";
        let text = |name: &str| {
            let own = own.replace("NAME", name);
            format!("[plans.p]\npool = \"c\"\n[tenants.t]\nplan = \"{name}\"\n{own}")
        };

        assert_eq!(keys_of(&text("p")), ["plans.p.pool"]);
        let unknown = keys_of(&text("q"));
        assert_eq!(unknown, ["plans.p.pool", "tenants.t.plan", "tenants.u.plan", "tenants.v.plan"]);
    }

    #[test]
    fn an_empty_list_does_not_hint_that_without_it_nothing_of_the_plan_would_hold() {
        let plan = "[plans.p]\npool = \"a\"\nauthenticate = [\"api-key\"]\nallow = [\"unix\"]\n\
                    methods = [\"GET\"]\n";
        for key in ["authenticate", "allow", "methods"] {
            let hint = |plan: &str, pool: &str| {
                let text = format!("{plan}[tenants.t]\n{pool}\n{key} = []\n");
                let problems = meaning(&text).unwrap_err();
                let found = problems.iter().find(|p| p.key == format!("tenants.t.{key}"));
                found.unwrap().hint.clone().unwrap()
            };

            assert!(hint(plan, "plan = \"p\"").contains("only another plan"), "{key}");
            assert!(hint("", "pool = \"a\"").contains("leave it out"), "{key}");
        }
    }

    #[test]
    fn tenants_that_have_a_plan_and_no_more_are_one() {
        let tenants: String =
            (0..50).map(|at| format!("[tenants.t{at}]\nplan = \"p\"\n")).collect();
        let plan = "[plans.p]\npool = \"a\"\nallow = [\"10.0.0.0/8\"]\n";
        let own = "[tenants.u]\nplan = \"p\"\nqueue.weight = 5\n";

        let spec = meaning(&format!("{plan}{tenants}{own}")).unwrap();

        let first = spec.tenant("t0").unwrap();
        let same = |(_, tenant): &&crate::config::spec::NamedTenant| Arc::ptr_eq(tenant, first);
        assert_eq!(spec.tenants.iter().filter(same).count(), 50);
        let access = |id: &str| spec.tenant(id).unwrap().access.clone().unwrap();
        assert!(Arc::ptr_eq(&access("t0"), &access("u")), "parts that are the plan's are shared");
    }
}
