//! What breaks, how, for how long and under which load is drawn by a seed: who looks for storms and states that stay has them
//! looked for among thousands (`TENANTRY_SIMULATION=1000`).

use std::time::Duration;

use tenantry::config::spec::PoolSpec;

use super::cases::{BREAKER, Breaks, Case, Group, Promise, Returns, TEN, adaptive, bounded, secs};
use super::dice::Dice;
use super::users::Users;

/// The case of a seed. The endpoints can bear what is asked of them with three of ten out, as ejection may have it, and let none
/// wait for as long as an attempt lasts; so all must come back, whatever it was.
pub(crate) fn case(seed: u64) -> Case {
    let dice = Dice::of(seed, DRAW);
    let count = 1 + dice.below(10);
    let breaks = match dice.below(3) {
        0 => Breaks::Slow(count, 2.0 + 48.0 * dice.share()),
        1 => Breaks::Failing(count),
        _ => Breaks::Unreachable(count),
    };
    let balances = ["least-request", "peak-ewma", "random", "round-robin"];
    let tunes: [fn(&mut PoolSpec); 4] =
        [|_| (), bounded, |spec| spec.breaker = Some(BREAKER), adaptive];
    let retries = u32::try_from(dice.below(3)).unwrap_or_default();
    let broken = Duration::from_secs_f64(1.0 + 7.0 * dice.share());
    let calm = Users::calm(300.0 + 500.0 * dice.share());
    Case {
        of: Group::Drawn,
        name: "drawn by a seed",
        balance: balances[dice.below(balances.len())],
        tune: tunes[dice.below(tunes.len())],
        users: Users { retries, pause: secs(1), ..calm },
        breaks,
        fault: (secs(8), secs(8) + broken),
        end: secs(44),
        // Of a short fault most retries are paid by what was saved up before.
        promise: Promise {
            returns: Returns::Surely,
            content: 0.0,
            held: 0.0,
            sent: f64::INFINITY,
            back: secs(30),
            refused: Duration::MAX,
            bound: None,
            even: f64::INFINITY,
            slower: f64::INFINITY,
        },
        ..TEN
    }
}

const DRAW: u64 = 5;
