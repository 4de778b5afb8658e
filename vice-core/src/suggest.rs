//! The nearest known word, for "did you mean".

/// The candidate nearest to `word`, if it is near enough to be a slip of the fingers.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours.
fn distance(one: &str, two: &str) -> usize {
    let (one, two): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    let width = two.len() + 1;
    let mut table = vec![0_usize; (one.len() + 1) * width];
    for i in 0..=one.len() {
        for j in 0..=two.len() {
            table[i * width + j] = match (i, j) {
                (0, _) => j,
                (_, 0) => i,
                _ => {
                    let cost = usize::from(one[i - 1] != two[j - 1]);
                    let mut best = (table[(i - 1) * width + j] + 1)
                        .min(table[i * width + j - 1] + 1)
                        .min(table[(i - 1) * width + j - 1] + cost);
                    let swapped = i > 1 && j > 1 && one[i - 1] == two[j - 2] && one[i - 2] == two[j - 1];
                    if swapped {
                        best = best.min(table[(i - 2) * width + j - 2] + 1);
                    }
                    best
                }
            };
        }
    }
    table[one.len() * width + two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["artifact", "command", "health", "version"];
        assert_eq!(nearest("artefact", known), Some("artifact"));
        assert_eq!(nearest("helath", known), Some("health"));
        assert_eq!(nearest("zebra", known), None);
    }
}
