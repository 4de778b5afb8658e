//! `vice envy render`: templates and documents as files in a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use vice_core::manifest::{ConfigFile, Project};
use vice_core::port::config::{ConfigEntry, ConfigValue};
use vice_core::text::{Table, Tone};
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::Desk;
use crate::export::{self, Subject};
use crate::output::{Done, Folder, Owner, Wanted, mode, owner};
use crate::render::{nested, shown_all};
use crate::source::Ask;
use crate::stack::Stack;
use crate::template::Text;
use crate::usage::{SUFFIX, templates, templates_folder};

/// The mode of a file that anyone may read, and of one with a secret in it.
const OPEN: u32 = 0o644;
const PRIVATE: u32 = 0o600;

type Entries = BTreeMap<String, ConfigEntry>;

pub(super) async fn run(desk: &Desk, project: &Arc<Project>, ask: Ask, folder: String, check: bool) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let root = desk.process.dir.join(&folder);
    let entries = desk.envy.with_stack_of(project, ask, Stack::entries).await?;
    let project = Arc::clone(project);
    desk.envy.off_thread(move |_| write(&project, &entries, &root, &folder, check)).await
}

fn write(project: &Project, entries: &Entries, root: &Path, shown: &str, check: bool) -> Result<Outcome> {
    // Everything is rendered before anything is written, so that an error changes nothing.
    let all = wanted(project, entries)?;
    if all.is_empty() {
        let message = format!("There is nothing to render: {} has no templates.", templates_folder(project));
        return Err(Fault::new(Code::Usage, message)
            .hint(format!("Put NAME{SUFFIX} files there, or list files as [[config.file]] in {}.", project.file)));
    }
    let mut table = Table::with_heading(&["file", "mode", ""]);
    let mut list = Vec::new();
    let out = if check { None } else { Some(Folder::open(root)?) };
    for file in &all {
        let (state, tone) = match out.as_ref().map(|out| out.write(file)).transpose()? {
            None => ("fine", Tone::Faint),
            Some(Done::Written) => ("written", Tone::Good),
            Some(Done::Unchanged) => ("unchanged", Tone::Faint),
        };
        let mode = format!("{:04o}", file.mode);
        let secret = if file.secret { ", with secrets" } else { "" };
        table.row([(Tone::Plain, file.path.clone()), (Tone::Faint, mode.clone()), (tone, format!("{state}{secret}"))]);
        list.push(json!({ "path": file.path, "mode": mode, "secret": file.secret, "state": state }));
    }
    let text = format!("{}\n{} files in {shown}.\n", table.render(), all.len());
    Ok(Outcome::done(text, json!({ "folder": shown, "files": list })))
}

fn wanted(project: &Project, entries: &Entries) -> Result<Vec<Wanted>> {
    let (real, masked) = (tables(entries, true), tables(entries, false));
    let folder = format!("{}/", templates_folder(project).trim_end_matches('/'));
    let own: Vec<&String> = project.manifest.config.file.iter().filter_map(|file| file.template.as_ref()).collect();
    let mut all = Vec::new();
    for (path, source) in templates(project)? {
        // A template that a [[config.file]] names is written where that says.
        let Some(name) = path.strip_prefix(&folder).filter(|_| !own.contains(&&path)) else { continue };
        let name = name.strip_suffix(SUFFIX).unwrap_or(name).to_owned();
        let (text, secret) = rendered(&path, &source, &real, &masked)?;
        all.push(Wanted { path: name, text, mode: if secret { PRIVATE } else { OPEN }, owner: None, secret });
    }
    for file in &project.manifest.config.file {
        all.push(document(project, file, entries)?);
    }
    let mut paths = std::collections::BTreeSet::new();
    if let Some(twice) = all.iter().find(|file| !paths.insert(file.path.as_str())) {
        return Err(Fault::new(Code::ConfigInvalid, format!("Two files would be written to {}.", twice.path)));
    }
    Ok(all)
}

fn tables(entries: &Entries, reveal: bool) -> Map<String, Value> {
    nested(&shown_all(entries, reveal))
}

/// The text, and whether a secret had any part in it: whether it differs from the one with masked secrets.
fn rendered(
    path: &str,
    source: &str,
    real: &Map<String, Value>,
    masked: &Map<String, Value>,
) -> Result<(String, bool)> {
    let template = Text::parse(path, source)?;
    let text = template.render(real)?;
    // A template can treat a masked value so that it fails; then it looked at it.
    let secret = template.render(masked).map_or(true, |other| other != text);
    Ok((text, secret))
}

fn document(project: &Project, file: &ConfigFile, entries: &Entries) -> Result<Wanted> {
    let point = |fault: Fault| fault.at(project.place(&["config", "file"], ""));
    let chosen = below(file, entries);
    let (text, secret) = match (&file.format, &file.template) {
        (Some(name), None) => {
            let format = export::format(name).map_err(point)?;
            let name = project.name().as_str();
            let real = export::write(format, &chosen, &Subject { name, reveal: true })?;
            // The manifest of a ConfigMap has no secret in it even where the configuration has one.
            let parts = format != vice_core::ui::Format::ConfigMap;
            (real, parts && chosen.values().any(|entry| matches!(entry.value, ConfigValue::Secret(_))))
        }
        (None, Some(path)) => {
            let source = crate::file::read_text(&project.root, path)?.ok_or_else(|| {
                point(Fault::new(Code::ConfigInvalid, format!("The template {path} does not exist.")))
            })?;
            rendered(path, &source, &tables(&chosen, true), &tables(&chosen, false))?
        }
        _ => {
            let message = format!("The file {} needs either a format or a template.", file.path);
            return Err(point(Fault::new(Code::ConfigInvalid, message)));
        }
    };
    let mode = match &file.mode {
        Some(text) => mode(text).map_err(point)?,
        None if secret => PRIVATE,
        None => OPEN,
    };
    if secret && mode & 0o077 != 0 && file.owner.is_none() {
        let message = format!("The file {} has secrets and the mode {mode:04o}, which others can read.", file.path);
        return Err(point(Fault::new(Code::ConfigInvalid, message))
            .hint("Leave `mode` out for 0600, or say with `owner` whose group it is for."));
    }
    if secret && mode & 0o007 != 0 {
        let message = format!("The file {} has secrets and the mode {mode:04o}, which everybody can read.", file.path);
        return Err(point(Fault::new(Code::ConfigInvalid, message)).hint("Write 0600 or 0640."));
    }
    let owner: Option<Owner> = file.owner.as_deref().map(owner).transpose().map_err(point)?;
    Ok(Wanted { path: file.path.clone(), text, mode, owner, secret })
}

/// The entries below the key that a file is about, without that key.
fn below(file: &ConfigFile, entries: &Entries) -> Entries {
    let Some(prefix) = &file.below else { return entries.clone() };
    let inner = |(key, entry): (&String, &ConfigEntry)| {
        Some((key.strip_prefix(prefix.as_str())?.strip_prefix('.')?.to_owned(), entry.clone()))
    };
    entries.iter().filter_map(inner).collect()
}
