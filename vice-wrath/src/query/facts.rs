//! What one attempt of a step found out, in one shape for all kinds of steps, and how plain questions are answered.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use vice_core::digest::Digest;

use super::html::Document;
use super::{Found, Query, css, jsonpath, xpath};
use crate::values::Values;

/// What a certificate says.
#[derive(Debug, Clone)]
pub(crate) struct CertificateFacts {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) names: Vec<String>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) serial: String,
    /// How many certificates the server showed; unknown where only the first was looked at.
    pub(crate) chain: Option<usize>,
}

/// A cookie that an answer set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SetCookie {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Attribute names in lower case.
    pub(crate) attributes: Vec<(String, String)>,
}

/// When what happened within an attempt, from its begin.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timing {
    /// The head of the answer (or whatever came first) was there.
    pub(crate) first: Option<Duration>,
    /// All of it was there.
    pub(crate) total: Duration,
}

/// What was found out.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) status: Option<u16>,
    pub(crate) version: Option<&'static str>,
    pub(crate) url: Option<String>,
    pub(crate) redirects: u32,
    pub(crate) ip: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) set_cookies: Vec<SetCookie>,
    pub(crate) timing: Timing,
    pub(crate) certificate: Option<CertificateFacts>,
    /// Versions and the like of a TLS connection.
    pub(crate) tls: Vec<(&'static str, Value)>,
    pub(crate) records: Option<Vec<Value>>,
    pub(crate) exit: Option<i32>,
    pub(crate) stderr: String,
    pub(crate) now: Timestamp,
    document: OnceLock<Result<Document, String>>,
    parsed: OnceLock<Result<Value, String>>,
}

fn one(value: impl Into<Value>) -> Found {
    Found::One(value.into())
}

fn or_nothing(value: Option<Value>, why: &str) -> Found {
    value.map_or_else(|| Found::Nothing(why.to_owned()), Found::One)
}

impl Facts {
    /// Nothing is known yet.
    pub(crate) fn at(now: Timestamp) -> Self {
        Self { now, ..Self::default() }
    }

    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Questions without a template.
    pub(super) fn plain(&self, query: &Query) -> Found {
        match query {
            Query::Status => or_nothing(self.status.map(Value::from), "there is no status"),
            Query::Version => or_nothing(self.version.map(Value::from), "there is no version"),
            Query::Url => or_nothing(self.url.clone().map(Value::from), "there is no URL"),
            Query::Ip => or_nothing(self.ip.clone().map(Value::from), "the address is not known"),
            Query::Redirects => one(self.redirects),
            Query::Body => one(self.text().into_owned()),
            Query::Size => one(self.body.len()),
            Query::Sha256 => one(Digest::of(&self.body).to_string()),
            Query::Latency => one(millis(self.timing.total)),
            Query::Certificate(field) => self.certificate(field),
            Query::Tls(field) => {
                let value = self.tls.iter().find(|(name, _)| name == field).map(|(_, value)| value.clone());
                or_nothing(value, "nothing is known about that")
            }
            Query::Records => match &self.records {
                Some(records) => Found::Many(records.clone()),
                None => Found::Nothing("there are no records".to_owned()),
            },
            Query::Exit => or_nothing(self.exit.map(Value::from), "there is no exit status"),
            Query::Stderr => one(self.stderr.clone()),
            _ => Found::Nothing("the question needs a template".to_owned()),
        }
    }

    fn certificate(&self, field: &str) -> Found {
        let Some(certificate) = &self.certificate else {
            return Found::Nothing("no certificate was shown".to_owned());
        };
        let days = |from: Timestamp, to: Timestamp| (to.as_second() - from.as_second()).div_euclid(86_400);
        match field {
            "subject" => one(certificate.subject.clone()),
            "issuer" => one(certificate.issuer.clone()),
            "names" => Found::Many(certificate.names.iter().map(|name| json!(name)).collect()),
            "days_left" => one(days(self.now, certificate.not_after)),
            "days_old" => one(days(certificate.not_before, self.now)),
            "expires" => one(certificate.not_after.to_string()),
            "starts" => one(certificate.not_before.to_string()),
            "serial" => one(certificate.serial.clone()),
            "chain" => or_nothing(certificate.chain.map(Value::from), "the chain was not looked at"),
            _ => Found::Nothing(format!("a certificate has no {field}")),
        }
    }

    pub(super) fn header(&self, name: &str) -> Found {
        let values = self.headers.get_all(name);
        let values: Vec<Value> = values.iter().map(|value| json!(String::from_utf8_lossy(value.as_bytes()))).collect();
        match values.len() {
            0 => Found::Nothing(format!("the answer has no header {name}")),
            1 => Found::Many(values),
            _ => Found::Many(values),
        }
    }

    pub(super) fn cookie(&self, name: &str, attribute: Option<&str>) -> Found {
        let Some(cookie) = self.set_cookies.iter().rev().find(|cookie| cookie.name == name) else {
            return Found::Nothing(format!("the answer sets no cookie {name}"));
        };
        let Some(attribute) = attribute.filter(|attribute| !attribute.eq_ignore_ascii_case("value")) else {
            return one(cookie.value.clone());
        };
        let wanted = attribute.to_ascii_lowercase();
        match cookie.attributes.iter().find(|(key, _)| *key == wanted) {
            None => Found::Nothing(format!("the cookie {name} has no {attribute}")),
            Some((_, value)) if matches!(wanted.as_str(), "secure" | "httponly") && value.is_empty() => one(true),
            Some((key, value)) if key == "max-age" => {
                one(value.parse::<i64>().map_or_else(|_| json!(value), Value::from))
            }
            Some((_, value)) => one(value.clone()),
        }
    }

    /// The body as JSON.
    pub(crate) fn body_json(&self) -> Result<&Value, String> {
        let parsed = self.parsed.get_or_init(|| serde_json::from_slice(&self.body).map_err(|error| error.to_string()));
        parsed.as_ref().map_err(|error| format!("the body is not JSON ({error})"))
    }

    pub(super) fn json(&self, path: &str) -> Result<Found, String> {
        match self.body_json() {
            Ok(body) => jsonpath::find(body, path),
            Err(why) => Ok(Found::Nothing(why)),
        }
    }

    fn document(&self) -> Result<&Document, String> {
        self.document.get_or_init(|| Document::parse(&self.text())).as_ref().map_err(Clone::clone)
    }

    pub(super) fn xpath(&self, path: &str) -> Result<Found, String> {
        match self.document() {
            Ok(document) => xpath::find(document, path),
            Err(why) => Ok(Found::Nothing(why)),
        }
    }

    pub(super) fn css(&self, selector: &str) -> Result<Found, String> {
        match self.document() {
            Ok(document) => css::find(document, selector),
            Err(why) => Ok(Found::Nothing(why)),
        }
    }

    pub(super) fn regex(&self, pattern: &str, values: &Values) -> Result<Found, String> {
        let regex = values.pattern(pattern).map_err(|fault| fault.to_string())?;
        let text = self.text();
        let found = regex.captures(&text).and_then(|groups| groups.get(1).or_else(|| groups.get(0)));
        Ok(match found {
            Some(found) => one(found.as_str()),
            None => Found::Nothing(format!("the body does not match /{pattern}/")),
        })
    }
}

/// Milliseconds with two decimals.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
