//! Public keys that tokens are signed for, as issuers publish them (RFC 7517). What a key is settles the
//! one algorithm that it is used with: a token has no say in that.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A public key of an issuer, ready for use: what no signature could be checked with is none.
#[derive(Clone)]
pub struct Jwk {
    /// Its name among the issuer's keys.
    pub id: Option<Box<str>>,
    algorithm: &'static str,
    key: ParsedPublicKey,
}

/// Why a set of keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// It is no JSON, or not a set of keys.
    #[error("is no set of keys: {0}")]
    NoSet(String),
    /// A key is not what it says.
    #[error("has a key that is broken or too short, at place {0}")]
    Broken(usize),
    /// There is none for signatures of a known algorithm.
    #[error("has no key for RS256, ES256 or EdDSA")]
    Empty,
    /// Two keys of one algorithm have one name.
    #[error("has two keys of the name {0:?}")]
    Twice(Box<str>),
    /// There are too many.
    #[error("has more than {MOST} keys")]
    Many,
}

impl Jwk {
    /// What tokens call the algorithm that it is for: `RS256`, `ES256` or `EdDSA`.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// Whether its owner has signed this.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl PartialEq for Jwk {
    fn eq(&self, other: &Self) -> bool {
        let parts = |key: &Self| (key.id.clone(), key.algorithm);
        parts(self) == parts(other) && self.key.as_ref() == other.key.as_ref()
    }
}

impl Eq for Jwk {}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.algorithm, self.id.as_deref().unwrap_or_default())
    }
}

/// The keys of an issuer, with the text that they were read from. Clones share both.
#[derive(Clone)]
pub struct KeySet {
    keys: Arc<[Jwk]>,
    text: Arc<str>,
}

impl KeySet {
    /// Reads a set of keys that somebody has put here, and can mend. Keys for other purposes and of other
    /// algorithms may be in it and are left out.
    ///
    /// # Errors
    /// When it is none, one of its keys is broken, or there is none that can be used.
    pub fn read(bytes: &[u8]) -> Result<Self, JwkError> {
        let mut keys = Vec::new();
        for (place, raw) in read_set::<Raw>(bytes)?.iter().enumerate() {
            keys.extend(read_key(raw, place, &keys)?);
        }
        if keys.is_empty() { Err(JwkError::Empty) } else { Self::of(keys, bytes) }
    }

    /// Reads a set of keys as an issuer publishes it for everybody: keys that cannot be used are left out
    /// as well (RFC 7517 §5), for nobody here can mend them, and the others are good. Gives their places, too.
    ///
    /// # Errors
    /// When it is none, or there is none that can be used.
    pub fn read_usable(bytes: &[u8]) -> Result<(Self, Vec<usize>), JwkError> {
        let (mut keys, mut unusable) = (Vec::new(), Vec::new());
        for (place, raw) in read_set::<Value>(bytes)?.into_iter().enumerate() {
            let raw = serde_json::from_value(raw).map_err(|_| JwkError::Broken(place));
            match raw.and_then(|raw| read_key(&raw, place, &keys)) {
                Ok(key) => keys.extend(key),
                Err(_) => unusable.push(place),
            }
        }
        match (keys.is_empty(), unusable.first()) {
            (false, _) => Ok((Self::of(keys, bytes)?, unusable)),
            (true, Some(place)) => Err(JwkError::Broken(*place)),
            (true, None) => Err(JwkError::Empty),
        }
    }

    fn of(keys: Vec<Jwk>, bytes: &[u8]) -> Result<Self, JwkError> {
        let text = str::from_utf8(bytes).map_err(|error| JwkError::NoSet(error.to_string()))?;
        Ok(Self { keys: keys.into(), text: text.into() })
    }

    /// The keys.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// Whether there is none: then nobody could read it, or it is not known yet.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What they were read from.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Default for KeySet {
    fn default() -> Self {
        Self { keys: Arc::default(), text: "".into() }
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for KeySet {}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keys.fmt(f)
    }
}

#[derive(Deserialize)]
struct Set<K> {
    keys: Vec<K>,
}

/// Members of other kinds of keys are not looked at.
#[derive(Deserialize)]
struct Raw {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    kid: Option<Box<str>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn read_set<K: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<K>, JwkError> {
    let set: Set<K> = serde_json::from_slice(bytes).map_err(|e| JwkError::NoSet(e.to_string()))?;
    if set.keys.len() > MOST { Err(JwkError::Many) } else { Ok(set.keys) }
}

/// A key that is not among those `before` it; `None`: it is for something else. Keys of different kinds may
/// share a name (RFC 7517 §4.5).
fn read_key(raw: &Raw, place: usize, before: &[Jwk]) -> Result<Option<Jwk>, JwkError> {
    let Some(algorithm) = algorithm_of(raw) else { return Ok(None) };
    let key = parse(raw, algorithm).map_err(|()| JwkError::Broken(place))?;
    let is_same = |key: &Jwk| key.id == raw.kid && key.algorithm == algorithm;
    match &raw.kid {
        Some(id) if before.iter().any(is_same) => Err(JwkError::Twice(id.clone())),
        _ => Ok(Some(Jwk { id: raw.kid.clone(), algorithm, key })),
    }
}

/// What signatures it is for, by what it says of itself; `None`: it is for something else.
fn algorithm_of(raw: &Raw) -> Option<&'static str> {
    let algorithm = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => "RS256",
        ("EC", Some("P-256")) => "ES256",
        ("OKP", Some("Ed25519")) => "EdDSA",
        _ => return None,
    };
    let is_for_it = raw.usage.as_deref().is_none_or(|usage| usage == "sig")
        && raw.alg.as_deref().is_none_or(|alg| alg == algorithm);
    is_for_it.then_some(algorithm)
}

fn parse(raw: &Raw, algorithm: &str) -> Result<ParsedPublicKey, ()> {
    let bytes =
        |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref().ok_or(())?).map_err(|_| ());
    let of = |text: &Option<String>, size: usize| {
        bytes(text).and_then(|bytes| if bytes.len() == size { Ok(bytes) } else { Err(()) })
    };
    match algorithm {
        "RS256" => rsa(&bytes(&raw.n)?, &bytes(&raw.e)?),
        "ES256" => {
            let (x, y) = (of(&raw.x, 32)?, of(&raw.y, 32)?);
            let point = [&[UNCOMPRESSED][..], &x, &y].concat();
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| ())
        }
        _ => ParsedPublicKey::new(&ED25519, of(&raw.x, 32)?).map_err(|_| ()),
    }
}

/// Some issuers write the zero before a modulus that other forms of it need (RFC 7518 §6.3.1.1 forbids it).
fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<ParsedPublicKey, ()> {
    let significant = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.get(zeros..).unwrap_or_default().to_vec()
    };
    let key = PublicKeyComponents { n: significant(modulus), e: significant(exponent) };
    let first = key.n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !RSA_BITS.contains(&(key.n.len() * 8 - first)) || key.e.len() > 8 {
        return Err(());
    }
    key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).map_err(|_| ())
}

/// What tokens call the algorithms that there may be keys for.
pub const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];
/// 64: an issuer has two or three, those of large ones ten.
const MOST: usize = 64;
/// What signatures may be checked with.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;
/// SEC 1 §2.3.3.
const UNCOMPRESSED: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 §A.2.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    /// RFC 7515 §A.3.1.
    const POINT: [&str; 2] = [
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    ];

    fn read(keys: &str) -> Result<Vec<String>, String> {
        let read = KeySet::read(format!("{{\"keys\":[{keys}]}}").as_bytes());
        let set = read.map_err(|error| error.to_string())?;
        Ok(set.keys().iter().map(|key| format!("{key:?}")).collect())
    }

    #[test]
    fn keys_for_other_purposes_are_left_out_and_broken_ones_are_told() {
        let ed = format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\",\"x\":\"{X}\"}}");
        let [x, y] = POINT;
        let ec = format!("{{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"{x}\",\"y\":\"{y}\"}}");
        let secret = "{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"AAAA\"}";
        let other = ed.replace("\"kid\":\"a\"", "\"use\":\"enc\"");
        let wrong = ed.replace("\"kid\":\"a\"", "\"alg\":\"RS256\"");

        let all = read(&[&ed, &ec, secret, &other, &wrong].map(ToString::to_string).join(","));

        assert_eq!(all.unwrap(), ["EdDSA(\"a\")", "ES256(\"\")"]);
        assert_eq!(read(secret).unwrap_err(), "has no key for RS256, ES256 or EdDSA");
        assert_eq!(read("").unwrap_err(), "has no key for RS256, ES256 or EdDSA");
        assert_eq!(read(&format!("{ed},{ed}")).unwrap_err(), "has two keys of the name \"a\"");
        for broken in [
            ed.replace(X, "AAAA"),
            ec.replace("\"y\"", "\"z\""),
            "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}".to_owned(),
            ed.replace("11qY", "1+/Y"),
            ec.replace(y, x),
        ] {
            assert!(read(&broken).unwrap_err().contains("broken or too short, at place 0"));
        }
        assert!(KeySet::read(b"[]").is_err() && KeySet::read(b"").is_err());
        assert!(read(&format!("{ed},{{}}")).unwrap_err().contains("missing field `kty`"));
    }

    /// A key that is for encryption by its algorithm alone, and shorter than one for signatures may be.
    const OTHER: &str = r#"{"kty":"RSA","alg":"RSA-OAEP","n":"AQAB","e":"AQAB"}"#;

    #[test]
    fn a_key_is_looked_at_once_it_is_for_signatures_and_its_name_is_of_its_kind_alone() {
        let ed = format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\",\"x\":\"{X}\"}}");
        let [x, y] = POINT;
        let ec = format!(
            "{{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":\"{x}\",\"y\":\"{y}\"}}"
        );

        assert_eq!(read(&format!("{OTHER},{ed},{ec}")).unwrap(), ["EdDSA(\"a\")", "ES256(\"a\")"]);
        assert_eq!(read(&format!("{ec},{ed},{ec}")).unwrap_err(), "has two keys of the name \"a\"");
    }

    #[test]
    fn of_what_an_issuer_publishes_the_keys_that_can_be_used_are() {
        let ed = format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\",\"x\":\"{X}\"}}");
        let short = "{\"kty\":\"RSA\",\"kid\":\"b\",\"n\":\"AQAB\",\"e\":\"AQAB\"}";
        let usable = |keys: &[&str]| {
            let read = KeySet::read_usable(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes());
            let read = read.map(|(set, unusable)| (format!("{:?}", set.keys()), unusable));
            read.map_err(|error| error.to_string())
        };
        let one = "[EdDSA(\"a\")]".to_owned();

        assert_eq!(usable(&[&ed]), Ok((one.clone(), vec![])));
        assert_eq!(usable(&[OTHER, &ed]), Ok((one.clone(), vec![])), "it is none of ours");
        for odd in [
            short,
            &ed.replace(X, "AAAA"),
            "{}",
            "7",
            "null",
            "{\"kty\":\"RSA\"}",
            "{\"kty\":[]}",
            &ed.replace("\"a\"", "7"),
        ] {
            assert_eq!(usable(&[odd, &ed]), Ok((one.clone(), vec![0])), "{odd}");
            assert_eq!(usable(&[&ed, odd, odd]), Ok((one.clone(), vec![1, 2])), "{odd}");
            let none = usable(&[odd, odd]).unwrap_err();
            assert_eq!(none, "has a key that is broken or too short, at place 0", "{odd}");
        }
        assert_eq!(usable(&[&ed, &ed]), Ok((one, vec![1])), "the first of a name is used");
        assert_eq!(usable(&[OTHER]).unwrap_err(), "has no key for RS256, ES256 or EdDSA");
        assert!(KeySet::read_usable(b"[]").is_err() && KeySet::read_usable(b"{}").is_err());
        assert_eq!(usable(&[short; MOST + 1]).unwrap_err(), "has more than 64 keys");
    }

    #[test]
    fn a_set_is_what_its_keys_are_however_it_is_written() {
        let of = |keys: &str| KeySet::read(format!("{{\"keys\":[{keys}]}}").as_bytes()).unwrap();
        let ed = format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{X}\"}}");
        let spaced = of(&ed.replace(',', " ,\n"));

        assert_eq!(of(&ed), spaced);
        assert_eq!(KeySet::read(spaced.text().as_bytes()).unwrap(), spaced);
        assert!(KeySet::default().is_empty() && !spaced.is_empty());
        let foreign = [&b"{\"keys\":["[..], ed.as_bytes(), &b"],\"a\":\"\xff\"}"[..]].concat();
        assert!(KeySet::read(&foreign).is_err(), "what is kept must be text");
    }

    #[test]
    fn an_rsa_key_has_a_size_that_signatures_are_checked_with() {
        let key = |bytes: &[u8]| {
            let modulus = URL_SAFE_NO_PAD.encode(bytes);
            format!("{{\"kty\":\"RSA\",\"n\":\"{modulus}\",\"e\":\"AQAB\"}}")
        };
        let of = |first: u8, size: usize| [&[first][..], &vec![1; size - 1]].concat();

        assert!(read(&key(&of(0x80, 256))).is_ok());
        assert!(read(&key(&of(0xff, 1024))).is_ok());
        assert!(read(&key(&[&[0][..], &of(0x80, 256)].concat())).is_ok(), "with a zero before it");
        for modulus in [of(0x7f, 256), of(0x80, 255), of(1, 1025), vec![0; 256], Vec::new()] {
            assert!(read(&key(&modulus)).is_err(), "{} bytes", modulus.len());
        }
    }
}
