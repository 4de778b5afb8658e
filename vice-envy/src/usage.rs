//! What refers to a key: templates, other values, `vice.toml`, and files that the user names. Names in templates that
//! do not exist are found on the way. It looks for words; it understands no programming language.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use vice_core::manifest::Project;
use vice_core::port::config::variable_name;
use vice_core::{Code, Context, Fault, Result};

use crate::file::{FILE_BYTES_MAX, check_relative};
use crate::interpolate::{follows, references};
use crate::render::nested;
use crate::stack::Stack;
use crate::template::{Text, find};

/// The folder of templates when none is named.
const TEMPLATES: &str = "config/templates";
/// The suffix of a template.
pub(crate) const SUFFIX: &str = ".hbs";
/// The most files that are searched.
const FILES_MAX: usize = 20_000;
/// How deep folders are searched.
const DEPTH_MAX: usize = 32;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Keys that nothing refers to.
    pub(crate) unused: Vec<String>,
    /// Places with names that do not exist.
    pub(crate) undefined: Vec<(String, String)>,
}

/// The folder of a project's templates.
pub(crate) fn templates_folder(project: &Project) -> &str {
    project.manifest.config.templates.as_deref().unwrap_or(TEMPLATES)
}

/// Searches a project's templates, values and manifest, and the files and folders of `extra`.
pub(crate) fn scan(project: &Project, stack: &Stack, extra: &[String]) -> Result<Usage> {
    let values: Vec<(String, Value)> =
        stack.keys().filter_map(|key| Some((key.to_owned(), stack.say(key)?.found.value.clone()))).collect();
    let tables = nested(&values);
    let mut seen = Seen { used: BTreeSet::new(), undefined: Vec::new() };
    for (path, text) in templates(project)? {
        seen.template(&path, &text, &tables, stack)?;
    }
    for key in stack.keys() {
        if let Some(say) = stack.say(key).filter(|say| follows(stack, say)) {
            seen.used.extend(references(&say.found.value).into_iter().map(str::to_owned));
        }
    }
    let mut words = words(&manifest_without_values(project));
    for path in extra {
        check_relative(path)?;
        for (_, text) in texts(&project.root, path, "")? {
            words.extend(self::words(&text));
        }
    }
    let used = |key: &str| seen.used.contains(key) || words.contains(key) || words.contains(&variable_name(key));
    let unused = stack.keys().filter(|key| !used(key)).map(str::to_owned).collect();
    Ok(Usage { unused, undefined: seen.undefined })
}

/// A project's templates by path below its folder of templates.
pub(crate) fn templates(project: &Project) -> Result<Vec<(String, String)>> {
    let folder = templates_folder(project);
    check_relative(folder)?;
    let mut found = texts(&project.root, folder, SUFFIX)?;
    for file in project.manifest.config.file.iter().filter_map(|file| file.template.as_ref()) {
        check_relative(file)?;
        if !found.iter().any(|(path, _)| path == file) {
            found.extend(texts(&project.root, file, "")?);
        }
    }
    Ok(found)
}

/// The manifest's text without the tables of values, which would make every key of theirs look used.
fn manifest_without_values(project: &Project) -> String {
    let Ok(mut document) = project.text.parse::<toml_edit::DocumentMut>() else { return String::new() };
    if let Some(envs) = document.get_mut("env").and_then(toml_edit::Item::as_table_like_mut) {
        for (_, env) in envs.iter_mut() {
            if let Some(env) = env.as_table_like_mut() {
                env.remove("config");
            }
        }
    }
    document.remove("config");
    document.to_string()
}

struct Seen {
    used: BTreeSet<String>,
    undefined: Vec<(String, String)>,
}

impl Seen {
    fn template(&mut self, path: &str, text: &str, tables: &Map<String, Value>, stack: &Stack) -> Result<()> {
        for used in Text::parse(path, text)?.uses()? {
            let below = format!("{}.", used.name);
            // A table that is used as a whole uses everything in it; a part of a list uses the list.
            self.used.extend(stack.keys().filter(|key| key.starts_with(&below)).map(str::to_owned));
            self.used.extend(
                stack.keys().filter(|key| used.name == **key || names_part(&used.name, key)).map(str::to_owned),
            );
            if !used.optional && find(tables, &used.name).is_none() && !used.name.starts_with("vice.") {
                self.undefined.push((path.to_owned(), used.name));
            }
        }
        Ok(())
    }
}

fn names_part(name: &str, key: &str) -> bool {
    name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'))
}

/// The words of a text that can be keys or variables.
fn words(text: &str) -> BTreeSet<String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.split(|c| !inside(c))
        .map(|word| word.trim_matches('.'))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The texts of a file or of all files below a folder whose names end so; nothing when it does not exist. Links are not
/// followed, and what is no text is passed over.
fn texts(root: &Path, path: &str, suffix: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut left = vec![(PathBuf::from(path), 0)];
    while let Some((here, depth)) = left.pop() {
        let full = root.join(&here);
        let Ok(meta) = full.symlink_metadata() else { continue };
        if meta.is_dir() {
            if depth >= DEPTH_MAX || here.file_name().is_some_and(|name| name == ".git" || name == ".vice") {
                continue;
            }
            let unreadable = || format!("The folder {} can't be read.", here.display());
            for entry in std::fs::read_dir(&full).context(Code::Io, unreadable)? {
                left.push((here.join(entry.context(Code::Io, unreadable)?.file_name()), depth + 1));
            }
        } else if meta.is_file() && here.to_string_lossy().ends_with(suffix) && meta.len() <= FILE_BYTES_MAX {
            if found.len() >= FILES_MAX {
                return Err(Fault::new(Code::Usage, format!("{path} has more than {FILES_MAX} files."))
                    .hint("Name a smaller folder."));
            }
            if let Ok(text) = std::fs::read_to_string(&full) {
                found.push((here.to_string_lossy().into_owned(), text));
            }
        }
    }
    found.sort();
    Ok(found)
}
