//! What a line of the access log is made of, where it is not JSON.

use http::HeaderName;

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// This text.
    Text(String),
    /// What is known of the exchange.
    Field(Field),
    /// The value of a field of the request's head.
    Header(HeaderName),
}

/// What is known of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// When it began, as RFC 3339 writes it.
    Time,
    /// The same as web servers write it.
    TimeLocal,
    /// The id of the request.
    RequestId,
    /// The client's address.
    Client,
    /// The method.
    Method,
    /// The host that was asked for.
    Host,
    /// The path.
    Path,
    /// The query without its `?`.
    Query,
    /// The path with the query.
    Target,
    /// The version of HTTP.
    Version,
    /// The tenant's id.
    Tenant,
    /// Who sent the request, where that is proven.
    Subject,
    /// The route's name.
    Route,
    /// The pool's name.
    Pool,
    /// The endpoint of the last attempt.
    Endpoint,
    /// Attempts made.
    Attempts,
    /// Time waited for a turn in the pool, in seconds.
    Queue,
    /// The same in milliseconds.
    QueueMs,
    /// The status.
    Status,
    /// The name of the problem type.
    Problem,
    /// `whole` or `cut`.
    Ending,
    /// Time in all, in seconds.
    Duration,
    /// The same in milliseconds.
    DurationMs,
    /// Time to the head of the endpoint's answer, in seconds.
    FirstByte,
    /// The same in milliseconds.
    FirstByteMs,
    /// Bytes of the request's body.
    BytesIn,
    /// Bytes of the answer's body.
    BytesOut,
    /// The client's `User-Agent`.
    UserAgent,
    /// The number of the trace.
    TraceId,
    /// The number of the exchange's span.
    SpanId,
}

impl Field {
    /// Every field by the name that stands for it between braces.
    pub const ALL: [(&str, Self); 30] = [
        ("time", Self::Time),
        ("time-local", Self::TimeLocal),
        ("request-id", Self::RequestId),
        ("client", Self::Client),
        ("method", Self::Method),
        ("host", Self::Host),
        ("path", Self::Path),
        ("query", Self::Query),
        ("target", Self::Target),
        ("version", Self::Version),
        ("tenant", Self::Tenant),
        ("subject", Self::Subject),
        ("route", Self::Route),
        ("pool", Self::Pool),
        ("endpoint", Self::Endpoint),
        ("attempts", Self::Attempts),
        ("queue", Self::Queue),
        ("queue-ms", Self::QueueMs),
        ("status", Self::Status),
        ("problem", Self::Problem),
        ("ending", Self::Ending),
        ("duration", Self::Duration),
        ("duration-ms", Self::DurationMs),
        ("first-byte", Self::FirstByte),
        ("first-byte-ms", Self::FirstByteMs),
        ("bytes-in", Self::BytesIn),
        ("bytes-out", Self::BytesOut),
        ("user-agent", Self::UserAgent),
        ("trace-id", Self::TraceId),
        ("span-id", Self::SpanId),
    ];
}
