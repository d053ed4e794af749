//! Seeded mutations: each input follows from its seed and number alone.

use fastrand::Rng;

/// One of the seeds, bent a few times.
pub(crate) fn bent(
    seeds: &[(String, Vec<u8>)],
    words: &[Vec<u8>],
    seed: u64,
    number: u64,
) -> Vec<u8> {
    let mut random = Rng::with_seed(seed << 32 ^ number);
    let pick = |random: &mut Rng| seeds[random.usize(..seeds.len())].1.clone();
    let mut bytes = pick(&mut random);
    for _ in 0..random.usize(1..5) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..12)).min(bytes.len());
        match random.u8(..8) {
            0 => drop(bytes.drain(at..end)),
            1 | 2 => {
                let word = random.choice(words).map_or(&b""[..], Vec::as_slice);
                drop(bytes.splice(at..at, word.iter().copied()));
            }
            3 => bytes.extend_from_within(at..end),
            4 => {
                let other = pick(&mut random);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.usize(..=other.len())..]);
            }
            5 => bytes[at..end].reverse(),
            6 => bytes[at..end].iter_mut().for_each(|byte| *byte = random.u8(..)),
            _ => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << random.u32(..8)),
        }
    }
    bytes
}

#[test]
fn an_input_follows_from_its_seed_and_number() {
    let seeds = [("a".to_owned(), b"some bytes".to_vec()), ("b".to_owned(), b"others".to_vec())];
    let words = [b"word".to_vec()];
    let row = |seed| (0..50).map(|number| bent(&seeds, &words, seed, number)).collect::<Vec<_>>();

    assert_eq!(row(1), row(1));
    assert_ne!(row(1), row(2));
}
