//! The hash of keys and addresses: the same in every process and every version, so that all gateways
//! send a key to the same endpoint, also after a restart.

use std::hash::Hasher;

/// SipHash-2-4 with this key.
#[expect(
    deprecated,
    reason = "what stands in its place may be another hash in the next version of Rust"
)]
pub(super) fn hasher((first, second): (u64, u64)) -> impl Hasher {
    std::hash::SipHasher::new_with_keys(first, second)
}

/// The hash of one text that no client chooses.
pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = hasher((0, 0));
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// Another number that looks as random, for each `nth` one (the finaliser of SplitMix64).
pub(super) fn mixed(hash: u64, nth: u64) -> u64 {
    let mut mixed = hash.wrapping_add(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The hash as a place among so many.
pub(super) fn scaled(hash: u64, count: usize) -> usize {
    let place = (u128::from(hash) * count as u128) >> 64;
    usize::try_from(place).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        let key = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let mut hasher = hasher(key);
        hasher.write(&[0, 1, 2, 3, 4]);
        hasher.write(&[5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);

        // The example of the paper: Aumasson and Bernstein, "SipHash: a fast short-input PRF", appendix A.
        assert_eq!(hasher.finish(), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn what_is_drawn_from_it_never_changes() {
        assert_eq!(mixed(0, 1), 0xe220_a839_7b1d_cdaf); // the first number of SplitMix64 from 0
        assert_eq!((scaled(0, 7), scaled(u64::MAX, 7), scaled(1 << 63, 7)), (0, 6, 3));
    }
}
