//! A scenario as TOML that a person would have written.

use serde_json::Value;

use super::Import;

/// The file.
pub(crate) fn document(import: &Import) -> String {
    let mut out = String::new();
    for note in &import.notes {
        out.push_str(&format!("# {}\n", vice_core::text::sanitize(note)));
    }
    if !import.notes.is_empty() {
        out.push('\n');
    }
    out.push_str(&format!("name  = {}\n", toml(&Value::from(import.name.as_str()))));
    out.push_str(&format!("about = {}\n", toml(&Value::from(import.about.as_str()))));
    if !import.vars.is_empty() {
        out.push_str("\n[vars]\n");
        for (name, value) in &import.vars {
            out.push_str(&format!("{} = {}\n", key(name), toml(value)));
        }
    }
    for step in &import.steps {
        out.push_str("\n[[step]]\n");
        let mut lines = vec![("name", toml(&Value::from(step.name.as_str())))];
        lines.push((step.action.0.as_str(), toml(&Value::from(step.action.1.as_str()))));
        lines.extend(step.keys.iter().map(|(key, value)| (key.as_str(), toml(value))));
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in lines {
            out.push_str(&format!("{name:width$} = {value}\n"));
        }
        for (name, value) in &step.expect {
            out.push_str(&format!("expect.{} = {}\n", key(name), toml(value)));
        }
    }
    out
}

/// A key, in quotes where it needs them.
fn key(name: &str) -> String {
    let bare =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if bare { name.to_owned() } else { toml(&Value::from(name)) }
}

/// A value on one line, texts of several lines in three quotes. TOML has no null; an empty text stands for it, and
/// whoever makes an import leaves nulls out.
fn toml(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) if number.is_f64() => format!("{:?}", number.as_f64().unwrap_or_default()),
        Value::Number(number) => number.to_string(),
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{} = {}", key(name), toml(value))).collect();
            if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
        }
    }
}
