//! Finding and reading project files: walking up from the working folder, stopping at a version control root or at
//! `VICE_CEILING`; a `[workspace]` above a project wins, so that all its projects share one history.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vice_core::app::{ProcessEnv, Workspace};
use vice_core::manifest::{Manifest, Project, parse};
use vice_core::{Code, Context, Fault, Result};
use vice_greed::StorePlace;

/// The project file's name.
pub(crate) const FILE: &str = "vice.toml";

/// The state folder where no other is named.
const STATE: &str = ".vice";

/// How many projects one workspace may have; more is surely a pattern that went wrong.
const PROJECTS_MAX: usize = 1000;

/// Bytes of one project file.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The workspace around the working folder. An empty one when there is no project file.
pub(crate) fn load(env: &ProcessEnv) -> Result<Workspace> {
    let files = find(env)?;
    let Some(nearest) = files.first() else {
        return Ok(Workspace { root: env.dir.clone(), state: env.dir.join(STATE), ..Workspace::default() });
    };
    for file in files.iter().rev() {
        let (text, manifest) = read(env, file)?;
        let root = parent(file);
        if let Some(spec) = &manifest.workspace {
            let members = members(env, &root, file, &text, &spec.projects)?;
            if file == nearest || members.contains(nearest) {
                return collect(env, root, &manifest, &members, nearest);
            }
        }
    }
    let (_, manifest) = read(env, nearest)?;
    collect(env, parent(nearest), &manifest, &[], nearest)
}

fn parent(file: &Path) -> PathBuf {
    file.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The project files from the working folder upwards, nearest first.
fn find(env: &ProcessEnv) -> Result<Vec<PathBuf>> {
    let ceiling = env.get("VICE_CEILING").map(PathBuf::from);
    let mut found = Vec::new();
    for dir in env.dir.ancestors() {
        let file = dir.join(FILE);
        if is_project_file(env, &file)? {
            found.push(file);
        }
        let top = [".git", ".hg", ".jj"].iter().any(|name| dir.join(name).exists());
        if top || ceiling.as_deref() == Some(dir) {
            break;
        }
    }
    Ok(found)
}

/// Whether there is a project file. Something else of that name is a mistake: passing over it, another project above
/// would be meant.
fn is_project_file(env: &ProcessEnv, file: &Path) -> Result<bool> {
    let refused = |what: &str| {
        Fault::new(Code::ManifestInvalid, format!("{} is {what}, and no project file.", shown(env, file)))
            .hint("Move it away; `vice init` writes a project file.")
    };
    let kind = match fs::metadata(file) {
        Ok(found) => found.file_type(),
        Err(_) if file.is_symlink() => return Err(refused("a symbolic link that leads nowhere")),
        // A folder above that can't be looked into has no project of ours.
        Err(_) => return Ok(false),
    };
    match kind {
        kind if kind.is_file() => Ok(true),
        kind if kind.is_dir() => Err(refused("a folder")),
        kind if kind.is_fifo() => Err(refused("a pipe")),
        _ => Err(refused("a device or socket")),
    }
}

/// The path as the user knows it: relative to the working folder where it lies below.
fn shown(env: &ProcessEnv, file: &Path) -> String {
    file.strip_prefix(&env.dir).unwrap_or(file).display().to_string()
}

fn read(env: &ProcessEnv, file: &Path) -> Result<(String, Manifest)> {
    let text = read_text(env, file)?;
    let manifest = parse(&shown(env, file), &text)?;
    Ok((text, manifest))
}

fn read_text(env: &ProcessEnv, path: &Path) -> Result<String> {
    let unreadable = || format!("{} can't be read.", shown(env, path));
    let mut text = String::new();
    let file = fs::File::open(path).context(Code::ManifestInvalid, unreadable)?;
    file.take(BYTES_MAX + 1).read_to_string(&mut text).context(Code::ManifestInvalid, unreadable)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Fault::new(
            Code::ManifestInvalid,
            format!("{} has more than {BYTES_MAX} bytes.", shown(env, path)),
        )
        .hint("A large fleet is generated, or stands in a topology file of its own."));
    }
    Ok(text)
}

/// The project files that a workspace names.
fn members(env: &ProcessEnv, root: &Path, file: &Path, text: &str, patterns: &[String]) -> Result<Vec<PathBuf>> {
    let mut members = Vec::new();
    for pattern in patterns {
        let found = match pattern.strip_suffix('*') {
            Some(prefix) => below(&root.join(prefix)),
            None => vec![root.join(pattern).join(FILE)],
        };
        let existing: Vec<PathBuf> = found.into_iter().filter(|file| file.is_file()).collect();
        if existing.is_empty() {
            let place =
                vice_core::manifest::place_of(&shown(env, file), text, &["workspace", "projects"], "named here");
            return Err(Fault::new(
                Code::ManifestInvalid,
                format!("The workspace names {pattern:?}, where no vice.toml is."),
            )
            .at(place)
            .hint("`vice init` in that folder writes one."));
        }
        members.extend(existing);
    }
    if members.len() > PROJECTS_MAX {
        return Err(Fault::new(Code::ManifestInvalid, format!("The workspace has more than {PROJECTS_MAX} projects.")));
    }
    members.sort();
    members.dedup();
    Ok(members)
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join(FILE)).collect()
}

fn collect(env: &ProcessEnv, root: PathBuf, top: &Manifest, members: &[PathBuf], nearest: &Path) -> Result<Workspace> {
    let history = top.history.store.clone();
    let state = match &history {
        Some(store) => history_place(env, &root, store)?.state(&root.join(STATE)),
        None => root.join(STATE),
    };
    let mut workspace = Workspace { state, history, dashboards: top.dashboard.clone(), ..Workspace::default() };
    let own = root.join(FILE);
    let own = top.name.is_some().then_some(&own).or_else(|| (members.is_empty()).then_some(&own));
    for file in own.into_iter().chain(members) {
        let text = read_text(env, file)?;
        let project = Project::parse(parent(file), shown(env, file), text)?;
        let name = project.name().clone();
        if file == nearest {
            workspace.here = Some(name.clone());
        }
        for (dashboard, spec) in &project.manifest.dashboard {
            workspace.dashboards.entry(dashboard.clone()).or_insert_with(|| spec.clone());
        }
        add(&mut workspace.projects, project)?;
    }
    workspace.root = root;
    Ok(workspace)
}

/// What `[history] store` of the outermost file means; errors point into it.
fn history_place(env: &ProcessEnv, root: &Path, store: &str) -> Result<StorePlace> {
    let known = StorePlace::parse(store, root).and_then(|place| place.require_program(env).map(|()| place));
    known.map_err(|fault| {
        // The line may hold a password, and would be shown.
        if store.contains('@') {
            return fault;
        }
        let file = root.join(FILE);
        let text = read_text(env, &file).unwrap_or_default();
        fault.at(vice_core::manifest::place_of(&shown(env, &file), &text, &["history", "store"], "named here"))
    })
}

fn add(projects: &mut BTreeMap<vice_core::id::ProjectName, Arc<Project>>, project: Project) -> Result<()> {
    let name = project.name().clone();
    if let Some(other) = projects.get(&name) {
        return Err(Fault::new(
            Code::ManifestInvalid,
            format!("Two projects are named {name}: {} and {}.", other.file, project.file),
        )
        .at(project.place(&["name"], "this one"))
        .hint("Give one of them another name."));
    }
    projects.insert(name, Arc::new(project));
    Ok(())
}
