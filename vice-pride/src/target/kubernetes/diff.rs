//! How an object would change, in lines for people. Pure. Values of Secrets are never shown.

use serde_json::Value;

use super::object::ObjectId;

/// How many lines are shown of all objects together.
pub(super) const LINES_MAX: usize = 200;
/// How long a value is shown, in characters.
const VALUE_CHARS_MAX: usize = 80;

/// The lines of one object: from what is there to what would be.
pub(super) fn lines(id: &ObjectId, live: Option<&Value>, after: &Value) -> Vec<String> {
    let Some(live) = live else { return vec![format!("+ {id}")] };
    let mut fields = Vec::new();
    compare("", live, after, &mut fields);
    let hidden = id.kind == "Secret";
    let shown = |value: Option<&Value>| match value {
        None => "(absent)".to_owned(),
        Some(_) if hidden => "(hidden)".to_owned(),
        Some(value) => short(value),
    };
    fields.iter().map(|field| format!("~ {id} {}: {} → {}", field.path, shown(field.old), shown(field.new))).collect()
}

struct Field<'a> {
    path: String,
    old: Option<&'a Value>,
    new: Option<&'a Value>,
}

/// What changes with every write and tells nothing.
fn is_noise(path: &str) -> bool {
    ["status", "metadata.managedFields", "metadata.resourceVersion", "metadata.generation"].contains(&path)
        || path.starts_with("metadata.annotations.vice.dev/")
}

fn compare<'a>(path: &str, old: &'a Value, new: &'a Value, out: &mut Vec<Field<'a>>) {
    if old == new || is_noise(path) || out.len() > LINES_MAX {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                let path = joined(path, key);
                match new.get(key) {
                    Some(other) => compare(&path, value, other, out),
                    None if !is_noise(&path) => out.push(Field { path, old: Some(value), new: None }),
                    None => {}
                }
            }
            for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                let path = joined(path, key);
                if !is_noise(&path) {
                    out.push(Field { path, old: None, new: Some(value) });
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (one, other)) in old.iter().zip(new).enumerate() {
                let name = one["name"].as_str().filter(|_| one["name"] == other["name"]);
                let at = name.map_or_else(|| index.to_string(), str::to_owned);
                compare(&format!("{path}[{at}]"), one, other, out);
            }
        }
        _ => out.push(Field { path: path.to_owned(), old: Some(old), new: Some(new) }),
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    let mut cut: String = text.chars().take(VALUE_CHARS_MAX).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(kind: &str) -> ObjectId {
        ObjectId { api_version: "v1".into(), kind: kind.into(), namespace: None, name: "web".into() }
    }

    #[test]
    fn only_what_somebody_wrote_is_a_change() {
        let live = json!({"metadata": {"resourceVersion": "1", "annotations": {"vice.dev/op": "a"}, "labels": {"a": "b"}},
            "spec": {"replicas": 2, "containers": [{"name": "web", "image": "shop:1"}]}, "status": {"x": 1}});
        let after = json!({"metadata": {"resourceVersion": "2", "annotations": {"vice.dev/op": "b"}},
            "spec": {"replicas": 3, "containers": [{"name": "web", "image": "shop:2"}]}});
        assert_eq!(
            lines(&id("Deployment"), Some(&live), &after),
            [
                "~ Deployment web metadata.labels: {\"a\":\"b\"} → (absent)",
                "~ Deployment web spec.replicas: 2 → 3",
                "~ Deployment web spec.containers[web].image: shop:1 → shop:2",
            ]
        );
        assert_eq!(lines(&id("Service"), None, &after), ["+ Service web"]);
        assert!(lines(&id("Service"), Some(&after), &after).is_empty());
    }

    #[test]
    fn what_a_secret_holds_is_not_shown() {
        let text = lines(&id("Secret"), Some(&json!({"data": {"a": "hunter2"}})), &json!({"data": {"a": "hunter3"}}));
        assert_eq!(text, ["~ Secret web data.a: (hidden) → (hidden)"]);
    }
}
