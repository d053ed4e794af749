//! Tenantry: the multi-tenant gateway.

pub mod base;
pub mod config;
pub mod discovery;
pub mod health;
pub mod model;
pub mod telemetry;
