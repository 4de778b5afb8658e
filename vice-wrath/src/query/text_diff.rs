//! Two texts side by side, line by line: what was expected and did not come, and what came instead.

use vice_core::secret::Masker;

use crate::say::excerpt;

/// So many lines of each text are compared; what differs beyond is not shown.
const LINES_MAX: usize = 400;

/// So many lines of a difference are shown.
const SHOWN_MAX: usize = 40;

/// How many equal lines stand around a difference.
const CONTEXT: usize = 2;

/// Lines that begin with `- ` (expected), `+ ` (came) and two blanks (both).
pub(crate) fn lines(masker: &Masker, expected: &str, got: &str) -> Vec<String> {
    let old: Vec<&str> = expected.lines().take(LINES_MAX).collect();
    let new: Vec<&str> = got.lines().take(LINES_MAX).collect();
    let marked = marked(&old, &new);
    let near = |index: usize| {
        let from = index.saturating_sub(CONTEXT);
        marked[from..marked.len().min(index + CONTEXT + 1)].iter().any(|(sign, _)| *sign != ' ')
    };
    let mut out = Vec::new();
    let mut left_out = false;
    for (index, (sign, line)) in marked.iter().enumerate() {
        if !near(index) {
            left_out = true;
            continue;
        }
        if std::mem::take(&mut left_out) {
            out.push("  …".to_owned());
        }
        out.push(format!("{sign} {}", excerpt(masker, line)));
        if out.len() >= SHOWN_MAX {
            out.push("  … more differences".to_owned());
            break;
        }
    }
    out
}

/// The longest common subsequence, by the table that everybody knows; `LINES_MAX` keeps it small.
fn marked<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(char, &'t str)> {
    let width = new.len() + 1;
    let mut table = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            table[i * width + j] = if old[i] == new[j] {
                table[(i + 1) * width + j + 1] + 1
            } else {
                table[(i + 1) * width + j].max(table[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            out.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || table[(i + 1) * width + j] >= table[i * width + j + 1]) {
            out.push(('-', old[i]));
            i += 1;
        } else {
            out.push(('+', new[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_far_away_are_left_out() {
        let old: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[10] = "x".to_owned();
        let got = lines(&Masker::default(), &old.join("\n"), &new.join("\n"));
        assert_eq!(got, ["  …", "  8", "  9", "- 10", "+ x", "  11", "  12"]);
    }

    #[test]
    fn long_texts_stay_bounded() {
        let old = "a\n".repeat(100_000);
        let new = "b\n".repeat(100_000);
        assert_eq!(lines(&Masker::default(), &old, &new).len(), SHOWN_MAX + 1);
    }
}
