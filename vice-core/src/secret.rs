//! Secrets are a type that can't be printed. The value is wiped when it is dropped, and the only way to it is
//! [`Secret::reveal`], which is easy to find in a review.

use std::fmt;

use zeroize::Zeroizing;

/// A value that must not appear in any output, event, argument list or error.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The value. Hand it only to the process or the protocol that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("«secret»")
    }
}

impl PartialEq for Secret {
    /// Compares in time that depends only on the lengths.
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (self.0.as_bytes(), other.0.as_bytes());
        one.len() == two.len() && one.iter().zip(two).fold(0_u8, |sum, (a, b)| sum | (a ^ b)) == 0
    }
}

impl Eq for Secret {}

/// How a secret named `name` is shown everywhere.
#[must_use]
pub fn masked(name: &str) -> String {
    format!("«secret:{name}»")
}

/// Below this many bytes a value is too short to be found in other text without hiding innocent words.
pub const MASK_BYTES_MIN: usize = 4;

/// Replaces known secret values in text that leaves vice. A second line of defence: the first is that secrets are
/// [`Secret`]s and never become text.
#[derive(Clone, Default)]
pub struct Masker {
    needles: Vec<(Secret, String)>,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masker({} secrets)", self.needles.len())
    }
}

impl Masker {
    /// Adds a secret; each line of a multi-line secret is hidden too. Returns false when it is too short to hide.
    pub fn add(&mut self, name: &str, secret: &Secret) -> bool {
        let whole = secret.reveal();
        if whole.len() < MASK_BYTES_MIN {
            return false;
        }
        let mask = masked(name);
        self.needles.push((secret.clone(), mask.clone()));
        if whole.contains('\n') {
            let lines = whole.lines().map(str::trim).filter(|line| line.len() >= MASK_BYTES_MIN);
            self.needles.extend(lines.map(|line| (Secret::new(line), mask.clone())));
        }
        // The longest first, so that a secret that contains another is hidden whole.
        self.needles.sort_by_key(|(needle, _)| std::cmp::Reverse(needle.reveal().len()));
        true
    }

    /// The text with every known secret replaced by its mask.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (needle, mask) in &self.needles {
            if out.contains(needle.reveal()) {
                out = out.replace(needle.reveal(), mask);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("hunter22");
        assert_eq!(format!("{secret:?}"), "«secret»");
        assert_eq!(format!("{:?}", Some(&secret)), "Some(«secret»)");
    }

    #[test]
    fn the_masker_hides_whole_values_and_lines() {
        let mut masker = Masker::default();
        assert!(masker.add("token", &Secret::new("abcdef")));
        assert!(masker.add("key", &Secret::new("line one\nline two")));
        assert!(!masker.add("pin", &Secret::new("123")));
        assert_eq!(masker.mask("x abcdef y"), "x «secret:token» y");
        assert_eq!(masker.mask("got: line two!"), "got: «secret:key»!");
    }
}
