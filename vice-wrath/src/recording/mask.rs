//! What of an exchange must not reach the disk. A secret is replaced by a name that is the same wherever the same secret
//! stands in this recording, so that sessions can still be told apart and followed; the key of these names is thrown away
//! when the recording ends.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use regex::{Captures, Regex};
use serde_json::Value;
use sha2::Sha256;
use vice_core::{Fault, Result, Secret};

/// Headers whose values are always credentials.
const HEADERS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-xsrf-token",
];

/// Words in the name of a header, field or parameter that say that its value is a credential.
const WORDS: [&str; 14] = [
    "passw",
    "secret",
    "token",
    "credential",
    "apikey",
    "api_key",
    "api-key",
    "privatekey",
    "private_key",
    "jwt",
    "csrf",
    "session",
    "sessid",
    "authorization",
];

/// So many secrets that were masked by their names are looked for in texts, the latest ones.
const SEEN_MAX: usize = 256;

/// What is shorter is found everywhere and hides nothing.
const SEEN_CHARS_MIN: usize = 8;

/// What is masked besides, and what is not.
#[derive(Debug, Clone, Default)]
pub(crate) struct MaskRules {
    /// More headers, in lower case.
    pub(crate) headers: BTreeSet<String>,
    /// JSON Pointers; `*` stands for any one part.
    pub(crate) json: Vec<String>,
    /// Patterns of secrets in texts: their first group, or all of them.
    pub(crate) text: Vec<Regex>,
    /// Secrets themselves.
    pub(crate) secrets: Vec<Secret>,
    /// Headers, fields and parameters that stay as they are, in lower case.
    pub(crate) keep: BTreeSet<String>,
    /// Nothing is masked.
    pub(crate) off: bool,
}

/// Masks by rules under a key of its own.
pub(crate) struct Mask {
    rules: MaskRules,
    key: [u8; 32],
    /// What was masked by its name, the latest last.
    seen: Mutex<VecDeque<Secret>>,
}

impl Mask {
    /// Masks under a key that nobody knows.
    ///
    /// # Errors
    /// `Internal` when there is no TLS provider, whose randomness is used.
    pub(crate) fn new(rules: MaskRules) -> Result<Self> {
        let mut key = [0; 32];
        let provider = rustls::crypto::CryptoProvider::get_default();
        let filled = provider.is_some_and(|provider| provider.secure_random.fill(&mut key).is_ok());
        if filled {
            Ok(Self { rules, key, seen: Mutex::default() })
        } else {
            Err(Fault::internal("There is no randomness for masks."))
        }
    }

    /// Whether anything is masked.
    pub(crate) const fn is_on(&self) -> bool {
        !self.rules.off
    }

    /// The name that stands for a secret.
    fn name(&self, secret: &str) -> String {
        if secret.is_empty() || secret.starts_with("masked-") {
            return secret.to_owned();
        }
        self.remember(secret);
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return "masked-".to_owned() };
        mac.update(secret.as_bytes());
        let digest = mac.finalize().into_bytes();
        let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("masked-{hex}")
    }

    /// Remembers a secret, so that it is also found where nothing names it.
    fn remember(&self, secret: &str) {
        if secret.chars().count() < SEEN_CHARS_MIN {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|known| known.reveal() == secret) {
            return;
        }
        if seen.len() >= SEEN_MAX {
            seen.pop_front();
        }
        seen.push_back(Secret::new(secret));
    }

    /// A text of any kind: what patterns find, secrets that are known, and those that were masked by their names before.
    fn text(&self, content: Vec<u8>) -> Vec<u8> {
        let text = match String::from_utf8(content) {
            Ok(text) => text,
            // It has no words.
            Err(error) => return error.into_bytes(),
        };
        let mut text = text;
        for pattern in &self.rules.text {
            let replaced = pattern.replace_all(&text, |found: &Captures<'_>| self.found(found)).into_owned();
            text = replaced;
        }
        let mut known: Vec<Secret> = self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        known.extend(self.rules.secrets.iter().cloned());
        // The longest first: a part of it may be a secret too.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        for secret in known.iter().filter(|secret| !secret.reveal().is_empty()) {
            if text.contains(secret.reveal()) {
                text = text.replace(secret.reveal(), &self.name(secret.reveal()));
            }
        }
        text.into_bytes()
    }

    /// What stands for a match: its first group is the secret where it has one.
    fn found(&self, found: &Captures<'_>) -> String {
        let whole = found.get(0).map_or("", |it| it.as_str());
        let Some((begin, group)) = found.get(0).zip(found.get(1)) else { return self.name(whole) };
        let (from, to) = (group.start() - begin.start(), group.end() - begin.start());
        format!("{}{}{}", &whole[..from], self.name(group.as_str()), &whole[to..])
    }

    fn sounds_secret(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        !self.rules.keep.contains(&name) && WORDS.iter().any(|word| name.contains(word))
    }

    /// A header's value as it may be kept.
    pub(crate) fn header(&self, name: &str, value: &str) -> String {
        let listed = HEADERS.contains(&name) || self.rules.headers.contains(name) || self.sounds_secret(name);
        if self.rules.off || !listed || self.rules.keep.contains(name) {
            return value.to_owned();
        }
        match name {
            "cookie" => value.split(';').map(|pair| self.cookie(pair.trim())).collect::<Vec<_>>().join("; "),
            "set-cookie" => match value.split_once(';') {
                Some((pair, rest)) => format!("{};{rest}", self.cookie(pair)),
                None => self.cookie(value),
            },
            "authorization" | "proxy-authorization" => match value.split_once(' ') {
                Some((scheme, rest)) => format!("{scheme} {}", self.name(rest.trim())),
                None => self.name(value),
            },
            _ => self.name(value),
        }
    }

    fn cookie(&self, pair: &str) -> String {
        match pair.split_once('=') {
            Some((name, value)) => format!("{name}={}", self.name(value)),
            None => self.name(pair),
        }
    }

    /// Path and query as they may be kept.
    pub(crate) fn target<'t>(&self, target: &'t str) -> Cow<'t, str> {
        match target.split_once('?') {
            Some((path, query)) if !self.rules.off => Cow::Owned(format!("{path}?{}", self.pairs(query))),
            _ => Cow::Borrowed(target),
        }
    }

    /// `a=b&c=d` as it may be kept.
    fn pairs(&self, text: &str) -> String {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((name, value)) if self.sounds_secret(name) => {
                // Encoded and not, it is the same secret.
                let plain = url::form_urlencoded::parse(value.as_bytes()).next();
                let plain = plain.map_or_else(|| value.to_owned(), |(plain, _)| plain.into_owned());
                format!("{name}={}", self.name(&plain))
            }
            _ => pair.to_owned(),
        };
        text.split('&').map(pair).collect::<Vec<_>>().join("&")
    }

    /// A body as it may be kept.
    pub(crate) fn body(&self, media_type: &str, content: Vec<u8>) -> Vec<u8> {
        if self.rules.off { content } else { self.text(self.named(media_type, content)) }
    }

    /// A body without what its names say is a secret.
    fn named(&self, media_type: &str, content: Vec<u8>) -> Vec<u8> {
        if media_type == "application/x-www-form-urlencoded" {
            return match String::from_utf8(content) {
                Ok(text) => self.pairs(&text).into_bytes(),
                Err(error) => error.into_bytes(),
            };
        }
        let looks_like_json = media_type.ends_with("json") || matches!(content.first(), Some(b'{' | b'['));
        if !looks_like_json {
            return content;
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(&content) else { return content };
        // As it came, byte by byte, when there is nothing to hide.
        if self.json("", &mut value, false) { value.to_string().into_bytes() } else { content }
    }

    /// Masks below a place; whether anything was.
    fn json(&self, at: &str, value: &mut Value, secret: bool) -> bool {
        let secret = secret || self.rules.json.iter().any(|pattern| fits(pattern, at));
        match value {
            Value::String(text) if secret => {
                *text = self.name(text);
                true
            }
            Value::Number(_) if secret => {
                *value = Value::from(self.name(&value.to_string()));
                true
            }
            Value::Array(items) => {
                let masked =
                    items.iter_mut().enumerate().map(|(index, item)| self.json(&format!("{at}/{index}"), item, secret));
                masked.fold(false, |any, one| any | one)
            }
            Value::Object(fields) => {
                let mut any = false;
                for (name, field) in fields.iter_mut() {
                    // A number of tokens is none.
                    let named = self.sounds_secret(name) && !field.is_number();
                    any |= self.json(&format!("{at}/{name}"), field, secret || named);
                }
                any
            }
            _ => false,
        }
    }
}

/// Whether a pointer is one of those that a pattern means.
pub(crate) fn fits(pattern: &str, pointer: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('/'), pointer.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == "*" || wanted == found => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rules: MaskRules) -> Mask {
        Mask { rules, key: [7; 32], seen: Mutex::default() }
    }

    #[test]
    fn the_same_secret_has_the_same_name_everywhere() {
        let mask = mask(MaskRules::default());
        let name = mask.name("tok/123");
        assert!(name.starts_with("masked-") && name.len() == 23);
        assert_eq!(mask.header("authorization", "Bearer tok/123"), format!("Bearer {name}"));
        assert_eq!(
            mask.header("cookie", "sid=tok/123; theme=dark"),
            format!("sid={name}; theme={}", mask.name("dark"))
        );
        assert_eq!(mask.header("set-cookie", "sid=tok/123; Path=/"), format!("sid={name}; Path=/"));
        assert_eq!(mask.target("/a?token=tok%2F123&b=c"), format!("/a?token={name}&b=c"));
        let body = mask.body("application/json", br#"{"access_token":"tok/123","n":1.50,"tokens":3}"#.to_vec());
        assert_eq!(String::from_utf8(body).unwrap(), format!(r#"{{"access_token":"{name}","n":1.5,"tokens":3}}"#));
        let form = mask.body("application/x-www-form-urlencoded", b"user=a&password=tok%2F123".to_vec());
        assert_eq!(String::from_utf8(form).unwrap(), format!("user=a&password={name}"));
    }

    #[test]
    fn what_is_no_secret_stays_byte_by_byte() {
        let mask = mask(MaskRules::default());
        let text = br#"{ "author" : "Ada", "n": 1.50 }"#;
        assert_eq!(mask.body("application/json", text.to_vec()), text);
        assert_eq!(mask.header("accept", "*/*"), "*/*");
        assert_eq!(mask.target("/a?b=c"), "/a?b=c");
    }

    #[test]
    fn texts_lose_what_patterns_find_and_what_was_a_secret_elsewhere() {
        let rules = MaskRules {
            text: vec![Regex::new(r#"name="csrf" value="([^"]+)""#).unwrap(), Regex::new("AKIA[A-Z0-9]{4}").unwrap()],
            secrets: vec![Secret::new("hunter2")],
            ..MaskRules::default()
        };
        let mask = mask(rules);
        mask.header("set-cookie", "sid=s3ss10n-value; Path=/");
        mask.header("set-cookie", "theme=dark; Path=/");
        let html = "<p>dark s3ss10n-value hunter2</p><input name=\"csrf\" value=\"c5rf\"> AKIAABC1";
        let kept = String::from_utf8(mask.body("text/html", html.as_bytes().to_vec())).unwrap();
        let (sid, csrf) = (mask.name("s3ss10n-value"), mask.name("c5rf"));
        let (word, key) = (mask.name("hunter2"), mask.name("AKIAABC1"));
        assert_eq!(kept, format!("<p>dark {sid} {word}</p><input name=\"csrf\" value=\"{csrf}\"> {key}"));
        let json = mask.body("application/json", br#"{"note":"it is s3ss10n-value"}"#.to_vec());
        assert_eq!(String::from_utf8(json).unwrap(), format!(r#"{{"note":"it is {sid}"}}"#));
        // What is no text stays as it is, and what is remembered stays bounded.
        assert_eq!(mask.body("image/png", vec![0xff, 0xfe]), [0xff, 0xfe]);
        (0..1_000).for_each(|number| drop(mask.name(&format!("secret-number-{number}"))));
        assert_eq!(mask.seen.lock().unwrap().len(), SEEN_MAX);
    }

    #[test]
    fn rules_add_and_take_away() {
        let rules = MaskRules {
            headers: ["x-customer".to_owned()].into(),
            json: vec!["/users/*/mail".to_owned()],
            keep: ["csrf_token".to_owned()].into(),
            ..MaskRules::default()
        };
        let mask = mask(rules);
        assert!(mask.header("x-customer", "ada").starts_with("masked-"));
        let body = mask.body("", br#"{"users":[{"mail":"a@b","name":"a"}],"csrf_token":"t"}"#.to_vec());
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert!(value["users"][0]["mail"].as_str().unwrap().starts_with("masked-"));
        assert_eq!((&value["users"][0]["name"], &value["csrf_token"]), (&"a".into(), &"t".into()));
        let off = Mask { rules: MaskRules { off: true, ..MaskRules::default() }, key: [0; 32], seen: Mutex::default() };
        assert_eq!(off.header("cookie", "a=b"), "a=b");
    }
}
