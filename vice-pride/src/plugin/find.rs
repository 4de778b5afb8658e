//! Which plug-ins are on `PATH`, which of them are hidden by others, and which can't be started.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use vice_core::app::ProcessEnv;

/// What the names of programs begin with, and what they are for.
const KINDS: [(&str, &str); 3] =
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
    for dir in std::env::split_paths(env.get("PATH").unwrap_or_default()).take(FOLDERS_MAX) {
        let mut here = in_folder(&dir);
        here.sort_by(|one, two| one.path.cmp(&two.path));
        for mut found in here {
            let same =
                |other: &Found| other.kind == found.kind && other.name == found.name && other.place == Place::First;
            found.place = match found.place {
                Place::First if found.kind == "command" && built_in(&found.name) => Place::BuiltIn,
                Place::First if all.iter().any(same) => Place::Hidden,
                place => place,
            };
            all.push(found);
        }
    }
    all
}

/// The backend of that name, if there is one that can be started.
#[must_use]
pub fn find(env: &ProcessEnv, name: &str) -> Option<PathBuf> {
    // A name with a slash would reach outside of PATH.
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 60 || !name.chars().all(plain) {
        return None;
    }
    let file = format!("vice-backend-{name}");
    let folders = std::env::split_paths(env.get("PATH")?).take(FOLDERS_MAX);
    folders.map(|dir| dir.join(&file)).find(|path| is_program(path))
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
        let place = if is_program(&path) { Place::First } else { Place::NotExecutable };
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
        assert_eq!(find(&env, "a"), Some(dirs[1].path().join("vice-backend-a")));
        assert_eq!(find(&env, "b"), Some(dirs[0].path().join("vice-backend-b")));
        for bad in ["", "../a", "A", "a b", "-a/../b"] {
            assert_eq!(find(&env, bad), None, "{bad:?}");
        }
    }
}
