//! Tenantry: the multi-tenant gateway.

pub mod admin;
pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod discovery;
pub mod health;
pub mod model;
pub mod pool;
pub mod proxy;
pub mod resilience;
pub mod routing;
pub mod telemetry;
pub mod tls;
pub mod upstream;
