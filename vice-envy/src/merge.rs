//! How layers are laid on top of each other: tables key by key, lists as their rule says, everything else replaced. It
//! decides which layers make up each key; it reads no files and opens nothing.
//!
//! Layers are merged from weak to strong. Merging some neighbours first and the result with the rest gives the same,
//! with one exception: where a key is a value in one layer and a table in another, what such a key hides in still
//! weaker layers would come back if the stronger two were merged first.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vice_core::manifest::{MergeRule, Project, fits};
use vice_core::{Code, Fault, Result};

use crate::key::{ancestors, check_key};
use crate::layer::{Layer, Tree};
use crate::sheet::Found;

/// The word of a JSON Schema that says how a list is merged.
const MERGE_WORD: &str = "x-vice-merge";
/// How deep a schema is searched.
const SCHEMA_DEPTH_MAX: usize = 64;
/// The most nodes of a schema that are looked at; references can make a small one large.
const SCHEMA_NODES_MAX: usize = 100_000;

/// The rules for lists by dotted key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    exact: BTreeMap<String, MergeRule>,
    starts: Vec<(String, MergeRule)>,
}

impl Rules {
    /// The rules of a project: those of its schema, and over them those of `[config.merge]`.
    pub(crate) fn of(project: &Project, tree: &Tree<'_>) -> Result<Self> {
        let config = &project.manifest.config;
        let mut rules = Self::default();
        if let Some(path) = &config.schema
            && let Some(text) = tree.read_text(path)?
            // A schema without a word about merging is the business of `vice envy check` alone.
            && text.contains(MERGE_WORD)
        {
            let schema = serde_json::from_str(&text).map_err(|error| {
                let message = format!("The schema {path} is not valid JSON at line {}.", error.line());
                Fault::new(Code::ConfigInvalid, message)
            })?;
            rules.add_schema(path, &schema)?;
        }
        for (key, rule) in &config.merge {
            let plain = key.strip_suffix('*').map_or(key.as_str(), |start| start.trim_end_matches('.'));
            if !plain.is_empty() {
                check_key(plain).map_err(|why| {
                    Fault::new(Code::ConfigInvalid, format!("A name in [config.merge] can't be a key: {why}."))
                        .at(project.place(&["config", "merge", key], ""))
                })?;
            }
            rules.add(key, *rule);
        }
        rules.starts.sort_by_key(|(start, _)| std::cmp::Reverse(start.len()));
        Ok(rules)
    }

    pub(crate) fn add(&mut self, key: &str, rule: MergeRule) {
        match key.strip_suffix('*') {
            Some(start) => self.starts.push((start.to_owned(), rule)),
            None => {
                self.exact.insert(key.to_owned(), rule);
            }
        }
    }

    /// The rule of a key: its own, that of the longest pattern, or replacing.
    pub(crate) fn get(&self, key: &str) -> MergeRule {
        if self.exact.is_empty() && self.starts.is_empty() {
            return MergeRule::Replace;
        }
        let pattern = || self.starts.iter().find(|(start, _)| key.starts_with(start.as_str())).map(|(_, rule)| *rule);
        self.exact.get(key).copied().or_else(pattern).unwrap_or_default()
    }

    fn add_schema(&mut self, path: &str, schema: &Value) -> Result<()> {
        let mut walk = Walk { rules: self, root: schema, path: Vec::new(), left: SCHEMA_NODES_MAX };
        walk.node("", schema, 0).map_err(|why| {
            Fault::new(Code::ConfigInvalid, format!("The schema {path} can't say how lists are merged: {why}."))
                .hint("x-vice-merge is \"replace\", \"append\" or \"unique\".")
        })
    }
}

/// Looks for `x-vice-merge` along properties, local references and `allOf`.
struct Walk<'a> {
    rules: &'a mut Rules,
    root: &'a Value,
    /// The references that are being followed, so that none is followed into itself.
    path: Vec<&'a str>,
    left: usize,
}

impl<'a> Walk<'a> {
    fn node(&mut self, key: &str, node: &'a Value, depth: usize) -> Result<(), String> {
        if depth > SCHEMA_DEPTH_MAX || self.left == 0 {
            return Err("it is too large or nested too deep".to_owned());
        }
        self.left -= 1;
        if let Some(said) = node.get(MERGE_WORD) {
            let rule = serde_json::from_value(said.clone()).map_err(|_| format!("what {key} says is no such rule"))?;
            self.rules.add(key, rule);
        }
        if let Some(target) = node.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'))
            && let Some(found) = self.root.pointer(target)
            && !self.path.contains(&target)
        {
            self.path.push(target);
            self.node(key, found, depth + 1)?;
            self.path.pop();
        }
        for part in node.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.node(key, part, depth + 1)?;
        }
        for (name, below) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
            self.node(&crate::key::join(key, name), below, depth + 1)?;
        }
        Ok(())
    }
}

/// What one layer says about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) layer: usize,
    /// The place of the key in the layer's sheet.
    pub(crate) row: usize,
}

/// Which layers make up a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pick {
    /// The strongest of them.
    pub(crate) top: Part,
    /// The weaker ones whose lists go before, from weak to strong.
    pub(crate) under: Vec<Part>,
}

/// The effective keys of layers.
pub(crate) fn merge(layers: &[Layer], rules: &Rules) -> BTreeMap<String, Pick> {
    let mut effective: Vec<(&str, Pick)> = Vec::new();
    for index in 0..layers.len() {
        lay_over(&mut effective, index, layers, rules);
    }
    effective.into_iter().map(|(key, pick)| (key.to_owned(), pick)).collect()
}

/// Lays a layer on top of those below it. Both are sorted, so that one walk along them suffices; most keys of most layers
/// are known, and change in their places.
fn lay_over<'l>(all: &mut Vec<(&'l str, Pick)>, index: usize, layers: &'l [Layer], rules: &Rules) {
    let (mut at, mut new) = (0, Vec::new());
    for (row, key) in layers[index].sheet.keys().enumerate() {
        let top = Part { layer: index, row };
        while all.get(at).is_some_and(|(known, _)| *known < key) {
            at += 1;
        }
        match all.get_mut(at).filter(|(known, _)| *known == key) {
            Some((_, pick)) => pick_over(pick, key, top, layers, rules),
            None => new.push((key, Pick { top, under: Vec::new() })),
        }
    }
    if all.is_empty() {
        *all = new;
    } else if !new.is_empty() {
        let keys: Vec<&str> = new.iter().map(|(key, _)| *key).collect();
        all.extend(new);
        // Two sorted runs, which is what this sort is quick at.
        all.sort_by_key(|(key, _)| *key);
        make_room(all, &keys);
    }
}

/// What becomes of a key that a weaker layer has as well.
fn pick_over(pick: &mut Pick, key: &str, top: Part, layers: &[Layer], rules: &Rules) {
    let before = std::mem::replace(&mut pick.top, top);
    let is_list = |part: Part| layers[part.layer].sheet.at(part.row).is_some_and(|found| found.value.is_array());
    // A pattern may name values too, and those replace each other. A list beside a value is an error later on.
    if rules.get(key) != MergeRule::Replace && (is_list(top) || is_list(before)) {
        pick.under.push(before);
    } else {
        pick.under.clear();
    }
}

/// A value replaces the table of the same key below it, and a table the value. Of one layer none does so to another, so
/// that what is in the way of a new key is always weaker.
fn make_room(all: &mut Vec<(&str, Pick)>, new: &[&str]) {
    let mut gone: BTreeSet<usize> = BTreeSet::new();
    for key in new {
        let place = |wanted: &str| all.binary_search_by(|(known, _)| (*known).cmp(wanted));
        gone.extend(ancestors(key).filter_map(|parent| place(parent).ok()));
        let prefix = format!("{key}.");
        let start = all.partition_point(|(known, _)| *known < prefix.as_str());
        let below = all[start..].iter().take_while(|(known, _)| known.starts_with(&prefix)).count();
        gone.extend(start..start + below);
    }
    if !gone.is_empty() {
        let mut place = 0;
        all.retain(|_| {
            place += 1;
            !gone.contains(&(place - 1))
        });
    }
}

/// The list that the lists of several layers make, from weak to strong; none when one of them is no list.
pub(crate) fn joined<'f>(rule: MergeRule, parts: impl Iterator<Item = &'f Found>) -> Option<Vec<Value>> {
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    for part in parts {
        for item in part.value.as_array()? {
            if rule != MergeRule::Unique || seen.insert(item.to_string()) {
                all.push(item.clone());
            }
        }
    }
    Some(all)
}

/// Whether a pattern of `[config] secrets` or of a rule names a key: the key, a table around it, or a start.
pub(crate) fn names_key(pattern: &str, key: &str) -> bool {
    fits(pattern, key) || key.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::sheet::Sheet;

    fn rules() -> Rules {
        let mut rules = Rules::default();
        rules.add("l", MergeRule::Append);
        rules.add("t.u*", MergeRule::Unique);
        rules
    }

    fn layer(entries: &BTreeMap<String, Value>) -> Layer {
        let mut sheet = Sheet::default();
        for (key, value) in entries {
            sheet.add(key, value.clone(), None).unwrap();
        }
        Layer::plain("l", sheet)
    }

    /// The layers as one.
    fn flat(layers: &[BTreeMap<String, Value>]) -> BTreeMap<String, Value> {
        let layers: Vec<Layer> = layers.iter().map(layer).collect();
        let found = |part: Part| layers[part.layer].sheet.at(part.row).unwrap();
        let value = |(key, pick): (String, Pick)| {
            let top = found(pick.top);
            let parts = pick.under.iter().map(|part| found(*part)).chain([top]);
            let value = if pick.under.is_empty() {
                top.value.clone()
            } else {
                joined(rules().get(&key), parts).unwrap().into()
            };
            (key, value)
        };
        merge(&layers, &rules()).into_iter().map(value).collect()
    }

    fn list() -> impl Strategy<Value = Value> {
        prop::collection::vec(0..5, 0..4).prop_map(Value::from)
    }

    /// Layers in which no key is a value here and a table there, and lists that are appended are lists. Items of a list
    /// that is kept unique differ, as they do in what merging makes.
    fn entries() -> impl Strategy<Value = BTreeMap<String, Value>> {
        let scalar = || (0..9).prop_map(Value::from);
        let unique = || prop::collection::btree_set(0..5, 0..4).prop_map(|set| json!(set));
        let entry = prop_oneof![
            ("a|t\\.b|t\\.c\\.d|t\\.c\\.e", scalar()),
            ("l", list()),
            ("r|t\\.r", list()),
            ("t\\.u|t\\.u2", unique()),
        ];
        prop::collection::vec(entry, 0..8).prop_map(|entries| entries.into_iter().collect())
    }

    /// As `entries`, and `t` or `t.c` may also be values.
    fn mixed() -> impl Strategy<Value = BTreeMap<String, Value>> {
        (entries(), prop::option::of("t|t\\.c")).prop_map(|(mut entries, value)| {
            if let Some(key) = value {
                entries.retain(|other, _| !other.starts_with(&format!("{key}.")));
                entries.retain(|other, _| !key.starts_with(&format!("{other}.")));
                entries.insert(key, json!("value"));
            }
            entries
        })
    }

    proptest! {
        #[test]
        fn merging_is_associative(a in entries(), b in entries(), c in entries()) {
            let whole = flat(&[a.clone(), b.clone(), c.clone()]);
            prop_assert_eq!(&flat(&[flat(&[a.clone(), b.clone()]), c.clone()]), &whole);
            prop_assert_eq!(&flat(&[a, flat(&[b, c])]), &whole);
        }

        #[test]
        fn the_weaker_ones_can_always_be_merged_first(a in mixed(), b in mixed(), c in mixed()) {
            let whole = flat(&[a.clone(), b.clone(), c.clone()]);
            prop_assert_eq!(flat(&[flat(&[a, b]), c]), whole);
        }
    }

    #[test]
    fn a_key_that_is_value_and_table_is_the_exception() {
        let one = |key: &str| BTreeMap::from([(key.to_owned(), json!(1))]);
        let (a, b, c) = (one("t.x"), one("t"), one("t.y"));
        assert_eq!(flat(&[a.clone(), b.clone(), c.clone()]), one("t.y"));
        assert_eq!(flat(&[a, flat(&[b, c])]).len(), 2, "what the documentation says does not hold");
    }

    #[test]
    fn the_schema_says_rules_through_references() {
        let schema = json!({
            "$defs": { "pool": { "properties": { "hosts": { "x-vice-merge": "append" } } },
                       "tree": { "properties": { "names": { "x-vice-merge": "unique" }, "child": { "$ref": "#/$defs/tree" } } } },
            "allOf": [{ "properties": { "plugins": { "x-vice-merge": "unique" } } }],
            "properties": { "db": { "$ref": "#/$defs/pool" }, "root": { "$ref": "#/$defs/tree" }, "loop": { "$ref": "#" } },
        });
        let mut rules = Rules::default();
        rules.add_schema("s", &schema).unwrap();
        assert_eq!(rules.get("db.hosts"), MergeRule::Append);
        assert_eq!(rules.get("plugins"), MergeRule::Unique);
        assert_eq!(rules.get("root.names"), MergeRule::Unique);
        assert_eq!(rules.get("root.child.names"), MergeRule::Replace, "a reference is not followed into itself");
        assert_eq!(rules.get("db"), MergeRule::Replace);
        let bad = json!({ "properties": { "a": { "x-vice-merge": "concat" } } });
        assert!(Rules::default().add_schema("s", &bad).unwrap_err().hints()[0].contains("append"));
    }
}
