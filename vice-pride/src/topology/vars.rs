//! The folders `group_vars` and `host_vars` beside an Ansible inventory: what they say of groups and hosts that the
//! inventory has, as far as it is one plain value. Templates and what is encrypted are only known to Ansible.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use vice_core::{Code, Fault, Result};
use vice_pride_engine::Roster;

use super::inventory::plain;
use super::{shown, text_of, yaml};

/// So many entries of a folder are looked at: more than an inventory of a hundred thousand hosts has.
const ENTRIES_MAX: usize = 200_000;

/// The group that every host is in, also where the inventory does not name it.
const ALL: &str = "all";

/// Adds what the folders beside an inventory say; it goes before what the inventory says itself, as in Ansible.
///
/// # Errors
/// `ManifestInvalid` for a file that makes no sense; `Io` for one that can't be read.
pub(super) fn add(folder: &Path, roster: &mut Roster) -> Result<()> {
    let groups: BTreeSet<String> = roster.groups.keys().cloned().chain([ALL.to_owned()]).collect();
    for (name, vars) in said(&folder.join("group_vars"), &groups)? {
        roster.groups.entry(name).or_default().vars.extend(vars);
    }
    let hosts: BTreeSet<String> = roster.hosts.iter().map(|host| host.name.clone()).collect();
    let mut of_hosts = said(&folder.join("host_vars"), &hosts)?;
    for host in &mut roster.hosts {
        host.vars.extend(of_hosts.remove(&host.name).unwrap_or_default());
    }
    Ok(())
}

/// What the files of a folder say, by the name that each is for; nothing where there is no such folder.
fn said(folder: &Path, known: &BTreeSet<String>) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut said: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for path in entries(folder)? {
        let Some(name) = named(&path, known) else { continue };
        // A folder has files that are read in the order of their names.
        let files =
            if path.is_dir() { entries(&path)?.into_iter().filter(|file| is_vars(file)).collect() } else { vec![path] };
        let vars = said.entry(name).or_default();
        for file in files {
            vars.extend(vars_of(&file)?);
        }
    }
    Ok(said)
}

/// The entries of a folder by name, hidden ones and backups left out.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(unread(folder, error)),
    };
    let mut paths = Vec::new();
    for entry in listed {
        let path = entry.map_err(|error| unread(folder, error))?.path();
        let shown = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !shown.is_empty() && !shown.starts_with('.') && !shown.ends_with('~') {
            paths.push(path);
        }
        if paths.len() > ENTRIES_MAX {
            let message = format!("{} has more than {ENTRIES_MAX} entries.", super::shown(folder));
            return Err(Fault::new(Code::ManifestInvalid, message).detail("key", "inventory"));
        }
    }
    paths.sort();
    Ok(paths)
}

fn unread(folder: &Path, error: std::io::Error) -> Fault {
    Fault::new(Code::Io, format!("The folder {} can't be read.", shown(folder)))
        .because(error)
        .detail("key", "inventory")
}

/// For what an entry is: by its whole name, or by its name without the suffix of a file of variables.
fn named(path: &Path, known: &BTreeSet<String>) -> Option<String> {
    let whole = path.file_name()?.to_str()?;
    if known.contains(whole) {
        return Some(whole.to_owned());
    }
    let stem = path.file_stem()?.to_str()?;
    (path.is_file() && is_vars(path) && known.contains(stem)).then(|| stem.to_owned())
}

fn is_vars(path: &Path) -> bool {
    let suffix = path.extension().map(|suffix| suffix.to_str().unwrap_or_default());
    matches!(suffix, None | Some("yml" | "yaml" | "json"))
}

/// The plain values of one file.
fn vars_of(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = text_of(path, "inventory")?;
    if text.starts_with(ENCRYPTED) {
        return Ok(BTreeMap::new());
    }
    let wrong = |why: &str| {
        let message = format!("The variables {} can't be read: {why}.", shown(path));
        Fault::new(Code::ManifestInvalid, message).detail("key", "inventory")
    };
    let Value::Object(vars) = (match yaml(&text).map_err(|why| wrong(&why))? {
        Value::Null => Value::Object(serde_json::Map::new()),
        value => value,
    }) else {
        return Err(wrong("they are not a mapping"));
    };
    let known = |value: &String| !value.contains("{{") && !value.contains("{%") && !value.starts_with(ENCRYPTED);
    Ok(vars.iter().filter_map(|(key, value)| Some((key.clone(), plain(value).filter(known)?))).collect())
}

/// How a value or a file begins that only Ansible can open.
const ENCRYPTED: &str = "$ANSIBLE_VAULT";
