//! How a registry says that it wants to know who asks: the header `WWW-Authenticate`. Pure.

/// The longest header that is read.
const HEADER_BYTES_MAX: usize = 4096;

/// What a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token that somebody gives out.
    Bearer {
        /// Where.
        realm: String,
        /// For whom.
        service: Option<String>,
    },
    /// Name and password with the request.
    Basic,
}

impl Challenge {
    /// The first of these headers that can be answered; a token rather than a password.
    pub(super) fn of<'h>(headers: impl Iterator<Item = &'h str>) -> Option<Self> {
        let mut basic = None;
        for header in headers.filter(|header| header.len() <= HEADER_BYTES_MAX) {
            match Self::parse(header) {
                Some(Self::Basic) => basic = Some(Self::Basic),
                Some(bearer) => return Some(bearer),
                None => {}
            }
        }
        basic
    }

    fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        let (scheme, rest) = header.split_once(char::is_whitespace).unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        for (name, value) in parameters(rest) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer { realm: realm?, service })
    }
}

/// `name=value` and `name="quoted value"`, with commas in between.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', '\t', ',']).to_owned();
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name, value));
        rest = tail;
    }
    found
}

/// A quoted text up to its end, and what follows.
fn unquoted(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                out.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (out, &text[at + 1..]),
            _ => out.push(c),
        }
    }
    (out, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn a_challenge_is_read_whatever_the_order_and_the_quotes() {
        for (header, wanted) in [
            (
                "Bearer realm=\"https://auth.example/token\",service=\"registry.example\",scope=\"a,b\"",
                Some(bearer("https://auth.example/token", Some("registry.example"))),
            ),
            ("bearer scope=x, Realm=https://a.example/t", Some(bearer("https://a.example/t", None))),
            ("Bearer realm=\"a\\\"b\"", Some(bearer("a\"b", None))),
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            ("Bearer service=x", None),
            ("Negotiate", None),
            ("", None),
            ("Bearer realm=\"never ends", Some(bearer("never ends", None))),
        ] {
            assert_eq!(Challenge::of([header].into_iter()), wanted, "{header}");
        }
    }

    #[test]
    fn a_token_is_preferred_and_what_is_too_long_is_not_read() {
        let both = Challenge::of(["Basic realm=x", "Bearer realm=y"].into_iter());
        assert_eq!(both, Some(bearer("y", None)));
        let long = format!("Bearer realm={}", "x".repeat(HEADER_BYTES_MAX));
        assert_eq!(Challenge::of([long.as_str()].into_iter()), None);
    }
}
