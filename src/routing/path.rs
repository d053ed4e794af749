//! Paths: a trie of segments. The first route that a walk in the order of ranks comes to is the
//! most specific one.

use std::sync::Arc;

use crate::config::spec::{PathSpec, SegmentSpec, TailSpec};

use super::matcher::Query;
use super::route::{Route, segments};

/// The routes of one host by path. A walk comes to each node at most once, so its work is bounded
/// by the trie, whatever the path.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// Sorted by text; boxed, so that a search reads little memory and an insertion moves little.
    literals: Vec<(Box<str>, Box<Paths>)>,
    parameter: Option<Box<Paths>>,
    /// Routes that end here, least rank first.
    exact: Vec<Arc<Route>>,
    /// Routes that go on with anything from here, least rank first.
    open: Vec<Arc<Route>>,
}

impl Paths {
    /// Adds a route. Of equal ranks the one added first wins.
    pub(super) fn insert(&mut self, path: &PathSpec, route: Arc<Route>) {
        let mut node = self;
        for segment in segments(path) {
            node = match segment {
                SegmentSpec::Literal(text) => node.literal(text),
                SegmentSpec::Parameter(_) => node.parameter.get_or_insert_default(),
            };
        }
        let routes = match path.tail {
            TailSpec::Nothing => &mut node.exact,
            TailSpec::Any => &mut node.open,
        };
        let at = routes.partition_point(|other| other.rank <= route.rank);
        routes.insert(at, route);
    }

    /// The most specific route for a path. One that does not start with a slash, as that of
    /// `OPTIONS *`, is taken by `/*` alone.
    pub(super) fn find(&self, request: &Query<'_>) -> Option<&Arc<Route>> {
        match request.path.strip_prefix('/') {
            Some(rest) => self.walk(Some(rest), request),
            None => first(&self.open, request),
        }
    }

    /// `rest` is what follows the last slash; `None` at the end of the path.
    fn walk(&self, rest: Option<&str>, request: &Query<'_>) -> Option<&Arc<Route>> {
        let Some(rest) = rest else {
            return first(&self.exact, request).or_else(|| first(&self.open, request));
        };
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        let literal = self.literals.binary_search_by(|(text, _)| text.as_ref().cmp(segment));
        if let Some((_, child)) = literal.ok().and_then(|at| self.literals.get(at))
            && let Some(route) = child.walk(rest, request)
        {
            return Some(route);
        }
        if let Some(child) = &self.parameter
            && !segment.is_empty()
            && let Some(route) = child.walk(rest, request)
        {
            return Some(route);
        }
        first(&self.open, request)
    }

    fn literal(&mut self, text: &str) -> &mut Self {
        let at = match self.literals.binary_search_by(|(known, _)| known.as_ref().cmp(text)) {
            Ok(at) => at,
            Err(at) => {
                self.literals.insert(at, (text.into(), Box::default()));
                at
            }
        };
        &mut self.literals[at].1
    }
}

fn first<'a>(routes: &'a [Arc<Route>], request: &Query<'_>) -> Option<&'a Arc<Route>> {
    routes.iter().find(|route| route.conditions.hold(request))
}
