//! Which name was meant by one that nobody knows.

/// The name among `known` that `word` was likely meant to be.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let slips = |name: &str| match name.len().min(word.len()) {
        0..3 => 0,
        short => (short / 3).max(1),
    };
    // A slip changes the length by no more than itself: the distance to all others, which takes
    // time that grows with both lengths, need not be known.
    let is_near = |name: &&str| name.len().abs_diff(word.len()) <= 4 * slips(name);
    known
        .into_iter()
        .filter(is_near)
        .map(|name| (strsim::damerau_levenshtein(&word, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= slips(name))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_another_word() {
        let known = ["least-request", "random", "a"];

        assert_eq!(nearest("least-requests", known), Some("least-request"));
        assert_eq!(nearest("Random", known), Some("random"));
        assert_eq!(nearest("b", known), None);
        assert_eq!(nearest("magic", known), None);
        assert_eq!(nearest(&"random".repeat(1 << 20), known), None);
    }
}
