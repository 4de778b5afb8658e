//! What a user says about a replay, in TOML: values to set, values to capture, and what not to compare.

use regex::Regex;
use serde::Deserialize;
use vice_core::app::ProcessEnv;
use vice_core::{Code, Context, Fault, Result};

use super::compare::Place;
use crate::recording::fits;

/// The largest file of rules, in bytes.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// A value to put into requests. Exactly one place and one value.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetText {
    header: Option<String>,
    cookie: Option<String>,
    query: Option<String>,
    json: Option<String>,
    form: Option<String>,
    value: Option<String>,
    env: Option<String>,
    #[serde(rename = "on")]
    route: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaptureText {
    regex: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct IgnoreText {
    header: Option<String>,
    json: Option<String>,
    body: Option<bool>,
    status: Option<bool>,
    #[serde(rename = "on")]
    route: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    set: Vec<SetText>,
    #[serde(default)]
    capture: Vec<CaptureText>,
    #[serde(default)]
    ignore: Vec<IgnoreText>,
}

/// Where a value is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Header(String),
    Cookie(String),
    Query(String),
    Json(String),
    Form(String),
}

/// A value to put into requests.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) target: Target,
    pub(super) value: String,
    route: Option<String>,
}

/// All rules.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(super) set: Vec<Set>,
    /// The first group of each is a value that answers give and later requests use.
    pub(super) captures: Vec<Regex>,
    ignore: Vec<IgnoreText>,
}

impl Rules {
    /// Reads rules; values that stand in variables come from `env`.
    ///
    /// # Errors
    /// `Usage` that says what is wrong with which rule.
    pub(crate) fn parse(text: &str, env: &ProcessEnv) -> Result<Self> {
        let bad = |why: String| Fault::new(Code::Usage, why).hint("docs/record-replay.md has the rules.");
        if text.len() > FILE_BYTES_MAX {
            return Err(bad("The rules are larger than 1 MiB.".to_owned()));
        }
        let text: Text = toml::from_str(text).context(Code::Usage, || "The rules can't be read.".to_owned())?;
        let set = text.set.into_iter().enumerate().map(|(index, set)| set.checked(index + 1, env));
        let captures = text.capture.iter().map(|capture| {
            Regex::new(&capture.regex).context(Code::Usage, || format!("The pattern {:?} is not valid.", capture.regex))
        });
        for (index, rule) in text.ignore.iter().enumerate() {
            let places = [rule.header.is_some(), rule.json.is_some(), rule.body.is_some(), rule.status.is_some()];
            if places.iter().filter(|it| **it).count() != 1 {
                return Err(bad(format!("The ignore rule {} needs one of header, json, body and status.", index + 1)));
            }
        }
        Ok(Self { set: set.collect::<Result<_>>()?, captures: captures.collect::<Result<_>>()?, ignore: text.ignore })
    }

    /// Adds a place that is not compared anywhere.
    pub(crate) fn ignore_header(&mut self, name: &str) {
        let header = Some(name.to_ascii_lowercase());
        self.ignore.push(IgnoreText { header, json: None, body: None, status: None, route: None });
    }

    /// Adds a JSON Pointer that is not compared anywhere.
    pub(crate) fn ignore_json(&mut self, pointer: &str) {
        self.ignore.push(IgnoreText {
            header: None,
            json: Some(pointer.to_owned()),
            body: None,
            status: None,
            route: None,
        });
    }

    /// The values to put into requests of a route.
    pub(super) fn set_on<'r>(&'r self, route: &'r str) -> impl Iterator<Item = &'r Set> {
        self.set.iter().filter(move |set| set.route.as_ref().is_none_or(|on| on == route))
    }

    /// Whether a place is not compared.
    pub(super) fn ignores(&self, route: &str, place: &Place) -> bool {
        let here = |rule: &&IgnoreText| rule.route.as_ref().is_none_or(|on| on == route);
        self.ignore.iter().filter(here).any(|rule| match place {
            Place::Status => rule.status == Some(true),
            Place::Body => rule.body == Some(true),
            Place::Header(name) => rule.header.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(name)),
            Place::Json(pointer) => {
                let below = |pattern: &String| {
                    let depth = pattern.split('/').count();
                    let head: Vec<&str> = pointer.split('/').take(depth).collect();
                    fits(pattern, &head.join("/"))
                };
                rule.json.as_ref().is_some_and(below) || rule.body == Some(true)
            }
        })
    }
}

impl SetText {
    fn checked(self, number: usize, env: &ProcessEnv) -> Result<Set> {
        let bad = |why: &str| {
            Fault::new(Code::Usage, format!("The set rule {number} {why}."))
                .hint("docs/record-replay.md has the rules.")
        };
        let mut targets = [
            self.header.map(|name| Target::Header(name.to_ascii_lowercase())),
            self.cookie.map(Target::Cookie),
            self.query.map(Target::Query),
            self.json.map(Target::Json),
            self.form.map(Target::Form),
        ]
        .into_iter()
        .flatten();
        let (Some(target), None) = (targets.next(), targets.next()) else {
            return Err(bad("needs one of header, cookie, query, json and form"));
        };
        let value = match (self.value, self.env) {
            (Some(value), None) => value,
            (None, Some(name)) => {
                let value = env.get(&name).map(str::to_owned);
                value.ok_or_else(|| bad(&format!("needs the variable {name}, which is not set")))?
            }
            _ => return Err(bad("needs either value or env")),
        };
        Ok(Set { target, value, route: self.route })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_nonsense_is_named() {
        let mut env = ProcessEnv::default();
        env.vars.insert("PASSWORD".into(), "s3cret".into());
        let rules = Rules::parse(
            "[[set]]\njson = \"/password\"\nenv = \"PASSWORD\"\non = \"POST /login\"\n[[ignore]]\njson = \"/items/*/age\"\n\
             [[ignore]]\nheader = \"X-Build\"\non = \"GET /\"\n[[capture]]\nregex = 'csrf=\"([a-z]+)\"'\n",
            &env,
        )
        .unwrap();
        assert_eq!(rules.set_on("POST /login").map(|set| set.value.as_str()).collect::<Vec<_>>(), ["s3cret"]);
        assert_eq!(rules.set_on("GET /").count(), 0);
        assert!(rules.ignores("GET /x", &Place::Json("/items/*/age/years".into())));
        assert!(!rules.ignores("GET /x", &Place::Json("/items/*/name".into())));
        assert!(rules.ignores("GET /", &Place::Header("x-build".into())));
        assert!(!rules.ignores("GET /x", &Place::Header("x-build".into())));
        for bad in [
            "[[set]]\nvalue = \"a\"",
            "[[set]]\nheader = \"a\"\njson = \"/a\"\nvalue = \"a\"",
            "[[set]]\nheader = \"a\"",
            "[[set]]\nheader = \"a\"\nenv = \"NOTHING\"",
            "[[ignore]]\n",
            "[[capture]]\nregex = \"(\"",
            "[[unknown]]\n",
            "nonsense",
        ] {
            assert_eq!(Rules::parse(bad, &env).unwrap_err().code(), Code::Usage, "{bad}");
        }
    }
}
