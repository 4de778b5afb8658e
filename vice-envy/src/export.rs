//! Formats that a configuration is handed over in. What is written is read back to the same; a value that a format can't
//! hold is an error that names the key. Formats that know only text (variables, properties, INI, Kubernetes) hold the
//! text that a process would get.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use vice_core::port::config::{ConfigEntry, ConfigValue, variable_name};
use vice_core::ui::Format;
use vice_core::{Code, Fault, Result};

use crate::layer::{ini, properties};
use crate::render::{self, as_text};

/// The formats that a configuration can be written in.
pub(crate) const FORMATS: [Format; 8] = [
    Format::Env,
    Format::Toml,
    Format::Yaml,
    Format::Properties,
    Format::Ini,
    Format::Systemd,
    Format::ConfigMap,
    Format::Secret,
];

/// The largest object that Kubernetes takes, in bytes.
const OBJECT_BYTES_MAX: usize = 1024 * 1024;

/// The format of a name in `[[config.file]]`.
pub(crate) fn format(name: &str) -> Result<Format> {
    let known = || FORMATS.iter().chain([&Format::Json]);
    known().find(|format| format.name() == name).copied().ok_or_else(|| {
        let names: Vec<&str> = known().map(|format| format.name()).collect();
        Fault::new(Code::ConfigInvalid, format!("There is no format {name:?}."))
            .hint(format!("Known formats: {}.", names.join(", ")))
    })
}

/// What a document is about, where its format says so.
pub(crate) struct Subject<'a> {
    /// The name of the object.
    pub(crate) name: &'a str,
    /// Whether secrets are written as they are; masked otherwise.
    pub(crate) reveal: bool,
}

/// The text of a configuration in a format.
pub(crate) fn write(format: Format, entries: &BTreeMap<String, ConfigEntry>, subject: &Subject<'_>) -> Result<String> {
    let secret = |entry: &ConfigEntry| matches!(entry.value, ConfigValue::Secret(_));
    let values = |wanted: Option<bool>| {
        let chosen = entries.iter().filter(|(_, entry)| wanted.is_none_or(|wanted| wanted == secret(entry)));
        render::shown_all(chosen, subject.reveal)
    };
    match format {
        Format::Env => render::env(&values(None)),
        Format::Toml => render::toml(&values(None)),
        Format::Yaml => Ok(render::yaml(&values(None))),
        Format::Properties => {
            Ok(values(None).iter().map(|(key, value)| properties::write(key, &as_text(value))).collect())
        }
        Format::Ini => Ok(ini_text(&values(None))),
        Format::Systemd => systemd(&values(None)),
        Format::ConfigMap => object("ConfigMap", subject.name, &values(Some(false))),
        Format::Secret if subject.reveal => object("Secret", subject.name, &values(Some(true))),
        Format::Secret => Err(Fault::new(Code::Usage, "A Secret holds secrets as they are.")
            .hint("Add --reveal, and keep the output away from logs.")),
        _ => serde_json::to_string_pretty(&Value::Object(render::nested(&values(None))))
            .map(|text| format!("{text}\n"))
            .map_err(|_| Fault::internal("The configuration can't be written as JSON.")),
    }
}

fn ini_text(values: &[(String, Value)]) -> String {
    let line = |name: &str, value: &Value| format!("{name} = {}\n", ini::quoted(&as_text(value)));
    let mut out: String =
        values.iter().filter(|(key, _)| !key.contains('.')).map(|(key, value)| line(key, value)).collect();
    let mut last = "";
    let nested = values.iter().filter_map(|(key, value)| Some((key.rsplit_once('.')?, value)));
    let mut nested: Vec<_> = nested.collect();
    // Keys of one section stand together although a deeper one may sort between them.
    nested.sort_by_key(|((section, name), _)| (*section, *name));
    for ((section, name), value) in nested {
        if section != last {
            out.push_str(&format!("{}[{section}]\n", if out.is_empty() { "" } else { "\n" }));
            last = section;
        }
        out.push_str(&line(name, value));
    }
    out
}

fn name_of(key: &str) -> Result<String> {
    if key.starts_with(|c: char| c.is_ascii_digit()) {
        let message = format!("The key {key} can't be the name of a variable: it starts with a digit.");
        return Err(Fault::new(Code::ConfigInvalid, message).detail("key", key));
    }
    Ok(variable_name(key))
}

/// Lines as systemd reads an `EnvironmentFile`: always in double quotes, where `"`, `\`, `$` and a backtick are escaped.
fn systemd(values: &[(String, Value)]) -> Result<String> {
    let mut out = String::new();
    for (key, value) in values {
        let text = as_text(value);
        if text.chars().any(|c| c.is_ascii_control() && c != '\n' && c != '\t') {
            let message = format!("The value of {key} has a control character, which systemd does not take.");
            return Err(Fault::new(Code::ConfigInvalid, message).detail("key", key.as_str()));
        }
        out.push_str(&format!("{}=\"", name_of(key)?));
        for c in text.chars() {
            if matches!(c, '"' | '\\' | '$' | '`') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push_str("\"\n");
    }
    Ok(out)
}

/// A manifest. Its entries are named as variables are, so that `envFrom` gives a process what it gets elsewhere.
fn object(kind: &str, name: &str, values: &[(String, Value)]) -> Result<String> {
    let mut data = Map::new();
    let mut bytes = 0;
    for (key, value) in values {
        let text = as_text(value);
        bytes += key.len() + text.len();
        let text = if kind == "Secret" { STANDARD.encode(text) } else { text };
        data.insert(name_of(key)?, Value::String(text));
    }
    if bytes > OBJECT_BYTES_MAX {
        let message = format!("The {kind} would have {bytes} bytes; Kubernetes takes {OBJECT_BYTES_MAX}.");
        return Err(Fault::new(Code::ConfigInvalid, message));
    }
    let head = format!("apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {name}\n");
    let kind_of_secret = if kind == "Secret" { "type: Opaque\n" } else { "" };
    let data = Map::from_iter([("data".to_owned(), Value::Object(data))]);
    Ok(format!("{head}{kind_of_secret}{}", render::yaml_of(&data)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use vice_core::Secret;
    use vice_core::payload::config::Origin;

    use super::*;
    use crate::layer::{Kind, dotenv, yaml};

    type Entries = BTreeMap<String, ConfigEntry>;

    fn entry(value: ConfigValue) -> ConfigEntry {
        ConfigEntry { value, origin: Origin { layer: "l".into(), line: None } }
    }

    fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
        let text = prop_oneof![
            "\\PC{0,12}",
            "[ -~\n\t]{0,12}",
            "[\\\\\"'$`#;=:!\\[\\]\r\n\t \u{85}\u{2028}\u{feff}]{0,8}",
            Just("😀 é\u{c}".to_owned()),
        ];
        prop::collection::btree_map("[a-c]\\.[a-c](\\.[x-z])?_[0-9]|[d-h][A-Za-z0-9_-]{0,3}", text, 0..8)
    }

    fn plain(texts: &BTreeMap<String, String>) -> Entries {
        texts.iter().map(|(key, text)| (key.clone(), entry(ConfigValue::Plain(json!(text))))).collect()
    }

    fn written(format: Format, entries: &Entries) -> Result<String> {
        write(format, entries, &Subject { name: "shop", reveal: true })
    }

    fn read(kind: Kind, text: &str) -> BTreeMap<String, String> {
        let sheet = kind.read(text).unwrap_or_else(|flaw| panic!("{flaw:?}\n{text}"));
        sheet.iter().map(|(key, found)| (key.to_owned(), found.value.as_str().unwrap().to_owned())).collect()
    }

    proptest! {
        #[test]
        fn properties_and_ini_are_read_back_to_the_same(texts in texts()) {
            let entries = plain(&texts);
            prop_assert_eq!(&read(Kind::Properties, &written(Format::Properties, &entries).unwrap()), &texts);
            prop_assert_eq!(&read(Kind::Ini, &written(Format::Ini, &entries).unwrap()), &texts);
        }

        #[test]
        fn variables_and_objects_are_read_back_to_the_same(texts in texts()) {
            let names: BTreeMap<String, String> = texts.iter().map(|(key, text)| (variable_name(key), text.clone())).collect();
            prop_assume!(names.len() == texts.len());
            let entries = plain(&texts);
            match written(Format::Systemd, &entries) {
                Ok(text) => {
                    let back: BTreeMap<_, _> = dotenv::variables(&text).unwrap().into_iter().map(|(name, value, _)| (name, value)).collect();
                    prop_assert_eq!(&back, &names);
                }
                Err(fault) => {
                    let key = fault.details()["key"].as_str().unwrap();
                    prop_assert!(texts[key].chars().any(|c| c.is_ascii_control()));
                }
            }
            let map = yaml::read(&written(Format::ConfigMap, &entries).unwrap()).unwrap();
            let data: BTreeMap<_, _> = map.iter().filter_map(|(key, found)| Some((key.strip_prefix("data.")?.to_owned(), found.value.as_str()?.to_owned()))).collect();
            prop_assert_eq!(&data, &names);
        }
    }

    #[test]
    fn objects_part_what_is_secret_from_what_is_not() {
        let entries: Entries = [
            ("db.host".to_owned(), entry(ConfigValue::Plain(json!("x")))),
            ("db.port".to_owned(), entry(ConfigValue::Plain(json!(5432)))),
            ("token".to_owned(), entry(ConfigValue::Secret(Secret::new("hunter22")))),
        ]
        .into();
        let map = written(Format::ConfigMap, &entries).unwrap();
        assert_eq!(
            map,
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: shop\ndata:\n  DB_HOST: \"x\"\n  DB_PORT: \"5432\"\n"
        );
        let secret = written(Format::Secret, &entries).unwrap();
        assert!(secret.contains("type: Opaque\ndata:\n  TOKEN: \"aHVudGVyMjI=\"\n") && !secret.contains("DB_HOST"));
        let hidden = write(Format::Secret, &entries, &Subject { name: "shop", reveal: false });
        assert!(hidden.unwrap_err().hints()[0].contains("--reveal"));
    }

    #[test]
    fn outside_of_a_format_the_key_is_named() {
        for (format, key, value) in [
            (Format::Systemd, "a", json!("x\u{1}")),
            (Format::Systemd, "1a", json!("x")),
            (Format::ConfigMap, "1a", json!("x")),
            (Format::Env, "a", json!("x\0")),
            (Format::Toml, "a", json!(u64::MAX)),
        ] {
            let entries: Entries = [(key.to_owned(), entry(ConfigValue::Plain(value)))].into();
            let fault = written(format, &entries).unwrap_err();
            assert_eq!(fault.details()["key"], key, "{format:?}");
        }
        let large: Entries = [("a".to_owned(), entry(ConfigValue::Plain(json!("x".repeat(2_000_000)))))].into();
        assert!(written(Format::ConfigMap, &large).is_err());
    }
}
