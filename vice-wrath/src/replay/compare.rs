//! Where two answers differ: status, headers, the structure of bodies, values.

use serde_json::Value;

use super::send::Seen;
use crate::traffic::route::is_id;

/// Headers that say something about the moment or the connection, and not about the answer.
const PASSING: [&str; 12] = [
    "date",
    "age",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "content-encoding",
    "via",
    "server-timing",
    "alt-svc",
    "expires",
    "vary",
];

/// The most differences of two answers that are kept.
const DIFFERENCES_MAX: usize = 200;

/// How long a shown value may be, in characters.
const SHOWN_CHARS: usize = 80;

/// The part of an answer in which something differs. Places in lists and below ids are one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The status.
    Status,
    /// A header, by its name in lower case.
    Header(String),
    /// A JSON Pointer with `*` for any item of a list and any id.
    Json(String),
    /// A body that is not JSON.
    Body,
}

/// How it differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Only the first has it.
    Missing,
    /// Only the second has it.
    Added,
    /// Both have it, as another kind of value.
    Type,
    /// Lists of another length.
    Length,
    /// Another value.
    Value,
}

impl Way {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Missing => "is missing",
            Self::Added => "was added",
            Self::Type => "has another type",
            Self::Length => "has another length",
            Self::Value => "has another value",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) place: Place,
    pub(super) way: Way,
    /// The exact JSON Pointer, where there is one.
    pub(super) pointer: String,
    pub(super) before: String,
    pub(super) after: String,
}

impl Place {
    /// As a person reads it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Status => "the status".to_owned(),
            Self::Header(name) => format!("the header {name}"),
            Self::Json(pointer) if pointer.is_empty() => "the body".to_owned(),
            Self::Json(pointer) => format!("{pointer} of the body"),
            Self::Body => "the body".to_owned(),
        }
    }
}

struct Found(Vec<Difference>);

impl Found {
    fn add(&mut self, place: Place, way: Way, pointer: &str, before: &str, after: &str) {
        if self.0.len() < DIFFERENCES_MAX {
            let (before, after) = (crate::say::bounded(before, SHOWN_CHARS), crate::say::bounded(after, SHOWN_CHARS));
            self.0.push(Difference { place, way, pointer: pointer.to_owned(), before, after });
        }
    }
}

/// All differences of two answers.
pub(super) fn differences(before: &Seen, after: &Seen) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    if before.status != after.status {
        found.add(Place::Status, Way::Value, "", &before.status.to_string(), &after.status.to_string());
    }
    headers(before, after, &mut found);
    body(before, after, &mut found);
    found.0
}

fn headers(before: &Seen, after: &Seen, found: &mut Found) {
    let compared = |seen: &Seen| {
        let mut all: Vec<(String, String)> = Vec::new();
        for (name, value) in seen.headers.iter().filter(|(name, _)| !PASSING.contains(&name.as_str())) {
            // Each cookie is a place of its own.
            let cookie = (name == "set-cookie").then(|| value.split_once('=')).flatten();
            match cookie {
                Some((cookie, rest)) => all.push((format!("set-cookie {}", cookie.trim()), rest.to_owned())),
                None => all.push((name.clone(), value.clone())),
            }
        }
        all
    };
    let (before, after) = (compared(before), compared(after));
    let value = |all: &[(String, String)], name: &str| {
        let values: Vec<&str> = all.iter().filter(|(it, _)| it == name).map(|(_, value)| value.as_str()).collect();
        values.join(", ")
    };
    let mut names: Vec<&String> = before.iter().chain(&after).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    for name in names {
        let has = |all: &[(String, String)]| all.iter().any(|(it, _)| it == name);
        let (old, new) = (value(&before, name), value(&after, name));
        let way = match (has(&before), has(&after)) {
            (true, false) => Way::Missing,
            (false, true) => Way::Added,
            _ if old != new => Way::Value,
            _ => continue,
        };
        found.add(Place::Header(name.clone()), way, "", &old, &new);
    }
}

fn body(before: &Seen, after: &Seen, found: &mut Found) {
    // What was not kept of the first can't be compared. Where only the second was too large to be kept, it is another one.
    if before.cut || (!after.cut && before.body == after.body) {
        return;
    }
    if after.cut {
        return found.add(Place::Body, Way::Length, "", &before.body.len().to_string(), "more than is kept");
    }
    let parsed = (serde_json::from_slice::<Value>(&before.body), serde_json::from_slice::<Value>(&after.body));
    match parsed {
        (Ok(old), Ok(new)) => json("", "", &old, &new, found),
        _ => {
            let text = |seen: &Seen| String::from_utf8_lossy(&seen.body).into_owned();
            let (old, new) = first_difference(&text(before), &text(after));
            found.add(Place::Body, Way::Value, "", &old, &new);
        }
    }
}

/// The lines at which two texts begin to differ.
fn first_difference(before: &str, after: &str) -> (String, String) {
    let (mut old, mut new) = (before.lines(), after.lines());
    loop {
        match (old.next(), new.next()) {
            (Some(old), Some(new)) if old == new => {}
            (old, new) => return (old.unwrap_or_default().to_owned(), new.unwrap_or_default().to_owned()),
        }
    }
}

const fn type_of(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

fn json(place: &str, pointer: &str, before: &Value, after: &Value, found: &mut Found) {
    let here = || Place::Json(place.to_owned());
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                let (place, pointer) = (below(place, name), exact(pointer, name));
                match new.get(name) {
                    Some(other) => json(&place, &pointer, value, other, found),
                    None => found.add(Place::Json(place), Way::Missing, &pointer, &value.to_string(), ""),
                }
            }
            for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
                found.add(Place::Json(below(place, name)), Way::Added, &exact(pointer, name), "", &value.to_string());
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            if old.len() != new.len() {
                found.add(here(), Way::Length, pointer, &old.len().to_string(), &new.len().to_string());
            }
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                json(&format!("{place}/*"), &format!("{pointer}/{index}"), old, new, found);
            }
        }
        _ if type_of(before) != type_of(after) => {
            found.add(here(), Way::Type, pointer, &before.to_string(), &after.to_string());
        }
        _ if before != after => found.add(here(), Way::Value, pointer, &before.to_string(), &after.to_string()),
        _ => {}
    }
}

fn below(place: &str, name: &str) -> String {
    if is_id(name) { format!("{place}/*") } else { exact(place, name) }
}

fn exact(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Whether two values are both moments: what was recorded and what is now can't be the same then.
pub(super) fn are_times(before: &str, after: &str) -> bool {
    is_time(before) && is_time(after)
}

fn is_time(text: &str) -> bool {
    let text = text.trim_matches('"');
    if let Ok(number) = text.parse::<f64>() {
        // Seconds or milliseconds since 1970, within this century.
        return (1e9..5e9).contains(&number) || (1e12..5e12).contains(&number);
    }
    let dated = text.get(..10).is_some_and(|date| date.parse::<jiff::civil::Date>().is_ok());
    dated || jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: u16, headers: &[(&str, &str)], body: &str) -> Seen {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Seen { status, headers, body: body.as_bytes().to_vec(), ..Seen::default() }
    }

    fn found(before: &Seen, after: &Seen) -> Vec<String> {
        differences(before, after).iter().map(|it| format!("{} {}", it.place.words(), it.way.word())).collect()
    }

    #[test]
    fn each_kind_of_difference_has_its_place() {
        let before = seen(
            200,
            &[("date", "a"), ("x-a", "1"), ("set-cookie", "sid=1; Path=/")],
            r#"{"a":1,"gone":1,"list":[{"n":1},{"n":2}],"kind":"x","12345678":{"v":1}}"#,
        );
        let after = seen(
            500,
            &[("date", "b"), ("x-b", "1"), ("set-cookie", "sid=2; Path=/")],
            r#"{"a":2,"new":1,"list":[{"n":1},{"n":3},{"n":4}],"kind":5,"12345678":{"v":2}}"#,
        );
        assert_eq!(
            found(&before, &after),
            [
                "the status has another value",
                "the header set-cookie sid has another value",
                "the header x-a is missing",
                "the header x-b was added",
                "/a of the body has another value",
                "/gone of the body is missing",
                "/list of the body has another length",
                "/list/*/n of the body has another value",
                "/kind of the body has another type",
                "/*/v of the body has another value",
                "/new of the body was added",
            ]
        );
        assert!(found(&before, &before).is_empty());
        let flood = Seen { cut: true, ..seen(200, &[], "") };
        assert_eq!(found(&seen(200, &[], "a"), &flood), ["the body has another length"]);
        assert!(found(&flood, &seen(200, &[], "a")).is_empty());
        assert_eq!(found(&seen(200, &[], "a\nb"), &seen(200, &[], "a\nc")), ["the body has another value"]);
        // Spaces are no difference in JSON.
        assert!(found(&seen(200, &[], "{\"a\": 1}"), &seen(200, &[], "{\"a\":1}")).is_empty());
    }

    #[test]
    fn moments_are_known() {
        assert!(are_times("\"2026-11-29T00:26:21+00:00\"", "\"2026-11-30T00:26:21Z\""));
        assert!(are_times("1795911964", "1795911999") && are_times("1795911964.5", "1795911999.25"));
        assert!(are_times("Sun, 29 Nov 2026 00:26:21 GMT", "Sun, 29 Nov 2026 00:27:21 GMT"));
        assert!(!are_times("17", "42") && !are_times("\"2026-11-29\"", "\"soon\""));
    }
}
