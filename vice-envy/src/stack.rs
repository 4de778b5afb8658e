//! The layers of one project in one environment on top of each other. Knows where each effective value comes from and
//! what it overrides, and opens what is encrypted. How layers are merged is the business of `merge`, what references in
//! values mean that of `interpolate`.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hasher};

use serde_json::Value;
use vice_core::app::ProcessEnv;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::payload::config::Origin;
use vice_core::port::config::{ConfigEntry, ConfigValue, variable_name};
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result, Secret};

use crate::backend::parse_value;
use crate::credential::{Given, VALUE_START};
use crate::interpolate::{Resolver, may_refer};
use crate::key::ancestors;
use crate::layer::{Layer, LayerPlan, Scene, Tree, read_all};
use crate::locked::Lock;
use crate::merge::{Part, Pick, Rules, joined, merge, names_key};
use crate::sheet::Found;
use crate::site::{Named, Site, Skipped};

/// What the manifest says about all layers together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    /// The patterns of keys that are secret.
    pub(crate) secrets: Vec<String>,
    /// How lists are merged.
    pub(crate) rules: Rules,
    /// Whether `${key}` in a value is a reference.
    pub(crate) interpolate: bool,
}

impl Policy {
    pub(crate) fn of(project: &Project, tree: &Tree<'_>) -> Result<Self> {
        let config = &project.manifest.config;
        Ok(Self { secrets: config.secrets.clone(), rules: Rules::of(project, tree)?, interpolate: config.interpolate })
    }
}
use crate::seal;

/// The layers and which of them decides each key.
pub(crate) struct Stack {
    layers: Vec<Layer>,
    skipped: Vec<Skipped>,
    policy: Policy,
    effective: BTreeMap<String, Pick>,
    /// The lists that several layers make together.
    lists: BTreeMap<String, Found>,
    /// What programs gave for values that refer to them, by the text of the value.
    given: Given,
}

/// One layer's say about a key.
pub(crate) struct Say<'s> {
    pub(crate) layer: &'s Layer,
    pub(crate) found: &'s Found,
    /// Whether it comes from a layer that is secret as a whole, or is a list with a part from one.
    pub(crate) sealed: bool,
}

impl Stack {
    /// Reads the layers that can be read where nothing has to be fetched, and says why the others can't.
    pub(crate) fn load_what_can_be(
        project: &Project,
        env: &EnvName,
        process: &ProcessEnv,
        lock: &Lock<'_>,
    ) -> Result<(Self, Vec<Fault>)> {
        let plan = LayerPlan::new(project, &Site::new(project, env, process, Named::default())?)?;
        let tree = Tree::Disk(&project.root);
        Self::load_scene(&mut Scene { project, env, process, tree: &tree, plan, fetched: BTreeMap::new() }, lock)
    }

    /// Reads the layers of a scene that can be read, and says why the others can't.
    pub(crate) fn load_scene(scene: &mut Scene<'_>, lock: &Lock<'_>) -> Result<(Self, Vec<Fault>)> {
        let policy = Policy::of(scene.project, scene.tree)?;
        let LayerPlan { specs, skipped, mut faults } = std::mem::take(&mut scene.plan);
        let mut layers = Vec::new();
        lock.about(scene.project.name().as_str());
        for read in read_all(&specs, scene, lock) {
            match read {
                Ok(layer) => {
                    if scene.tree.is_present() && layer.sealable() {
                        match seal::verify(scene.project, &layer, lock) {
                            Ok(broken) => faults.extend(broken),
                            Err(fault) => faults.push(fault),
                        }
                    }
                    layers.push(layer);
                }
                Err(fault) => faults.push(fault),
            }
        }
        let (mut stack, more) = Self::new(layers, policy);
        faults.extend(more);
        stack.skipped = skipped;
        Ok((stack, faults))
    }

    /// Puts layers on top of each other; also says which lists can't be put together.
    pub(crate) fn new(layers: Vec<Layer>, policy: Policy) -> (Self, Vec<Fault>) {
        let effective = merge(&layers, &policy.rules);
        let mut stack =
            Self { layers, skipped: Vec::new(), policy, effective, lists: BTreeMap::new(), given: Given::new() };
        let (mut lists, mut faults) = (BTreeMap::new(), Vec::new());
        for (key, pick) in stack.effective.iter().filter(|(_, pick)| !pick.under.is_empty()) {
            match stack.list(key, pick) {
                Ok(found) => {
                    lists.insert(key.clone(), found);
                }
                Err(fault) => faults.push(fault),
            }
        }
        stack.lists = lists;
        (stack, faults)
    }

    fn list(&self, key: &str, pick: &Pick) -> Result<Found> {
        let parts = || pick.under.iter().chain([&pick.top]).filter_map(|part| self.part(*part));
        let line = parts().next_back().and_then(|(_, found)| found.line);
        match joined(self.policy.rules.get(key), parts().map(|(_, found)| found)) {
            Some(items) => Ok(Found { value: Value::Array(items), line }),
            None => {
                let place =
                    parts().find(|(_, found)| !found.value.is_array()).map_or_else(String::new, |(layer, found)| {
                        format!(", and {} gives none", place(&Origin { layer: layer.name.clone(), line: found.line }))
                    });
                let message =
                    format!("The lists of {key} are put together, so that every layer has to give one{place}.");
                Err(Fault::new(Code::ConfigInvalid, message)
                    .hint("Write a list there, or take the key out of [config.merge] (x-vice-merge in the schema).")
                    .detail("key", key))
            }
        }
    }

    fn part(&self, part: Part) -> Option<(&Layer, &Found)> {
        let layer = self.layers.get(part.layer)?;
        Some((layer, layer.sheet.at(part.row)?))
    }

    /// The effective values that refer to a program.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &str> {
        self.effective.iter().filter_map(|(key, pick)| self.say_of(key, pick)?.program_value())
    }

    /// What programs gave.
    pub(crate) fn take_given(&mut self, given: Given) {
        self.given = given;
    }

    /// The effective keys, sorted.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.effective.keys().map(String::as_str)
    }

    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The layers that do not apply here.
    pub(crate) fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether references in values are followed.
    pub(crate) fn interpolates(&self) -> bool {
        self.policy.interpolate
    }

    /// What the effective layer says about a key; for a list that several layers make, the whole of it.
    pub(crate) fn say(&self, key: &str) -> Option<Say<'_>> {
        self.say_of(key, self.effective.get(key)?)
    }

    fn say_of(&self, key: &str, pick: &Pick) -> Option<Say<'_>> {
        let (layer, found) = self.part(pick.top)?;
        let found = if pick.under.is_empty() { found } else { self.lists.get(key).unwrap_or(found) };
        let sealed = pick.under.iter().chain([&pick.top]).any(|part| self.layers[part.layer].sealed);
        Some(Say { layer, found, sealed })
    }

    /// What every layer says about a key, the strongest first.
    pub(crate) fn says(&self, key: &str) -> Vec<Say<'_>> {
        let layers = self.layers.iter().rev();
        layers
            .filter_map(|layer| layer.sheet.get(key).map(|found| Say { layer, found, sealed: layer.sealed }))
            .collect()
    }

    /// How many of the strongest says make up the effective value: more than one for a list that is put together.
    pub(crate) fn parts(&self, key: &str) -> usize {
        self.effective.get(key).map_or(0, |pick| pick.under.len() + 1)
    }

    /// Whether the manifest declares a key secret.
    pub(crate) fn declared_secret(&self, key: &str) -> bool {
        declared_secret(&self.policy.secrets, key)
    }

    /// Whether what a layer says about a key must not be shown.
    pub(crate) fn is_secret(&self, key: &str, say: &Say<'_>) -> bool {
        say.sealed
            || say.program_value().is_some()
            || self.declared_secret(key)
            || say.found.value.as_str().is_some_and(|text| parse_value(text).is_some())
    }

    /// The value that a layer gives to a key, decrypted; references in it stay as they are written.
    pub(crate) fn entry(&self, key: &str, say: &Say<'_>, lock: &Lock<'_>) -> Result<ConfigEntry> {
        let origin = say.origin();
        let value = match &say.found.value {
            Value::String(text) if say.program_value().is_some() => ConfigValue::Secret(self.given(key, say, text)?),
            // Where it stands is put into words only for what is opened; most values are not.
            Value::String(text) if parse_value(text).is_some() => {
                match lock.open_value(key, &say.layer.name, &say.place(), text) {
                    Some(opened) => ConfigValue::Secret(opened?),
                    None => ConfigValue::Plain(say.found.value.clone()),
                }
            }
            Value::String(text) if self.is_secret(key, say) => ConfigValue::Secret(Secret::new(text.as_str())),
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

    fn given(&self, key: &str, say: &Say<'_>, text: &str) -> Result<Secret> {
        let why = match self.given.get(text) {
            Some(Ok(secret)) => return Ok(secret.clone()),
            Some(Err(why)) => why.as_str(),
            None => "Programs are asked for values that are in force only.",
        };
        let message = format!("The value of {key} ({}) can't be had from its program.", say.place());
        Err(Fault::new(Code::ConfigInvalid, message)
            .because(why)
            .hint("It is written as cred://NAME/PATH/KEY; see docs/secrets.md.")
            .detail("key", key))
    }

    /// All effective entries, references followed.
    pub(crate) fn entries(&self, lock: &Lock<'_>) -> Result<BTreeMap<String, ConfigEntry>> {
        if let Some(fault) = self.collisions().into_iter().next() {
            return Err(fault);
        }
        let says = || self.effective.iter().filter_map(|(key, pick)| Some((key, self.say_of(key, pick)?)));
        lock.open_ahead(says().filter_map(|(_, say)| say.found.value.as_str()));
        let mut resolver = Resolver::new(self, lock);
        let entry = |(key, say): (&String, Say<'_>)| {
            let refers = may_refer(self, &say);
            let entry = if refers { resolver.entry(key)? } else { self.entry(key, &say, lock)? };
            Ok((key.clone(), entry))
        };
        says().map(entry).collect()
    }

    /// Keys that would be the same environment variable.
    pub(crate) fn collisions(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.all_variables_differ() {
            return faults;
        }
        let mut names: BTreeMap<String, &str> = BTreeMap::new();
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

    /// Whether it is certain that no two keys are the same variable; most often it is, and costs little to find out.
    fn all_variables_differ(&self) -> bool {
        let (mut seen, mut name) = (HashSet::with_capacity(self.effective.len()), Vec::new());
        self.keys().all(|key| {
            let mut hasher = DefaultHasher::new();
            let letter = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() } else { b'_' };
            name.clear();
            name.extend(key.bytes().map(letter));
            hasher.write(&name);
            seen.insert(hasher.finish())
        })
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

impl<'s> Say<'s> {
    /// The text, where it refers to a program. What was encrypted and what comes from a store of secrets never does.
    pub(crate) fn program_value(&self) -> Option<&'s str> {
        let text = self.found.value.as_str().filter(|_| !self.layer.literal && !self.sealed)?;
        text.starts_with(VALUE_START).then_some(text)
    }

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
    patterns.iter().any(|pattern| names_key(pattern, key))
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
        let layer = |(index, text): (usize, &&str)| Layer::plain(&format!("l{index}"), toml::read(text).unwrap());
        let policy = Policy { secrets: patterns.iter().map(|p| (*p).to_owned()).collect(), ..Policy::default() };
        Stack::new(texts.iter().enumerate().map(layer).collect(), policy).0
    }

    #[test]
    fn lists_are_put_together_as_their_rule_says() {
        let texts = ["a = [1, 2]\nu = [1, 2]\n", "a = [2]\nu = [2, 3]\n", "a = [5]\n"];
        let layers = texts.iter().enumerate().map(|(i, t)| Layer::plain(&format!("l{i}"), toml::read(t).unwrap()));
        let mut policy = Policy::default();
        policy.rules.add("a", vice_core::manifest::MergeRule::Append);
        policy.rules.add("u", vice_core::manifest::MergeRule::Unique);
        let (stack, faults) = Stack::new(layers.collect(), policy.clone());
        assert!(faults.is_empty());
        assert_eq!(stack.say("a").unwrap().found.value, json!([1, 2, 2, 5]));
        assert_eq!(stack.say("u").unwrap().found.value, json!([1, 2, 3]));
        assert_eq!((stack.parts("a"), stack.parts("u"), stack.say("a").unwrap().place()), (3, 2, "l2:1".to_owned()));
        let bad = ["a = [1]\n", "a = \"x\"\n"].map(|t| Layer::plain("l", toml::read(t).unwrap()));
        let (_, faults) = Stack::new(bad.into(), policy);
        assert!(faults[0].to_string().contains("l:1 gives none"), "{:?}", faults[0]);
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
