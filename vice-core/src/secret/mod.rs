//! Secrets are a type that can't be printed. The value is wiped when it is dropped, and the only way to it is
//! [`Secret::reveal`], which is easy to find in a review. The masker is the second line of defence, for texts that
//! others make; see [`Masker`].

mod known;
mod lines;
mod masker;
mod scan;
mod unescape;

use std::fmt;

use zeroize::Zeroizing;

pub use known::Known;
pub use lines::LineMasker;
pub use masker::{MASK_BYTES_MIN, MaskStream, Masker};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("hunter22");
        assert_eq!(format!("{secret:?}"), "«secret»");
        assert_eq!(format!("{:?}", Some(&secret)), "Some(«secret»)");
    }
}
