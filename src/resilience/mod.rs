//! What keeps a failure small: the allowance of a tenant.

pub mod allowance;
