//! What one check takes from its answer for later checks: `json:/pointer`, `header:Name` or `regex:pattern`.

use regex::Regex;
use serde_json::Value;

/// Where a captured value stands in an answer.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// At a JSON Pointer of the body.
    Json(String),
    /// In a header.
    Header(String),
    /// In the first group of a pattern, or in the whole match when it has none.
    Regex(Regex),
}

/// A named capture of a check.
#[derive(Debug, Clone)]
pub(crate) struct Capture {
    /// The name under which later checks use it.
    pub(crate) name: String,
    /// Where it stands.
    pub(crate) source: Source,
    /// Whether its value must not be shown.
    pub(crate) secret: bool,
}

/// A value that was captured. It can be a secret, so it does not print.
#[derive(Clone)]
pub(crate) struct Captured {
    /// Its name.
    pub(crate) name: String,
    /// Its value; text unless it came from JSON.
    pub(crate) value: Value,
    /// Whether it must not be shown.
    pub(crate) secret: bool,
}

/// Words in the name of a header, pointer or capture that say that the value is a credential.
const SECRET_WORDS: &[&str] =
    &["auth", "cookie", "credential", "csrf", "jwt", "key", "passw", "secret", "session", "token"];

/// Whether a name says that its value is a credential.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

impl Capture {
    /// Takes the text of `vice.toml` apart.
    ///
    /// # Errors
    /// Text that says what is wrong with it.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let proper = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || !name.bytes().all(proper) {
            return Err("can't have that name; use letters, digits, _ and -".to_owned());
        }
        let source = match text.split_once(':') {
            Some(("json", pointer)) if pointer.is_empty() || pointer.starts_with('/') => Source::Json(pointer.into()),
            Some(("header", header)) if ::http::HeaderName::try_from(header).is_ok() => Source::Header(header.into()),
            Some(("regex", pattern)) => {
                Source::Regex(Regex::new(pattern).map_err(|error| format!("has a pattern that is not valid: {error}"))?)
            }
            _ => return Err(format!("is {text:?}; write json:/pointer, header:Name or regex:pattern")),
        };
        let origin = if let Source::Regex(_) = source { "" } else { text };
        let secret = sounds_secret(name) || sounds_secret(origin);
        Ok(Self { name: name.to_owned(), source, secret })
    }

    /// The captured value with its name.
    pub(crate) fn of(&self, value: Value) -> Captured {
        Captured { name: self.name.clone(), value, secret: self.secret }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_recognised_by_their_names() {
        for (name, text) in [
            ("sid", "header:Set-Cookie"),
            ("x", "header:Authorization"),
            ("x", "json:/access_token"),
            ("api_key", "regex:a"),
        ] {
            assert!(Capture::parse(name, text).unwrap().secret, "{name} {text}");
        }
        assert!(!Capture::parse("id", "json:/user/id").unwrap().secret);
        assert!(!Capture::parse("where", "header:Location").unwrap().secret);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "body", "json:id", "header:", "header:a b", "regex:(", "xml:/a"] {
            assert!(Capture::parse("a", text).is_err(), "{text}");
        }
        assert!(Capture::parse("a b", "json:/a").is_err());
        assert!(Capture::parse("a.b", "json:/a").is_err());
    }
}
