//! References between values: `${other.key}` stands for the value of that key, `$${` for the characters `${`. A value
//! that is one reference and nothing else keeps the type of what it refers to; a secret makes a secret of everything
//! that it flows into. It follows references only where the manifest says so, and never in what was encrypted.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use vice_core::port::config::{ConfigEntry, ConfigValue};
use vice_core::{Code, Fault, Result, Secret};

use crate::backend::parse_value;
use crate::key::{DEPTH_MAX, check_key};
use crate::locked::Lock;
use crate::render::as_text;
use crate::stack::{Say, Stack};

/// The largest value that references may make, in bytes.
const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes that all references of a configuration may make together: a short chain of values that each repeat
/// the one before would fill any memory.
const ALL_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    Text(&'t str),
    Key(&'t str),
}

/// The parts of a text.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            // `$${` is `${` as it stands: the first `$` is dropped.
            if !before.is_empty() {
                found.push(Piece::Text(before));
            }
            found.push(Piece::Text("${"));
            rest = &rest[at + 2..];
            continue;
        }
        if at > 0 {
            found.push(Piece::Text(&rest[..at]));
        }
        let after = &rest[at + 2..];
        let end = after.find('}').ok_or("opens ${ and does not close it")?;
        let key = after[..end].trim();
        check_key(key).map_err(|_| "has a reference ${…} with something inside it that is no key")?;
        found.push(Piece::Key(key));
        rest = &after[end + 1..];
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    Ok(found)
}

/// The keys that a value refers to, in order; nothing for a text that is not understood.
pub(crate) fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => pieces(text)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|piece| match piece {
                Piece::Key(key) => Some(key),
                Piece::Text(_) => None,
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Object(fields) => fields.values().flat_map(references).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Whether references in what a layer says are followed.
pub(crate) fn follows(stack: &Stack, say: &Say<'_>) -> bool {
    let encrypted = say.found.value.as_str().is_some_and(|text| parse_value(text).is_some());
    stack.interpolates() && !say.layer.literal && !encrypted
}

/// Whether what a layer says has references that are followed.
pub(crate) fn may_refer(stack: &Stack, say: &Say<'_>) -> bool {
    stack.interpolates() && has_dollar(&say.found.value) && follows(stack, say)
}

/// Follows the references of a stack's values, each once.
pub(crate) struct Resolver<'s> {
    stack: &'s Stack,
    lock: &'s Lock<'s>,
    done: BTreeMap<String, ConfigEntry>,
    path: Vec<String>,
    bytes: usize,
}

impl<'s> Resolver<'s> {
    pub(crate) fn new(stack: &'s Stack, lock: &'s Lock<'s>) -> Self {
        Self { stack, lock, done: BTreeMap::new(), path: Vec::new(), bytes: 0 }
    }

    /// The effective value of a key.
    pub(crate) fn entry(&mut self, key: &str) -> Result<ConfigEntry> {
        self.resolve(key)?;
        self.done.get(key).cloned().ok_or_else(|| self.stack.unknown(key))
    }

    /// Makes sure that a key's value is known.
    pub(crate) fn resolve(&mut self, key: &str) -> Result<()> {
        if self.done.contains_key(key) {
            return Ok(());
        }
        let say = self.stack.say(key).ok_or_else(|| self.stack.unknown(key))?;
        let mut entry = self.stack.entry(key, &say, self.lock)?;
        if may_refer(self.stack, &say) {
            entry.value = self.followed(key, &say)?;
        }
        self.done.insert(key.to_owned(), entry);
        Ok(())
    }

    fn followed(&mut self, key: &str, say: &Say<'_>) -> Result<ConfigValue> {
        if self.path.iter().any(|other| other == key) {
            return Err(self.cycle(key));
        }
        if self.path.len() >= DEPTH_MAX {
            let message = format!("The references of {} go through more than {DEPTH_MAX} keys.", self.path[0]);
            return Err(Fault::new(Code::ConfigInvalid, message).detail("key", self.path[0].as_str()));
        }
        self.path.push(key.to_owned());
        let mut secret = self.stack.is_secret(key, say);
        let value = self.expand(key, say, &say.found.value, &mut secret);
        self.path.pop();
        let value = value?;
        Ok(match (secret, value) {
            (false, value) => ConfigValue::Plain(value),
            (true, Value::String(text)) => ConfigValue::Secret(Secret::new(text)),
            (true, other) => ConfigValue::Secret(Secret::new(other.to_string())),
        })
    }

    fn expand(&mut self, key: &str, say: &Say<'_>, value: &Value, secret: &mut bool) -> Result<Value> {
        Ok(match value {
            Value::String(text) => self.text(key, say, text, secret)?,
            Value::Array(items) => {
                let items = items.iter().map(|item| self.expand(key, say, item, secret));
                Value::Array(items.collect::<Result<_>>()?)
            }
            Value::Object(fields) => {
                let fields =
                    fields.iter().map(|(name, field)| Ok((name.clone(), self.expand(key, say, field, secret)?)));
                Value::Object(fields.collect::<Result<Map<_, _>>>()?)
            }
            other => other.clone(),
        })
    }

    fn text(&mut self, key: &str, say: &Say<'_>, text: &str, secret: &mut bool) -> Result<Value> {
        let pieces = pieces(text).map_err(|why| {
            Fault::new(Code::ConfigInvalid, format!("The value of {key} ({}) {why}.", say.place()))
                .hint("Write ${other.key} for another value, and $${ for the characters themselves.")
                .detail("key", key)
        })?;
        if let [Piece::Key(other)] = pieces.as_slice() {
            let value = self.referred(key, say, other, secret)?;
            self.count(key, say, value.as_str().map_or(0, str::len))?;
            return Ok(value);
        }
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Key(other) => match self.referred(key, say, other, secret)? {
                    Value::Array(_) | Value::Object(_) => return Err(self.not_a_text(key, say, other)),
                    value => out.push_str(&as_text(&value)),
                },
            }
            if out.len() > VALUE_BYTES_MAX {
                return Err(too_large(key, say));
            }
        }
        self.count(key, say, out.len())?;
        Ok(Value::String(out))
    }

    fn referred(&mut self, key: &str, say: &Say<'_>, other: &str, secret: &mut bool) -> Result<Value> {
        if self.stack.say(other).is_none() {
            let unknown = self.stack.unknown(other);
            let message = format!("The value of {key} ({}) refers to {other}, which does not exist.", say.place());
            let fault = Fault::new(Code::ConfigInvalid, message).detail("key", key);
            let fault = unknown.hints().iter().fold(fault, |fault, hint| fault.hint(hint.as_str()));
            return Err(fault.hint("Write $${ where the characters ${ are meant."));
        }
        Ok(match self.entry(other)?.value {
            ConfigValue::Plain(value) => value,
            ConfigValue::Secret(text) => {
                *secret = true;
                Value::String(text.reveal().to_owned())
            }
        })
    }

    fn count(&mut self, key: &str, say: &Say<'_>, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        if self.bytes > ALL_BYTES_MAX { Err(too_large(key, say)) } else { Ok(()) }
    }

    fn not_a_text(&self, key: &str, say: &Say<'_>, other: &str) -> Fault {
        let message = format!("The value of {key} ({}) has {other} inside a text, and that is a list.", say.place());
        Fault::new(Code::ConfigInvalid, message)
            .hint(format!("A list can only be referred to as a whole: \"${{{other}}}\"."))
            .detail("key", key)
    }

    fn cycle(&self, key: &str) -> Fault {
        let start = self.path.iter().position(|other| other == key).unwrap_or(0);
        let place = |key: &String| self.stack.say(key).map_or_else(String::new, |say| format!(" ({})", say.place()));
        let steps: Vec<String> = self.path[start..].iter().map(|step| format!("{step}{}", place(step))).collect();
        let message = format!("Values refer to each other in a circle: {} → {key}.", steps.join(" → "));
        Fault::new(Code::ConfigInvalid, message)
            .hint("Take one of the references out, or write $${ where the characters ${ are meant.")
            .detail("key", key)
            .detail("cycle", self.path[start..].to_vec())
    }
}

fn too_large(key: &str, say: &Say<'_>) -> Fault {
    let message = format!("The references of {key} ({}) make more text than is read.", say.place());
    Fault::new(Code::ConfigInvalid, message)
        .hint(format!("One value may have {VALUE_BYTES_MAX} bytes, all together {ALL_BYTES_MAX}."))
        .detail("key", key)
}

/// Whether there can be a reference; most values have none.
fn has_dollar(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(has_dollar),
        Value::Object(fields) => fields.values().any(has_dollar),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vice_core::app::ProcessEnv;

    use super::*;
    use crate::layer::{Layer, toml};
    use crate::stack::Policy;

    fn resolved(text: &str, secrets: &[&str]) -> Result<BTreeMap<String, ConfigValue>> {
        let secrets = secrets.iter().map(|text| (*text).to_owned()).collect();
        let policy = Policy { secrets, interpolate: true, ..Policy::default() };
        let stack = Stack::new(vec![Layer::plain("l", toml::read(text).unwrap())], policy).0;
        let process = ProcessEnv::default();
        let lock = Lock::new(&process);
        stack.entries(&lock).map(|entries| entries.into_iter().map(|(key, entry)| (key, entry.value)).collect())
    }

    fn plain(text: &str) -> BTreeMap<String, Value> {
        let value = |(key, value): (String, ConfigValue)| match value {
            ConfigValue::Plain(value) => (key, value),
            ConfigValue::Secret(_) => panic!("{key} is secret"),
        };
        resolved(text, &[]).unwrap().into_iter().map(value).collect()
    }

    #[test]
    fn pieces_of_a_text() {
        use Piece::{Key, Text};
        assert_eq!(pieces("a ${b.c}-${ d }").unwrap(), [Text("a "), Key("b.c"), Text("-"), Key("d")]);
        assert_eq!(pieces("$${x} $5 $$ {y}").unwrap(), [Text("${"), Text("x} $5 $$ {y}")]);
        assert_eq!(pieces("").unwrap(), []);
        for bad in ["${", "${a", "${}", "${a b}", "x ${a:-b}"] {
            assert!(pieces(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn references_are_followed_and_keep_their_type() {
        let text = "port = 8080\nlist = [1, \"${port}\"]\ncopy = \"${list}\"\nsame = \"${port}\"\n\
                    url = \"http://${db.host}:${port}/$${x}\"\n[db]\nhost = \"${name}.internal\"\n[t]\n";
        let seen = plain(&format!("name = \"a\"\n{text}"));
        assert_eq!(seen["url"], json!("http://a.internal:8080/${x}"));
        assert_eq!((&seen["same"], &seen["copy"]), (&json!(8080), &json!([1, 8080])));
    }

    #[test]
    fn cycles_are_told_with_their_places() {
        let fault = resolved("x = \"${a}\"\na = \"${b} \"\nb = \"${c}\"\nc = [\"${a}\"]\n", &[]).unwrap_err();
        assert_eq!(fault.to_string(), "Values refer to each other in a circle: a (l:2) → b (l:3) → c (l:4) → a.");
        assert!(resolved("a = \"${a}\"\n", &[]).unwrap_err().to_string().contains("a (l:1) → a"));
    }

    #[test]
    fn what_does_not_exist_or_does_not_fit_names_the_key() {
        for (text, said) in [
            ("a = \"${bb}\"\nb = 1\n", "refers to bb"),
            ("a = \"x${b}\"\nb = [1]\n", "is a list"),
            ("a = \"x${b\"\n", "does not close"),
            ("a = \"x${b-}c}\"\nb = 1\n", "refers to b-"),
        ] {
            let fault = resolved(text, &[]).unwrap_err();
            assert!(fault.to_string().contains(said) && fault.details()["key"] == "a", "{fault:?}");
        }
    }

    #[test]
    fn a_secret_makes_a_secret_of_what_it_flows_into() {
        let seen = resolved("pw = \"hunter22\"\nurl = \"x:${pw}@h\"\nlist = [\"${url}\"]\nfree = \"y\"\n", &["pw"]);
        let seen = seen.unwrap();
        assert_eq!(seen["url"], ConfigValue::Secret(Secret::new("x:hunter22@h")));
        assert_eq!(seen["list"], ConfigValue::Secret(Secret::new("[\"x:hunter22@h\"]")));
        assert_eq!(seen["free"], ConfigValue::Plain(json!("y")));
    }

    #[test]
    fn small_texts_do_not_become_large_ones() {
        let mut text = "k0 = \"0123456789\"\n".to_owned();
        for level in 1..60 {
            text.push_str(&format!("k{level} = \"{}\"\n", format!("${{k{}}}", level - 1).repeat(10)));
        }
        assert!(resolved(&text, &[]).unwrap_err().to_string().contains("more text"));
        let chain: String = (1..100).map(|n| format!("c{n} = \"${{c{}}}\"\n", n + 1)).collect();
        assert!(resolved(&format!("{chain}c100 = 1\n"), &[]).unwrap_err().to_string().contains("more than 64 keys"));
    }
}
