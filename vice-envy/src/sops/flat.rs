//! SOPS files without nesting: dotenv and INI, in which SOPS writes what it says about the file as flat names
//! (`age__list_0__map_enc`). Only what SOPS itself writes is read here.

use serde_json::{Map, Value};

use super::Sealed;

/// The most parts of a flat name, and of entries of a list.
const PARTS_MAX: usize = 64;

/// A dotenv file; what SOPS says begins with `sops_`.
pub(super) fn dotenv(text: &str) -> Option<Sealed> {
    let mut sealed = Sealed { tree: Map::new(), meta: Map::new() };
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for (name, value) in lines.filter_map(|line| line.split_once('=')) {
        match name.strip_prefix("sops_") {
            Some(name) => put(&mut sealed.meta, name, value),
            None => drop(sealed.tree.insert(name.to_owned(), Value::String(value.replace("\\n", "\n")))),
        }
    }
    sealed.meta.contains_key("mac").then_some(sealed)
}

/// An INI file; what SOPS says is the section `sops`.
pub(super) fn ini(text: &str) -> Option<Sealed> {
    let mut sealed = Sealed { tree: Map::new(), meta: Map::new() };
    let mut section = "DEFAULT".to_owned();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let (name, value) = line.split_once('=')?;
        let (name, value) = (name.trim(), unquoted(value.trim()));
        if section == "sops" {
            put(&mut sealed.meta, name, value);
        } else if let Value::Object(fields) =
            sealed.tree.entry(section.clone()).or_insert_with(|| Value::Object(Map::new()))
        {
            fields.insert(name.to_owned(), Value::String(value.to_owned()));
        }
    }
    sealed.meta.contains_key("mac").then_some(sealed)
}

fn unquoted(value: &str) -> &str {
    ["\"\"\"", "`", "\""].iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value)
}

/// Puts `age__list_0__map_enc` into the list `age` as the field `enc` of its first item.
fn put(meta: &mut Map<String, Value>, name: &str, value: &str) {
    let value = value.replace("\\n", "\n");
    let parts: Vec<&str> = name.split("__").take(PARTS_MAX).collect();
    let [first, rest @ ..] = parts.as_slice() else { return };
    match rest {
        [] => drop(meta.insert((*first).to_owned(), Value::String(value))),
        [index, field] => {
            let index = index.strip_prefix("list_").and_then(|index| index.parse::<usize>().ok());
            let (Some(index), Some(field)) = (index.filter(|index| *index < PARTS_MAX), field.strip_prefix("map_"))
            else {
                return;
            };
            let list = meta.entry((*first).to_owned()).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = list else { return };
            while items.len() <= index {
                items.push(Value::Object(Map::new()));
            }
            if let Some(Value::Object(fields)) = items.get_mut(index) {
                fields.insert(field.to_owned(), Value::String(value));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sops_says_is_told_from_values() {
        let text = "A=ENC[AES256_GCM,data:x]\n#c\nsops_age__list_0__map_enc=one\\ntwo\nsops_age__list_1__map_enc=3\nsops_mac=m\n";
        let sealed = dotenv(text).unwrap();
        assert_eq!(sealed.tree.keys().collect::<Vec<_>>(), ["A"]);
        assert_eq!(sealed.meta["age"][0]["enc"], "one\ntwo");
        assert_eq!(sealed.meta["age"][1]["enc"], "3");
        let text = "[db]\npassword = ENC[x]\n\n[sops]\nmac = m\nage__list_0__map_recipient = age1x\n";
        let sealed = ini(text).unwrap();
        assert_eq!(sealed.tree["db"]["password"], "ENC[x]");
        assert_eq!(sealed.meta["age"][0]["recipient"], "age1x");
        assert!(ini("[a]\nno line\n").is_none() && dotenv("A=1\n").is_none());
    }
}
