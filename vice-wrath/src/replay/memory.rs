//! What a session remembers: which value of a live answer stands in the place of which recorded one, so that the next
//! request says what the live server gave, as a browser would.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::send::Seen;
use crate::recording::Exchange;
use crate::traffic::route::is_id;

/// So many values are remembered in one session.
const VALUES_MAX: usize = 10_000;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// At a JSON Pointer of the body.
    Json(String),
    /// In a header.
    Header(String),
    /// In a cookie that was set.
    Cookie(String),
    /// By a pattern of the rules.
    Regex(String),
}

/// A value that a live answer gave.
#[derive(Debug, Clone)]
struct Live {
    value: String,
    /// Which exchange of the recording gave the recorded one.
    origin: (usize, Source),
    /// Whether it is replaced wherever it stands, or only where an id is meant.
    anywhere: bool,
}

/// The values of one session at one server.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    values: BTreeMap<String, Live>,
    cookies: BTreeMap<String, String>,
}

/// Whether a name says that an id is meant: `id`, `user_id`, `userId`, `uuid`.
pub(super) fn names_id(name: &str) -> bool {
    name.eq_ignore_ascii_case("id")
        || name.ends_with("_id")
        || name.ends_with("Id")
        || name.to_ascii_lowercase().ends_with("uuid")
}

/// Whether a value is made up so that it can't be meant otherwise: long, and no word.
pub(super) fn is_token(value: &str) -> bool {
    let proper = value.len() >= 8 && value.len() <= 8192 && !value.contains(char::is_whitespace);
    proper && value.bytes().any(|byte| byte.is_ascii_digit()) && !value.starts_with("http")
}

impl Memory {
    /// What stands for a recorded value, where `meant_id` says that an id belongs there.
    pub(super) fn live(&self, recorded: &str, meant_id: bool) -> Option<&str> {
        let live = self.values.get(recorded).filter(|live| live.anywhere || meant_id)?;
        Some(&live.value)
    }

    /// The live value of a cookie.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// The recorded values that were given by an earlier answer, with their places.
    pub(super) fn origins(&self) -> impl Iterator<Item = (&str, usize, &Source)> {
        self.values.iter().map(|(recorded, live)| (recorded.as_str(), live.origin.0, &live.origin.1))
    }

    fn put(&mut self, recorded: &str, live: &str, origin: (usize, Source), anywhere: bool) {
        if self.values.len() < VALUES_MAX || self.values.contains_key(recorded) {
            let value = Live { value: live.to_owned(), origin, anywhere };
            self.values.insert(recorded.to_owned(), value);
        }
    }

    /// Learns from an answer and the recorded one. Values that are the same now may differ at another server, so
    /// they are learnt too.
    pub(super) fn learn(&mut self, number: usize, recorded: &Exchange, live: &Seen, captures: &[Regex]) {
        let Some(answer) = &recorded.answer else { return };
        for (name, value) in answer.set_cookies() {
            if let Some(now) = live.set_cookie(name) {
                self.cookies.insert(name.to_owned(), now.to_owned());
                if is_token(value) {
                    self.put(value, now, (number, Source::Cookie(name.to_owned())), true);
                }
            }
        }
        for (name, value) in answer.headers.iter().filter(|(name, _)| name != "set-cookie" && name != "date") {
            let Some(now) = live.header(name) else { continue };
            if name == "location" {
                self.learn_location(number, value, now);
            } else if is_token(value) && value != now {
                self.put(value, now, (number, Source::Header(name.clone())), true);
            }
        }
        let Some(content) = answer.body.as_ref().and_then(crate::recording::Body::content) else { return };
        self.learn_text(number, &content, &live.body, captures);
        let parsed = (serde_json::from_slice::<Value>(&content), serde_json::from_slice::<Value>(&live.body));
        if let (Ok(before), Ok(now)) = parsed {
            self.learn_json(number, "", &before, &now);
        }
    }

    fn learn_location(&mut self, number: usize, recorded: &str, live: &str) {
        for (before, now) in recorded.split(['/', '?', '&', '=']).zip(live.split(['/', '?', '&', '='])) {
            if before != now && is_id(before) && is_id(now) {
                self.put(before, now, (number, Source::Header("location".to_owned())), is_token(before));
            }
        }
    }

    fn learn_text(&mut self, number: usize, recorded: &[u8], live: &[u8], captures: &[Regex]) {
        if captures.is_empty() {
            return;
        }
        let (before, now) = (String::from_utf8_lossy(recorded), String::from_utf8_lossy(live));
        for pattern in captures {
            let group = |text: &str| pattern.captures(text).and_then(|found| Some(found.get(1)?.as_str().to_owned()));
            if let (Some(before), Some(now)) = (group(&before), group(&now)) {
                self.put(&before, &now, (number, Source::Regex(pattern.to_string())), true);
            }
        }
    }

    fn learn_json(&mut self, number: usize, at: &str, recorded: &Value, live: &Value) {
        match (recorded, live) {
            (Value::Object(before), Value::Object(now)) => {
                for (name, before) in before {
                    if let Some(now) = now.get(name) {
                        self.learn_json(
                            number,
                            &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                            before,
                            now,
                        );
                    }
                }
            }
            (Value::Array(before), Value::Array(now)) => {
                for (index, (before, now)) in before.iter().zip(now).enumerate() {
                    self.learn_json(number, &format!("{at}/{index}"), before, now);
                }
            }
            _ => {
                let name = at.rsplit('/').next().unwrap_or_default();
                let (Some(before), Some(now)) = (scalar(recorded), scalar(live)) else { return };
                let token = recorded.is_string() && is_token(&before);
                if token || names_id(name) {
                    self.put(&before, &now, (number, Source::Json(at.to_owned())), token);
                }
            }
        }
    }
}

/// A text or a number as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
