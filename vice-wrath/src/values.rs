//! The values that templates of checks can use, and what of them must not be shown.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;
use vice_core::port::config::{ConfigValue, ResolvedConfig};
use vice_core::secret::Masker;
use vice_core::template::{self, Vars};
use vice_core::{Code, Context, Result, Secret};

use crate::capture::Captured;

/// The name under which a configuration key is used.
pub(crate) fn config_name(key: &str) -> String {
    format!("config.{key}")
}

/// The values of one run; captures are added as checks pass.
#[derive(Clone, Default)]
pub(crate) struct Values {
    text: Vars,
    typed: BTreeMap<String, Value>,
    captures: BTreeMap<String, bool>,
    secrets: BTreeSet<String>,
    masker: Masker,
}

impl Values {
    /// The variables of a request and its configuration as `config.<key>`.
    pub(crate) fn new(vars: &Vars, config: Option<&ResolvedConfig>) -> Self {
        let mut values = Self { text: vars.clone(), ..Self::default() };
        if let Some(url) = values.text.get_mut("env.url") {
            // So that `{{env.url}}/healthz` has one slash, whoever said where it is.
            url.truncate(url.trim_end_matches('/').len());
        }
        for (key, entry) in config.iter().flat_map(|config| &config.entries) {
            let name = config_name(key);
            match &entry.value {
                ConfigValue::Secret(secret) => {
                    values.hide(key, secret.reveal());
                    values.secrets.insert(name.clone());
                    values.text.insert(name, secret.reveal().to_owned());
                }
                ConfigValue::Plain(value) => {
                    values.text.insert(name.clone(), as_text(value));
                    values.typed.insert(name, value.clone());
                }
            }
        }
        values
    }

    /// Adds what a check captured.
    pub(crate) fn capture(&mut self, captured: Captured) {
        let text = as_text(&captured.value);
        if captured.secret {
            self.hide(&captured.name, &text);
            self.secrets.insert(captured.name.clone());
        }
        self.captures.insert(captured.name.clone(), captured.secret);
        self.text.insert(captured.name.clone(), text);
        self.typed.insert(captured.name, captured.value);
    }

    /// Sets a variable. What it is made of decides whether it may be shown.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.text.insert(name.to_owned(), as_text(&value));
        self.typed.insert(name.to_owned(), value);
    }

    /// Sets a variable that was made of a template: what is made of a secret is one.
    pub(crate) fn set_tainted(&mut self, name: &str, value: Value, template: &Value) {
        let mut texts = Vec::new();
        templates_in(template, &mut texts);
        let used = texts.into_iter().flat_map(|text| template::names(text).unwrap_or_default());
        if used.into_iter().any(|used| self.is_secret(&used)) {
            self.hide(name, &as_text(&value));
            self.secrets.insert(name.to_owned());
        }
        self.set(name, value);
    }

    /// One variable with its type.
    pub(crate) fn value(&self, name: &str) -> Option<Value> {
        self.typed.get(name).cloned().or_else(|| self.get(name).map(Value::from))
    }

    /// Hides a value in every form in which it can come back: as it is, escaped in JSON, and encoded in a URL.
    fn hide(&mut self, name: &str, value: &str) {
        let quoted = Value::from(value).to_string();
        let in_query: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let in_path = in_query.replace('+', "%20");
        let mut forms: BTreeSet<String> = [value, &quoted[1..quoted.len() - 1], value.trim()].map(str::to_owned).into();
        forms.extend([lower_hex(&in_query), lower_hex(&in_path), in_query, in_path]);
        forms.remove("");
        for form in forms {
            self.masker.add(name, &Secret::new(form));
        }
    }

    /// Whether a name exists.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.text.contains_key(name)
    }

    /// All names, for hints.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.text.keys().map(String::as_str)
    }

    /// Whether the value of a name must not be shown.
    pub(crate) fn is_secret(&self, name: &str) -> bool {
        self.secrets.contains(name)
    }

    /// What hides every secret that is known so far.
    pub(crate) const fn masker(&self) -> &Masker {
        &self.masker
    }

    /// The captures so far, with whether they are secret.
    pub(crate) fn captures(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        self.captures.iter().filter_map(|(name, secret)| Some((name.as_str(), self.text.get(name)?.as_str(), *secret)))
    }

    /// One variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.text.get(name).map(String::as_str)
    }

    /// A template with its values.
    pub(crate) fn text(&self, template: &str) -> Result<String> {
        template::render(template, &self.text)
    }

    /// A regular expression whose values stand for themselves.
    pub(crate) fn pattern(&self, template: &str) -> Result<Regex> {
        let mut escaped = Vars::new();
        for name in template::names(template)? {
            if let Some(value) = self.text.get(&name) {
                escaped.insert(name, regex::escape(value));
            }
        }
        let pattern = template::render(template, &escaped)?;
        Regex::new(&pattern).context(Code::ManifestInvalid, || "A pattern is not valid.".to_owned())
    }

    /// JSON with templates in its texts. A text that is exactly one name becomes the value itself, so that a captured
    /// number stays a number.
    pub(crate) fn json(&self, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::String(template) => match self.whole(template) {
                Some(typed) => typed.clone(),
                None => Value::String(self.text(template)?),
            },
            Value::Array(items) => Value::Array(items.iter().map(|item| self.json(item)).collect::<Result<_>>()?),
            Value::Object(fields) => {
                let pairs = fields.iter().map(|(key, field)| Ok((key.clone(), self.json(field)?)));
                Value::Object(pairs.collect::<Result<_>>()?)
            }
            other => other.clone(),
        })
    }

    fn whole(&self, template: &str) -> Option<&Value> {
        let name = template.trim().strip_prefix("{{")?.strip_suffix("}}")?;
        self.typed.get(name.trim())
    }
}

/// A template with a harmless word for each name, to see whether what is around them makes sense.
pub(crate) fn with_placeholders(text: &str) -> String {
    let names = template::names(text).unwrap_or_default();
    let vars: Vars = names.into_iter().map(|name| (name, "1".to_owned())).collect();
    template::render(text, &vars).unwrap_or_else(|_| text.to_owned())
}

/// Whether a pattern can be understood, with any harmless value in it.
///
/// # Errors
/// Text that continues "… is ".
pub(crate) fn check_pattern(pattern: &str) -> std::result::Result<(), String> {
    let plain = with_placeholders(pattern);
    Regex::new(&plain).map(drop).map_err(|_| format!("{pattern:?}, which is not a regular expression"))
}

/// All templates in a value.
pub(crate) fn templates_in<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(items) => items.iter().for_each(|item| templates_in(item, out)),
        Value::Object(fields) => fields.values().for_each(|field| templates_in(field, out)),
        _ => {}
    }
}

/// `%2F` as `%2f`: both are written.
fn lower_hex(encoded: &str) -> String {
    let mut out = String::with_capacity(encoded.len());
    let mut digits = 0;
    for c in encoded.chars() {
        out.push(if digits > 0 { c.to_ascii_lowercase() } else { c });
        digits = if c == '%' { 2 } else { usize::saturating_sub(digits, 1) };
    }
    out
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values() -> Values {
        let mut values = Values::new(&Vars::from([("version".into(), "1.2".into())]), None);
        values.capture(Captured { name: "id".into(), value: json!(42), secret: false });
        values.capture(Captured { name: "token".into(), value: json!("ca\"na ry/ü"), secret: true });
        values
    }

    #[test]
    fn values_in_patterns_stand_for_themselves() {
        let pattern = values().pattern("^v{{version}}$").unwrap();
        assert!(pattern.is_match("v1.2"));
        assert!(!pattern.is_match("v1x2"));
    }

    #[test]
    fn a_captured_number_stays_a_number() {
        assert_eq!(values().json(&json!({"id": "{{id}}", "t": "n{{id}}"})).unwrap(), json!({"id": 42, "t": "n42"}));
    }

    #[test]
    fn secrets_are_hidden_in_every_form() {
        let values = values();
        let quoted = json!({"t": "ca\"na ry/ü"}).to_string();
        for shown in [
            quoted.as_str(),
            "?t=ca%22na+ry%2F%C3%BC",
            "/ca%22na%20ry%2F%C3%BC/",
            "/ca%22na%20ry%2f%c3%bc",
            "x ca\"na ry/ü",
        ] {
            let masked = values.masker().mask(shown);
            assert!(masked.contains("«secret:token»"), "{masked}");
        }
    }
}
