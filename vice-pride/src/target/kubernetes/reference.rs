//! The ConfigMaps and Secrets that a pod refers to by name, wherever in its specification. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// The fields that hold a reference: what kind it is of, and in which field its name stands.
const REFERENCES: &[(&str, &str, &str)] = &[
    ("configMapRef", "ConfigMap", "name"),
    ("configMapKeyRef", "ConfigMap", "name"),
    ("configMap", "ConfigMap", "name"),
    ("secretRef", "Secret", "name"),
    ("secretKeyRef", "Secret", "name"),
    ("secret", "Secret", "name"),
    ("secret", "Secret", "secretName"),
];

/// Lets what refers to one of the known objects refer to its copy, and notes which were referred to.
pub(super) fn rename(
    value: &mut Value,
    suffix: &str,
    known: &BTreeSet<(String, String)>,
    used: &mut BTreeSet<(String, String)>,
) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, suffix, known, used)),
        Value::Object(fields) => {
            for (field, value) in fields {
                for (_, kind, at) in REFERENCES.iter().filter(|(name, _, _)| name == field) {
                    let Some(name) = value[*at].as_str().map(str::to_owned) else { continue };
                    let key = ((*kind).to_owned(), name.clone());
                    if known.contains(&key) {
                        used.insert(key);
                        value[*at] = json!(format!("{name}{suffix}"));
                    }
                }
                rename(value, suffix, known, used);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_wherever_they_stand() {
        let mut spec = json!({
            "containers": [{"envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "other"}}],
                "env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}],
            "volumes": [{"configMap": {"name": "a"}}, {"secret": {"secretName": "s"}},
                {"projected": {"sources": [{"secret": {"name": "s"}}]}}],
        });
        let key = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
        let known = BTreeSet::from([key("ConfigMap", "a"), key("Secret", "s"), key("ConfigMap", "unused")]);
        let mut used = BTreeSet::new();
        rename(&mut spec, "-x", &known, &mut used);
        let text = spec.to_string();
        assert_eq!((text.matches("\"a-x\"").count(), text.matches("\"s-x\"").count()), (2, 3), "{text}");
        assert!(text.contains("\"other\""), "what is not among the manifests stays as it is: {text}");
        assert_eq!(used, BTreeSet::from([key("ConfigMap", "a"), key("Secret", "s")]));
    }
}
