//! Which limits there are: a closed set, by which answers, logs and metrics tell which one it was.

/// One kind of limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests of a tenant, in a time.
    Tenant,
    /// Requests to a route of a tenant, in a time.
    Route,
    /// Requests of a client to a tenant, in a time.
    Client,
    /// Requests of a client to a route of a tenant, in a time.
    RouteClient,
    /// Requests of a subject to a tenant, in a time.
    Subject,
    /// Requests of a subject to a route of a tenant, in a time.
    RouteSubject,
    /// Requests of a tenant, at once.
    TenantConcurrency,
    /// Requests to a route of a tenant, at once.
    RouteConcurrency,
    /// Requests of a client to a tenant, at once.
    ClientConcurrency,
    /// Requests of a client to a route of a tenant, at once.
    RouteClientConcurrency,
    /// Requests of a subject to a tenant, at once.
    SubjectConcurrency,
    /// Requests of a subject to a route of a tenant, at once.
    RouteSubjectConcurrency,
    /// Requests of a tenant, in a day or a month.
    TenantQuota,
    /// Requests to a route of a tenant, in a day or a month.
    RouteQuota,
    /// Requests of a subject to a tenant, in a day or a month.
    SubjectQuota,
    /// Requests of a subject to a route of a tenant, in a day or a month.
    RouteSubjectQuota,
    /// The size of a body, as the tenant has it.
    TenantBody,
    /// The same, as the route has it.
    RouteBody,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Tenant,
        Self::Route,
        Self::Client,
        Self::RouteClient,
        Self::Subject,
        Self::RouteSubject,
        Self::TenantConcurrency,
        Self::RouteConcurrency,
        Self::ClientConcurrency,
        Self::RouteClientConcurrency,
        Self::SubjectConcurrency,
        Self::RouteSubjectConcurrency,
        Self::TenantQuota,
        Self::RouteQuota,
        Self::SubjectQuota,
        Self::RouteSubjectQuota,
        Self::TenantBody,
        Self::RouteBody,
    ];

    /// Its name in answers and metrics. Never rename one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Route => "route",
            Self::Client => "client",
            Self::RouteClient => "route-client",
            Self::Subject => "subject",
            Self::RouteSubject => "route-subject",
            Self::TenantConcurrency => "tenant-concurrency",
            Self::RouteConcurrency => "route-concurrency",
            Self::ClientConcurrency => "client-concurrency",
            Self::RouteClientConcurrency => "route-client-concurrency",
            Self::SubjectConcurrency => "subject-concurrency",
            Self::RouteSubjectConcurrency => "route-subject-concurrency",
            Self::TenantQuota => "tenant-quota",
            Self::RouteQuota => "route-quota",
            Self::SubjectQuota => "subject-quota",
            Self::RouteSubjectQuota => "route-subject-quota",
            Self::TenantBody => "tenant-body",
            Self::RouteBody => "route-body",
        }
    }
}
