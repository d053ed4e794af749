//! Tenantry: the multi-tenant gateway.

pub mod base;
pub mod config;
pub mod model;
pub mod pool;
pub mod resilience;
pub mod routing;
pub mod telemetry;
