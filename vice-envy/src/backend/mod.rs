//! Encryption: the one place that knows whether it was compiled in.
//!
//! A value that is encrypted by itself is the text `age:v2:` followed by the age file in base64; inside is the value with
//! its place (see `envelope`). `age:v1:` is the older form that knows no place. A layer that is encrypted as a whole is an
//! age file, binary or armoured.

#[cfg(feature = "secrets")]
mod age;
#[cfg(feature = "secrets")]
pub(crate) use age::{Keyring, Recipients, generate, public_of};

#[cfg(not(feature = "secrets"))]
mod missing;
#[cfg(not(feature = "secrets"))]
pub(crate) use missing::{Keyring, Recipients, generate, public_of};

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vice_core::Secret;
use vice_core::app::ProcessEnv;

/// What a new encrypted value starts with.
const VALUE_PREFIX: &str = "age:v2:";

/// The largest encrypted value, in bytes of its text.
const VALUE_TEXT_MAX: usize = 4 * 1024 * 1024;

/// An encrypted value as it stands in a layer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SealedValue {
    /// Whether its place is inside.
    pub(crate) bound: bool,
    /// The age file.
    pub(crate) bytes: Vec<u8>,
}

/// Why something can't be decrypted.
#[cfg_attr(not(feature = "secrets"), expect(dead_code, reason = "a binary without encryption knows only one reason"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// None of the keys fits.
    NoKey,
    /// It is protected by a passphrase instead of keys.
    Passphrase,
    /// It is not what was once encrypted.
    Damaged,
    /// This binary was built without encryption.
    #[cfg_attr(feature = "secrets", expect(dead_code, reason = "only a binary without encryption says so"))]
    NotBuilt,
}

/// A key of our own, without its private part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    /// Where the private part was found.
    pub(crate) source: String,
    /// The public part.
    pub(crate) public: String,
}

/// A key that was just made.
pub(crate) struct NewKey {
    /// The private part.
    pub(crate) private: Secret,
    /// The public part.
    pub(crate) public: String,
}

/// The text form of an encrypted value.
pub(crate) fn write_value(sealed: &[u8]) -> String {
    format!("{VALUE_PREFIX}{}", STANDARD.encode(sealed))
}

/// The age file in the text form of an encrypted value; an error when it has another version or is damaged. None
/// when the text is no encrypted value.
pub(crate) fn parse_value(text: &str) -> Option<Result<SealedValue, &'static str>> {
    let rest = text.strip_prefix("age:v")?;
    let (version, body) = rest.split_once(':')?;
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bound = match version {
        "1" => false,
        "2" => true,
        _ => return Some(Err("is encrypted in a form that this version does not know")),
    };
    if body.len() > VALUE_TEXT_MAX {
        return Some(Err("is too long to be an encrypted value"));
    }
    let decoded = STANDARD.decode(body.trim()).map_err(|_| "is damaged: what follows age:v…: is not base64");
    Some(decoded.map(|bytes| SealedValue { bound, bytes }))
}

/// The folder of the user's settings: `$XDG_CONFIG_HOME/vice` or `~/.config/vice`.
pub(crate) fn settings_dir(env: &ProcessEnv) -> Option<PathBuf> {
    let base = env.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    base.or_else(|| env.get("HOME").map(|home| PathBuf::from(home).join(".config"))).map(|base| base.join("vice"))
}

#[cfg(test)]
#[cfg(feature = "secrets")]
mod tests_with_age;
#[cfg(test)]
#[cfg(not(feature = "secrets"))]
mod tests_without_age;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_form_is_an_encrypted_value() {
        for plain in ["", "age", "age:", "age:x", "age:vx:y", "age: 5", "age:v:x", "a age:v1:x"] {
            assert!(parse_value(plain).is_none(), "{plain}");
        }
        assert!(parse_value("age:v3:AAAA").unwrap().is_err());
        assert!(!parse_value("age:v1:AAAA").unwrap().unwrap().bound);
        assert!(parse_value(&format!("age:v2:{}", "A".repeat(VALUE_TEXT_MAX + 1))).unwrap().is_err());
        assert!(parse_value("age:v1:*").unwrap().is_err());
        let expected = SealedValue { bound: true, bytes: b"xyz".to_vec() };
        assert_eq!(parse_value(&write_value(b"xyz")).unwrap().unwrap(), expected);
    }
}
