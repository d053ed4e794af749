//! Who may come to a tenant: its credentials, and that no key is of two tenants.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, HOST, VIA};
use http::{HeaderName, Method};

use crate::base::network::Peers;
use crate::config::faults::Faults;
use crate::config::files::Files;
use crate::config::key::Key;
use crate::config::raw::{ApiKey, At, Cors, Identity, Keys, Kinds};
use crate::config::spec::{
    AccessSpec, CredentialKind, IdentitiesSpec, KeySpec, NameFrom, NamedTenant, NamingSpec,
    TenantSpec,
};
use crate::config::text::Written;
use crate::model::fields::{OWN, look_alike};
use crate::model::ids::TenantId;
use crate::model::key::KeyDigest;

use super::head::OWNED;
use super::owners::{self, Owner, Owners};
use super::{authorizer, cors, issuer, issuer_keys, route, undefined};

/// What the table `[identity]` is checked beside.
pub(super) struct Beside<'b> {
    pub(super) files: &'b Files,
    pub(super) keys: issuer_keys::Known<'b>,
    /// Every pool that is defined.
    pub(super) pools: &'b BTreeSet<Arc<str>>,
}

/// Checks the table `[identity]`.
pub(super) fn identity(
    raw: Option<(usize, At<Identity>)>,
    naming: &[NameFrom],
    beside: &Beside<'_>,
    faults: &mut Faults<'_>,
) -> IdentitiesSpec {
    let default = IdentitiesSpec::default();
    let Some((file, At { value: raw, .. })) = raw else { return default };
    let root = Key::root(file);
    let key = root.name("identity");
    let mut own = |raw: Option<At<Written<HeaderName>>>, name: &'static str| {
        let At { value: Written(header), start } = raw?;
        if is_taken(&header, naming) {
            let what = format!("the header {header} has a meaning of its own");
            let hint = "take a header that nothing else uses, as in \"X-Subject\"".to_owned();
            faults.add(&key.name(name), start, what, Some(hint));
        }
        Some((header, start))
    };
    let key_header = own(raw.key_header, "key-header");
    let key_header = key_header.map_or(default.key_header, |(header, _)| header);
    let subject_header = own(raw.subject_header, "subject-header").map(|(header, start)| {
        if look_alike(header.as_str(), key_header.as_str()) {
            let hint = "take another header, as in \"X-Subject\"".to_owned();
            faults.add(&key.name("subject-header"), start, "is that of the keys", Some(hint));
        }
        header
    });
    let (folder, issuers_key) = (beside.files.folder(file), key.name("issuers"));
    let issuers = issuer::check(raw.issuers, naming, (folder, &beside.keys), &issuers_key, faults);
    let claims = issuers.iter().flat_map(|issuer| &issuer.headers).map(|(name, _)| name);
    let told = claims.chain(&subject_header).cloned().collect();
    let pools = beside.pools;
    let beside = authorizer::Beside { naming, told, key_header: &key_header, pools };
    let authorizers_key = key.name("authorizers");
    let authorizers = authorizer::check(raw.authorizers, &beside, &authorizers_key, faults);
    let forward_keys = raw.forward_keys.unwrap_or(false);
    IdentitiesSpec { key_header, subject_header, forward_keys, issuers, authorizers }
}

/// Whether a header has a meaning that this would take from it.
pub(super) fn is_taken(header: &HeaderName, naming: &[NameFrom]) -> bool {
    let tenant = naming.iter().filter_map(|way| match way {
        NameFrom::Header(name) => Some(name),
        _ => None,
    });
    let others = [HOST, VIA, AUTHORIZATION, COOKIE];
    tenant
        .chain(&OWN)
        .chain(&OWNED)
        .chain(&others)
        .any(|taken| look_alike(taken.as_str(), header.as_str()))
}

/// What a tenant says of who may come.
pub(super) struct Raw {
    pub(super) authenticate: Option<Kinds>,
    pub(super) authorize: Option<At<String>>,
    pub(super) keys: Option<Keys>,
    pub(super) allow: Option<At<Vec<Written<Peers>>>>,
    pub(super) deny: Option<Vec<Written<Peers>>>,
    pub(super) methods: Option<At<Vec<Written<Method>>>>,
    pub(super) cors: Option<At<Cors>>,
}

/// Checks who may come to a tenant; `plan` is what holds where it says nothing, `key` that of the tenant.
pub(super) fn check(
    raw: Raw,
    plan: Option<&Arc<AccessSpec>>,
    naming: &NamingSpec,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<Arc<AccessSpec>> {
    let Raw { authenticate, authorize, keys, allow, deny, methods, cors } = raw;
    let has_lists = allow.is_some() || deny.is_some() || methods.is_some();
    let asks = authenticate.is_some() || authorize.is_some() || keys.is_some();
    if !has_lists && !asks && cors.is_none() {
        return plan.map(Arc::clone);
    }
    let mut access = plan.map_or_else(AccessSpec::default, |plan| AccessSpec::clone(plan));
    let networks = |raw: Vec<Written<Peers>>| raw.into_iter().map(|peers| peers.0).collect();
    // What a plan says of one of these goes on where the tenant says nothing.
    let hint = |of_plan: bool, without: &'static str| if of_plan { OF_PLAN } else { without };
    if let Some(kinds) = authenticate {
        if kinds.value.is_empty() {
            let without = "name one, as in [\"api-key\"], or leave it out: then nobody is asked";
            let hint = hint(!access.authenticate.is_empty(), without);
            let (key, start) = (key.name("authenticate"), kinds.start);
            faults.add_missing(&key, start, "names no kind of credentials", hint);
        }
        access.authenticate = self::kinds(kinds, naming, &key.name("authenticate"), faults);
    }
    if let Some(At { value: name, start }) = authorize {
        let authorizers = &naming.identity.authorizers;
        if authorizers.iter().all(|authorizer| *authorizer.name != *name) {
            let known = authorizers.iter().map(|authorizer| &authorizer.name);
            let key = key.name("authorize");
            faults.add_undefined(&key, start, || undefined("authorizer", &name, known));
        }
        access.authorize = Some(name.into());
    }
    access.keys = self::keys(keys, &key.name("keys"), faults);
    if let Some(At { value, start }) = allow {
        if value.is_empty() {
            let without = "name one, as in [\"10.0.0.0/8\"], or leave it out: then it is any";
            let hint = hint(!access.allow.is_empty(), without);
            let what = "names no network: nobody could come";
            faults.add_missing(&key.name("allow"), start, what, hint);
        }
        access.allow = networks(value);
    }
    if let Some(value) = deny {
        access.deny = networks(value);
    }
    match methods {
        Some(At { value, start }) if value.is_empty() && !access.methods.is_empty() => {
            faults.add_missing(&key.name("methods"), start, "names no method", OF_PLAN);
        }
        Some(_) => access.methods = route::methods(methods, &key.name("methods"), faults),
        None => {}
    }
    if let Some(raw) = cors {
        access.cors = cors::check(raw, access.cors.as_ref(), &key.name("cors"), faults);
    }
    (!access.is_empty()).then(|| Arc::new(access))
}

/// For an empty list that would have to take something back.
const OF_PLAN: &str = "name one; what the plan says goes on where it is left out, and only another plan takes it back";

fn kinds(
    At { value: raw, .. }: Kinds,
    naming: &NamingSpec,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Vec<CredentialKind> {
    let mut kinds = Vec::with_capacity(raw.len());
    for (index, At { value: Written(kind), start }) in raw.into_iter().enumerate() {
        let by_certificate = |way: &NameFrom| matches!(way, NameFrom::Certificate { .. });
        if kinds.contains(&kind) {
            faults.add(&key.index(index), start, "is there twice", Some("keep one".to_owned()));
        } else if kind == CredentialKind::Certificate && !naming.from.iter().any(by_certificate) {
            let what = "no certificate could do: [tenant] does not say how one names a tenant";
            let hint = "write [tenant] from = [{ certificate-dns = \"{tenant}.example.com\" }]";
            faults.add(&key.index(index), start, what, Some(hint.to_owned()));
        } else if kind == CredentialKind::Token && naming.identity.issuers.is_empty() {
            let hint =
                "write [identity.issuers.NAME] with issuer, audience and jwks-url".to_owned();
            let what = "no token could do: there is no issuer";
            faults.add(&key.index(index), start, what, Some(hint));
        }
        kinds.push(kind);
    }
    kinds
}

fn keys(raw: Option<Keys>, key: &Key<'_>, faults: &mut Faults<'_>) -> Vec<KeySpec> {
    let mut keys: Vec<KeySpec> = Vec::new();
    for (At { value: name, start }, raw) in raw.map(|raw| raw.0).unwrap_or_default() {
        let key = key.name(&name);
        if let Err(error) = TenantId::check(name.as_bytes()) {
            let hint = "a name is 1 to 128 of letters, digits, '.', '_' and '-'".to_owned();
            faults.add(&key, start, format!("the name {error}"), Some(hint));
        }
        let Some(own) = self::key(&name, raw, &key, faults) else { continue };
        if let Some(same) = keys.iter().find(|other| other.digest == own.digest) {
            let what = format!("is the same key as {:?}", same.name);
            faults.add(&key, start, what, Some("make another one: tenantry key".to_owned()));
        }
        keys.push(own);
    }
    keys
}

fn key(
    name: &str,
    At { value: raw, start }: At<ApiKey>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> Option<KeySpec> {
    let ApiKey { hash, subject, expires } = raw;
    let Some(At { value: Written(digest), .. }) = hash else {
        let hint = "write the line that tenantry key prints: hash = \"sha256:…\"";
        faults.add_missing(key, start, "has no hash", hint);
        return None;
    };
    let name: Arc<str> = name.into();
    let subject = subject.map_or_else(|| Arc::clone(&name), |subject| subject.0.0);
    Some(KeySpec { name, digest, subject, expires: expires.map(|expires| expires.0.0) })
}

/// Enters the keys of a tenant, and tells of those that another has.
pub(super) fn enter(
    owners: &mut Owners<KeyDigest>,
    (_, spec): &NamedTenant,
    owner: &Owner,
    faults: &mut Faults<'_>,
) {
    for KeySpec { name, digest, .. } in spec.keys() {
        let Some(other) = owners.enter(*digest, owner) else { continue };
        faults.note_between();
        let root = Key::root(owner.file);
        let table = root.name("tenants");
        let tenant = table.name(owner.id.as_str());
        let keys = tenant.name("keys");
        let what = format!("is a key of the tenant {} as well", other.id);
        let hint = "make a key for each: tenantry key".to_owned();
        faults.add(&keys.name(name), owner.at, what, Some(hint));
    }
}

/// Whether no key is of two of these tenants: it would not tell whose it is.
pub(super) fn are_apart<'s>(tenants: impl Iterator<Item = &'s NamedTenant>) -> bool {
    owners::are_apart(tenants, |(_, spec)| spec.keys().iter().map(|key| key.digest))
}

impl TenantSpec {
    /// Its API keys.
    pub fn keys(&self) -> &[KeySpec] {
        self.access.as_ref().map_or(&[], |access| &access.keys)
    }
}
