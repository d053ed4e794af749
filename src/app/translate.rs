//! From what the config asks to what telemetry offers: the two know nothing of each other.

use crate::config::spec::{
    AccessLogFormat, AccessLogOutput, AccessLogSpec, ContextFormat, IncomingTrust, LogFormat,
    LogSpec, MaskSpec, TracingSpec,
};
use crate::telemetry::access_log::Errors;
use crate::telemetry::access_log::mask::Mask;
use crate::telemetry::sample::Sample;
use crate::telemetry::trace::context::Formats;
use crate::telemetry::trace::{self, Trust};
use crate::telemetry::{access_log, lines, tracing};

/// What the access log shall do.
pub fn access_log(spec: &AccessLogSpec) -> access_log::Options {
    let output = match &spec.output {
        AccessLogOutput::Off => None,
        AccessLogOutput::Stdout => Some(lines::Output::Stdout),
        AccessLogOutput::File(file) => Some(lines::Output::File(file.path.clone())),
    };
    let format = match &spec.format {
        AccessLogFormat::Json => access_log::Format::Json,
        AccessLogFormat::Combined => access_log::Format::Combined,
        AccessLogFormat::Pieces(pieces) => access_log::Format::Pieces(pieces.clone()),
    };
    let mask = mask(&spec.mask);
    let errors = if spec.errors { Errors::All } else { Errors::Sampled };
    let sample = Sample::of(spec.sample);
    access_log::Options { output, format, mask, sample, errors, queue: spec.queue }
}

/// What is not shown.
pub fn mask(spec: &MaskSpec) -> Mask {
    Mask { query: spec.query.clone(), headers: spec.headers.clone() }
}

/// What is traced, and how.
pub fn tracing(spec: &TracingSpec) -> trace::Options {
    let trust = match spec.incoming {
        IncomingTrust::Follow => Trust::Follow,
        IncomingTrust::Join => Trust::Join,
        IncomingTrust::Ignore => Trust::Ignore,
    };
    let start = match spec.start {
        ContextFormat::W3c => Formats::W3C,
        ContextFormat::B3 => Formats::B3,
        ContextFormat::B3Multi => Formats::B3_MULTI,
    };
    trace::Options { sample: Sample::of(spec.sample), trust, start, queue: spec.queue }
}

/// What the gateway's own log shall do.
pub fn log(spec: &LogSpec) -> tracing::Options {
    let format = match spec.format {
        LogFormat::Text => tracing::Format::Text,
        LogFormat::Json => tracing::Format::Json,
    };
    tracing::Options { filter: spec.filter.clone(), format }
}
