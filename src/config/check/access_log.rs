//! The meaning of `[access-log]`.

use std::path::Path;

use crate::base::units::Percent;
use crate::config::faults::Faults;
use crate::config::key::Key;
use crate::config::raw::{AccessLog, Mask};
use crate::config::secrets::SECRET_HEADERS;
use crate::config::spec::{AccessLogFormat, AccessLogOutput, AccessLogSpec, MaskSpec};
use crate::config::text::AccessOutput;

use super::gateway::named;

/// Checks the key `access-log`.
pub(super) fn check(
    raw: Option<AccessLog>,
    folder: Option<&Path>,
    key: &Key<'_>,
    faults: &mut Faults<'_>,
) -> AccessLogSpec {
    let raw = raw.unwrap_or_default();
    let output = match (raw.output, raw.file) {
        (Some(output), Some(_)) => {
            let hint = "keep one of output and file".to_owned();
            let what = "is there beside file";
            faults.add(&key.name("output"), output.start, what, Some(hint));
            AccessLogOutput::Off
        }
        (None, Some(file)) => AccessLogOutput::File(named(file, folder, &key.name("file"), faults)),
        (Some(output), None) if output.value.0 == AccessOutput::Off => AccessLogOutput::Off,
        (_, None) => AccessLogOutput::Stdout,
    };
    AccessLogSpec {
        output,
        format: raw.format.map_or(AccessLogFormat::Json, |format| format.0),
        errors: raw.errors.unwrap_or(true),
        mask: mask(raw.mask),
        sample: raw.sample.map_or(Percent::new(100.0), |sample| sample.0),
        queue: raw.queue.map_or(8192, |queue| queue.size()),
    }
}

fn mask(raw: Option<Mask>) -> MaskSpec {
    let raw = raw.unwrap_or_default();
    let mut mask = MaskSpec { query: Vec::new(), headers: Vec::new() };
    if raw.defaults.unwrap_or(true) {
        mask.query.extend(SECRET_PARAMETERS.iter().map(|name| (*name).to_owned()));
        mask.headers.extend(SECRET_HEADERS);
    }
    mask.query.extend(raw.query.unwrap_or_default().iter().map(|name| name.to_lowercase()));
    mask.headers.extend(raw.headers.unwrap_or_default().into_iter().map(|name| name.0));
    mask
}

/// Parameters that carry secrets as applications, OAuth 2, OpenID Connect, SAML and signed URLs of the
/// large clouds name them.
const SECRET_PARAMETERS: &[&str] = &[
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "auth_token",
    "api_token",
    "api_key",
    "apikey",
    "auth",
    "authorization",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "client_secret",
    "client_assertion",
    "code",
    "code_verifier",
    "otp",
    "jwt",
    "session",
    "session_id",
    "sessionid",
    "sid",
    "sig",
    "signature",
    "samlresponse",
    "x_amz_signature",
    "x_amz_credential",
    "x_amz_security_token",
    "x_goog_signature",
    "x_goog_credential",
];
