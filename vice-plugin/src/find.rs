//! Which plug-ins are on `PATH`, which of them are hidden by others, and which can't be started.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};

use crate::pins::{Lock, check_pin};

/// What the names of programs begin with, and what they are for.
pub(crate) const KINDS: [(&str, &str); 3] =
    [("vice-backend-", "backend"), ("vice-credential-", "credential helper"), ("vice-", "command")];

/// Folders of `PATH` and programs in one of them that are looked at.
const FOLDERS_MAX: usize = 256;
const PROGRAMS_MAX: usize = 10_000;

/// How a plug-in stands on `PATH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is the one that is started.
    First,
    /// Another one of the same name comes before it.
    Hidden,
    /// It is no program that may be started.
    NotExecutable,
    /// A command of vice has that name, and is never replaced.
    BuiltIn,
    /// Anybody on this machine could replace it, so that it is not started.
    Unsafe,
    /// The project has locked its plug-ins, and this is none of them.
    NotLocked,
}

impl Place {
    /// Whether it is looked for no further: one that is not locked is refused, and no other is taken in its place.
    const fn is_taken(self) -> bool {
        matches!(self, Self::First | Self::NotLocked)
    }
}

/// A program that looks like a plug-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name behind the prefix.
    pub name: String,
    /// What it is for.
    pub kind: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Whether it is the one that is started.
    pub place: Place,
}

/// Every program on `PATH` that looks like a plug-in, in the order of `PATH`, by name in each folder. `built_in` says which
/// names commands of vice have.
#[must_use]
pub fn find_all(env: &ProcessEnv, built_in: &dyn Fn(&str) -> bool) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    let lock = Lock::of(env);
    // Where the file can't be read, nothing is started.
    let locked_out = |path: &Path| match &lock {
        Ok(lock) => lock.as_ref().is_some_and(|lock| lock.check(path).is_err()),
        Err(_) => true,
    };
    for dir in std::env::split_paths(env.get("PATH").unwrap_or_default()).take(FOLDERS_MAX) {
        let mut here = in_folder(&dir);
        here.sort_by(|one, two| one.path.cmp(&two.path));
        for mut found in here {
            let same = |other: &Found| other.kind == found.kind && other.name == found.name && other.place.is_taken();
            found.place = match found.place {
                Place::First if found.kind == "command" && built_in(&found.name) => Place::BuiltIn,
                Place::First if all.iter().any(same) => Place::Hidden,
                Place::First if locked_out(&found.path) => Place::NotLocked,
                place => place,
            };
            all.push(found);
        }
    }
    all
}

/// The backend of that name, if there is one that can be started.
///
/// # Errors
/// `Usage` for one that anybody on this machine could replace by another one; what [`check_pin`] says.
pub fn find(env: &ProcessEnv, name: &str) -> Result<Option<PathBuf>> {
    // A name with a slash would reach outside of PATH.
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 60 || !name.chars().all(plain) {
        return Ok(None);
    }
    let file = format!("vice-backend-{name}");
    let mut folders = std::env::split_paths(env.get("PATH").unwrap_or_default()).take(FOLDERS_MAX);
    let Some(path) = folders.find_map(|dir| Some(dir.join(&file)).filter(|path| is_program(path))) else {
        return Ok(None);
    };
    if is_anybodys(&path) {
        let message = format!("The plug-in {} can be replaced by anybody on this machine.", path.display());
        return Err(Fault::new(Code::Usage, message)
            .hint("Take write permission for others from the file and from its folder: chmod o-w."));
    }
    check_pin(env, &path)?;
    Ok(Some(path))
}

/// Whether others than owner and group may write the file, or put another one in its place; a link counts as what it
/// leads to as well.
fn is_anybodys(path: &Path) -> bool {
    let open = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o002 != 0);
    let folder_is_open = |path: &Path| path.parent().is_some_and(open);
    open(path) || folder_is_open(path) || path.canonicalize().is_ok_and(|real| folder_is_open(&real))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn in_folder(dir: &Path) -> Vec<Found> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let look = |entry: std::fs::DirEntry| {
        let (file, path) = (entry.file_name(), entry.path());
        let file = file.to_str()?;
        let (name, kind) = KINDS.iter().find_map(|(prefix, kind)| Some((file.strip_prefix(prefix)?, *kind)))?;
        let place = match (is_program(&path), is_anybodys(&path)) {
            (false, _) => Place::NotExecutable,
            (true, true) => Place::Unsafe,
            (true, false) => Place::First,
        };
        (!name.is_empty()).then(|| Found { name: name.to_owned(), kind, path, place })
    };
    entries.flatten().take(PROGRAMS_MAX).filter_map(look).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_can_be_started_wins_and_the_others_are_told() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let put = |dir: usize, name: &str, mode: u32| {
            let path = dirs[dir].path().join(name);
            std::fs::write(&path, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put(0, "vice-backend-a", 0o644);
        put(1, "vice-backend-a", 0o755);
        put(0, "vice-backend-b", 0o755);
        put(1, "vice-backend-b", 0o755);
        put(0, "vice-deploy", 0o755);
        put(0, "vice-credential-pass", 0o755);
        put(0, "other", 0o755);
        let path = std::env::join_paths(dirs.iter().map(tempfile::TempDir::path)).unwrap();
        let vars = [("PATH".to_owned(), path.to_str().unwrap().to_owned())].into();
        let env = ProcessEnv { vars, ..ProcessEnv::default() };
        let all = find_all(&env, &|name| name == "deploy");
        let told: Vec<_> = all.iter().map(|found| (found.kind, found.name.as_str(), found.place)).collect();
        assert_eq!(
            told,
            [
                ("backend", "a", Place::NotExecutable),
                ("backend", "b", Place::First),
                ("credential helper", "pass", Place::First),
                ("command", "deploy", Place::BuiltIn),
                ("backend", "a", Place::First),
                ("backend", "b", Place::Hidden),
            ]
        );
        assert_eq!(find(&env, "a").unwrap(), Some(dirs[1].path().join("vice-backend-a")));
        assert_eq!(find(&env, "b").unwrap(), Some(dirs[0].path().join("vice-backend-b")));
        for bad in ["", "../a", "A", "a b", "-a/../b", "../../bin/sh"] {
            assert_eq!(find(&env, bad).unwrap(), None, "{bad:?}");
        }
    }

    #[test]
    fn what_anybody_could_replace_is_not_started() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let (here, elsewhere) = (dir.path().join("here"), dir.path().join("elsewhere"));
        for folder in [&here, &elsewhere] {
            std::fs::create_dir(folder).unwrap();
            mode(folder, 0o755);
        }
        let program = elsewhere.join("program");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        mode(&program, 0o755);
        std::os::unix::fs::symlink(&program, here.join("vice-backend-a")).unwrap();
        let vars = [("PATH".to_owned(), here.display().to_string())].into();
        let env = ProcessEnv { vars, ..ProcessEnv::default() };
        assert!(find(&env, "a").unwrap().is_some());
        for (path, bad) in [(&program, 0o757), (&here, 0o777), (&elsewhere, 0o1777)] {
            mode(path, bad);
            let fault = find(&env, "a").unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{fault:?}");
            assert_eq!(find_all(&env, &|_| false)[0].place, Place::Unsafe, "{}", path.display());
            mode(path, 0o755);
        }
        assert_eq!(find_all(&env, &|_| false)[0].place, Place::First);
    }
}
