//! The simple rules of `[[config.rule]]`: what a configuration must and must not have. It decides and explains; it
//! never repeats a value that is secret.

use std::collections::BTreeMap;

use regex::RegexBuilder;
use serde_json::Value;
use vice_core::id::EnvName;
use vice_core::manifest::{ConfigRule, Project};
use vice_core::port::config::ConfigValue;
use vice_core::{Code, Fault, Result};

use crate::merge::names_key;
use crate::render::as_text;

/// The largest compiled expression, in bytes.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// A rule that is broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) key: String,
    pub(crate) what: String,
}

/// The rules that a configuration breaks.
///
/// # Errors
/// `ConfigInvalid` pointing at a rule that is none.
pub(crate) fn broken(project: &Project, env: &EnvName, entries: &BTreeMap<String, ConfigValue>) -> Result<Vec<Broken>> {
    let mut all = Vec::new();
    for rule in &project.manifest.config.rule {
        if rule.demands() != 1 {
            let message = format!("The rule for {} makes {} demands.", rule.key, rule.demands());
            return Err(Fault::new(Code::ConfigInvalid, message).at(project.place(&["config", "rule"], "")).hint(
                "Write one of never, equals, one_of, matches, required and secret; several rules may share a key.",
            ));
        }
        if rule.holds_in(env) {
            let matcher = matcher(project, rule)?;
            all.extend(judge(rule, env, entries, matcher.as_ref()));
        }
    }
    Ok(all)
}

fn matcher(project: &Project, rule: &ConfigRule) -> Result<Option<regex::Regex>> {
    let Some(pattern) = &rule.matches else { return Ok(None) };
    let built = RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(REGEX_BYTES_MAX).build();
    built.map(Some).map_err(|error| {
        Fault::new(Code::ConfigInvalid, format!("The rule for {} has no regular expression in `matches`.", rule.key))
            .at(project.place(&["config", "rule"], ""))
            .because(error)
    })
}

fn judge(
    rule: &ConfigRule,
    env: &EnvName,
    entries: &BTreeMap<String, ConfigValue>,
    matcher: Option<&regex::Regex>,
) -> Vec<Broken> {
    let named: Vec<(&String, &ConfigValue)> = entries.iter().filter(|(key, _)| names_key(&rule.key, key)).collect();
    let say = |key: &str, what: String| {
        let why = rule.message.as_ref().map_or_else(String::new, |message| format!(" {message}"));
        Broken { key: key.to_owned(), what: format!("{key} {what} in {env}.{why}") }
    };
    match rule.required {
        Some(true) if named.is_empty() => return vec![say(&rule.key, "has no value".to_owned())],
        Some(true) => return Vec::new(),
        Some(false) => return named.into_iter().map(|(key, _)| say(key, "has a value".to_owned())).collect(),
        None => {}
    }
    let wrong = |(key, value): (&String, &ConfigValue)| demand(rule, value, matcher).map(|what| say(key, what));
    named.into_iter().filter_map(wrong).collect()
}

/// What is wrong with a value, without the value.
fn demand(rule: &ConfigRule, value: &ConfigValue, matcher: Option<&regex::Regex>) -> Option<String> {
    if let Some(secret) = rule.secret {
        let is = matches!(value, ConfigValue::Secret(_));
        return (is != secret).then(|| if secret { "is no secret".to_owned() } else { "is a secret".to_owned() });
    }
    if let Some(never) = &rule.never {
        return equal(value, never).then(|| format!("must never be {never}"));
    }
    if let Some(equals) = &rule.equals {
        return (!equal(value, equals)).then(|| format!("has to be {equals}"));
    }
    if let Some(choice) = &rule.one_of {
        let all: Vec<String> = choice.iter().map(Value::to_string).collect();
        return (!choice.iter().any(|one| equal(value, one))).then(|| format!("has to be one of {}", all.join(", ")));
    }
    let text = match value {
        ConfigValue::Plain(value) => as_text(value),
        ConfigValue::Secret(secret) => secret.reveal().to_owned(),
    };
    let (matcher, pattern) = (matcher?, rule.matches.as_deref().unwrap_or_default());
    (!matcher.is_match(&text)).then(|| format!("does not match {pattern}"))
}

/// Whether a value is what a rule names. Variables and .env files know texts only, so that `"true"` is also `true`.
fn equal(value: &ConfigValue, wanted: &Value) -> bool {
    match value {
        ConfigValue::Plain(value) => value == wanted || (value.is_string() && as_text(value) == as_text(wanted)),
        ConfigValue::Secret(secret) => secret.reveal() == as_text(wanted),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vice_core::Secret;

    use super::*;

    fn broken_by(rules: &str, env: &str) -> Result<Vec<String>> {
        let text = format!("name = \"shop\"\nartifact = \"x\"\ncommand = [\"./x\"]\n[env.dev]\n[env.prod]\n{rules}");
        let project = Project::parse("/p".into(), "vice.toml".into(), text).unwrap();
        let entries = [
            ("debug", ConfigValue::Plain(json!("true"))),
            ("db.host", ConfigValue::Plain(json!("localhost"))),
            ("db.port", ConfigValue::Plain(json!(5432))),
            ("token", ConfigValue::Secret(Secret::new("hunter22"))),
        ];
        let entries = entries.map(|(key, value)| (key.to_owned(), value)).into();
        Ok(broken(&project, &env.parse().unwrap(), &entries)?.into_iter().map(|broken| broken.what).collect())
    }

    #[test]
    fn each_demand_holds_and_breaks() {
        for (rule, what) in [
            ("key = 'debug'\nnever = true", Some("debug must never be true in prod.")),
            ("key = 'debug'\nnever = false", None),
            ("key = 'db.host'\nequals = 'x'\nmessage = 'Ask ops.'", Some("db.host has to be \"x\" in prod. Ask ops.")),
            ("key = 'db.port'\nequals = 5432", None),
            ("key = 'db.port'\none_of = [1, 2]", Some("db.port has to be one of 1, 2 in prod.")),
            ("key = 'db.*'\nmatches = '[a-z]+'", Some("db.port does not match [a-z]+ in prod.")),
            ("key = 'token'\nmatches = '.{20,}'", Some("token does not match .{20,} in prod.")),
            ("key = 'gone'\nrequired = true", Some("gone has no value in prod.")),
            ("key = 'gone'\nrequired = false", None),
            ("key = 'db.port'\nrequired = false", Some("db.port has a value in prod.")),
            ("key = 'token'\nsecret = true", None),
            ("key = 'db'\nsecret = true", Some("db.host is no secret in prod.")),
            ("key = 'debug'\nenv = ['dev', 'int*']\nnever = true", None),
        ] {
            let seen = broken_by(&format!("[[config.rule]]\n{rule}\n"), "prod").unwrap();
            assert_eq!(seen.first().map(String::as_str), what, "{rule}");
        }
    }

    #[test]
    fn rules_that_are_none_are_refused() {
        for rule in ["key = 'a'", "key = 'a'\nnever = 1\nequals = 2", "key = 'a'\nmatches = '('"] {
            let fault = broken_by(&format!("[[config.rule]]\n{rule}\n"), "prod").unwrap_err();
            assert_eq!(fault.code(), Code::ConfigInvalid, "{rule}");
            assert!(fault.place().is_some());
        }
    }
}
