//! `vice envy import`: values of other tools become values of a TOML layer. Everything is encrypted unless it is said to be
//! plain. Nothing in the file is executed: what is fetched by a command there is named, so that it can be moved by hand.

use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::notifier::Severity;
use vice_core::text::sanitize;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result, Secret};

use super::Desk;
use super::set::{choose, edited};
use crate::Envy;
use crate::layer::dotenv::{key_of, variables};
use crate::layer::{Kind, kind_of, specs};
use crate::locked::Lock;
use crate::rotate::{reseal, write_seal};
use crate::seal::SealKey;
use crate::sealed::encrypt;
use crate::sheet::Sheet;
use crate::stack::declared_secret;
use crate::{file, layer, recipients, sops};

/// What is asked for.
pub(super) struct Wish {
    pub(super) file: String,
    pub(super) plain: Vec<String>,
    pub(super) layer: Option<String>,
}

#[derive(Default)]
struct Done {
    layer: String,
    encrypted: Vec<String>,
    plain: Vec<String>,
    skipped: Vec<String>,
}

/// Values, and the names of those that are fetched elsewhere.
struct Taken {
    values: Vec<(String, Value)>,
    skipped: Vec<String>,
}

pub(super) async fn run(desk: &Desk, project: Arc<Project>, env: EnvName, wish: Wish) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let shown = sanitize(&wish.file);
    let theirs = Arc::clone(&project);
    let done = desk.alone(&project, "vice envy import", move |envy| import(envy, &theirs, &env, &wish)).await?;
    for name in &done.skipped {
        let name = sanitize(name);
        let text = format!("{name} is fetched by a command or from a variable there, and was left out.");
        desk.ui.say(Severity::Warning, &text);
    }
    if !done.skipped.is_empty() {
        desk.ui.say(Severity::Info, "A password manager can be a layer of its own: credential:NAME/PATH.");
    }
    let text = format!(
        "Took {} values from {shown} into {}: {} encrypted, {} plain.\nRemove {shown} when nothing else needs it.\n",
        done.encrypted.len() + done.plain.len(),
        sanitize(&done.layer),
        done.encrypted.len(),
        done.plain.len(),
    );
    let json = json!({
        "layer": done.layer, "encrypted": done.encrypted, "plain": done.plain, "skipped": done.skipped,
    });
    Ok(Outcome::done(text, json))
}

fn import(envy: &Envy, project: &Project, env: &EnvName, wish: &Wish) -> Result<Done> {
    let specs = specs(project, env)?;
    let (spec, path) = choose(&specs, wish.layer.as_deref())?;
    let lock = Lock::new(&envy.process);
    lock.about(project.name().as_str());
    let taken = take(project, &wish.file, &lock)?;
    let before = file::read_text(&project.root, path)?.unwrap_or_default();
    let seal = reseal(project, path, &before, &lock)?;
    let readers = recipients::of_layer(project, path)?;
    let mut done = Done { layer: spec.name.clone(), skipped: taken.skipped, ..Done::default() };
    let mut after = before;
    for (key, value) in taken.values {
        let item = if declared_secret(&wish.plain, &key) {
            done.plain.push(key.clone());
            plain(&value)?
        } else {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            envy.learn(&key, &Secret::new(text.as_str()));
            done.encrypted.push(key.clone());
            let name = seal.as_ref().map(SealKey::name);
            toml_edit::value(encrypt(project, path, &key, &text, &readers, name)?)
        };
        after = edited(&after, path, &key, item)?;
    }
    layer::toml::read(&after).map_err(|flaw| flaw.in_layer(path))?;
    file::write(&project.root, path, after.as_bytes())?;
    if let Some(seal) = &seal {
        write_seal(project, path, &after, seal, &lock)?;
    }
    Ok(done)
}

fn take(project: &Project, path: &str, lock: &Lock<'_>) -> Result<Taken> {
    let text = file::read_text(&project.root, path)?.ok_or_else(|| {
        Fault::new(Code::Usage, format!("{path} does not exist.")).hint("Name a file inside the project.")
    })?;
    // Kamal's files have no suffix: `.kamal/secrets`, `.kamal/secrets.production`.
    let kamal = path.rsplit('/').next().is_some_and(|name| name == "secrets" || name.starts_with("secrets."));
    let kind = match kind_of(path) {
        Ok((kind, false)) => kind,
        Ok((_, true)) => {
            return Err(Fault::new(Code::Usage, format!("{path} is encrypted by age already."))
                .hint("Use it as a layer as it is."));
        }
        Err(_) if kamal => Kind::Dotenv,
        Err(fault) => return Err(fault),
    };
    if let Some(sheet) = sops::read(kind, &text, path, lock)? {
        return Ok(Taken { values: all(&sheet), skipped: Vec::new() });
    }
    if kind == Kind::Dotenv {
        return dotenv(&text, path);
    }
    Err(Fault::new(Code::Usage, format!("{path} is no file that is imported."))
        .hint("Imported are .env files, .kamal/secrets and SOPS files; TOML, YAML and JSON can be layers as they are."))
}

fn all(sheet: &Sheet) -> Vec<(String, Value)> {
    sheet.iter().map(|(key, found)| (key.to_owned(), found.value.clone())).collect()
}

fn dotenv(text: &str, path: &str) -> Result<Taken> {
    let mut taken = Taken { values: Vec::new(), skipped: Vec::new() };
    for (name, value, _) in variables(text).map_err(|flaw| flaw.in_layer(path))? {
        // What a shell would look up: $(command), ${NAME}, $NAME, `command`.
        let fetched = value.starts_with('`')
            || value.strip_prefix('$').is_some_and(|rest| {
                rest.starts_with(['(', '{']) || rest.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            });
        if fetched {
            taken.skipped.push(name);
        } else {
            taken.values.push((key_of(&name), Value::String(value)));
        }
    }
    Ok(taken)
}

fn plain(value: &Value) -> Result<toml_edit::Item> {
    Ok(match value {
        Value::Bool(flag) => toml_edit::value(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => toml_edit::value(whole),
            (None, Some(float)) => toml_edit::value(float),
            (None, None) => toml_edit::value(number.to_string()),
        },
        Value::String(text) => toml_edit::value(text.as_str()),
        _ => {
            return Err(Fault::new(
                Code::Usage,
                "A list can't be imported as a plain value; leave out --plain for it.",
            ));
        }
    })
}
