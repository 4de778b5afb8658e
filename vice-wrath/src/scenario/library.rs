//! Files of scenarios: where they are found, how they are read, and how one includes another. It owns every access to
//! these files and the limits on them.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use vice_core::suggest::nearest;
use vice_core::{Code, Context, Fault, Result};

use super::toml_file::{self, Draft, Entry, row_label};
use super::{FILE_BYTES_MAX, Row, STEPS_MAX, Scenario, Source, Spot, Step, csv, hurl};

/// The folder beside `vice.toml` in which scenarios are looked for.
pub(crate) const FOLDER: &str = "wrath";

/// So many files are looked at; a folder with more is not one of scenarios.
const FILES_MAX: usize = 2000;

/// How deep folders of scenarios may nest.
const FOLDERS_MAX: usize = 8;

/// How deep includes may nest.
const INCLUDES_MAX: usize = 16;

/// Reads a file, within bounds.
///
/// # Errors
/// `Io` where it can't be read, `ManifestInvalid` where it is too large or no text.
pub(crate) fn read(path: &Path, shown: &str) -> Result<Arc<Source>> {
    let fail = || format!("{shown} can't be read.");
    let size = std::fs::metadata(path).context(Code::Io, fail)?;
    if !size.is_file() {
        return Err(Fault::new(Code::Io, format!("{shown} is not a file.")));
    }
    if size.len() > FILE_BYTES_MAX {
        return Err(Fault::new(Code::ManifestInvalid, format!("{shown} has more than {FILE_BYTES_MAX} bytes.")));
    }
    let bytes = std::fs::read(path).context(Code::Io, fail)?;
    let text =
        String::from_utf8(bytes).map_err(|_| Fault::new(Code::ManifestInvalid, format!("{shown} is not UTF-8.")))?;
    Ok(Arc::new(Source { file: shown.to_owned(), path: path.to_owned(), text: text.into() }))
}

/// All files of scenarios below `root/wrath`, by name. Files whose name begins with `_` are only there to be included.
///
/// # Errors
/// `Io`; `Usage` when there are too many.
pub(crate) fn find(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let folder = root.join(FOLDER);
    if folder.is_dir() {
        walk(&folder, 0, &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let fail = || format!("The folder {} can't be read.", folder.display());
    for entry in std::fs::read_dir(folder).context(Code::Io, fail)? {
        let path = entry.context(Code::Io, fail)?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with(['.', '_']));
        if path.is_dir() && !hidden && depth < FOLDERS_MAX {
            walk(&path, depth + 1, found)?;
        } else if path.is_file() && !hidden && is_scenario(&path) {
            found.push(path);
        }
        if found.len() > FILES_MAX {
            return Err(Fault::new(Code::Usage, format!("{} has more than {FILES_MAX} files.", folder.display())));
        }
    }
    Ok(())
}

/// Whether a file's name is one of a scenario.
pub(crate) fn is_scenario(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "toml" || ending == "hurl")
}

/// The scenario of a file.
///
/// # Errors
/// As [`read`]; `ManifestInvalid` for what makes no sense, at its place.
pub(crate) fn load(path: &Path, shown: &str) -> Result<Scenario> {
    let mut loader = Loader { open: Vec::new(), steps: 0 };
    let source = read(path, shown)?;
    let scenario = loader.scenario(&source, None)?;
    if scenario.steps.is_empty() && scenario.setup.is_empty() {
        return Err(scenario
            .spot
            .invalid(format!("{shown} has no steps."))
            .hint("Add one: [[step]] with http = \"GET /\"."));
    }
    Ok(scenario)
}

struct Loader {
    /// The files that are being read, the outermost first.
    open: Vec<PathBuf>,
    steps: usize,
}

impl Loader {
    fn scenario(&mut self, source: &Arc<Source>, from: Option<&Spot>) -> Result<Scenario> {
        self.enter(source, from)?;
        let scenario = if source.path.extension().is_some_and(|ending| ending == "hurl") {
            hurl::parse(source)?
        } else {
            let draft = toml_file::parse(source)?;
            self.resolve(source, draft)?
        };
        self.steps = self.steps.saturating_add(scenario.all_steps().count());
        self.open.pop();
        if self.steps > STEPS_MAX {
            return Err(scenario
                .spot
                .invalid(format!("The scenario has more than {STEPS_MAX} steps with its includes.")));
        }
        Ok(scenario)
    }

    fn enter(&mut self, source: &Source, from: Option<&Spot>) -> Result<()> {
        let real = std::fs::canonicalize(&source.path).unwrap_or_else(|_| source.path.clone());
        let at = |message: String| match from {
            Some(spot) => spot.invalid(message),
            None => Fault::new(Code::ManifestInvalid, message),
        };
        if let Some(start) = self.open.iter().position(|open| *open == real) {
            let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let circle: Vec<String> = self.open[start..].iter().chain([&real]).map(name).collect();
            return Err(at(format!("Includes go in a circle: {}.", circle.join(" → "))).hint("Take one of them out."));
        }
        if self.open.len() >= INCLUDES_MAX {
            return Err(at(format!("Includes are nested more than {INCLUDES_MAX} deep.")));
        }
        self.open.push(real);
        Ok(())
    }

    fn included(&mut self, name: &str, spot: &Spot) -> Result<Scenario> {
        let (path, shown) = beside(&spot.source, name).map_err(|why| spot.invalid(why))?;
        let source = read(&path, &shown).map_err(|fault| {
            if fault.code() == Code::Io {
                spot.invalid(format!("{shown} can't be included.")).because(fault.chain().join(": "))
            } else {
                fault
            }
        })?;
        self.scenario(&source, Some(spot))
    }

    /// Puts what a file includes into it: its setup before, its teardown after, its variables as defaults.
    fn resolve(&mut self, source: &Arc<Source>, draft: Draft) -> Result<Scenario> {
        let (mut setup, mut teardown, mut vars) = (Vec::new(), Vec::new(), Vec::<(String, Value)>::new());
        for (name, spot) in &draft.includes {
            let shared = self.included(name, spot)?;
            if !shared.steps.is_empty() {
                return Err(spot.invalid(format!("{name} has steps, which nothing would play here.")).hint(
                    "Include it where its steps belong: [[step]] with include = \"…\"; or make them [[setup]].",
                ));
            }
            merge(&mut vars, shared.vars);
            setup.extend(shared.setup);
            teardown.splice(0..0, shared.teardown);
        }
        let own_setup = self.entries(draft.setup, &mut vars)?;
        let steps = self.entries(draft.steps, &mut vars)?;
        let mut own_teardown = self.entries(draft.teardown, &mut vars)?;
        setup.extend(own_setup);
        // What was set up last is taken down first.
        own_teardown.extend(teardown);
        let file = draft.file;
        merge(&mut vars, file.vars.into_iter().collect());
        let rows = match draft.table {
            Some((name, spot)) => table(source, &name, &spot)?,
            None => draft.rows,
        };
        let stem = source.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Scenario {
            name: file.name.unwrap_or(stem),
            about: file.about,
            spot: draft.spot,
            tags: file.tags,
            only: file.only,
            vars,
            rows,
            setup,
            steps,
            teardown: own_teardown,
            cookies: file.cookies.unwrap_or(true),
            keep_going: file.keep_going,
            timeout: file.timeout,
        })
    }

    fn entries(&mut self, entries: Vec<Entry>, vars: &mut Vec<(String, Value)>) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for entry in entries {
            match entry {
                Entry::Step(step) => steps.push(*step),
                Entry::Include(name, spot) => {
                    let other = self.included(&name, &spot)?;
                    merge(vars, other.vars);
                    steps.extend(other.setup.into_iter().chain(other.steps));
                    if !other.teardown.is_empty() {
                        return Err(spot
                            .invalid(format!("{name} has a teardown, which would not run at the right time here."))
                            .hint("Include it at the top: include = [\"…\"]."));
                    }
                }
            }
        }
        Ok(steps)
    }
}

/// Later values win; places stay.
fn merge(vars: &mut Vec<(String, Value)>, more: Vec<(String, Value)>) {
    for (name, value) in more {
        match vars.iter_mut().find(|(known, _)| *known == name) {
            Some(place) => place.1 = value,
            None => vars.push((name, value)),
        }
    }
}

/// The file that another one names: beside it or below, never outside of its project by `..` at will.
///
/// # Errors
/// A sentence that says why the name is refused.
pub(crate) fn beside(source: &Source, name: &str) -> Result<(PathBuf, String), String> {
    let relative = Path::new(name);
    let odd = relative.components().any(|part| matches!(part, Component::RootDir | Component::Prefix(_)));
    if name.is_empty() || odd {
        return Err(format!("{name:?} is not the name of a file beside this one."));
    }
    let folder = source.path.parent().unwrap_or_else(|| Path::new("."));
    let shown = match Path::new(&source.file).parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => parent.join(relative).display().to_string(),
        None => name.to_owned(),
    };
    Ok((folder.join(relative), shown))
}

fn table(source: &Source, name: &str, spot: &Spot) -> Result<Vec<Row>> {
    let (path, shown) = beside(source, name).map_err(|why| spot.invalid(why))?;
    let text = read(&path, &shown)
        .map_err(|fault| spot.invalid(format!("The table {shown} can't be read.")).because(fault.chain().join(": ")))?;
    let table = csv::parse(&text.text).map_err(|why| spot.invalid(format!("The table {shown} {why}.")))?;
    if table.rows.is_empty() {
        return Err(spot.invalid(format!("The table {shown} has no rows.")));
    }
    let rows = table.rows.into_iter().enumerate().map(|(index, fields)| {
        let first = fields.first().map(|field| Value::from(field.as_str()));
        let label = row_label(index, first.as_ref());
        Row { label, values: table.heading.iter().cloned().zip(fields.into_iter().map(Value::from)).collect() }
    });
    Ok(rows.collect())
}

/// Which scenarios of a project somebody means.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Names or files; all when empty.
    pub(crate) names: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) not_tags: Vec<String>,
}

/// Loads the scenarios that are meant: files that are named, or those of the folder by name.
///
/// # Errors
/// As [`load`]; `UnknownName` for names and tags that do not exist, `Usage` where nothing is left.
pub(crate) fn choose(root: &Path, dir: &Path, wanted: &Wanted) -> Result<Vec<Scenario>> {
    let (files, names): (Vec<&String>, Vec<&String>) =
        wanted.names.iter().partition(|name| is_scenario(Path::new(name.as_str())));
    let mut all = Vec::new();
    for name in &files {
        all.push(load(&dir.join(name.as_str()), name)?);
    }
    if files.is_empty() || !names.is_empty() {
        let mut found = Vec::new();
        for path in find(root)? {
            let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            found.push(load(&path, &shown)?);
        }
        for name in &names {
            if !found.iter().any(|scenario| scenario.name == **name) {
                return Err(unknown("scenario", name, found.iter().map(|scenario| scenario.name.as_str())));
            }
        }
        all.extend(found.into_iter().filter(|scenario| names.is_empty() || names.contains(&&scenario.name)));
    }
    let mut seen = BTreeSet::new();
    for scenario in &all {
        if !seen.insert(scenario.name.clone()) {
            return Err(scenario
                .spot
                .invalid(format!("There are two scenarios {:?}.", scenario.name))
                .hint("Give one of them another `name`."));
        }
    }
    let tags: BTreeSet<&str> = all.iter().flat_map(|scenario| &scenario.tags).map(String::as_str).collect();
    if let Some(tag) = wanted.tags.iter().find(|tag| !tags.contains(tag.as_str())) {
        return Err(unknown("tag", tag, tags.into_iter()));
    }
    let any = |scenario: &Scenario, tags: &[String]| scenario.tags.iter().any(|tag| tags.contains(tag));
    all.retain(|scenario| (wanted.tags.is_empty() || any(scenario, &wanted.tags)) && !any(scenario, &wanted.not_tags));
    Ok(all)
}

fn unknown<'k>(what: &str, name: &str, known: impl Iterator<Item = &'k str>) -> Fault {
    let known: Vec<&str> = known.collect();
    let shown: String = name.chars().take(80).collect();
    let fault = Fault::new(Code::UnknownName, format!("There is no {what} {shown:?}."));
    let fault = match nearest(name, known.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {near}?")),
        None => fault,
    };
    if known.is_empty() {
        return fault.hint(format!("Scenarios are files {FOLDER}/*.toml and {FOLDER}/*.hurl beside vice.toml."));
    }
    fault.hint(format!("Known: {}.", known.join(", ")))
}
