//! A configuration as a document: nested tables for JSON, TOML and YAML, variables for dotenv. What is written can be
//! read back to the same values; what can't be written so is an error that names the key.

use serde_json::{Map, Value};
use vice_core::port::config::{ConfigEntry, ConfigValue, variable_name};
use vice_core::secret::masked;
use vice_core::{Code, Context, Fault, Result};

use crate::layer::dotenv;

/// The value for a document: secrets by name, unless they are to be revealed.
pub(crate) fn shown(key: &str, value: &ConfigValue, reveal: bool) -> Value {
    match value {
        ConfigValue::Plain(value) => value.clone(),
        ConfigValue::Secret(secret) if reveal => Value::String(secret.reveal().to_owned()),
        ConfigValue::Secret(_) => Value::String(masked(key)),
    }
}

/// Shown values by dotted key, in order.
pub(crate) fn shown_all<'e>(
    entries: impl IntoIterator<Item = (&'e String, &'e ConfigEntry)>,
    reveal: bool,
) -> Vec<(String, Value)> {
    entries.into_iter().map(|(key, entry)| (key.clone(), shown(key, &entry.value, reveal))).collect()
}

/// Nested tables. No key is a table and a value at once, so that everything has its place.
pub(crate) fn nested(values: &[(String, Value)]) -> Map<String, Value> {
    let mut root = Map::new();
    for (key, value) in values {
        let mut table = &mut root;
        let (parents, name) = key.rsplit_once('.').unwrap_or(("", key));
        for part in parents.split('.').filter(|part| !part.is_empty()) {
            let slot = table.entry(part).or_insert_with(|| Value::Object(Map::new()));
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            let Value::Object(inner) = slot else { unreachable!("the slot was made an object above") };
            table = inner;
        }
        table.insert(name.to_owned(), value.clone());
    }
    root
}

/// The text of a value as a process gets it: text as it is, everything else as JSON.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `NAME=value` lines, for dotenv readers and for shells.
pub(crate) fn env(values: &[(String, Value)]) -> Result<String> {
    let line = |(key, value): &(String, Value)| {
        if key.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Fault::new(
                Code::ConfigInvalid,
                format!("The key {key} can't be the name of a variable: it starts with a digit."),
            )
            .detail("key", key.as_str()));
        }
        dotenv::write(&variable_name(key), &as_text(value)).ok_or_else(|| {
            Fault::new(
                Code::ConfigInvalid,
                format!("The value of {key} has a NUL byte, which no environment variable can hold."),
            )
            .detail("key", key.as_str())
        })
    };
    values.iter().map(line).collect()
}

/// TOML.
pub(crate) fn toml(values: &[(String, Value)]) -> Result<String> {
    let unfit = |key: &str| {
        Fault::new(Code::ConfigInvalid, format!("The value of {key} has a number that TOML can't hold."))
            .hint("TOML integers end at 9223372036854775807; write it as text.")
            .detail("key", key)
    };
    if let Some((key, _)) = values.iter().find(|(_, value)| !fits_toml(value)) {
        return Err(unfit(key));
    }
    ::toml::to_string(&nested(values))
        .context(Code::Internal, || "The configuration can't be written as TOML.".to_owned())
}

fn fits_toml(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Number(number) => number.is_i64() || number.is_f64(),
        Value::Array(items) => items.iter().all(fits_toml),
        Value::Object(fields) => fields.values().all(fits_toml),
        Value::Bool(_) | Value::String(_) => true,
    }
}

/// YAML: block mappings whose values are JSON, which every YAML reader takes the same way.
pub(crate) fn yaml(values: &[(String, Value)]) -> String {
    if values.is_empty() {
        return "{}\n".to_owned();
    }
    yaml_of(&nested(values))
}

/// Tables as YAML.
pub(crate) fn yaml_of(table: &Map<String, Value>) -> String {
    let mut out = String::new();
    yaml_table(&mut out, table, 0);
    out
}

fn yaml_table(out: &mut String, table: &Map<String, Value>, depth: usize) {
    for (key, value) in table {
        out.push_str(&"  ".repeat(depth));
        out.push_str(&yaml_key(key));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                yaml_table(out, inner, depth + 1);
            }
            other => {
                out.push(' ');
                out.push_str(&escape(&other.to_string()));
                out.push('\n');
            }
        }
    }
}

/// One value as YAML in one line.
pub(crate) fn yaml_value(value: &Value) -> String {
    escape(&value.to_string())
}

fn yaml_key(key: &str) -> String {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !words.iter().any(|word| key.eq_ignore_ascii_case(word));
    if plain { key.to_owned() } else { format!("\"{key}\"") }
}

/// JSON leaves some characters as they are that YAML does not print.
fn escape(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::layer::{json, toml as toml_layer, yaml as yaml_layer};
    use crate::sheet::Sheet;

    fn flat(sheet: &Sheet) -> BTreeMap<String, Value> {
        sheet.iter().map(|(key, found)| (key.to_owned(), found.value.clone())).collect()
    }

    fn scalar() -> impl Strategy<Value = Value> {
        let special = prop::sample::select(vec![
            "",
            "yes",
            "no",
            "null",
            "~",
            "1",
            "1.0",
            "0x10",
            "1e3",
            "true",
            "- a",
            "a: b",
            "# x",
            "'",
            "\"",
            "\\",
            "{{x}}",
            "=",
            "<<",
            "*a",
            "&a",
            "!t",
            "%",
            "@",
            "`",
            "\n",
            " a ",
            "2026-01-01",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "«secret:x»",
        ]);
        prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1.0e15..1.0e15_f64).prop_map(Value::from),
            special.prop_map(Value::from),
            "[^\\x00]{0,16}".prop_map(Value::from),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        let list = prop::collection::vec(scalar(), 0..4).prop_map(Value::from);
        let records = prop::collection::vec(("[a-z]{1,3}", scalar()), 1..3)
            .prop_map(|fields| json!([fields.into_iter().collect::<Map<_, _>>()]));
        prop_oneof![4 => scalar(), 1 => list, 1 => records]
    }

    /// Keys of two parts under distinct tables, so that none is a table and a value.
    fn values() -> impl Strategy<Value = Vec<(String, Value)>> {
        let key = "(a|b|no|1|null|x-y)\\.(c|true|2|d_e)(\\.f)?|[k-z][A-Z0-9_-]{0,3}";
        prop::collection::btree_map(key, value(), 0..8).prop_map(|map| {
            let keys: Vec<String> = map.keys().cloned().collect();
            let clash =
                |key: &str| keys.iter().any(|other| other.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')));
            map.into_iter().filter(|(key, _)| !clash(key)).collect()
        })
    }

    proptest! {
        #[test]
        fn documents_are_read_back_to_the_same_values(values in values()) {
            let expected: BTreeMap<String, Value> = values.iter().cloned().collect();
            let json_text = serde_json::to_string_pretty(&nested(&values)).unwrap();
            prop_assert_eq!(&flat(&json::read(&json_text).unwrap()), &expected);
            let toml_text = toml(&values).unwrap();
            let back = toml_layer::read(&toml_text);
            prop_assert!(back.is_ok(), "{}", toml_text);
            prop_assert_eq!(&flat(&back.unwrap()), &expected, "{}", toml_text);
            let yaml_text = yaml(&values);
            let back = yaml_layer::read(&yaml_text);
            prop_assert!(back.is_ok(), "{}", yaml_text);
            prop_assert_eq!(&flat(&back.unwrap()), &expected, "{}", yaml_text);
        }

        #[test]
        fn variables_are_read_back_to_what_a_process_gets(values in values()) {
            let values: Vec<_> = values.into_iter().filter(|(key, _)| !key.starts_with('1')).collect();
            let text = env(&values).unwrap();
            let back: Vec<(String, String)> = dotenv::variables(&text).unwrap().into_iter().map(|(name, value, _)| (name, value)).collect();
            let expected: Vec<(String, String)> = values.iter().map(|(key, value)| (variable_name(key), as_text(value))).collect();
            prop_assert_eq!(back, expected);
        }
    }

    #[test]
    fn values_outside_a_format_name_the_key() {
        let large = [("a.big".to_owned(), json!(u64::MAX))];
        assert!(toml(&large).unwrap_err().to_string().contains("a.big"));
        let nul = [("a.nul".to_owned(), json!("x\0y"))];
        assert!(env(&nul).unwrap_err().to_string().contains("a.nul"));
        assert!(env(&[("1.a".to_owned(), json!(1))]).unwrap_err().to_string().contains("1.a"));
        assert_eq!(env(&[("a.list".to_owned(), json!([1, "x"]))]).unwrap(), "A_LIST='[1,\"x\"]'\n");
    }
}
