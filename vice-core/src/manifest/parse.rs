//! From text to [`Manifest`], with errors that point at the place and name the nearest known key.

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::types::Manifest;
use crate::fault::{Code, Fault, Place, Result};
use crate::suggest::nearest;

/// The largest `vice.toml` that is read, in bytes.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Parses a manifest.
///
/// # Errors
/// `ManifestInvalid` with the place.
pub fn parse(file: &str, text: &str) -> Result<Manifest> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Fault::new(Code::ManifestInvalid, format!("{file} has more than {TEXT_BYTES_MAX} bytes.")));
    }
    toml::from_str(text).map_err(|error| explain(file, text, &error))
}

/// What is wrong with a TOML file of ours, at its place, with the nearest known key.
#[must_use]
pub fn explain(file: &str, text: &str, error: &toml::de::Error) -> Fault {
    let message = error.message();
    let place =
        |label: String| error.span().map(|span| Place { file: file.to_owned(), text: Arc::from(text), span, label });
    if let Some((unknown, known)) = unknown_field(message) {
        let fault = Fault::new(Code::ManifestInvalid, format!("{file} has an unknown key `{unknown}`."))
            .at(place("not a key that vice knows here".to_owned()));
        return match nearest(&unknown, known.iter().map(String::as_str)) {
            Some(near) => fault.hint(format!("Did you mean `{near}`?")),
            None => fault.hint(format!("Known here: {}.", known.join(", "))),
        };
    }
    let first = message.lines().next().unwrap_or("it is not valid TOML");
    let fault = Fault::new(Code::ManifestInvalid, format!("{file} can't be read.")).at(place(first.to_owned()));
    match hint(first) {
        Some(hint) => fault.because(first).hint(hint),
        None => fault.because(first),
    }
}

/// What to do about the usual slips. Only a hint hangs on the wording, so that another one does no harm.
fn hint(message: &str) -> Option<&'static str> {
    let about = |word: &str| message.contains(word);
    Some(match () {
        () if about("duplicate") => "Keep one of the two.",
        () if about("must be quoted") => "Write text in quotes, as in: name = \"shop\".",
        () if about("string") && about("expected `") => "Is a quote missing at the end of the text?",
        () if about("unclosed") => "Is a closing bracket missing?",
        () if about("key with no value") => "Each line is `key = value`, or a section such as [env.dev].",
        () if about("unexpected") => "One setting a line: what follows it has to be on a line of its own.",
        () => return None,
    })
}

/// Takes serde's "unknown field `x`, expected one of `a`, `b`" apart. The wording is pinned by a test.
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `"))?;
    let (unknown, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((unknown.to_owned(), known))
}

/// Where a path of keys stands in the text; the nearest existing parent when the last keys are absent; the first line
/// for an empty path. None when the text is not TOML.
#[must_use]
pub fn place_of(file: &str, text: &str, path: &[&str], label: &str) -> Option<Place> {
    let table = DeTable::parse(text).ok()?;
    let span = find(table.get_ref(), path).unwrap_or(0..text.lines().next().map_or(0, str::len));
    Some(Place { file: file.to_owned(), text: Arc::from(text), span, label: label.to_owned() })
}

fn find(table: &DeTable<'_>, path: &[&str]) -> Option<Range<usize>> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    match (value.get_ref(), rest) {
        (_, []) => Some(key.span().start..value.span().end.max(key.span().end)),
        (DeValue::Table(inner), _) => find(inner, rest).or_else(|| Some(key.span())),
        // A number in a path means an item of a list, from 0.
        (DeValue::Array(items), [index, rest @ ..]) => {
            let Some(item) = index.parse().ok().and_then(|index: usize| items.get(index)) else {
                return Some(key.span());
            };
            let inside = match item.get_ref() {
                DeValue::Table(inner) => find(inner, rest),
                _ => None,
            };
            inside.or_else(|| Some(item.span()))
        }
        _ => Some(key.span()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::manifest::{Project, RollbackPolicy, Strategy};

    const FIVE_LINES: &str = r#"name     = "shop"
artifact = "dist/shop-{{version}}.tar.gz"
command  = ["./shop", "--port", "{{port}}"]
health   = "/healthz"
[env.dev]
"#;

    #[test]
    fn five_lines_are_a_complete_file() {
        let project = Project::parse("/p".into(), "vice.toml".into(), FIVE_LINES).unwrap();
        assert_eq!(project.name().as_str(), "shop");
        assert_eq!(project.choose_env(None).unwrap().as_str(), "dev");
    }

    #[test]
    fn unknown_keys_name_the_nearest_and_point_at_the_place() {
        let fault = parse("vice.toml", "name = \"x\"\nartefact = \"y\"\n").unwrap_err();
        assert_eq!(fault.code(), Code::ManifestInvalid);
        assert_eq!(fault.hints(), ["Did you mean `artifact`?"]);
        assert_eq!(fault.place().unwrap().line_column(), (2, 1));
        let nested = parse("vice.toml", "[check.a]\nhtp = \"y\"\n").unwrap_err();
        assert_eq!(nested.hints(), ["Did you mean `http`?"]);
    }

    #[test]
    fn broken_toml_points_at_the_place() {
        let fault = parse("vice.toml", "name = \"x\"\nartifact = [\n").unwrap_err();
        assert_eq!(fault.code(), Code::ManifestInvalid);
        assert!(fault.place().is_some());
        for text in ["name = \"x", "name = x", "name = \"x\"\nname = \"y\"", "[env", "a", "a = \"b\" c"] {
            assert_eq!(parse("vice.toml", text).unwrap_err().hints().len(), 1, "{text:?}");
        }
    }

    #[test]
    fn numbers_that_can_only_be_slips_are_refused_with_the_limit() {
        for (line, said) in
            [("instances = 4000000000", "1000 is the limit"), ("instances = 1001", "1000"), ("port = 0", "port 0")]
        {
            let text = format!("{FIVE_LINES}{line}\n");
            let fault = Project::parse("/p".into(), "vice.toml".into(), text).unwrap_err();
            assert_eq!(fault.code(), Code::ManifestInvalid);
            assert!(fault.to_string().contains(said), "{fault}");
            assert_eq!(fault.place().unwrap().line_column(), (6, 1));
        }
        let text = format!("{FIVE_LINES}instances = 1000\n");
        Project::parse("/p".into(), "vice.toml".into(), text).unwrap();
    }

    #[test]
    fn a_shell_line_is_refused_with_the_list_to_write() {
        let fault = parse("vice.toml", "command = \"./shop --port 1\"").unwrap_err();
        assert!(fault.chain().join(" ").contains(r#"["./shop", "--port", "1"]"#), "{fault:?}");
    }

    /// Finds where the schema has a duration, and makes a document for each that has a number there. `refs` has the
    /// definitions that lead to a place, for some contain themselves.
    #[derive(Default)]
    struct Durations<'s> {
        path: Vec<Option<&'s str>>,
        refs: Vec<&'s str>,
        documents: Vec<Value>,
    }

    impl<'s> Durations<'s> {
        fn find(&mut self, schema: &'s Value, at: &'s Value) {
            if !at.is_object() {
                return;
            }
            let entries = |name: &str| at[name].as_object().into_iter().flatten();
            let items = |name: &str| at[name].as_array().into_iter().flatten();
            let keys = entries("properties").map(|(key, inner)| (Some(key.as_str()), inner));
            let names = entries("patternProperties").map(|(_, inner)| inner).chain([&at["additionalProperties"]]);
            let listed = items("prefixItems").chain([&at["items"]]);
            for (key, inner) in
                keys.chain(names.map(|inner| (Some("x"), inner))).chain(listed.map(|inner| (None, inner)))
            {
                self.path.push(key);
                self.find(schema, inner);
                self.path.pop();
            }
            ["anyOf", "oneOf", "allOf"].into_iter().flat_map(items).for_each(|inner| self.find(schema, inner));
            match at["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
                Some("Duration") => self.documents.push(self.document()),
                Some(name) if !self.refs.contains(&name) => {
                    self.refs.push(name);
                    self.find(schema, &schema["$defs"][name]);
                    self.refs.pop();
                }
                _ => {}
            }
        }

        fn document(&self) -> Value {
            self.path.iter().rev().fold(json!(300), |inner, key| match key {
                Some(key) => json!({ *key: inner }),
                None => json!([inner]),
            })
        }
    }

    #[test]
    fn no_duration_is_taken_without_a_unit() {
        let schema = serde_json::to_value(schemars::schema_for!(Manifest)).unwrap();
        let mut durations = Durations::default();
        durations.find(&schema, &schema);
        assert!(durations.documents.len() > 20, "{:?}", durations.documents);
        for document in durations.documents {
            let text = toml::to_string(&document).unwrap();
            let fault = parse("vice.toml", &text).unwrap_err();
            assert!(fault.chain().join(" ").contains("write a duration as text, such as \"300s\""), "{text}{fault:?}");
            assert!(fault.place().is_some(), "{text}");
        }
    }

    #[test]
    fn tasks_and_checks_keep_their_order() {
        let text = format!(
            "{FIVE_LINES}[env.dev.rollout]\nstrategy = \"all-at-once\"\n\
             [task.z]\ncommand = [\"a\"]\nrollback = \"forbid\"\n[task.a]\ncommand = [\"b\"]\nrollback = [\"c\"]\n\
             [check.z]\ntcp = \"x:1\"\n[check.a]\nhttp = \"http://x\"\n"
        );
        let project = Project::parse("/p".into(), "vice.toml".into(), text.as_str()).unwrap();
        let manifest = &project.manifest;
        assert_eq!(manifest.task.keys().collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(manifest.check.keys().collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(manifest.task["z"].rollback, RollbackPolicy::Forbid);
        assert_eq!(manifest.task["a"].rollback, RollbackPolicy::Command(vec!["c".into()]));
        assert_eq!(manifest.env["dev"].rollout.strategy, Strategy::AllAtOnce);
        assert_eq!(project.place(&["check", "a"], "").unwrap().line_column().0, 16);
    }

    #[test]
    fn checks_need_exactly_one_kind() {
        let none = format!("{FIVE_LINES}[check.a]\nstatus = 200\n");
        let both = format!("{FIVE_LINES}[check.a]\nhttp = \"http://x\"\ntcp = \"x:1\"\n");
        for text in [none, both] {
            let fault = Project::parse("/p".into(), "vice.toml".into(), text.as_str()).unwrap_err();
            assert_eq!(fault.code(), Code::ManifestInvalid);
            assert!(fault.place().is_some());
        }
    }

    #[test]
    fn production_is_never_chosen_by_itself() {
        let text = FIVE_LINES.replace("[env.dev]", "[env.prod]\nclass = \"prod\"");
        let project = Project::parse("/p".into(), "vice.toml".into(), text.as_str()).unwrap();
        assert_eq!(project.choose_env(None).unwrap_err().code(), Code::EnvironmentNeeded);
    }
}
