//! From what the config asks to what telemetry offers: the two know nothing of each other.

use crate::config::spec::{AccessLogOutput, AccessLogSpec, LogFormat, LogSpec};
use crate::telemetry::{access_log, lines, tracing};

/// What the access log shall do.
pub fn access_log(spec: &AccessLogSpec) -> access_log::Options {
    let output = match &spec.output {
        AccessLogOutput::Off => None,
        AccessLogOutput::Stdout => Some(lines::Output::Stdout),
        AccessLogOutput::File(file) => Some(lines::Output::File(file.path.clone())),
    };
    access_log::Options { output, sample: spec.sample, queue: spec.queue }
}

/// What the gateway's own log shall do.
pub fn log(spec: &LogSpec) -> tracing::Options {
    let format = match spec.format {
        LogFormat::Text => tracing::Format::Text,
        LogFormat::Json => tracing::Format::Json,
    };
    tracing::Options { filter: spec.filter.clone(), format }
}
