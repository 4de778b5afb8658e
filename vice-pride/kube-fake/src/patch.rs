//! The other ways of changing an object in part: JSON merge patch, JSON patch and strategic merge patch.

use serde_json::{Value, json};

use crate::fields::keys_of;

/// RFC 7386.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// RFC 6902, as far as kubectl uses it: add, replace, remove and test.
pub(crate) fn json_patch(target: &mut Value, operations: &Value) -> Result<(), String> {
    for operation in operations.as_array().ok_or("a JSON patch is a list")? {
        let path = operation["path"].as_str().ok_or("an operation has no path")?;
        let value = || operation["value"].clone();
        match operation["op"].as_str() {
            Some("test") if target.pointer(path) == Some(&operation["value"]) => {}
            Some("test") => return Err(format!("the test of {path} failed")),
            Some("replace") => *target.pointer_mut(path).ok_or(format!("there is no {path}"))? = value(),
            Some("add") => *slot(target, path)? = value(),
            Some("remove") => take_out(target, path)?,
            other => return Err(format!("the operation {other:?} is not known")),
        }
    }
    Ok(())
}

fn split(path: &str) -> Result<(&str, String), String> {
    let (parent, name) = path.rsplit_once('/').ok_or(format!("{path} is no path"))?;
    Ok((parent, name.replace("~1", "/").replace("~0", "~")))
}

fn slot<'a>(target: &'a mut Value, path: &str) -> Result<&'a mut Value, String> {
    let (parent, name) = split(path)?;
    match target.pointer_mut(parent).ok_or(format!("there is no {parent}"))? {
        Value::Object(fields) => Ok(fields.entry(name).or_insert(Value::Null)),
        Value::Array(items) => {
            let at = if name == "-" { items.len() } else { name.parse().map_err(|_| format!("{name} is no index"))? };
            if at > items.len() {
                return Err(format!("{path} is beyond the end"));
            }
            items.insert(at, Value::Null);
            Ok(&mut items[at])
        }
        _ => Err(format!("{parent} holds nothing")),
    }
}

fn take_out(target: &mut Value, path: &str) -> Result<(), String> {
    let (parent, name) = split(path)?;
    match target.pointer_mut(parent).ok_or(format!("there is no {parent}"))? {
        Value::Object(fields) => fields.remove(&name).map(drop).ok_or(format!("there is no {path}")),
        Value::Array(items) => {
            let at: usize = name.parse().map_err(|_| format!("{name} is no index"))?;
            if at >= items.len() {
                return Err(format!("{path} is beyond the end"));
            }
            items.remove(at);
            Ok(())
        }
        _ => Err(format!("{parent} holds nothing")),
    }
}

/// Strategic merge patch: as a merge patch, but lists whose items have keys are merged by them, and directives say what
/// goes. The order of items (`$setElementOrder`) is not followed.
pub(crate) fn strategic(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if patch.get("$patch").is_some_and(|directive| directive == "replace") {
        let mut whole = patch.clone();
        whole.remove("$patch");
        *target = Value::Object(whole);
        return;
    }
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        fields.retain(|name, _| keep.iter().any(|kept| kept == name));
    }
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        if value.is_null() {
            fields.remove(name);
            continue;
        }
        let next = fields.entry(name.clone()).or_insert(Value::Null);
        match value.as_array() {
            Some(items) => list(next, items, name),
            None => strategic(next, value),
        }
    }
}

fn list(target: &mut Value, patch: &[Value], name: &str) {
    let keys = match name {
        // The key of a patch is the first of them: it need not say the protocol.
        "ports" if patch.iter().any(|item| item.get("containerPort").is_some()) => Some("containerPort"),
        "ports" => Some("port"),
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => Some("name"),
        _ => keys_of(name, patch).and_then(|keys| keys.first().copied()),
    };
    let (Some(key), Some(items)) = (keys, target.as_array_mut()) else {
        *target = json!(patch);
        return;
    };
    for value in patch {
        let at = items.iter().position(|item| item.get(key) == value.get(key));
        let deletes = value.get("$patch").is_some_and(|directive| directive == "delete");
        match (at, deletes) {
            (Some(at), true) => drop(items.remove(at)),
            (Some(at), false) => strategic(&mut items[at], value),
            (None, true) => {}
            (None, false) => items.push(value.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_removes_what_is_null() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "d": [1, 2]});
        merge(&mut object, &json!({"a": {"b": null, "e": 3}, "d": [3]}));
        assert_eq!(object, json!({"a": {"c": 2, "e": 3}, "d": [3]}));
    }

    #[test]
    fn a_strategic_patch_merges_containers_by_name() {
        let mut object =
            json!({"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]});
        strategic(
            &mut object,
            &json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [
            {"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}, {"name": "c"}]}),
        );
        let a = json!({"name": "a", "image": "2", "env": [{"name": "X", "value": "1"}]});
        assert_eq!(object, json!({"containers": [a, {"name": "c"}]}));
    }

    #[test]
    fn a_json_patch_tests_before_it_replaces() {
        let mut object = json!({"spec": {"a": 1, "l": [1]}});
        let patch = json!([{"op": "test", "path": "/spec/a", "value": 1}, {"op": "replace", "path": "/spec/a", "value": 2},
            {"op": "add", "path": "/spec/l/-", "value": 2}, {"op": "remove", "path": "/spec/l/0"}]);
        json_patch(&mut object, &patch).unwrap();
        assert_eq!(object, json!({"spec": {"a": 2, "l": [2]}}));
        assert!(json_patch(&mut object, &patch).unwrap_err().contains("the test of /spec/a failed"));
    }
}
