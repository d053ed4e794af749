//! What is worked out once for each version of a set of endpoints, by the first request that meets it.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

/// What is worked out of a set of endpoints.
#[derive(Debug)]
pub(super) struct Derived<T>(ArcSwapOption<Version<T>>);

/// What was worked out of one version.
#[derive(Debug)]
pub(super) struct Version<T> {
    /// The version of the set.
    pub(super) version: u64,
    /// A hash of all that it was worked out of.
    of: u64,
    /// What was worked out.
    pub(super) value: Arc<T>,
}

impl<T> Default for Derived<T> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<T> Derived<T> {
    /// What was worked out last.
    pub(super) fn load(&self) -> Guard<Option<Arc<Version<T>>>> {
        self.0.load()
    }

    /// What was worked out of this version or, where another request has met that already, of a newer
    /// one. A version that differs in nothing that `of` is a hash of costs no more than that hash; `build`
    /// is told what was worked out last.
    pub(super) fn at(
        &self,
        version: u64,
        of: impl Fn() -> u64,
        build: impl Fn(Option<&T>) -> T,
    ) -> Guard<Option<Arc<Version<T>>>> {
        let known = self.0.load();
        if known.as_ref().is_some_and(|known| known.version >= version) {
            return known;
        }
        self.renew(version, of(), build);
        self.0.load()
    }

    #[cold]
    #[inline(never)]
    fn renew(&self, version: u64, of: u64, build: impl Fn(Option<&T>) -> T) {
        let known = self.0.load();
        let same = known.as_ref().filter(|known| known.of == of).map(|known| &known.value);
        let last = known.as_ref().map(|known| &*known.value);
        let value = same.map_or_else(|| Arc::new(build(last)), Arc::clone);
        let new = Arc::new(Version { version, of, value });
        self.0.rcu(|known| match known {
            Some(known) if known.version >= version => Some(Arc::clone(known)),
            _ => Some(Arc::clone(&new)),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn it_is_worked_out_anew_only_where_something_differs() {
        let derived: Derived<u32> = Derived::default();
        let built = Cell::new(0);
        let at = |version, of| {
            let build = |_: Option<&u32>| {
                built.set(built.get() + 1);
                built.get()
            };
            let known = derived.at(version, || of, build);
            known.as_ref().map(|known| (known.version, *known.value))
        };

        assert_eq!(at(1, 7), Some((1, 1)));
        assert_eq!(at(1, 7), Some((1, 1)));
        assert_eq!(at(2, 7), Some((2, 1)), "nothing differs");
        assert_eq!(at(3, 8), Some((3, 2)));
        assert_eq!(at(2, 7), Some((3, 2)), "a newer one is known");
    }
}
