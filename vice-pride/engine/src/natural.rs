//! The order in which people expect names: runs of digits count as numbers, so `web-2` is before `web-10`.

use std::cmp::Ordering;

/// Compares two names; equal only for equal bytes, so that it is a total order.
#[must_use]
pub fn natural_cmp(one: &str, two: &str) -> Ordering {
    let (mut left, mut right) = (one.as_bytes(), two.as_bytes());
    while let (Some(&a), Some(&b)) = (left.first(), right.first()) {
        let order = if a.is_ascii_digit() && b.is_ascii_digit() {
            let (x, rest_x) = number(left);
            let (y, rest_y) = number(right);
            (left, right) = (rest_x, rest_y);
            // Without leading zeros, the longer run of digits is the larger number, whatever its size.
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            a.cmp(&b)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| one.cmp(two))
}

/// The leading run of digits without leading zeros, and what follows.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_is_before_ten() {
        let mut names =
            vec!["10", "web-10", "2", "web-2", "web-02", "1", "a", "web", "99999999999999999999999", "web-2b"];
        names.sort_by(|one, two| natural_cmp(one, two));
        assert_eq!(
            names,
            ["1", "2", "10", "99999999999999999999999", "a", "web", "web-02", "web-2", "web-2b", "web-10"]
        );
    }
}
