//! `vice envy edit`: a layer in an editor with its secrets opened. What was not changed keeps its encrypted form, so that
//! a commit shows only what was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use vice_core::app::ProcessEnv;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::notifier::Severity;
use vice_core::text::sanitize;
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Fault, Result, Secret};
use zeroize::Zeroizing;

use super::Desk;
use crate::Envy;
use crate::layer::{self, LayerSpec, specs};
use crate::locked::Lock;
use crate::rotate::{files, reseal, write_seal};
use crate::scratch::Scratch;
use crate::seal::SealKey;
use crate::sealed::{document, each_text, encrypt, is_encrypted};
use crate::stack::declared_secret;
use crate::{file, recipients};

/// What an opened secret starts with in the editor.
const MARK: &str = "secret:";
/// How often an editor is opened again on a text that can't be kept.
const ROUNDS_MAX: usize = 5;

/// A layer as the editor shows it.
struct Opened {
    path: String,
    whole: bool,
    /// What the file holds now.
    before: Zeroizing<String>,
    /// The text for the editor.
    shown: Zeroizing<String>,
    /// The secrets by key: the value and its encrypted form.
    secrets: BTreeMap<String, (Secret, String)>,
}

pub(super) async fn run(desk: &Desk, project: Arc<Project>, what: Option<String>) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let spec = choose(&project, what.as_deref())?;
    let (theirs, chosen) = (Arc::clone(&project), spec.clone());
    let opened = desk.envy.off_thread(move |envy| open(envy, &theirs, &chosen)).await?;
    let name = opened.path.rsplit('/').next().unwrap_or(&opened.path).to_owned();
    let (scratch, notes) = Scratch::new(&desk.process, &desk.envy.state, &name)?;
    notes.iter().for_each(|note| desk.ui.say(Severity::Warning, note));
    scratch.write(&opened.shown)?;
    let after = rounds(desk, &project, &opened, &scratch).await?;
    let Some((after, changed)) = after else {
        let text = format!("Nothing was changed in {}.\n", sanitize(&opened.path));
        return Ok(Outcome::done(text, json!({ "layer": opened.path, "changed": [] })));
    };
    let path = opened.path.clone();
    {
        let theirs = Arc::clone(&project);
        desk.alone(&project, "vice envy edit", move |envy| keep(envy, &theirs, &opened, &after)).await?;
    };
    let mut text = format!("Wrote {}.\n", sanitize(&path));
    if !changed.is_empty() {
        text.push_str(&format!("Encrypted: {}.\n", changed.join(", ")));
    }
    Ok(Outcome::done(text, json!({ "layer": path, "changed": changed })))
}

/// The layer that is meant: a file, or the strongest one of an environment.
fn choose(project: &Project, what: Option<&str>) -> Result<LayerSpec> {
    if let Some(found) = files(project)?.into_iter().find(|spec| what.is_some() && spec.file() == what) {
        return Ok(found);
    }
    let named = what.map(EnvName::new).transpose()?;
    let env = project.choose_env(named.as_ref())?;
    let found = specs(project, &env)?.into_iter().rev().find(|spec| spec.editable().is_some());
    found.ok_or_else(|| {
        Fault::new(Code::Usage, format!("No TOML layer of {env} can be edited."))
            .hint("Add one to [config] layers of vice.toml, such as \"config/{{env}}.toml?\".")
    })
}

fn open(envy: &Envy, project: &Project, spec: &LayerSpec) -> Result<Opened> {
    let path = spec.file().unwrap_or_default().to_owned();
    let lock = Lock::new(&envy.process);
    lock.about(project.name().as_str());
    let bytes = file::read(&project.root, &path)?.unwrap_or_default();
    if spec.is_sealed() {
        let plain = lock.open_layer(&path, &bytes)?;
        let text = Zeroizing::new(std::str::from_utf8(&plain).unwrap_or_default().to_owned());
        return Ok(Opened { path, whole: true, before: text.clone(), shown: text, secrets: BTreeMap::new() });
    }
    let before = Zeroizing::new(file::text_of(bytes, &path)?);
    // Refused before anything is typed, if it would be refused afterwards.
    reseal(project, &path, &before, &lock)?;
    let mut document = document(&before, &path)?;
    let mut secrets = BTreeMap::new();
    each_text(&mut document, &mut |key, text| match lock.open_value(key, &path, &path, text) {
        None if text.starts_with(MARK) => {
            Err(Fault::new(Code::ConfigInvalid, format!("The plain value of {key} in {path} starts with {MARK}."))
                .hint("Such a value can't be told from a secret in an editor; use `vice envy set`."))
        }
        None => Ok(None),
        Some(secret) => {
            let secret = secret?;
            envy.learn(key, &secret);
            let shown = format!("{MARK}{}", secret.reveal());
            secrets.insert(key.to_owned(), (secret, text.to_owned()));
            Ok(Some(shown))
        }
    })?;
    let shown = Zeroizing::new(document.to_string());
    Ok(Opened { path, whole: false, before, shown, secrets })
}

/// Lets the editor run until what it leaves can be kept; none when nothing was changed.
async fn rounds(
    desk: &Desk,
    project: &Arc<Project>,
    opened: &Opened,
    scratch: &Scratch,
) -> Result<Option<(Zeroizing<String>, Vec<String>)>> {
    for _ in 0..ROUNDS_MAX {
        editor(&desk.process, scratch.path()).await?;
        let edited = scratch.read()?;
        if *edited == *opened.shown {
            return Ok(None);
        }
        match closed(&desk.envy, project, opened, &edited) {
            Ok(done) => return Ok(Some(done)),
            Err(fault) => {
                desk.ui.say(Severity::Error, &sanitize(&fault.to_string()));
                // Where nobody can answer, the fault itself is the answer.
                let answer = desk.ui.ask("Edit again? [Y/n]", "a text that is valid").map_err(|_| fault)?;
                if answer.to_lowercase().starts_with('n') {
                    break;
                }
            }
        }
    }
    Err(Fault::new(Code::Usage, format!("{} was left as it was.", opened.path)))
}

/// What the file becomes, and the keys that are encrypted anew.
fn closed(
    envy: &Envy,
    project: &Project,
    opened: &Opened,
    edited: &Zeroizing<String>,
) -> Result<(Zeroizing<String>, Vec<String>)> {
    if opened.whole {
        return Ok((edited.clone(), Vec::new()));
    }
    layer::toml::read(edited).map_err(|flaw| flaw.in_layer(&opened.path))?;
    let lock = Lock::new(&envy.process);
    lock.about(project.name().as_str());
    let seal = reseal(project, &opened.path, &opened.before, &lock)?.as_ref().map(SealKey::name);
    let mut document = document(edited, &opened.path)?;
    let mut changed = Vec::new();
    each_text(&mut document, &mut |key, text| {
        let Some(plain) = text.strip_prefix(MARK) else {
            let wanted = !is_encrypted(text) && declared_secret(&project.manifest.config.secrets, key);
            return if wanted { Err(not_marked(key)) } else { Ok(None) };
        };
        if let Some((_, kept)) = opened.secrets.get(key).filter(|(secret, _)| secret.reveal() == plain) {
            return Ok(Some(kept.clone()));
        }
        let readers = recipients::of_layer(project, &opened.path)?;
        changed.push(key.to_owned());
        encrypt(project, &opened.path, key, plain, &readers, seal.clone()).map(Some)
    })?;
    Ok((Zeroizing::new(document.to_string()), changed))
}

fn not_marked(key: &str) -> Fault {
    Fault::new(Code::Usage, format!("{key} is declared secret and has to be encrypted."))
        .hint(format!("Write it as \"{MARK}…\"."))
}

fn keep(envy: &Envy, project: &Project, opened: &Opened, after: &Zeroizing<String>) -> Result<()> {
    let lock = Lock::new(&envy.process);
    lock.about(project.name().as_str());
    if opened.whole {
        let readers = recipients::of_layer(project, &opened.path)?;
        return file::write(&project.root, &opened.path, &readers.recipients.seal(after.as_bytes())?);
    }
    let now = file::read_text(&project.root, &opened.path)?.unwrap_or_default();
    if now != *opened.before {
        return Err(Fault::new(Code::Usage, format!("{} was changed by somebody else meanwhile.", opened.path))
            .hint("It was left as it is; edit again."));
    }
    let seal = reseal(project, &opened.path, &opened.before, &lock)?;
    file::write(&project.root, &opened.path, after.as_bytes())?;
    seal.map_or(Ok(()), |seal| write_seal(project, &opened.path, after, &seal, &lock))
}

/// Runs the user's editor on the terminal.
#[expect(
    clippy::disallowed_methods,
    reason = "an editor needs the terminal itself, which the command runner keeps to vice"
)]
async fn editor(process: &ProcessEnv, path: &Path) -> Result<()> {
    let line = process.get("VISUAL").or_else(|| process.get("EDITOR")).unwrap_or("vi");
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let failed = || format!("The editor {program:?} can't be started.");
    // Keys of our own are nothing that an editor needs.
    let vars = process.vars.iter().filter(|(name, _)| !name.starts_with("VICE_"));
    let status = tokio::process::Command::new(program)
        .args(words)
        .arg(path)
        .env_clear()
        .envs(vars)
        .current_dir(&process.dir)
        .kill_on_drop(true)
        .status()
        .await
        .context(Code::Usage, failed)
        .map_err(|fault| fault.hint("Name one in VISUAL or EDITOR."))?;
    if status.success() {
        return Ok(());
    }
    Err(Fault::new(Code::TaskFailed, format!("The editor {program:?} failed ({status}), so that nothing was changed.")))
}
