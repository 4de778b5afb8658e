//! `vice envy set`: one value in a TOML layer. Secrets come from a file or from standard input, never from an
//! argument, and are encrypted before anything is written.

use std::io::Read;
use std::sync::Arc;

use serde_json::json;
use toml_edit::{Item, TableLike};
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::notifier::Severity;
use vice_core::text::sanitize;
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Fault, Result, Secret};
use zeroize::Zeroizing;

use super::Desk;
use crate::Envy;
use crate::file;
use crate::key::check_key;
use crate::layer::{self, LayerSpec, specs};
use crate::locked::Lock;
use crate::recipients;
use crate::rotate::{reseal, write_seal};
use crate::seal::SealKey;
use crate::sealed::{document, encrypt};
use crate::stack::{Stack, declared_secret};

/// The largest value that is read from a file, in bytes.
const VALUE_BYTES_MAX: u64 = 1024 * 1024;

/// What is asked for.
pub(super) struct Change {
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) text: bool,
    pub(super) secret: bool,
    pub(super) from_file: Option<String>,
    pub(super) layer: Option<String>,
    /// What was typed at a prompt or read from a file.
    pub(super) typed: Option<Secret>,
}

struct Done {
    layer: String,
    stronger: Option<String>,
}

pub(super) async fn run(desk: &Desk, project: Arc<Project>, env: EnvName, change: Change) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let (key, secret) = (change.key.clone(), change.secret);
    let mut change = change;
    // Before the lock is taken: whoever types or sends it may take any time.
    if let Some(from) = change.from_file.take() {
        change.typed = Some(desk.envy.off_thread(move |envy| read_value(envy, &from)).await?);
    } else if secret {
        change.typed = Some(desk.ui.ask_secret(&format!("The value of {}:", sanitize(&key)), "--from-file FILE")?);
    }
    let done = {
        let theirs = Arc::clone(&project);
        desk.alone(&project, "vice envy set", move |envy| set(envy, &theirs, &env, change)).await?
    };
    if let Some(stronger) = done.stronger {
        desk.ui.say(Severity::Warning, &format!("{key} is set, but {} overrides it.", sanitize(&stronger)));
    }
    let how = if secret { "encrypted " } else { "" };
    let text = format!("Set {how}{key} in {}.\n", sanitize(&done.layer));
    Ok(Outcome::done(text, json!({ "key": key, "layer": done.layer, "secret": secret })))
}

fn set(envy: &Envy, project: &Project, env: &EnvName, change: Change) -> Result<Done> {
    let Change { key, value, text, secret, from_file: _, layer, typed } = change;
    check_key(&key).map_err(|why| Fault::new(Code::Usage, format!("The key can't be set: {why}.")))?;
    let specs = specs(project, env)?;
    let (spec, path) = choose(&specs, layer.as_deref())?;
    if !secret && declared_secret(&project.manifest.config.secrets, &key) {
        return Err(Fault::new(Code::Usage, format!("{key} is declared secret and has to be encrypted."))
            .hint(format!("vice envy set {key} --secret")));
    }
    let given = match (value, typed) {
        (Some(value), None) if !secret => Zeroizing::new(value),
        (None, Some(typed)) => Zeroizing::new(typed.reveal().to_owned()),
        _ => return Err(Fault::new(Code::Usage, "Give the value, or --from-file.")),
    };
    let before = file::read_text(&project.root, path)?.unwrap_or_default();
    let lock = Lock::new(&envy.process);
    lock.about(project.name().as_str());
    let seal = reseal(project, path, &before, &lock)?;
    let item = if secret {
        envy.learn(&key, &Secret::new(given.as_str()));
        let readers = recipients::of_layer(project, path)?;
        toml_edit::value(encrypt(project, path, &key, &given, &readers, seal.as_ref().map(SealKey::name))?)
    } else if text {
        toml_edit::value(given.as_str())
    } else {
        literal(&given)
    };
    let after = edited(&before, &spec.name, &key, item)?;
    layer::toml::read(&after).map_err(|flaw| flaw.in_layer(&spec.name))?;
    file::write(&project.root, path, after.as_bytes())?;
    if let Some(seal) = &seal {
        write_seal(project, path, &after, seal, &lock)?;
    }
    Ok(Done { layer: spec.name.clone(), stronger: stronger(envy, project, env, &key, &spec.name)? })
}

pub(super) fn choose<'s>(specs: &'s [LayerSpec], named: Option<&str>) -> Result<(&'s LayerSpec, &'s str)> {
    let mut editable = specs.iter().rev().filter_map(|spec| Some((spec, spec.editable()?)));
    let found = match named {
        Some(named) => editable.find(|(_, path)| *path == named),
        None => editable.next(),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = specs.iter().filter_map(LayerSpec::editable).collect();
        let fault = match named {
            Some(named) => Fault::new(Code::Usage, format!("{named:?} is not a TOML layer that can be edited here.")),
            None => Fault::new(Code::Usage, "No TOML layer can be edited here."),
        };
        if names.is_empty() {
            fault.hint("Add one to [config] layers of vice.toml, such as \"config/{{env}}.toml?\".")
        } else {
            fault.hint(format!("Layers that can: {}.", names.join(", ")))
        }
    })
}

fn read_value(envy: &Envy, from: &str) -> Result<Secret> {
    let unreadable = || format!("The value can't be read from {from:?}.");
    let mut bytes = Zeroizing::new(Vec::new());
    let read = if from == "-" {
        std::io::stdin().lock().take(VALUE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(envy.process.dir.join(from)).context(Code::Usage, unreadable)?;
        file.take(VALUE_BYTES_MAX + 1).read_to_end(&mut bytes)
    };
    read.context(Code::Usage, unreadable)?;
    if bytes.len() as u64 > VALUE_BYTES_MAX {
        return Err(Fault::new(Code::Usage, format!("The value has more than {VALUE_BYTES_MAX} bytes.")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Fault::new(Code::Usage, "The value is not UTF-8 text."))?;
    // Editors and `echo` end a file with a line end that nobody means.
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(Secret::new(text))
}

/// A number, a flag or a list as in TOML; anything else is text.
fn literal(given: &str) -> Item {
    match given.trim().parse::<toml_edit::Value>() {
        Ok(value) if value.is_integer() || value.is_float() || value.is_bool() || value.is_array() => {
            Item::Value(value)
        }
        _ => toml_edit::value(given),
    }
}

pub(super) fn edited(before: &str, layer: &str, key: &str, item: Item) -> Result<String> {
    let mut document = document(before, layer)?;
    let parts: Vec<&str> = key.split('.').collect();
    put(document.as_table_mut(), &parts, item).map_err(|taken| {
        Fault::new(Code::Usage, format!("{taken} is a value in {layer}, so that {key} can't be below it."))
    })?;
    Ok(document.to_string())
}

/// Puts an item at a path. Existing keys may be written with dots inside quotes, so that longer names are tried first.
fn put(table: &mut dyn TableLike, parts: &[&str], item: Item) -> Result<(), String> {
    for length in (1..=parts.len()).rev() {
        let name = parts[..length].join(".");
        let Some(existing) = table.get_mut(&name) else { continue };
        if length == parts.len() {
            return replace(existing, &name, item);
        }
        return match existing.as_table_like_mut() {
            Some(inner) => put(inner, &parts[length..], item).map_err(|taken| format!("{name}.{taken}")),
            None => Err(name),
        };
    }
    let (first, rest) = (parts[0], &parts[1..]);
    if rest.is_empty() {
        table.insert(first, item);
        return Ok(());
    }
    let mut inner = toml_edit::Table::new();
    inner.set_implicit(true);
    put(&mut inner, rest, item)?;
    table.insert(first, Item::Table(inner));
    Ok(())
}

/// Replaces a value and keeps the comment after it.
fn replace(existing: &mut Item, name: &str, item: Item) -> Result<(), String> {
    if existing.is_table_like() || existing.is_array_of_tables() {
        return Err(format!("{name} is a table there; it"));
    }
    let decor = existing.as_value().map(|value| value.decor().clone());
    *existing = item;
    if let (Some(decor), Some(value)) = (decor, existing.as_value_mut()) {
        *value.decor_mut() = decor;
    }
    Ok(())
}

/// The layer that overrides a value that was just set.
fn stronger(envy: &Envy, project: &Project, env: &EnvName, key: &str, layer: &str) -> Result<Option<String>> {
    let lock = Lock::new(&envy.process);
    let (stack, _) = Stack::load_what_can_be(project, env, &envy.process, &lock)?;
    let decides = stack.say(key).map_or_else(|| "a stronger layer".to_owned(), |say| say.layer.name.clone());
    Ok(Some(decides).filter(|name| name != layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_order_are_kept() {
        let before = "# head\na = 1 # one\n\n[db]\n# where\nhost = \"x\" # host\n\"q.r\" = 1\n[z]\ny = 1\n";
        let after = edited(before, "l", "db.host", literal("y")).unwrap();
        assert_eq!(after, before.replace("\"x\"", "\"y\""));
        assert_eq!(edited(before, "l", "a", literal("[1, 2]")).unwrap(), before.replace("a = 1 #", "a = [1, 2] #"));
        assert_eq!(edited(before, "l", "db.q.r", literal("2")).unwrap(), before.replace("r\" = 1", "r\" = 2"));
        let added = edited(before, "l", "db.port", literal("5432")).unwrap();
        assert_eq!(added, before.replace("\"q.r\" = 1\n", "\"q.r\" = 1\nport = 5432\n"));
        assert_eq!(edited("", "l", "a.b.c", literal("true")).unwrap(), "[a.b]\nc = true\n");
        assert_eq!(edited("[a]\nb = 1\n", "l", "top", literal("1.0")).unwrap(), "top = 1.0\n[a]\nb = 1\n");
    }

    #[test]
    fn values_and_tables_are_not_mixed() {
        assert!(edited("a = 1\n", "l", "a.b", literal("1")).is_err());
        assert!(edited("[a]\nb = 1\n", "l", "a", literal("1")).is_err());
        let fault = edited("a = hunter22canary", "l", "b", literal("1")).unwrap_err();
        assert!(!format!("{fault:?}").contains("hunter22"));
    }

    #[test]
    fn only_what_is_not_text_in_toml_is_typed() {
        for text in ["hello", "1.2.3", "\"quoted\"", "2026-01-01", "", "{a = 1}", "x = 1"] {
            assert_eq!(literal(text).as_str(), Some(text), "{text}");
        }
        assert_eq!(literal("8080").as_integer(), Some(8080));
        assert_eq!(literal("true").as_bool(), Some(true));
    }
}
