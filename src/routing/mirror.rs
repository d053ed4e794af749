//! Mirroring of a route, with its pool.

use std::sync::Arc;

use crate::base::units::Percent;
use crate::config::spec::MirrorSpec;
use crate::pool::Pool;

/// Which of its requests another pool gets copies of.
#[derive(Debug)]
pub struct Mirror {
    /// How.
    pub spec: MirrorSpec,
    /// The pool.
    pub pool: Arc<Pool>,
}

impl Mirror {
    /// Whether a request is copied for which this was drawn, from 0 up to, and not, 1.
    pub fn takes(&self, drawn: f64) -> bool {
        takes(self.spec.share, drawn)
    }
}

fn takes(share: Percent, drawn: f64) -> bool {
    drawn < share.share()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    proptest! {
        #[test]
        fn none_of_nothing_and_all_of_everything(drawn in 0.0..1.0f64) {
            assert!(!takes(Percent::new(0.0), drawn));
            assert!(takes(Percent::new(100.0), drawn));
            assert_eq!(takes(Percent::new(10.0), drawn), drawn < 0.1);
        }
    }
}
