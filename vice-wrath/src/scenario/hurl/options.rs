//! The options of an entry.

use serde_json::Value;
use vice_core::Millis;

use super::super::toml_file::{FOLLOW_MAX, RETRY_EVERY};
use super::super::{HttpStep, Protocol, Retry};

/// Why an option is refused.
pub(super) enum Refused {
    /// It is not known here.
    Unknown,
    /// A sentence.
    Wrong(String),
}

/// What the options of an entry say.
#[derive(Default)]
pub(super) struct Settings {
    location: bool,
    max_redirs: Option<u32>,
    insecure: bool,
    compressed: bool,
    protocol: Protocol,
    ca: Option<String>,
    user: Option<(String, String)>,
    retries: Option<i64>,
    retry_every: Option<Millis>,
    pub(super) timeout: Option<Millis>,
    pub(super) vars: Vec<(String, Value)>,
}

impl Settings {
    /// Takes an option.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        let wrong = |what: &str| Refused::Wrong(format!("The option {name} needs {what}, and has {value:?}."));
        let truth = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong("true or false")),
        };
        let number = || value.parse::<i64>().map_err(|_| wrong("a number"));
        let duration = |bare: &str| {
            let text = if value.bytes().all(|byte| byte.is_ascii_digit()) {
                format!("{value}{bare}")
            } else {
                value.to_owned()
            };
            text.parse::<Millis>().map_err(|_| wrong("a duration such as 500ms"))
        };
        match name {
            "location" => self.location = truth()?,
            "max-redirs" => {
                let most = number()?;
                let most = if most < 0 { FOLLOW_MAX } else { u32::try_from(most).unwrap_or(FOLLOW_MAX) };
                self.max_redirs = Some(most.min(FOLLOW_MAX));
            }
            "insecure" => self.insecure = truth()?,
            "compressed" => self.compressed = truth()?,
            "http1.1" if truth()? => self.protocol = Protocol::Http1,
            "http2" if truth()? => self.protocol = Protocol::Http2,
            "http1.1" | "http2" => {}
            "cacert" => self.ca = Some(value.to_owned()),
            "user" => {
                let (user, password) = value.split_once(':').ok_or_else(|| wrong("user:password"))?;
                self.user = Some((user.to_owned(), password.to_owned()));
            }
            "retry" => self.retries = Some(number()?),
            "retry-interval" => self.retry_every = Some(duration("ms")?),
            "max-time" => self.timeout = Some(duration("s")?),
            // What only changes what Hurl itself prints.
            "verbose" | "very-verbose" => drop(truth()?),
            "variable" => {
                let (name, value) = value.split_once('=').ok_or_else(|| wrong("name=value"))?;
                let value = value.trim();
                let typed =
                    serde_json::from_str(value).ok().filter(|value: &Value| !value.is_object() && !value.is_array());
                self.vars.push((name.trim().to_owned(), typed.unwrap_or_else(|| Value::from(value.trim_matches('"')))));
            }
            _ => return Err(Refused::Unknown),
        }
        Ok(())
    }

    /// Puts what concerns the request into it.
    pub(super) fn apply(&self, http: &mut HttpStep) {
        http.follow = if self.location { self.max_redirs.unwrap_or(FOLLOW_MAX) } else { 0 };
        http.verify = !self.insecure;
        http.compressed = self.compressed;
        http.protocol = self.protocol;
        http.ca.clone_from(&self.ca);
        if self.user.is_some() {
            http.basic.clone_from(&self.user);
        }
    }

    /// How often to try again; -1 is for ever, which is as long as the scenario may take.
    pub(super) fn retry(&self) -> Option<Retry> {
        let times = self.retries.filter(|retries| *retries != 0)?;
        let every = self.retry_every.unwrap_or(Millis(RETRY_EVERY.0 * 2)).max(Millis(1));
        Some(Retry { within: None, times: u32::try_from(times).ok(), every })
    }
}
