//! Writing a report into a file of the workspace: never outside of it, never half.

use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use vice_core::{Code, Context, Fault, Result};

/// Writes `text` to `file` below `root`, and gives the whole path. A file that exists is replaced at once.
///
/// # Errors
/// `Usage` when the path leads outside, also through a symbolic link; `Io` when it can't be written.
pub(crate) fn write(root: &Path, file: &str, text: &str) -> Result<PathBuf> {
    let relative = Path::new(file);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let (true, Some(name)) = (plain, relative.file_name()) else {
        return Err(outside(file));
    };
    let failed = || format!("The report can't be written to {file:?}.");
    let root = root.canonicalize().context(Code::Io, failed)?;
    let mut folder = root.clone();
    for part in relative.parent().into_iter().flat_map(Path::components) {
        folder.push(part);
        if !folder.exists() {
            fs::create_dir(&folder).context(Code::Io, failed)?;
        }
        if !folder.canonicalize().context(Code::Io, failed)?.starts_with(&root) {
            return Err(outside(file));
        }
    }
    let path = folder.join(name);
    if path.is_dir() {
        return Err(Fault::new(Code::Usage, format!("{file:?} is a folder.")).hint("Name a file in it."));
    }
    // The new content gets its own name first: renaming replaces a link instead of following it, and nobody ever
    // reads half a report.
    let mut fresh = name.to_owned();
    fresh.push(".new");
    let fresh = folder.join(fresh);
    // A link of that name, or what an interrupted run left, goes away: it is never written through.
    if fresh.symlink_metadata().is_ok() {
        fs::remove_file(&fresh).context(Code::Io, failed)?;
    }
    let mut handle = fs::File::create_new(&fresh).context(Code::Io, failed)?;
    handle.write_all(text.as_bytes()).context(Code::Io, failed)?;
    fs::rename(&fresh, &path).context(Code::Io, failed)?;
    Ok(path)
}

fn outside(file: &str) -> Fault {
    let shown: String = file.chars().take(80).collect();
    Fault::new(Code::Usage, format!("The report can't go to {shown:?}, which is outside of the workspace."))
        .hint("Name a path below the folder of vice.toml, such as reports/latest.html.")
}
