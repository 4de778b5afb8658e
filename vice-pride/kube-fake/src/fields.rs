//! Who owns which field: sets of paths as they stand in `managedFields`, and server-side apply on top of them.
//!
//! A path is a list of the steps that `fieldsV1` has: `f:NAME` for a field, `k:{…}` for the item of a list that is told
//! by keys. All other lists, and values that are empty, are owned whole.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

pub(crate) type Path = Vec<String>;
pub(crate) type Set = BTreeSet<Path>;

/// The keys that tell the items of a list, by the name of the field.
pub(crate) fn keys_of(name: &str, items: &[Value]) -> Option<&'static [&'static str]> {
    let keys: &[&str] = match name {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => &["name"],
        "ports" if items.iter().any(|item| item.get("containerPort").is_some()) => &["containerPort", "protocol"],
        "ports" => &["port", "protocol"],
        "volumeMounts" => &["mountPath"],
        "conditions" => &["type"],
        "ownerReferences" => &["uid"],
        _ => return None,
    };
    let all = !items.is_empty() && items.iter().all(|item| keys.iter().all(|key| item.get(*key).is_some()));
    all.then_some(keys)
}

fn key_step(item: &Value, keys: &[&str]) -> String {
    let map: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), item[*key].clone())).collect();
    format!("k:{}", Value::Object(map))
}

/// What nobody owns.
fn is_nobodys(path: &[String]) -> bool {
    let at = |index: usize| path.get(index).map(String::as_str);
    let metadata = [
        "f:name",
        "f:namespace",
        "f:uid",
        "f:resourceVersion",
        "f:generation",
        "f:creationTimestamp",
        "f:managedFields",
        "f:deletionTimestamp",
    ];
    match at(0) {
        Some("f:apiVersion" | "f:kind" | "f:status") => true,
        Some("f:metadata") => at(1).is_some_and(|name| metadata.contains(&name)),
        _ => false,
    }
}

/// The paths of everything in an object that can be owned.
pub(crate) fn leaves(object: &Value) -> Set {
    let mut out = Set::new();
    collect(object, &mut Vec::new(), &mut out);
    out
}

fn collect(value: &Value, path: &mut Path, out: &mut Set) {
    if is_nobodys(path) {
        return;
    }
    let name = path.last().and_then(|step| step.strip_prefix("f:")).unwrap_or_default().to_owned();
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (field, value) in fields {
                path.push(format!("f:{field}"));
                collect(value, path, out);
                path.pop();
            }
        }
        Value::Array(items) if keys_of(&name, items).is_some() => {
            let keys = keys_of(&name, items).unwrap_or_default();
            for item in items {
                path.push(key_step(item, keys));
                out.insert(path.clone());
                collect(item, path, out);
                path.pop();
            }
        }
        _ if path.is_empty() => {}
        _ => {
            out.insert(path.clone());
        }
    }
}

/// What stands at a path.
pub(crate) fn lookup<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return Some(value) };
    let next = match step.strip_prefix("f:") {
        Some(field) => value.get(field),
        None => value.as_array()?.iter().find(|item| fits(item, step)),
    };
    lookup(next?, rest)
}

fn fits(item: &Value, step: &str) -> bool {
    let keys: Value = serde_json::from_str(step.strip_prefix("k:").unwrap_or("{}")).unwrap_or_default();
    keys.as_object().is_some_and(|keys| keys.iter().all(|(key, value)| item.get(key) == Some(value)))
}

/// Takes out what stands at a path, and maps that are empty then.
fn remove(value: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    match step.strip_prefix("f:") {
        Some(field) => {
            let Some(fields) = value.as_object_mut() else { return };
            if rest.is_empty() {
                fields.remove(field);
            } else if let Some(next) = fields.get_mut(field) {
                remove(next, rest);
                if next.as_object().is_some_and(Map::is_empty) || next.as_array().is_some_and(Vec::is_empty) {
                    fields.remove(field);
                }
            }
        }
        None => {
            let Some(items) = value.as_array_mut() else { return };
            if rest.is_empty() {
                items.retain(|item| !fits(item, step));
            } else if let Some(item) = items.iter_mut().find(|item| fits(item, step)) {
                remove(item, rest);
            }
        }
    }
}

/// Puts an applied configuration into an object.
pub(crate) fn merge(live: &mut Value, applied: &Value, name: &str) {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) => {
            for (field, value) in applied {
                match live.get_mut(field) {
                    Some(next) => merge(next, value, field),
                    None => {
                        live.insert(field.clone(), value.clone());
                    }
                }
            }
        }
        (live @ Value::Array(_), Value::Array(applied)) => {
            let keys = keys_of(name, applied);
            let (Some(keys), Some(items)) = (keys, live.as_array_mut()) else {
                *live = Value::Array(applied.clone());
                return;
            };
            for value in applied {
                let step = key_step(value, keys);
                match items.iter_mut().find(|item| fits(item, &step)) {
                    Some(item) => merge(item, value, ""),
                    None => items.push(value.clone()),
                }
            }
        }
        (live, applied) => *live = applied.clone(),
    }
}

/// One manager's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) manager: String,
    pub(crate) apply: bool,
    pub(crate) subresource: String,
    pub(crate) time: String,
    pub(crate) set: Set,
}

/// The owners that an object names.
pub(crate) fn owners(object: &Value) -> Vec<Owner> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries
        .map(|entry| {
            let mut set = Set::new();
            parse(&entry["fieldsV1"], &mut Vec::new(), &mut set);
            Owner {
                manager: text(&entry["manager"]),
                apply: entry["operation"] == "Apply",
                subresource: text(&entry["subresource"]),
                time: text(&entry["time"]),
                set,
            }
        })
        .collect()
}

fn parse(fields: &Value, path: &mut Path, out: &mut Set) {
    let Some(map) = fields.as_object() else { return };
    if map.is_empty() || map.contains_key(".") {
        out.insert(path.clone());
    }
    for (step, below) in map.iter().filter(|(step, _)| *step != ".") {
        path.push(step.clone());
        parse(below, path, out);
        path.pop();
    }
}

fn encode(set: &Set) -> Value {
    let mut root = json!({});
    for path in set {
        let mut at = &mut root;
        for step in path {
            at = &mut at[step.as_str()];
            if at.is_null() {
                *at = json!({});
            }
        }
    }
    dot(&mut root, &mut Vec::new(), set);
    root
}

fn dot(value: &mut Value, path: &mut Path, set: &Set) {
    let Some(map) = value.as_object_mut() else { return };
    for (step, below) in map.iter_mut() {
        path.push(step.clone());
        dot(below, path, set);
        path.pop();
    }
    if !map.is_empty() && set.contains(path) {
        map.insert(".".to_owned(), json!({}));
    }
}

/// Writes the owners into an object.
pub(crate) fn store(object: &mut Value, owners: &[Owner]) {
    let api_version = object["apiVersion"].clone();
    let entries: Vec<Value> = owners
        .iter()
        .filter(|owner| !owner.set.is_empty())
        .map(|owner| {
            let mut entry = json!({"manager": owner.manager, "operation": if owner.apply { "Apply" } else { "Update" },
                "apiVersion": api_version, "time": owner.time, "fieldsType": "FieldsV1", "fieldsV1": encode(&owner.set)});
            if !owner.subresource.is_empty() {
                entry["subresource"] = json!(owner.subresource);
            }
            entry
        })
        .collect();
    object["metadata"]["managedFields"] = json!(entries);
}

/// A field that somebody else owns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clash {
    pub(crate) manager: String,
    pub(crate) field: String,
}

/// Server-side apply: the object and its owners afterwards, or the clashes.
pub(crate) fn apply(
    live: &Value,
    applied: &Value,
    manager: &str,
    force: bool,
    now: &str,
) -> Result<(Value, Vec<Owner>), Vec<Clash>> {
    let wanted = leaves(applied);
    let mut owners = owners(live);
    let is_own = |owner: &Owner| owner.apply && owner.manager == manager;
    let differs = |path: &Path| lookup(live, path).is_some_and(|there| Some(there) != lookup(applied, path));
    let is_item = |path: &Path| path.last().is_some_and(|step| step.starts_with("k:"));
    let contested: Vec<Path> = wanted.iter().filter(|path| !is_item(path) && differs(path)).cloned().collect();
    let mut clashes = Vec::new();
    for owner in owners.iter_mut().filter(|owner| !is_own(owner)) {
        for path in &contested {
            if owner.set.contains(path) {
                if force {
                    owner.set.remove(path);
                } else {
                    clashes.push(Clash { manager: owner.manager.clone(), field: dotted(path) });
                }
            }
        }
    }
    if !clashes.is_empty() {
        return Err(clashes);
    }
    let before = owners.iter().find(|owner| is_own(owner)).map(|owner| owner.set.clone()).unwrap_or_default();
    let mut merged = live.clone();
    merge(&mut merged, applied, "");
    let mut gone: Vec<&Path> = before.difference(&wanted).collect();
    gone.sort_by_key(|path| std::cmp::Reverse(path.len()));
    for path in gone {
        let others = owners.iter().filter(|owner| !is_own(owner));
        if !others.clone().any(|owner| owner.set.iter().any(|owned| owned.starts_with(path))) {
            remove(&mut merged, path);
        }
    }
    let changed = before != wanted || merged != *live;
    match owners.iter_mut().find(|owner| owner.apply && owner.manager == manager) {
        Some(own) => {
            own.set = wanted;
            if changed {
                own.time = now.to_owned();
            }
        }
        None => owners.push(Owner {
            manager: manager.to_owned(),
            apply: true,
            subresource: String::new(),
            time: now.to_owned(),
            set: wanted,
        }),
    }
    Ok((merged, owners))
}

/// The owners after somebody has replaced or patched an object.
pub(crate) fn updated(old: Option<&Value>, new: &Value, manager: &str, subresource: &str, now: &str) -> Vec<Owner> {
    let mut owners = old.map(owners).unwrap_or_default();
    let (before, after) = (old.map(leaves).unwrap_or_default(), leaves(new));
    let same = |path: &Path| {
        before.contains(path) && old.and_then(|old| lookup(old, path)) == lookup(new, path) || is_kept(path, &before)
    };
    let changed: Set = after.iter().filter(|path| !same(path)).cloned().collect();
    for owner in &mut owners {
        let other = owner.manager != manager || owner.apply || owner.subresource != subresource;
        owner.set.retain(|path| after.contains(path) && !(other && changed.contains(path)));
    }
    if changed.is_empty() {
        return owners;
    }
    let is_own = |owner: &&mut Owner| owner.manager == manager && !owner.apply && owner.subresource == subresource;
    match owners.iter_mut().find(is_own) {
        Some(own) => {
            own.set.extend(changed);
            own.time = now.to_owned();
        }
        None => owners.push(Owner {
            manager: manager.to_owned(),
            apply: false,
            subresource: subresource.to_owned(),
            time: now.to_owned(),
            set: changed,
        }),
    }
    owners
}

/// The item of a list stays its owner's, whatever changes in it.
fn is_kept(path: &Path, before: &Set) -> bool {
    path.last().is_some_and(|step| step.starts_with("k:")) && before.contains(path)
}

/// A path as an API server prints it.
fn dotted(path: &Path) -> String {
    path.iter()
        .map(|step| match step.strip_prefix("f:") {
            Some(field) => format!(".{field}"),
            None => {
                let keys: Value = serde_json::from_str(step.strip_prefix("k:").unwrap_or("{}")).unwrap_or_default();
                let pairs = keys.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
                format!("[{}]", pairs.collect::<Vec<_>>().join(","))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(image: &str, replicas: Option<i64>) -> Value {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}});
        if let Some(replicas) = replicas {
            object["spec"]["replicas"] = json!(replicas);
        }
        object
    }

    fn applied(live: &Value, object: &Value, manager: &str, force: bool) -> Result<Value, Vec<Clash>> {
        apply(live, object, manager, force, "now").map(|(mut object, owners)| {
            store(&mut object, &owners);
            object
        })
    }

    #[test]
    fn a_field_of_another_manager_is_a_clash_unless_it_is_the_same_or_forced() {
        let one = applied(&json!({}), &deployment("a", Some(2)), "one", false).unwrap();
        let clashes = applied(&one, &deployment("b", None), "two", false).unwrap_err();
        let field = ".spec.template.spec.containers[name=\"web\"].image";
        assert_eq!(clashes, [Clash { manager: "one".into(), field: field.into() }]);
        applied(&one, &deployment("a", None), "two", false).unwrap();
        let forced = applied(&one, &deployment("b", None), "two", true).unwrap();
        assert!(owners(&forced)[0].set.iter().all(|path| path.last().unwrap() != "f:image"));
        assert_eq!(forced["spec"]["replicas"], 2);
    }

    #[test]
    fn what_is_no_longer_applied_goes_unless_somebody_else_has_it() {
        let one = applied(&json!({}), &deployment("a", Some(2)), "one", false).unwrap();
        let without = applied(&one, &deployment("a", None), "one", false).unwrap();
        assert_eq!(without["spec"].get("replicas"), None);
        let both = applied(&one, &deployment("a", Some(2)), "two", false).unwrap();
        let kept = applied(&both, &deployment("a", None), "one", false).unwrap();
        assert_eq!(kept["spec"]["replicas"], 2);
    }

    #[test]
    fn sets_survive_being_written_and_read() {
        let object = applied(&json!({}), &deployment("a", Some(2)), "one", false).unwrap();
        assert_eq!(owners(&object)[0].set, leaves(&deployment("a", Some(2))));
        let fields =
            &object["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"];
        assert_eq!(*fields, json!({"k:{\"name\":\"web\"}": {"f:name": {}, "f:image": {}, ".": {}}}));
    }

    #[test]
    fn whoever_changes_a_field_owns_it() {
        let one = applied(&json!({}), &deployment("a", Some(2)), "one", false).unwrap();
        let mut two = one.clone();
        two["spec"]["replicas"] = json!(5);
        let owners = updated(Some(&one), &two, "kubectl", "scale", "now");
        assert_eq!(owners[1].set, [vec!["f:spec".to_owned(), "f:replicas".to_owned()]].into());
        assert!(!owners[0].set.contains(&vec!["f:spec".to_owned(), "f:replicas".to_owned()]));
    }
}
