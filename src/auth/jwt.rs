//! Signed tokens (RFC 7519): whose a token is, by the keys of its issuer. Which algorithm it is signed
//! with is settled by the key, never by the token, and a token of an issuer that nobody has configured
//! is the application's own business.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::base::tag;
use crate::config::spec::IssuerSpec;
use crate::model::caller::{Caller, Proof};
use crate::model::ids::TenantId;
use crate::model::jwk::{ALGORITHMS, KeySet};

use super::api_key::bearer;
use super::issuer::Keyring;
use super::{Refusal, hide_where};

/// Who somebody is by a token that is valid.
#[derive(Clone, Debug)]
pub struct Token {
    /// The tenant that it names.
    pub tenant: Box<str>,
    /// Who shows it.
    pub caller: Caller,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<Box<str>>,
    /// RFC 7515 §4.1.11: what must be understood, and is not.
    crit: Option<Value>,
}

/// The token that a request shows; `None` = there is none of these issuers'.
///
/// # Errors
/// When it proves nothing, or there are several.
pub fn find(
    headers: &HeaderMap,
    issuers: &[IssuerSpec],
    rings: &[Arc<Keyring>],
) -> Option<Result<Token, Refusal>> {
    if issuers.is_empty() {
        return None;
    }
    let now = SystemTime::now();
    let shown = headers.get_all(AUTHORIZATION).iter().filter_map(bearer);
    let mut tokens = shown.filter_map(|token| verify(token, (issuers, rings), now));
    let first = tokens.next()?;
    Some(if tokens.next().is_some() { Err(Refusal::Repeated) } else { first })
}

/// Takes away the fields that show tokens.
pub fn hide(headers: &mut HeaderMap) {
    hide_where(headers, &AUTHORIZATION, |value| bearer(value).is_some());
}

/// Takes away the tokens of issuers that say so, whatever proved who the client is.
pub fn hide_of(headers: &mut HeaderMap, issuers: &[IssuerSpec]) {
    let is_kept = |value: &HeaderValue| bearer(value).is_some_and(|token| is_kept(token, issuers));
    hide_where(headers, &AUTHORIZATION, is_kept);
}

/// Whether a token, be it a valid one or not, is of an issuer whose tokens endpoints do not get.
fn is_kept(token: &[u8], issuers: &[IssuerSpec]) -> bool {
    let payload = token.split(|byte| *byte == b'.').nth(1);
    let claims: Option<Map<String, Value>> = payload.and_then(read);
    let issuer = claims.as_ref().and_then(|claims| claims.get("iss")?.as_str());
    issuers.iter().any(|own| !own.forward && issuer == Some(&*own.issuer))
}

/// Reads and verifies a token; `None` = it is none of these issuers'. Their keys are in `rings`.
///
/// # Errors
/// When it says that it is of one of them, and proves nothing.
pub fn verify(
    token: &[u8],
    (issuers, rings): (&[IssuerSpec], &[Arc<Keyring>]),
    now: SystemTime,
) -> Option<Result<Token, Refusal>> {
    let mut parts = token.split(|byte| *byte == b'.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims: Map<String, Value> = read(payload)?;
    let issuer = claims.get("iss")?.as_str()?;
    let issuer = issuers.iter().find(|own| *own.issuer == *issuer)?;
    let signed = token.get(..header.len() + 1 + payload.len()).unwrap_or_default();
    // What costs little first: a signature is what a forger would have the gateway work on.
    let token = judge(&claims, issuer, now);
    let ring = rings.iter().find(|ring| ring.issuer() == &*issuer.issuer);
    let proven = |token| {
        let ring = ring.ok_or(Refusal::NoKeys)?;
        prove(header, (signed, signature), ring).map(|()| token)
    };
    Some(token.and_then(proven))
}

/// Whether the issuer has signed it.
fn prove(
    header: &[u8],
    (signed, signature): (&[u8], &[u8]),
    ring: &Keyring,
) -> Result<(), Refusal> {
    let header: Header = read(header).ok_or(Refusal::Malformed)?;
    if header.crit.is_some() {
        return Err(Refusal::Malformed);
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::Malformed)?;
    ring.with(|set| {
        let mut fitting = set.keys().iter().filter(|key| {
            header.alg == key.algorithm() && (header.kid.is_none() || key.id == header.kid)
        });
        let Some(key) = fitting.next() else { return Err(without_key(&header, set, ring)) };
        if fitting.next().is_some() {
            return Err(Refusal::Unknown); // it does not say which
        }
        key.has_signed(signed, &signature).then_some(()).ok_or(Refusal::Unknown)
    })
}

/// Why a token is refused whose key is not there. One that may be new is asked for.
fn without_key(header: &Header, set: &KeySet, ring: &Keyring) -> Refusal {
    if set.is_empty() {
        return Refusal::NoKeys;
    }
    let is_there = header.kid.is_some() && set.keys().iter().any(|key| key.id == header.kid);
    if !is_there && ALGORITHMS.contains(&&*header.alg) {
        ring.wish();
    }
    Refusal::Unknown
}

/// Whether it is meant for here and now, and who it says shows it.
fn judge(
    claims: &Map<String, Value>,
    issuer: &IssuerSpec,
    now: SystemTime,
) -> Result<Token, Refusal> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let expires = claims.get("exp").map(seconds).ok_or(Refusal::Malformed)?;
    if now >= expires.ok_or(Refusal::Malformed)?.saturating_add(issuer.leeway) {
        return Err(Refusal::Expired);
    }
    if let Some(begins) = claims.get("nbf") {
        let begins = seconds(begins).ok_or(Refusal::Malformed)?;
        if now.saturating_add(issuer.leeway) < begins {
            return Err(Refusal::Expired);
        }
    }
    if !is_for(claims.get("aud"), issuer) {
        return Err(Refusal::Audience);
    }
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let tenant = text(&issuer.tenant_claim).ok_or(Refusal::Malformed)?;
    TenantId::check(tenant.as_bytes()).map_err(|_| Refusal::Malformed)?;
    if issuer.tenants.as_ref().is_some_and(|own| own.iter().all(|own| own.as_str() != tenant)) {
        return Err(Refusal::Issuer);
    }
    let subject = text(&issuer.subject_claim).filter(|subject| is_plain(subject));
    let subject = subject.ok_or(Refusal::Malformed)?;
    let told = issuer.headers.iter().filter_map(|(name, claim)| {
        let value = match claims.get(&**claim)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(yes) => yes.to_string(),
            Value::Array(_) | Value::Object(_) | Value::Null => return None,
        };
        let plain = Some(value).filter(|value| is_plain(value))?;
        Some((name.clone(), HeaderValue::try_from(plain).ok()?))
    });
    let proof = Proof::Token { forward: issuer.forward, issuer: mark(&issuer.issuer) };
    let caller = Caller { subject: subject.into(), proof, told: told.collect() };
    Ok(Token { tenant: tenant.into(), caller })
}

/// Tells an issuer from the others that are configured, the same with every build: quotas of its subjects go by it.
fn mark(issuer: &str) -> u32 {
    // Shifted so that it fits.
    u32::try_from(tag::number(issuer.as_bytes()) >> 32).unwrap_or(u32::MAX)
}

/// Whether one of those that a token is for is the gateway (RFC 7519 §4.1.3).
fn is_for(audience: Option<&Value>, issuer: &IssuerSpec) -> bool {
    let is_own = |name: &Value| {
        name.as_str().is_some_and(|name| issuer.audience.iter().any(|own| **own == *name))
    };
    match audience {
        Some(Value::Array(names)) => names.iter().any(is_own),
        Some(name) => is_own(name),
        None => false,
    }
}

/// A time in seconds since 1970, with or without a fraction.
fn seconds(value: &Value) -> Option<Duration> {
    Duration::try_from_secs_f64(value.as_f64()?).ok()
}

/// Whether a text can be sent in a header and stand in a log.
fn is_plain(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text.trim() == text
        && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

fn read<T: for<'de> Deserialize<'de>>(part: &[u8]) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// 256 characters of a claim.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use proptest::prelude::*;
    use serde_json::json;

    use crate::config::spec::KeysSpec;

    use super::*;

    struct World {
        pair: Ed25519KeyPair,
        issuers: Vec<IssuerSpec>,
        rings: [Arc<Keyring>; 1],
    }

    fn world() -> World {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = URL_SAFE_NO_PAD.encode(pair.public_key());
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": public });
        let set = KeySet::read(json!({ "keys": [key] }).to_string().as_bytes()).unwrap();
        let rings = [Arc::new(Keyring::new("https://issuer.example", set))];
        let issuer = IssuerSpec {
            name: "login".into(),
            issuer: "https://issuer.example".into(),
            audience: vec!["gateway".into()],
            keys: KeysSpec::File { path: "".into(), set: KeySet::default(), fault: None },
            tenants: None,
            tenant_claim: "tenant".into(),
            subject_claim: "sub".into(),
            leeway: Duration::from_secs(30),
            headers: vec![(http::HeaderName::from_static("x-plan"), "plan".into())],
            forward: false,
        };
        World { pair, issuers: vec![issuer], rings }
    }

    fn encoded(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    impl World {
        fn token(&self, header: &Value, claims: &Value) -> String {
            let signed = format!("{}.{}", encoded(header), encoded(claims));
            let signature = self.pair.sign(signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }

        fn told(&self, token: &str) -> Option<Result<String, Refusal>> {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
            let verified = verify(token.as_bytes(), (&self.issuers, &self.rings), now)?;
            Some(verified.map(|token| format!("{} {}", token.tenant, token.caller.subject)))
        }

        fn with(&self, change: impl FnOnce(&mut Value)) -> Option<Result<String, Refusal>> {
            let mut claims = claims();
            change(&mut claims);
            self.told(&self.token(&header(), &claims))
        }
    }

    fn header() -> Value {
        json!({ "alg": "EdDSA", "kid": "k1" })
    }

    fn claims() -> Value {
        json!({ "iss": "https://issuer.example", "aud": ["other", "gateway"], "exp": 2_000,
                "sub": "ann", "tenant": "acme" })
    }

    #[test]
    fn a_token_is_valid_for_its_audience_and_in_its_time() {
        let world = world();
        let good = Some(Ok("acme ann".to_owned()));

        assert_eq!(world.with(|_| {}), good);
        assert_eq!(world.with(|claims| claims["aud"] = json!("gateway")), good);
        assert_eq!(world.with(|claims| claims["exp"] = json!(970.5)), good);
        assert_eq!(world.with(|claims| claims["nbf"] = json!(1_030)), good);
        for (claim, value, refusal) in [
            ("exp", json!(970), Refusal::Expired),
            ("exp", json!(-1), Refusal::Malformed),
            ("exp", json!("2000"), Refusal::Malformed),
            ("exp", json!(1e300), Refusal::Malformed),
            ("nbf", json!(1_031), Refusal::Expired),
            ("aud", json!("gateway2"), Refusal::Audience),
            ("aud", json!(["a", "b"]), Refusal::Audience),
            ("aud", json!(null), Refusal::Audience),
            ("tenant", json!(["acme"]), Refusal::Malformed),
            ("tenant", json!("a,b"), Refusal::Malformed),
            ("sub", json!("a\r\nb"), Refusal::Malformed),
            ("sub", json!(""), Refusal::Malformed),
        ] {
            let told = world.with(|claims| claims[claim] = value.clone());
            assert_eq!(told, Some(Err(refusal)), "{claim}: {value}");
        }
        assert_eq!(world.with(|claims| claims["iss"] = json!("https://other.example")), None);
    }

    #[test]
    fn a_subject_of_one_issuer_is_none_of_another() {
        let issuer = |name: &str| {
            let mut issuer = world().issuers[0].clone();
            issuer.issuer = name.into();
            let claims = claims();
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
            judge(claims.as_object().unwrap(), &issuer, now).unwrap().caller
        };
        let (own, again, other) = (issuer("https://a"), issuer("https://a"), issuer("https://b"));

        assert_eq!((&*own.subject, &*other.subject), ("ann", "ann"));
        assert_eq!(own.proof, again.proof);
        assert_ne!(own.proof.issuer(), other.proof.issuer());
    }

    #[test]
    fn an_issuer_speaks_for_its_own_tenants_alone() {
        let mut world = world();
        let own =
            |names: &[&str]| Some(names.iter().map(|name| TenantId::new(name).unwrap()).collect());
        world.issuers[0].tenants = own(&["globex", "acme"]);
        assert_eq!(world.with(|_| {}), Some(Ok("acme ann".to_owned())));

        world.issuers[0].tenants = own(&["globex"]);
        assert_eq!(world.with(|_| {}), Some(Err(Refusal::Issuer)));
    }

    #[test]
    fn a_token_does_not_choose_how_it_is_verified() {
        let world = world();
        let told = |header: Value| world.told(&world.token(&header, &claims()));

        for (header, refusal) in [
            (json!({ "alg": "none", "kid": "k1" }), Refusal::Unknown),
            (json!({ "alg": "HS256", "kid": "k1" }), Refusal::Unknown),
            (json!({ "alg": "ES256", "kid": "k1" }), Refusal::Unknown),
            (json!({ "alg": "eddsa", "kid": "k1" }), Refusal::Unknown),
            (json!({ "alg": "EdDSA", "kid": "k2" }), Refusal::Unknown),
            (json!({ "alg": "EdDSA", "crit": ["b64"], "b64": false }), Refusal::Malformed),
            (json!({ "kid": "k1" }), Refusal::Malformed),
        ] {
            assert_eq!(told(header.clone()), Some(Err(refusal)), "{header}");
        }
        assert_eq!(told(json!({ "alg": "EdDSA" })), Some(Ok("acme ann".to_owned())));
        let unsigned = format!("{}.{}.", encoded(&json!({ "alg": "none" })), encoded(&claims()));
        assert_eq!(world.told(&unsigned), Some(Err(Refusal::Unknown)));
    }

    #[test]
    fn the_mark_of_an_issuer_is_the_same_with_every_build() {
        assert_eq!(mark("https://login.example"), 0xced4_229b);
    }

    #[test]
    fn without_any_key_nobody_is_told_that_a_token_is_wrong() {
        let world = world();
        world.rings[0].publish(KeySet::default());

        assert_eq!(world.with(|_| {}), Some(Err(Refusal::NoKeys)));
        assert_eq!(world.with(|claims| claims["exp"] = json!(1)), Some(Err(Refusal::Expired)));
        assert_eq!(
            world.told(&world.token(&json!({ "alg": "EdDSA", "kid": "k2" }), &claims())),
            Some(Err(Refusal::NoKeys))
        );
    }

    #[tokio::test]
    async fn keys_are_asked_for_that_may_be_new_and_no_others() {
        let world = world();
        let ring = &world.rings[0];
        let is_wished = async |header: Value| {
            ring.look();
            drop(world.told(&world.token(&header, &claims())));
            tokio::select! {
                biased;
                () = ring.wished() => true,
                () = std::future::ready(()) => false,
            }
        };

        assert!(is_wished(json!({ "alg": "EdDSA", "kid": "k2" })).await);
        assert!(is_wished(json!({ "alg": "RS256" })).await);
        for header in [
            json!({ "alg": "EdDSA", "kid": "k1" }),
            json!({ "alg": "RS256", "kid": "k1" }),
            json!({ "alg": "none", "kid": "k2" }),
            json!({ "alg": "HS256", "kid": "k2" }),
        ] {
            assert!(!is_wished(header.clone()).await, "{header}");
        }
    }

    proptest! {
        #[test]
        fn a_token_that_was_changed_anywhere_proves_nothing(place in 0_usize..400, bit in 0_u8..7) {
            let world = world();
            let mut token = world.token(&header(), &claims()).into_bytes();
            let place = place % token.len();
            token[place] ^= 1 << bit;

            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
            let verified = verify(&token, (&world.issuers, &world.rings), now);

            prop_assert!(!matches!(verified, Some(Ok(_))));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let world = world();
            drop(verify(&bytes, (&world.issuers, &world.rings), SystemTime::now()));
        }
    }
}
