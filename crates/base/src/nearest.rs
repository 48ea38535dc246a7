//! The nearest right name for a mistyped one. Owns the edit distance; callers word the hint.

/// The candidate closest to `wrong`, if any is close enough to be what was meant.
///
/// One slip in three characters is the limit: beyond that a guess sends people the wrong way.
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong: Vec<char> = wrong.chars().take(LONGEST).collect();
    let limit = (wrong.len() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                distance(&wrong, &candidate.chars().collect::<Vec<_>>()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        // Of equals the one that begins as what was written.
        .min_by_key(|(distance, candidate)| (*distance, !begins_alike(&wrong, candidate)))
        .map(|(_, candidate)| candidate)
}

fn begins_alike(wrong: &[char], candidate: &str) -> bool {
    let same = candidate.chars().zip(wrong).take_while(|(a, b)| a == *b);
    same.count() == wrong.len()
}

/// Longer input cannot be near any name we have; the cap keeps the table small.
const LONGEST: usize = 64;

/// Optimal string alignment: insert, delete, replace and swap of neighbours cost one each.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, &a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &b) in right.iter().enumerate() {
            let replace = above[column] + usize::from(a != b);
            let mut best = replace.min(above[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0
                && column > 0
                && left.get(row - 1) == Some(&b)
                && right.get(column - 1) == Some(&a);
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        let names = ["workers", "threads", "timeout", "bind"];
        for (wrong, meant) in [
            ("wrokers", Some("workers")),
            ("worker", Some("workers")),
            ("tiemout", Some("timeout")),
            ("bnid", Some("bind")),
            ("bind", Some("bind")),
            ("", None),
            ("x", None),
            ("statsd-host", None),
        ] {
            assert_eq!(nearest(wrong, names), meant, "{wrong}");
        }
    }

    #[test]
    fn of_words_as_near_the_one_that_begins_so_is_meant() {
        assert_eq!(nearest("of", ["on", "off"]), Some("off"));
    }

    #[test]
    fn very_long_input_is_only_looked_at_in_part() {
        assert_eq!(nearest(&"w".repeat(1_000_000), ["workers"]), None);
    }
}
