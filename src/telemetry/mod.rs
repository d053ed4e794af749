//! What is measured: the record of one exchange, metrics, the access log, the gateway's own log.

pub mod record;
