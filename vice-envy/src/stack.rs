//! The layers of one project in one environment on top of each other: tables are merged key by key, everything else
//! is replaced. Knows where each effective value comes from and what it overrides.

use std::collections::BTreeMap;

use serde_json::Value;
use vice_core::app::ProcessEnv;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::payload::config::Origin;
use vice_core::port::config::{ConfigEntry, ConfigValue, variable_name};
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result, Secret};

use crate::backend::parse_value;
use crate::key::{Found, ancestors};
use crate::layer::{Layer, specs};
use crate::locked::Lock;
use crate::seal;

/// The layers and which of them decides each key.
pub(crate) struct Stack {
    layers: Vec<Layer>,
    patterns: Vec<String>,
    effective: BTreeMap<String, usize>,
}

/// One layer's say about a key.
pub(crate) struct Say<'s> {
    pub(crate) layer: &'s Layer,
    pub(crate) found: &'s Found,
}

impl Stack {
    /// Reads all layers.
    pub(crate) fn load(project: &Project, env: &EnvName, process: &ProcessEnv, lock: &Lock<'_>) -> Result<Self> {
        let (stack, faults) = Self::load_what_can_be(project, env, process, lock)?;
        faults.into_iter().next().map_or(Ok(stack), Err)
    }

    /// Reads the layers that can be read, and says why the others can't.
    pub(crate) fn load_what_can_be(
        project: &Project,
        env: &EnvName,
        process: &ProcessEnv,
        lock: &Lock<'_>,
    ) -> Result<(Self, Vec<Fault>)> {
        let (mut layers, mut faults) = (Vec::new(), Vec::new());
        lock.about(project.name().as_str());
        for spec in specs(project, env)? {
            match spec.read(project, env, process, lock) {
                Ok(layer) => {
                    match spec.editable().map(|_| seal::verify(project, &layer, lock)).transpose() {
                        Ok(broken) => faults.extend(broken.into_iter().flatten()),
                        Err(fault) => faults.push(fault),
                    }
                    layers.push(layer);
                }
                Err(fault) => faults.push(fault),
            }
        }
        Ok((Self::new(layers, project.manifest.config.secrets.clone()), faults))
    }

    pub(crate) fn new(layers: Vec<Layer>, patterns: Vec<String>) -> Self {
        let mut effective: BTreeMap<String, usize> = BTreeMap::new();
        for (index, layer) in layers.iter().enumerate() {
            for (key, _) in layer.sheet.iter() {
                if effective.insert(key.to_owned(), index).is_none() {
                    make_room(&mut effective, key);
                }
            }
        }
        Self { layers, patterns, effective }
    }

    /// The effective keys, sorted.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.effective.keys().map(String::as_str)
    }

    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// What the effective layer says about a key.
    pub(crate) fn say(&self, key: &str) -> Option<Say<'_>> {
        let layer = &self.layers[*self.effective.get(key)?];
        layer.sheet.get(key).map(|found| Say { layer, found })
    }

    /// What every layer says about a key, the strongest first.
    pub(crate) fn says(&self, key: &str) -> Vec<Say<'_>> {
        let layers = self.layers.iter().rev();
        layers.filter_map(|layer| layer.sheet.get(key).map(|found| Say { layer, found })).collect()
    }

    /// Whether the manifest declares a key secret.
    pub(crate) fn declared_secret(&self, key: &str) -> bool {
        declared_secret(&self.patterns, key)
    }

    /// Whether what a layer says about a key must not be shown.
    pub(crate) fn is_secret(&self, key: &str, say: &Say<'_>) -> bool {
        say.layer.sealed
            || self.declared_secret(key)
            || say.found.value.as_str().is_some_and(|text| parse_value(text).is_some())
    }

    /// The value that a layer gives to a key, decrypted.
    pub(crate) fn entry(&self, key: &str, say: &Say<'_>, lock: &Lock<'_>) -> Result<ConfigEntry> {
        let origin = say.origin();
        let value = match &say.found.value {
            Value::String(text) => match lock.open_value(key, &say.layer.name, &say.place(), text) {
                Some(opened) => ConfigValue::Secret(opened?),
                None if self.is_secret(key, say) => ConfigValue::Secret(Secret::new(text.as_str())),
                None => ConfigValue::Plain(say.found.value.clone()),
            },
            other if holds_encrypted(other) => {
                let message = format!("The value of {key} ({}) has an encrypted value inside it.", say.place());
                return Err(Fault::new(Code::ConfigInvalid, message)
                    .hint("Encrypt the whole value as one text.")
                    .detail("key", key));
            }
            other if self.is_secret(key, say) => ConfigValue::Secret(Secret::new(other.to_string())),
            other => ConfigValue::Plain(other.clone()),
        };
        Ok(ConfigEntry { value, origin })
    }

    /// All effective entries.
    pub(crate) fn entries(&self, lock: &Lock<'_>) -> Result<BTreeMap<String, ConfigEntry>> {
        if let Some(fault) = self.collisions().into_iter().next() {
            return Err(fault);
        }
        let says = self.keys().filter_map(|key| self.say(key).map(|say| (key, say)));
        says.map(|(key, say)| Ok((key.to_owned(), self.entry(key, &say, lock)?))).collect()
    }

    /// Keys that would be the same environment variable.
    pub(crate) fn collisions(&self) -> Vec<Fault> {
        let mut names: BTreeMap<String, &str> = BTreeMap::new();
        let mut faults = Vec::new();
        for key in self.keys() {
            let name = variable_name(key);
            match names.get(&name) {
                Some(other) => faults.push(self.collision(&name, other, key)),
                None => {
                    names.insert(name, key);
                }
            }
        }
        faults
    }

    fn collision(&self, name: &str, one: &str, two: &str) -> Fault {
        let shown = |key: &str| self.say(key).map_or_else(String::new, |say| format!("{key} ({})", say.place()));
        let (one_shown, two_shown) = (shown(one), shown(two));
        let message = if one.eq_ignore_ascii_case(two) {
            format!("The keys {one_shown} and {two_shown} differ only in case.")
        } else {
            format!("The keys {one_shown} and {two_shown} would both be the variable {name}.")
        };
        let hint = "Rename one of them; variables of .env files and env: layers write tables as TABLE__KEY.";
        Fault::new(Code::ConfigInvalid, message).hint(hint).detail("key", two)
    }

    /// The fault for a key that does not exist.
    pub(crate) fn unknown(&self, key: &str) -> Fault {
        let shown: String = key.chars().take(80).collect();
        let below: Vec<&str> =
            self.keys().filter(|known| ancestors(known).any(|parent| parent == key)).take(20).collect();
        if !below.is_empty() {
            return Fault::new(Code::UnknownName, format!("{shown:?} is a table, not a value."))
                .hint(format!("It has: {}.", below.join(", ")));
        }
        let fault = Fault::new(Code::UnknownName, format!("There is no key {shown:?} in this configuration."));
        match nearest(key, self.keys()) {
            Some(near) => fault.hint(format!("Did you mean {near}?")),
            None => fault.hint("`vice envy` shows all keys."),
        }
    }
}

impl Say<'_> {
    pub(crate) fn origin(&self) -> Origin {
        Origin { layer: self.layer.name.clone(), line: self.found.line }
    }

    /// The layer and the line for people.
    pub(crate) fn place(&self) -> String {
        place(&self.origin())
    }
}

/// An origin for people.
pub(crate) fn place(origin: &Origin) -> String {
    match origin.line {
        Some(line) => format!("{}:{line}", origin.layer),
        None => origin.layer.clone(),
    }
}

/// Whether one of the patterns of `[config] secrets` names a key.
pub(crate) fn declared_secret(patterns: &[String], key: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => key.starts_with(start),
        None => key == pattern || key.strip_prefix(pattern.as_str()).is_some_and(|rest| rest.starts_with('.')),
    })
}

/// A value replaces the table of the same key below it, and a table the value.
fn make_room(effective: &mut BTreeMap<String, usize>, key: &str) {
    for parent in ancestors(key) {
        effective.remove(parent);
    }
    let prefix = format!("{key}.");
    let below: Vec<String> = effective
        .range(prefix.clone()..)
        .map(|(known, _)| known)
        .take_while(|known| known.starts_with(&prefix))
        .cloned()
        .collect();
    for known in below {
        effective.remove(&known);
    }
}

fn holds_encrypted(value: &Value) -> bool {
    match value {
        Value::String(text) => parse_value(text).is_some(),
        Value::Array(items) => items.iter().any(holds_encrypted),
        Value::Object(fields) => fields.values().any(holds_encrypted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layer::toml;

    fn stack(texts: &[&str], patterns: &[&str]) -> Stack {
        let layer = |(index, text): (usize, &&str)| Layer {
            name: format!("l{index}"),
            sealed: false,
            sheet: toml::read(text).unwrap(),
        };
        Stack::new(texts.iter().enumerate().map(layer).collect(), patterns.iter().map(|p| (*p).to_owned()).collect())
    }

    fn plain(stack: &Stack) -> BTreeMap<String, Value> {
        stack.keys().map(|key| (key.to_owned(), stack.say(key).unwrap().found.value.clone())).collect()
    }

    #[test]
    fn tables_merge_and_lists_are_replaced() {
        let stack = stack(&["l = [1, 2]\n[t]\na = 1\nb = 1\n", "l = [3]\n[t]\nb = 2\nc = 2\n"], &[]);
        let expected = [("l", json!([3])), ("t.a", json!(1)), ("t.b", json!(2)), ("t.c", json!(2))];
        assert_eq!(plain(&stack), expected.map(|(k, v)| (k.to_owned(), v)).into());
        assert_eq!(stack.say("t.a").unwrap().place(), "l0:3");
        assert_eq!(stack.says("t.b").iter().map(Say::place).collect::<Vec<_>>(), ["l1:3", "l0:4"]);
    }

    #[test]
    fn a_value_replaces_a_table_and_a_table_a_value() {
        let over = stack(&["t-x = 1\n[t]\na = 1\n[t.u]\nb = 1\n", "t = 5\n"], &[]);
        assert_eq!(over.keys().collect::<Vec<_>>(), ["t", "t-x"]);
        let back = stack(&["t = 5\n", "[t.u]\na = 1\n"], &[]);
        assert_eq!(back.keys().collect::<Vec<_>>(), ["t.u.a"]);
    }

    #[test]
    fn keys_that_are_the_same_variable_are_named_both() {
        let faults = stack(&["a_b = 1\n", "[a]\nb = 1\n"], &[]).collisions();
        assert_eq!(faults.len(), 1);
        let text = faults[0].to_string();
        assert!(text.contains("a_b (l0:1)") && text.contains("a.b (l1:2)") && text.contains("A_B"), "{text}");
        let case = stack(&["Key = 1\nkey = 2\n"], &[]).collisions();
        assert!(case[0].to_string().contains("differ only in case"));
    }

    #[test]
    fn patterns_name_keys_tables_and_prefixes() {
        let patterns = ["token".to_owned(), "db.pass*".to_owned()];
        for (key, secret) in
            [("token", true), ("token.x", true), ("tokens", false), ("db.password", true), ("db.host", false)]
        {
            assert_eq!(declared_secret(&patterns, key), secret, "{key}");
        }
    }

    #[test]
    fn unknown_keys_name_the_nearest_or_what_the_table_has() {
        let stack = stack(&["[db]\nhost = 1\nport = 2\n"], &[]);
        assert_eq!(stack.unknown("db").hints(), ["It has: db.host, db.port."]);
        assert_eq!(stack.unknown("db.hots").hints(), ["Did you mean db.host?"]);
    }
}
