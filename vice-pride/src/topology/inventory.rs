//! Ansible inventories: INI, YAML, and the JSON of `ansible-inventory --list`, told apart by what is in them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use vice_core::{Code, Fault, Result};
use vice_pride_engine::{Roster, RosterGroup, RosterHost, expand_range};

use super::ini;

/// How deep groups may be nested in each other.
const GROUPS_DEEP_MAX: usize = 32;

/// Parses an inventory.
///
/// # Errors
/// `ManifestInvalid` with the line where that is known.
pub(super) fn parse(file: &str, text: &str) -> Result<Roster> {
    let mut maker = Maker::default();
    let start = text.trim_start_matches('\u{feff}').trim_start();
    if start.starts_with("#!") {
        return Err(wrong(file, "it is a program")
            .hint(format!("Let Ansible run it: ansible-inventory -i {file} --list > inventory.json.")));
    }
    let by_name = |suffixes: &[&str]| suffixes.iter().any(|suffix| file.ends_with(suffix));
    if by_name(&[".json"]) || start.starts_with('{') {
        let value: Value = serde_json::from_str(text).map_err(|error| wrong(file, &error.to_string()))?;
        groups(file, &value, &mut maker)?;
    } else if by_name(&[".yaml", ".yml"]) || looks_like_yaml(start) {
        let value = super::yaml(text).map_err(|why| wrong(file, &why))?;
        groups(file, &value, &mut maker)?;
    } else {
        ini::read(file, text, &mut maker)?;
    }
    maker.finish(file)
}

/// Whether the first line that says something is a YAML key or a document's beginning; INI has no line that ends so.
fn looks_like_yaml(text: &str) -> bool {
    let first = text.lines().map(str::trim_end).find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| line == "---" || (line.ends_with(':') && !line.contains('=')))
}

pub(super) fn wrong(file: &str, why: &str) -> Fault {
    Fault::new(Code::ManifestInvalid, format!("The inventory {file} can't be read: {why}.")).detail("key", "inventory")
}

/// Collects hosts and groups from any form.
#[derive(Debug, Default)]
pub(super) struct Maker {
    hosts: Vec<RosterHost>,
    numbers: BTreeMap<String, usize>,
    groups: BTreeMap<String, RosterGroup>,
    /// Members and children that were added, so that none is there twice.
    seen: BTreeSet<(String, String)>,
}

impl Maker {
    pub(super) fn host(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.hosts.len();
        self.hosts.push(RosterHost { name: name.to_owned(), vars: BTreeMap::new() });
        self.numbers.insert(name.to_owned(), number);
        number
    }

    pub(super) fn host_var(&mut self, host: &str, key: &str, value: &str) {
        let number = self.host(host);
        if let Some(host) = self.hosts.get_mut(number) {
            host.vars.insert(key.to_owned(), value.to_owned());
        }
    }

    pub(super) fn group(&mut self, name: &str) -> &mut RosterGroup {
        self.groups.entry(name.to_owned()).or_default()
    }

    pub(super) fn member(&mut self, group: &str, host: &str) {
        self.host(host);
        if self.seen.insert((group.to_owned(), format!("h {host}"))) {
            self.group(group).hosts.push(host.to_owned());
        }
    }

    pub(super) fn child(&mut self, group: &str, child: &str) {
        if self.seen.insert((group.to_owned(), format!("g {child}"))) {
            self.group(group).children.push(child.to_owned());
        }
    }

    pub(super) fn group_var(&mut self, group: &str, key: &str, value: &str) {
        self.group(group).vars.insert(key.to_owned(), value.to_owned());
    }

    /// `ungrouped` is what has no other group: it is nobody's place.
    fn finish(mut self, file: &str) -> Result<Roster> {
        self.groups.remove("ungrouped");
        if let Some(all) = self.groups.get_mut("all") {
            all.children.retain(|child| child != "ungrouped");
        }
        if self.hosts.is_empty() && self.groups.is_empty() {
            return Err(wrong(file, "it has neither hosts nor groups"));
        }
        Ok(Roster { hosts: self.hosts, groups: self.groups })
    }
}

/// The groups at the top of YAML or JSON.
fn groups(file: &str, value: &Value, maker: &mut Maker) -> Result<()> {
    let Value::Object(top) = value else { return Err(wrong(file, "it is not a mapping of groups")) };
    for (name, group) in top.iter().filter(|(name, _)| *name != "_meta") {
        self::group(file, name, group, maker, 0)?;
    }
    if let Some(vars) = top.get("_meta").and_then(|meta| meta.get("hostvars")) {
        for (host, vars) in object(file, vars, "hostvars")?.into_iter().flatten() {
            for (key, value) in object(file, vars, host)?.into_iter().flatten() {
                plain(value).into_iter().for_each(|value| maker.host_var(host, key, &value));
            }
        }
    }
    Ok(())
}

fn group(file: &str, name: &str, value: &Value, maker: &mut Maker, depth: usize) -> Result<()> {
    if depth > GROUPS_DEEP_MAX {
        return Err(wrong(file, &format!("groups are nested more than {GROUPS_DEEP_MAX} deep")));
    }
    maker.group(name);
    // The oldest form of a group is the list of its hosts.
    if let Value::Array(_) = value {
        return hosts(file, name, value, maker);
    }
    let Some(parts) = object(file, value, name)? else { return Ok(()) };
    for (key, part) in parts {
        match key.as_str() {
            "hosts" => hosts(file, name, part, maker)?,
            "children" => children(file, name, part, maker, depth)?,
            "vars" => {
                for (key, value) in object(file, part, name)?.into_iter().flatten() {
                    plain(value).into_iter().for_each(|value| maker.group_var(name, key, &value));
                }
            }
            other => {
                let why = format!("the group {name:?} has {other:?}, and a group has hosts, children and vars");
                return Err(wrong(file, &why));
            }
        }
    }
    Ok(())
}

fn hosts(file: &str, group: &str, value: &Value, maker: &mut Maker) -> Result<()> {
    let names: Vec<(&str, Option<&Value>)> = match value {
        Value::Null => Vec::new(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(|name| (name, None)).collect(),
        Value::Object(hosts) => hosts.iter().map(|(name, vars)| (name.as_str(), Some(vars))).collect(),
        _ => return Err(wrong(file, &format!("the hosts of {group:?} are neither a list nor a mapping"))),
    };
    for (pattern, vars) in names {
        for name in expand_range(pattern).map_err(|fault| fault.detail("key", "inventory"))? {
            maker.member(group, &name);
            let vars = vars.map(|vars| object(file, vars, pattern)).transpose()?.flatten();
            for (key, value) in vars.into_iter().flatten() {
                plain(value).into_iter().for_each(|value| maker.host_var(&name, key, &value));
            }
        }
    }
    Ok(())
}

fn children(file: &str, group: &str, value: &Value, maker: &mut Maker, depth: usize) -> Result<()> {
    match value {
        Value::Null => {}
        Value::Array(names) => names.iter().filter_map(Value::as_str).for_each(|name| maker.child(group, name)),
        Value::Object(inner) => {
            for (name, value) in inner {
                maker.child(group, name);
                self::group(file, name, value, maker, depth + 1)?;
            }
        }
        _ => return Err(wrong(file, &format!("the children of {group:?} are neither a list nor a mapping"))),
    }
    Ok(())
}

/// A mapping; none for nothing, which YAML writes for an empty one.
fn object<'a>(file: &str, value: &'a Value, name: &str) -> Result<Option<&'a Map<String, Value>>> {
    match value {
        Value::Null => Ok(None),
        Value::Object(map) => Ok(Some(map)),
        _ => Err(wrong(file, &format!("{name:?} is not a mapping"))),
    }
}

/// A variable that can be a label: one value. Lists and mappings are none.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
