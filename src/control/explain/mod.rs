//! Where a request would go, and why: asked of files that nobody serves yet, or of what is live.

mod access;
mod candidates;
mod ejection;
mod gateway;
mod limits;
mod retrying;
mod settings;
mod splitting;
mod spreading;
mod words;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::header::HOST;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::snapshot::Snapshot;
use crate::config::Files;
use crate::config::places::{self, Places, Step, Steps};
use crate::config::secrets::Secrets;
use crate::config::spec::{RouteSpec, RoutesSpec, TenantSpec, TenantState};
use crate::discovery;
use crate::model::ids::TenantId;
use crate::pool::Pool;
use crate::routing::action::Action;
use crate::routing::explain::{self, Verdict, Way};
use crate::routing::naming::Named;
use crate::routing::route::Route;
use crate::routing::table::Table;
use crate::routing::tenant::Tenant;
use crate::routing::{Query, host};

use super::generation::{Fault, Live};
use super::load::{self, Loaded, Materials};
use super::nothing;
use super::quarantine::Quarantine;
use candidates::{candidate, written};

pub use gateway::of_gateway;
pub use settings::Setting;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The tenant, where the request itself does not name it.
    pub tenant: Option<TenantId>,
    /// The request. Its target is a path, its host a field.
    pub head: Parts,
}

impl Question {
    /// A request of this target: a path, or a URL whose host becomes a field, as HTTP/1.1 sends it.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn new<'h>(
        tenant: Option<&str>,
        method: &Method,
        target: &Uri,
        headers: impl IntoIterator<Item = &'h str>,
    ) -> Result<Self, String> {
        let tenant = tenant.map(TenantId::new).transpose();
        let tenant = tenant.map_err(|error| format!("the tenant {error}"))?;
        if !target.path().starts_with('/') {
            return Err(format!("{:?} is not a path or a URL", target.to_string()));
        }
        let path = target.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(method).uri(path);
        if let Some(authority) = target.authority() {
            request = request.header(HOST, authority.as_str());
        }
        for line in headers {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| format!("{line:?} is not a header, as in \"X-Beta: 1\""))?;
            let name: HeaderName = name
                .trim()
                .parse()
                .map_err(|_| format!("{:?} is not the name of a header", name.trim()))?;
            let value: HeaderValue = value
                .trim()
                .parse()
                .map_err(|_| format!("{:?} cannot be in a header", value.trim()))?;
            request = request.header(name, value);
        }
        let (head, ()) = request.body(()).map_err(|error| error.to_string())?.into_parts();
        Ok(Self { tenant, head })
    }
}

/// Where a request would go, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// Method and target.
    pub request: String,
    /// What becomes of it, in one sentence.
    pub outcome: String,
    /// How its tenant was named, up to the way that decided.
    pub naming: Vec<Way>,
    /// The tenant.
    pub tenant: Option<Placed>,
    /// The plan that says what the tenant does not say itself.
    pub plan: Option<Placed>,
    /// The tenant's routes, the chosen one first, each with why it does not take the request.
    pub routes: Vec<Judged>,
    /// The pool that it goes to.
    pub pool: Option<Destination>,
    /// What applies to it, and where each value was set.
    pub settings: Vec<Setting>,
}

/// A name and where a file says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placed {
    /// The name.
    pub name: String,
    /// As in `routes.toml:12`.
    pub place: Option<String>,
}

/// A route, and where a file says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// What it thinks of the request.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// As in `routes.toml:12`.
    pub place: Option<String>,
}

/// A pool and who is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// As in `routes.toml:12`.
    pub place: Option<String>,
    /// Where its endpoints come from, as in `dns billing.internal:8080`.
    pub sources: Vec<String>,
    /// Its endpoints; where nobody serves the files, those that are written in them.
    pub endpoints: Vec<Candidate>,
    /// Too few are healthy, so that all are used.
    pub panicking: bool,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Where it listens.
    pub address: String,
    /// Whether it may be picked.
    pub eligible: bool,
    /// Why not, or what is known of it.
    pub why: String,
}

/// Answers for what is live.
#[derive(Clone, Debug)]
pub struct Explainer {
    table: Snapshot<Table>,
    live: Snapshot<Live>,
    /// What holds for all requests.
    gateway: Arc<[Setting]>,
    /// Made when somebody asks for the first time after a load.
    known: Arc<Mutex<Option<Known>>>,
}

/// Where the files of one load say what they say.
#[derive(Debug)]
struct Known {
    of: Weak<Loaded>,
    places: Arc<Places>,
}

impl Explainer {
    /// Answers for this table and what it was made from, and for what holds for all requests.
    pub fn new(table: Snapshot<Table>, live: Snapshot<Live>, gateway: Vec<Setting>) -> Self {
        Self { table, live, gateway: gateway.into(), known: Arc::default() }
    }

    /// Where the running gateway would send a request; `None` while nothing is live. Who asks first
    /// after a load has the files read through: call it where a thread may be busy. What is among `secrets` is not told.
    pub fn explain(&self, question: &Question, secrets: &Secrets) -> Option<Explained> {
        let (table, live) = (self.table.load(), self.live.load());
        let loaded = live.loaded.as_ref()?;
        let told = Told {
            table: &table,
            spec: &loaded.spec,
            files: &loaded.files,
            places: &self.places(loaded),
            gateway: &self.gateway,
            secrets,
            live: true,
        };
        let mut explained = told.answer(question);
        let tenant = explained.tenant.as_ref().map(|tenant| tenant.name.as_str());
        if let Some(file) = tenant.and_then(|tenant| live.quarantined_by(tenant)) {
            let told =
                format!("; {} is broken, and held as it was when it was good", file.display());
            explained.outcome.push_str(&told);
        }
        Some(explained)
    }

    fn places(&self, loaded: &Arc<Loaded>) -> Arc<Places> {
        // Held while they are looked for, so that many who ask at once look once.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of = Arc::downgrade(loaded);
        if let Some(known) = known.as_ref().filter(|known| known.of.ptr_eq(&of)) {
            return Arc::clone(&known.places);
        }
        let places = Arc::new(Places::of(&loaded.files));
        *known = Some(Known { of, places: Arc::clone(&places) });
        places
    }
}

/// Where a gateway that served these files would send a request. `gateway` is what holds for all, and `secrets` what
/// is not told.
///
/// # Errors
/// What is wrong with the files.
pub fn explain(
    files: Files,
    spec: RoutesSpec,
    (gateway, secrets): (&[Setting], &Secrets),
    question: &Question,
) -> Result<Explained, Vec<Fault>> {
    let materials = Materials {
        loaded: Loaded {
            files: files.clone(),
            spec: Arc::new(spec),
            doubts: [].into(),
            quarantine: Quarantine::default(),
        },
        running: super::plan::Pools::new(),
        numbers: super::plan::Numbers::default(),
        previous: Arc::new(nothing()),
        before: None,
        standing: Default::default(),
        generation: 1,
    };
    let made = load::make(materials)?;
    let told = Told {
        table: &made.table,
        spec: &made.loaded.spec,
        files: &files,
        places: &Places::of(&files),
        gateway,
        secrets,
        live: false,
    };
    Ok(told.answer(question))
}

/// What an answer is told from.
struct Told<'t> {
    table: &'t Table,
    spec: &'t RoutesSpec,
    files: &'t Files,
    places: &'t Places,
    gateway: &'t [Setting],
    secrets: &'t Secrets,
    live: bool,
}

impl Told<'_> {
    fn answer(&self, question: &Question) -> Explained {
        let head = &question.head;
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut explained = Explained {
            request: format!("{} {target}", head.method),
            outcome: String::new(),
            naming: Vec::new(),
            tenant: None,
            plan: None,
            routes: Vec::new(),
            pool: None,
            settings: self.gateway.to_vec(),
        };
        let named = self.name(question, &mut explained);
        explained.outcome = match named.and_then(|named| self.let_in(named, head)) {
            Ok(named) => self.route(&named, head, &mut explained),
            Err(refusal) => refusal,
        };
        explained
    }

    fn name<'h>(
        &self,
        question: &'h Question,
        explained: &mut Explained,
    ) -> Result<Named<'_, 'h>, String> {
        let head = &question.head;
        let named = match &question.tenant {
            Some(id) => {
                let way = Way {
                    way: "the question".into(),
                    says: format!("names \"{id}\""),
                    decides: true,
                    place: None,
                };
                explained.naming = vec![way];
                self.table
                    .tenant(id.as_str())
                    .map(|tenant| Named { tenant, path: head.uri.path(), field: None })
                    .ok_or_else(|| format!("there is no tenant \"{id}\""))
            }
            None => {
                explained.naming = self.ways(head);
                let named = self.table.name(head, &self.shown(head, &mut None));
                named.map_err(|error| error.to_string())
            }
        };
        named.map_err(|error| format!("is refused: {error}"))
    }

    fn find(&self, wanted: &[Steps]) -> Vec<Option<String>> {
        self.places.find(self.files, wanted)
    }

    fn ways(&self, head: &Parts) -> Vec<Way> {
        let mut ways = explain::naming(self.table, head, &self.shown(head, &mut None));
        let rule = |index| {
            let mut steps = places::names(&["tenant", "from"]);
            steps.push(Step::Index(index));
            steps
        };
        let wanted: Vec<Steps> = (0..ways.len()).map(rule).collect();
        for (way, place) in ways.iter_mut().zip(self.find(&wanted)) {
            way.place = place;
        }
        ways
    }

    fn route(&self, named: &Named<'_, '_>, head: &Parts, explained: &mut Explained) -> String {
        let tenant = named.tenant;
        let id = tenant.id();
        let host = host::of(head);
        let query = Query {
            host: host.as_deref(),
            path: named.path,
            method: &head.method,
            headers: &head.headers,
            query: head.uri.query(),
        };
        let chosen = tenant.find(&query);
        let spec = self.spec.tenant(id);
        let verdicts = spec.map_or_else(Vec::new, |spec| {
            explain::routes(self.spec, (id, spec), chosen, &query, self.secrets)
        });
        let decided = verdicts.first().filter(|verdict| verdict.chosen).map(steps_of);
        let mut wanted = vec![places::names(&["tenants", id])];
        wanted.extend(verdicts.iter().map(steps_of));
        let mut at = self.find(&wanted).into_iter();
        explained.tenant = Some(Placed { name: id.to_owned(), place: at.next().flatten() });
        explained.routes = verdicts
            .into_iter()
            .zip(at)
            .map(|(verdict, place)| Judged { verdict, place })
            .collect();
        explained.plan = spec.and_then(|spec| spec.plan.as_ref()).map(|plan| Placed {
            name: plan.to_string(),
            place: self.find(&[places::names(&["plans", plan])]).pop().flatten(),
        });
        let (pool, outcome) = match refusal(tenant, chosen.map(Arc::as_ref)) {
            Some(refusal) => (None, refusal.to_owned()),
            None => act(tenant, chosen.map(Arc::as_ref), head),
        };
        if let Some(spec) = spec {
            let route = explained.routes.first().filter(|route| route.verdict.chosen);
            let route = route.and_then(|route| self.spec_of(&route.verdict, spec));
            let levels = settings::Levels {
                tenant: (id, spec),
                route: route.zip(decided),
                pool,
                pages: &self.spec.error_pages,
                gateway: self.gateway,
            };
            explained.settings = settings::of(levels, |wanted| self.find(wanted));
        }
        if let Some(pool) = pool {
            explained.pool = Some(self.destination(pool, id));
            let path =
                chosen.map_or(Cow::Borrowed(named.path), |route| route.rewrite.path(named.path));
            let query = head.uri.query().map_or(String::new(), |query| format!("?{query}"));
            return format!("{outcome} {}, as {} {path}{query}", pool.label.name, head.method);
        }
        outcome
    }

    fn spec_of<'s>(&'s self, verdict: &Verdict, tenant: &'s TenantSpec) -> Option<&'s RouteSpec> {
        match verdict.of.strip_prefix("route-sets.") {
            Some(set) => self.spec.route_sets.get(set)?.routes.get(verdict.index),
            None => tenant.routes.get(verdict.index),
        }
    }

    fn destination(&self, pool: &Pool, tenant: &str) -> Destination {
        let name = pool.label.name.as_ref();
        let place = self.find(&[places::names(&["pools", name])]).pop().flatten();
        let set = pool.members.load();
        Destination {
            name: name.to_owned(),
            place,
            sources: pool.spec.sources.iter().map(discovery::label).collect(),
            endpoints: match self.live {
                true => set.all.iter().map(|member| candidate(member, pool, tenant)).collect(),
                false => {
                    let shard = pool.spec.spread.shard;
                    let written = |source| written(source, shard);
                    pool.spec.sources.iter().flat_map(written).collect()
                }
            },
            panicking: self.live && set.eligible.panicking,
        }
    }
}

/// Why nobody is served, as the request's way through the gateway asks it.
fn refusal(tenant: &Tenant, route: Option<&Route>) -> Option<&'static str> {
    match tenant.state {
        TenantState::Suspended => Some("is refused: the tenant is suspended"),
        TenantState::Maintenance => {
            Some("is answered 503: the tenant is in maintenance, save for those who are let in")
        }
        TenantState::Quarantined => {
            Some("is answered 503: the file that defines the tenant is broken")
        }
        TenantState::Active if route.is_some_and(|route| route.maintenance.is_some()) => {
            Some("is answered 503: the route is in maintenance, save for those who are let in")
        }
        TenantState::Active => None,
    }
}

/// The pool that a request goes to, and what becomes of it.
fn act<'t>(
    tenant: &'t Tenant,
    route: Option<&'t Route>,
    head: &Parts,
) -> (Option<&'t Arc<Pool>>, String) {
    let forwarded = |pool| (Some(pool), "is forwarded to the pool".to_owned());
    match route.map(|route| &route.action) {
        Some(Action::Redirect(_)) => (None, "is answered with another location".to_owned()),
        Some(Action::Respond(respond)) => {
            (None, format!("is answered {} by the route itself", respond.status.as_u16()))
        }
        Some(Action::Forward(pool)) => forwarded(pool),
        Some(Action::Split(split)) => splitting::act(split, tenant.id(), head),
        Some(Action::TenantPool) | None => match &tenant.pool {
            Some(pool) => forwarded(pool),
            None => (None, "is refused: no route takes it, and the tenant has no pool".to_owned()),
        },
    }
}

fn steps_of(verdict: &Verdict) -> Steps {
    // As in `tenants.acme`: the id may have dots of its own.
    let (table, name) = verdict.of.split_once('.').unwrap_or((&verdict.of, ""));
    let mut steps = places::names(&[table, name, "routes"]);
    steps.push(Step::Index(verdict.index));
    steps
}

#[cfg(test)]
mod tests;
