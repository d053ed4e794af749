//! Public keys that tokens are signed for, as issuers publish them (RFC 7517). What a key is settles the
//! one algorithm that it is used with: a token has no say in that.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// A public key of an issuer.
#[derive(Clone, PartialEq, Eq)]
pub struct Jwk {
    /// Its name among the issuer's keys.
    pub id: Option<Box<str>>,
    /// The key.
    pub key: PublicKey,
}

/// A public key, by the algorithm that it is for.
#[derive(Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// `RS256`: modulus and exponent.
    Rs256(Box<[u8]>, Box<[u8]>),
    /// `ES256`: the point, uncompressed.
    Es256(Box<[u8]>),
    /// `EdDSA` with Ed25519.
    EdDsa(Box<[u8]>),
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
    /// Two keys have one name.
    #[error("has two keys of the name {0:?}")]
    Twice(Box<str>),
    /// There are too many.
    #[error("has more than {MOST} keys")]
    Many,
}

impl PublicKey {
    /// What tokens call the algorithm.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rs256(..) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.key.algorithm(), self.id.as_deref().unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Raw>,
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

/// Reads a set of keys. Keys for other purposes and of other algorithms may be in it and are left out.
///
/// # Errors
/// When it is none, or none of its keys can be used.
pub fn read_set(bytes: &[u8]) -> Result<Vec<Jwk>, JwkError> {
    let set: Set = serde_json::from_slice(bytes).map_err(|e| JwkError::NoSet(e.to_string()))?;
    if set.keys.len() > MOST {
        return Err(JwkError::Many);
    }
    let mut keys: Vec<Jwk> = Vec::new();
    for (place, raw) in set.keys.iter().enumerate() {
        let Some(key) = read(raw).map_err(|()| JwkError::Broken(place))? else { continue };
        if let Some(id) =
            raw.kid.as_ref().filter(|id| keys.iter().any(|k| k.id.as_ref() == Some(id)))
        {
            return Err(JwkError::Twice(id.clone()));
        }
        keys.push(Jwk { id: raw.kid.clone(), key });
    }
    if keys.is_empty() { Err(JwkError::Empty) } else { Ok(keys) }
}

/// `None`: it is for something else.
fn read(raw: &Raw) -> Result<Option<PublicKey>, ()> {
    if raw.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Ok(None);
    }
    let bytes = |text: &Option<String>| {
        let text = text.as_ref().ok_or(())?;
        URL_SAFE_NO_PAD.decode(text).map(Vec::into_boxed_slice).map_err(|_| ())
    };
    let of = |text: &Option<String>, size: usize| {
        bytes(text).and_then(|bytes| if bytes.len() == size { Ok(bytes) } else { Err(()) })
    };
    let key = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => {
            let (modulus, exponent) = (bytes(&raw.n)?, bytes(&raw.e)?);
            if !RSA_SIZES.contains(&modulus.len()) || !(1..=8).contains(&exponent.len()) {
                return Err(());
            }
            PublicKey::Rs256(modulus, exponent)
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (of(&raw.x, 32)?, of(&raw.y, 32)?);
            PublicKey::Es256([&[UNCOMPRESSED][..], &x, &y].concat().into())
        }
        ("OKP", Some("Ed25519")) => PublicKey::EdDsa(of(&raw.x, 32)?),
        _ => return Ok(None),
    };
    let is_for_it = raw.alg.as_deref().is_none_or(|alg| alg == key.algorithm());
    Ok(Some(key).filter(|_| is_for_it))
}

/// 64: an issuer has two or three, those of large ones ten.
const MOST: usize = 64;
/// 2,048 to 8,192 bits, in bytes.
const RSA_SIZES: std::ops::RangeInclusive<usize> = 256..=1024;
/// SEC 1 §2.3.3.
const UNCOMPRESSED: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn read(keys: &str) -> Result<Vec<String>, String> {
        let read = read_set(format!("{{\"keys\":[{keys}]}}").as_bytes());
        let keys = read.map_err(|error| error.to_string())?;
        Ok(keys.iter().map(|key| format!("{key:?}")).collect())
    }

    #[test]
    fn keys_for_other_purposes_are_left_out_and_broken_ones_are_told() {
        let ed = format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\",\"x\":\"{X}\"}}");
        let ec = format!("{{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"{X}\",\"y\":\"{X}\"}}");
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
            ed.replace("AAAA", "A+/A"),
        ] {
            assert!(read(&broken).unwrap_err().contains("broken or too short, at place 0"));
        }
        assert!(read_set(b"[]").is_err() && read_set(b"").is_err());
    }
}
