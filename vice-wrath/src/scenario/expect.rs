//! `expect = { … }` of a step as assertions: which question each key asks, and what its value demands.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;
use vice_core::suggest::nearest;
use vice_core::{Fault, Millis, Result};

use super::places::{At, Places};
use super::{Action, Assertion};
use crate::query::predicate::{Kind, Op, Predicate};
use crate::query::{Query, css, jsonpath, xpath};

/// What a step expects, as the file says it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExpectFile {
    pub(super) status: Option<Value>,
    pub(super) version: Option<Value>,
    pub(super) headers: IndexMap<String, Value>,
    pub(super) cookies: IndexMap<String, Value>,
    pub(super) body: Option<Value>,
    pub(super) json: IndexMap<String, Value>,
    pub(super) xpath: IndexMap<String, Value>,
    pub(super) css: IndexMap<String, Value>,
    pub(super) regex: IndexMap<String, Value>,
    pub(super) sha256: Option<Value>,
    pub(super) size: Option<Value>,
    pub(super) latency: Option<Value>,
    pub(super) url: Option<Value>,
    pub(super) redirects: Option<Value>,
    pub(super) certificate: IndexMap<String, Value>,
    pub(super) tls: IndexMap<String, Value>,
    pub(super) records: Option<Value>,
    pub(super) rows: Option<Value>,
    pub(super) exit: Option<Value>,
    pub(super) output: Option<Value>,
    pub(super) stderr: Option<Value>,
    pub(super) vars: IndexMap<String, Value>,
}

/// What a certificate can be asked.
pub(crate) const CERTIFICATE_FIELDS: &[&str] =
    &["subject", "issuer", "names", "days_left", "days_old", "expires", "starts", "serial", "chain"];

/// What a TLS connection can be asked.
pub(crate) const TLS_FIELDS: &[&str] = &["version", "cipher", "alpn", "accepts"];

struct Reading<'a, 't> {
    places: &'a Places<'t>,
    path: &'a [At<'a>],
    out: Vec<Assertion>,
}

/// The assertions of a step. An HTTP step that says no status expects 200; a command that says no exit status, 0.
///
/// # Errors
/// `ManifestInvalid` at the place.
pub(super) fn assertions(
    expect: &ExpectFile,
    action: &Action,
    places: &Places<'_>,
    path: &[At<'_>],
) -> Result<Vec<Assertion>> {
    let mut reading = Reading { places, path, out: Vec::new() };
    match (&expect.status, action) {
        (Some(value), _) => reading.add(&Query::Status, &[At::Key("status")], status(value))?,
        (None, Action::Http(_)) => reading.add(&Query::Status, &[], Ok(vec![equals(200)]))?,
        _ => {}
    }
    match (&expect.exit, action) {
        (Some(value), _) => reading.plain(&Query::Exit, "exit", value)?,
        (None, Action::Command { .. }) => reading.add(&Query::Exit, &[], Ok(vec![equals(0)]))?,
        _ => {}
    }
    reading.singles(expect)?;
    reading.maps(expect)?;
    Ok(reading.out)
}

fn equals(number: i64) -> Predicate {
    Predicate::of(Op::Equals(Value::from(number)))
}

impl Reading<'_, '_> {
    fn singles(&mut self, expect: &ExpectFile) -> Result<()> {
        let singles = [
            (Query::Version, "version", &expect.version),
            (Query::Body, "body", &expect.body),
            (Query::Body, "output", &expect.output),
            (Query::Stderr, "stderr", &expect.stderr),
            (Query::Sha256, "sha256", &expect.sha256),
            (Query::Size, "size", &expect.size),
            (Query::Url, "url", &expect.url),
            (Query::Redirects, "redirects", &expect.redirects),
            (Query::Records, "records", &expect.records),
            (Query::Records, "rows", &expect.rows),
        ];
        for (query, key, value) in singles {
            if let Some(value) = value {
                self.plain(&query, key, value)?;
            }
        }
        if let Some(value) = &expect.latency {
            self.add(&Query::Latency, &[At::Key("latency")], latency(value))?;
        }
        Ok(())
    }

    fn maps(&mut self, expect: &ExpectFile) -> Result<()> {
        self.map("headers", &expect.headers, |name| match ::http::HeaderName::try_from(name) {
            Ok(_) => Ok(Query::Header(name.to_owned())),
            Err(_) => Err(format!("{name:?}, which can't be the name of a header")),
        })?;
        self.map("cookies", &expect.cookies, |name| {
            Ok(match name.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
                Some((name, attribute)) => {
                    Query::Cookie { name: name.to_owned(), attribute: Some(attribute.to_owned()) }
                }
                None => Query::Cookie { name: name.to_owned(), attribute: None },
            })
        })?;
        self.map("json", &expect.json, |path| jsonpath::check(path).map(|()| Query::Json(path.to_owned())))?;
        self.map("xpath", &expect.xpath, |path| xpath::check(path).map(|()| Query::Xpath(path.to_owned())))?;
        self.map("css", &expect.css, |path| css::check(path).map(|()| Query::Css(path.to_owned())))?;
        self.map("regex", &expect.regex, |pattern| {
            crate::values::check_pattern(pattern).map(|()| Query::Regex(pattern.to_owned()))
        })?;
        self.map("vars", &expect.vars, |name| Ok(Query::Variable(name.to_owned())))?;
        self.map("tls", &expect.tls, |field| known(field, TLS_FIELDS).map(|field| Query::Tls(field.to_owned())))?;
        for (field, value) in &expect.certificate {
            let place = [At::Key("certificate"), At::Key(field)];
            let query = known(field, CERTIFICATE_FIELDS).map_err(|why| self.wrong(&place, &why))?;
            let at_least = field == "days_left" && value.is_number();
            let predicates =
                if at_least { Ok(vec![Predicate::of(Op::AtLeast(value.clone()))]) } else { predicates(value) };
            self.add(&Query::Certificate(query.to_owned()), &place, predicates)?;
        }
        Ok(())
    }

    fn map(
        &mut self,
        key: &str,
        map: &IndexMap<String, Value>,
        query: impl Fn(&str) -> Result<Query, String>,
    ) -> Result<()> {
        for (name, value) in map {
            let place = [At::Key(key), At::Key(name)];
            let query = query(name).map_err(|why| self.wrong(&place, &why))?;
            self.add(&query, &place, predicates(value))?;
        }
        Ok(())
    }

    fn plain(&mut self, query: &Query, key: &str, value: &Value) -> Result<()> {
        self.add(query, &[At::Key(key)], predicates(value))
    }

    fn whole(&self, place: &[At<'_>]) -> super::Spot {
        let path: Vec<At<'_>> = self.path.iter().chain(&[At::Key("expect")]).chain(place).copied().collect();
        self.places.spot(if place.is_empty() { self.path } else { &path })
    }

    fn wrong(&self, place: &[At<'_>], why: &str) -> Fault {
        self.whole(place).invalid(format!("Here is {why}."))
    }

    fn add(&mut self, query: &Query, place: &[At<'_>], all: Result<Vec<Predicate>, String>) -> Result<()> {
        let spot = self.whole(place);
        let all = all.map_err(|why| {
            self.wrong(place, &why).hint("Write a value, or conditions such as { contains = \"x\", above = 3 }.")
        })?;
        self.out.extend(all.into_iter().map(|predicate| Assertion {
            query: query.clone(),
            filters: Vec::new(),
            predicate,
            spot: spot.clone(),
        }));
        Ok(())
    }
}

fn known<'k>(field: &str, all: &'k [&'static str]) -> Result<&'k str, String> {
    match all.iter().find(|known| **known == field) {
        Some(known) => Ok(known),
        None => Err(format!("{field:?}, which is not known; there are {}", all.join(", "))),
    }
}

fn status(value: &Value) -> Result<Vec<Predicate>, String> {
    match value {
        Value::String(text) => {
            let hundred = text.strip_suffix("xx").and_then(|digit| digit.parse().ok());
            let hundred = hundred.filter(|hundred| (1..=5).contains(hundred));
            let hundred =
                hundred.ok_or_else(|| format!("{text:?}, which is no status; write 200, [200, 204] or \"2xx\""))?;
            Ok(vec![Predicate::of(Op::StatusClass(hundred))])
        }
        Value::Array(all) => {
            if let Some(bad) = all.iter().find(|one| !one.as_u64().is_some_and(|status| (100..=599).contains(&status)))
            {
                return Err(format!("{bad}, which is no status"));
            }
            Ok(vec![Predicate::of(Op::OneOf(all.clone()))])
        }
        Value::Number(_) if !value.as_u64().is_some_and(|status| (100..=599).contains(&status)) => {
            Err(format!("{value}, which is no status that a server answers with"))
        }
        other => predicates(other),
    }
}

/// A bare duration is the longest one that is allowed.
fn latency(value: &Value) -> Result<Vec<Predicate>, String> {
    let millis = |value: &Value| -> Result<Value, String> {
        match value {
            Value::String(text) => text.parse::<Millis>().map(|millis| Value::from(millis.0)),
            Value::Number(_) => Ok(value.clone()),
            other => Err(format!("{other}, which is no duration")),
        }
    };
    match value {
        Value::Object(conditions) => {
            let turned: Result<serde_json::Map<String, Value>, String> =
                conditions.iter().map(|(name, value)| Ok((name.clone(), millis(value)?))).collect();
            predicates(&Value::Object(turned?))
        }
        other => Ok(vec![Predicate::of(Op::AtMost(millis(other)?))]),
    }
}

const OPERATORS: &[&str] = &[
    "equals",
    "not",
    "contains",
    "not_contains",
    "starts_with",
    "ends_with",
    "matches",
    "not_matches",
    "above",
    "at_least",
    "below",
    "at_most",
    "one_of",
    "not_one_of",
    "exists",
    "empty",
    "count",
    "type",
];

/// A table whose keys are all conditions is a list of conditions; everything else is the value itself.
///
/// # Errors
/// Text that continues "Here is ".
pub(super) fn predicates(value: &Value) -> Result<Vec<Predicate>, String> {
    let Value::Object(fields) = value else { return Ok(vec![Predicate::of(Op::Equals(value.clone()))]) };
    let conditions = fields.keys().filter(|key| OPERATORS.contains(&key.as_str())).count();
    if conditions == 0 || fields.is_empty() {
        if let Some((key, near)) = fields.keys().find_map(|key| Some((key, nearest(key, OPERATORS.iter().copied())?)))
            && fields.len() == 1
        {
            return Err(format!(
                "{key:?}, which is no condition (did you mean {near}?); write {{ equals = … }} for an object"
            ));
        }
        return Ok(vec![Predicate::of(Op::Equals(value.clone()))]);
    }
    if conditions < fields.len() {
        let odd = fields.keys().find(|key| !OPERATORS.contains(&key.as_str())).map_or("", String::as_str);
        return Err(format!("{odd:?} among conditions; write {{ equals = {{ … }} }} for an object"));
    }
    fields.iter().map(|(name, value)| condition(name, value)).collect()
}

fn condition(name: &str, value: &Value) -> Result<Predicate, String> {
    let text = || value.as_str().map(str::to_owned).ok_or_else(|| format!("{name} = {value}, which needs a text"));
    let pattern = || {
        let text = text()?;
        crate::values::check_pattern(&text).map(|()| text)
    };
    let list = || value.as_array().cloned().ok_or_else(|| format!("{name} = {value}, which needs a list"));
    let truth = |op: Op| match value {
        Value::Bool(true) => Ok(Predicate::of(op)),
        Value::Bool(false) => Ok(Predicate::not(op)),
        _ => Err(format!("{name} = {value}, which needs true or false")),
    };
    let bound = || match value {
        Value::Number(_) | Value::String(_) => Ok(value.clone()),
        _ => Err(format!("{name} = {value}, which needs a number or a text")),
    };
    Ok(match name {
        "equals" => Predicate::of(Op::Equals(value.clone())),
        "not" => Predicate::not(Op::Equals(value.clone())),
        "contains" => Predicate::of(Op::Contains(value.clone())),
        "not_contains" => Predicate::not(Op::Contains(value.clone())),
        "starts_with" => Predicate::of(Op::StartsWith(text()?)),
        "ends_with" => Predicate::of(Op::EndsWith(text()?)),
        "matches" => Predicate::of(Op::Matches(pattern()?)),
        "not_matches" => Predicate::not(Op::Matches(pattern()?)),
        "above" => Predicate::of(Op::Above(bound()?)),
        "at_least" => Predicate::of(Op::AtLeast(bound()?)),
        "below" => Predicate::of(Op::Below(bound()?)),
        "at_most" => Predicate::of(Op::AtMost(bound()?)),
        "one_of" => Predicate::of(Op::OneOf(list()?)),
        "not_one_of" => Predicate::not(Op::OneOf(list()?)),
        "exists" => truth(Op::Exists)?,
        "empty" => truth(Op::Empty)?,
        "count" => {
            let mut inner = predicates(value)?;
            if inner.len() != 1 {
                return Err("count with several conditions; write one".to_owned());
            }
            Predicate::of(Op::Count(Box::new(inner.remove(0))))
        }
        _ => {
            let word = text()?;
            let kind = Kind::ALL.iter().find(|(_, known)| *known == word).map(|(kind, _)| *kind);
            let words: Vec<&str> = Kind::ALL.iter().map(|(_, word)| *word).collect();
            Predicate::of(Op::Type(kind.ok_or_else(|| format!("the type {word:?}; there are {}", words.join(", ")))?))
        }
    })
}
