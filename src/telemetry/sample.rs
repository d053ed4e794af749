//! A share of requests, and the draw whether one is among them.

use std::num::NonZeroU32;

use crate::base::units::Percent;

/// A share, as a number that a draw is compared with. It takes four bytes, also where there may be
/// none: each tenant has room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample(NonZeroU32);

impl Sample {
    /// No request.
    pub const NONE: Self = Self(NonZeroU32::MIN);

    /// This share of the requests.
    pub fn of(share: Percent) -> Self {
        let below = (share.share() * f64::from(DRAWS)).round() as u32;
        Self(NonZeroU32::MIN.saturating_add(below))
    }

    /// Draws.
    pub(super) fn draw(self) -> bool {
        match self.0.get() - 1 {
            0 => false,
            DRAWS => true,
            below => fastrand::u32(..DRAWS) < below,
        }
    }
}

/// As many values as a draw has.
const DRAWS: u32 = u32::MAX - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_drawn_is_the_one_asked_for() {
        let drawn = |percent| {
            let sample = Sample::of(Percent::new(percent));
            (0..100_000).filter(|_| sample.draw()).count()
        };

        assert!((9_000..11_000).contains(&drawn(10.0)), "ten standard deviations off");
        assert_eq!((drawn(0.0), drawn(100.0)), (0, 100_000));
        assert_eq!(Sample::of(Percent::new(0.0)), Sample::NONE);
        assert_eq!(size_of::<Option<Sample>>(), 4);
    }
}
