//! Tenantry: the multi-tenant gateway.

pub mod base;
pub mod cli;
pub mod config;
pub mod model;
pub mod telemetry;
