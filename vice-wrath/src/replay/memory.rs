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
    /// Ids by what they are of and the recorded one: a user and an order may both have had the number 17.
    ids: BTreeMap<(String, String), String>,
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

    /// What stands for a recorded id of something, such as `users`.
    pub(super) fn live_of(&self, thing: &str, recorded: &str) -> Option<&str> {
        let own = self.ids.get(&(singular(thing), recorded.to_owned())).map(String::as_str);
        own.or_else(|| self.live(recorded, true))
    }

    /// What stands for a recorded value under a name, such as `user_id` of a query or a body.
    pub(super) fn live_named(&self, name: &str, recorded: &str) -> Option<&str> {
        match thing_at(name).filter(|_| names_id(name)) {
            Some(thing) => self.live_of(thing, recorded),
            None => self.live(recorded, names_id(name)),
        }
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

    fn put_id(&mut self, thing: &str, recorded: &str, live: &str) {
        let key = (singular(thing), recorded.to_owned());
        if self.ids.len() < VALUES_MAX || self.ids.contains_key(&key) {
            self.ids.insert(key, live.to_owned());
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
            let thing = thing_of(&recorded.request.target);
            self.learn_json(number, thing, "", &before, &now);
        }
    }

    fn learn_location(&mut self, number: usize, recorded: &str, live: &str) {
        let mut thing = "";
        for (before, now) in recorded.split(['/', '?', '&', '=']).zip(live.split(['/', '?', '&', '='])) {
            if before != now && is_id(before) && is_id(now) {
                self.put(before, now, (number, Source::Header("location".to_owned())), is_token(before));
                self.put_id(thing, before, now);
            }
            thing = before;
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

    fn learn_json(&mut self, number: usize, thing: &str, at: &str, recorded: &Value, live: &Value) {
        match (recorded, live) {
            (Value::Object(before), Value::Object(now)) => {
                for (name, before) in before {
                    if let Some(now) = now.get(name) {
                        self.learn_json(
                            number,
                            thing,
                            &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                            before,
                            now,
                        );
                    }
                }
            }
            (Value::Array(before), Value::Array(now)) => {
                for (index, (before, now)) in before.iter().zip(now).enumerate() {
                    self.learn_json(number, thing, &format!("{at}/{index}"), before, now);
                }
            }
            _ => {
                let name = at.rsplit('/').next().unwrap_or_default();
                let (Some(before), Some(now)) = (scalar(recorded), scalar(live)) else { return };
                let token = recorded.is_string() && is_token(&before);
                if token || names_id(name) {
                    self.put(&before, &now, (number, Source::Json(at.to_owned())), token);
                }
                if names_id(name) {
                    self.put_id(thing_at(at).unwrap_or(thing), &before, &now);
                }
            }
        }
    }
}

/// What the ids in the answer to a request are of, unless they say it themselves: of what stands last in its path.
fn thing_of(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    path.rsplit('/').find(|part| !part.is_empty() && !is_id(part)).unwrap_or_default()
}

/// What the id at a JSON Pointer is of: `user_id` of a user, `/orders/0/id` of an order; nothing for a mere `/id`.
fn thing_at(pointer: &str) -> Option<&str> {
    let mut names = pointer.rsplit('/').filter(|name| !name.is_empty() && !is_id(name));
    let own = names.next().unwrap_or_default();
    let stem = own.strip_suffix("_id").or_else(|| own.strip_suffix("Id"));
    stem.filter(|stem| !stem.is_empty()).or_else(|| names.next())
}

/// So that `users` in a path and `user_id` in a body are the same.
fn singular(thing: &str) -> String {
    thing.to_ascii_lowercase().trim_end_matches('s').to_owned()
}

/// A text or a number as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
