//! Traces, from the client to the endpoint and to a collector that decodes them by messages that are
//! not ours.

mod collector;
mod exporting;
mod following;
