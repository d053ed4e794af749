//! Plans: what many tenants say alike.

use crate::base::units::ByteSize;

use super::{RoutesSpec, TenantSpec, TenantState};

/// What holds for a tenant that says nothing and has no plan.
impl Default for TenantSpec {
    fn default() -> Self {
        Self {
            plan: None,
            state: TenantState::Active,
            maintenance: None,
            pool: None,
            routes: Vec::new(),
            route_sets: Vec::new(),
            limits: None,
            error_pages: None,
            sample: None,
            trace_sample: None,
            replay_memory: ByteSize(16 << 20),
            access: None,
            domains: None,
            queue: None,
            tenant_keys: None,
        }
    }
}

impl RoutesSpec {
    /// Whether a tenant has pages that are not those of its plan.
    pub fn has_pages_of_its_own(&self, tenant: &TenantSpec) -> bool {
        let plan = tenant.plan.as_ref().and_then(|plan| self.plans.get(plan));
        tenant.error_pages.as_ref().is_some_and(|own| {
            plan.and_then(|plan| plan.error_pages.as_ref()).is_none_or(|pages| pages != own)
        })
    }

    /// Whether what a tenant's plan says differs from what the plan of this name said before.
    pub fn has_another_plan(&self, tenant: &TenantSpec, before: &Self) -> bool {
        let plan = tenant.plan.as_ref();
        plan.is_some_and(|plan| self.plans.get(plan) != before.plans.get(plan))
    }
}
