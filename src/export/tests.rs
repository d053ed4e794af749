//! The waits between tries.

use super::*;

#[test]
fn each_pause_is_about_twice_as_long_as_the_one_before() {
    for (tries, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (u32::MAX, 1024.0)] {
        let pause = backoff(tries).as_secs_f64();
        assert!((seconds / 2.0..=seconds).contains(&pause), "{tries}: {pause}");
    }
}
