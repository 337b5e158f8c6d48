//! Which of the supported words was probably meant.

/// The candidate at the least edit distance from `word`, the first of equals; `""` only if there is no candidate.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> &'a str {
    candidates.min_by_key(|c| distance(word.as_bytes(), c.as_bytes())).unwrap_or("")
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours, each 1.
fn distance(a: &[u8], b: &[u8]) -> usize {
    // `before`, `above`, `row`: the last three rows of the table; row i holds the distances of a[..i] to all of b[..j].
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let substituted = above[j] + usize::from(a[i] != b[j]);
            row[j + 1] = substituted.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, want) in [("", "", 0), ("abc", "abc", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), want, "{a} {b}");
        }
        assert_eq!(distance(b"-krenel", b"-kernel"), 1, "neighbours swapped");
    }

    #[test]
    fn the_first_of_equals() {
        assert_eq!(nearest("b", ["a", "c"].into_iter()), "a");
        assert_eq!(nearest("x", std::iter::empty()), "");
    }
}
