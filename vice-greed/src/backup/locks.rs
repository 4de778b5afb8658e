//! The locks of everybody who records: a rollout or run that is under way would go on with a history that is not its
//! own any more. Who drives one holds a lock file in `locks` of the state folder for as long as it lives.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use vice_core::{Code, Context, Fault, Result};

/// Everybody's locks, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Locks {
    _held: Vec<File>,
}

impl Locks {
    /// No lock: where nobody can have one.
    pub(crate) const fn none() -> Self {
        Self { _held: Vec::new() }
    }

    /// Takes every lock that lies in the state folder, and those of `names`, which nobody may have used yet.
    ///
    /// # Errors
    /// `Locked` when somebody has one of them, `StateUnwritable` when one can't be opened.
    pub(crate) fn take(state: &Path, names: impl IntoIterator<Item = String>) -> Result<Self> {
        let folder = state.join("locks");
        let unwritable = || format!("The locks in {} can't be opened.", folder.display());
        let mut paths = existing(&folder).context(Code::StateUnwritable, unwritable)?;
        paths.extend(names.into_iter().map(|name| folder.join(format!("{name}.lock"))));
        if !paths.is_empty() {
            std::fs::create_dir_all(&folder).context(Code::StateUnwritable, unwritable)?;
        }
        let held = paths.iter().map(|path| take_one(path)).collect::<Result<_>>()?;
        Ok(Self { _held: held })
    }
}

fn existing(folder: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<BTreeSet<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "lock")).collect())
}

fn take_one(path: &Path) -> Result<File> {
    let unwritable = || format!("The lock file {} can't be opened.", path.display());
    let file = OpenOptions::new().create(true).append(true).open(path).context(Code::StateUnwritable, unwritable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let message =
                format!("A rollout or run is under way ({name}); a history can't be moved or replaced under it.");
            Err(Fault::new(Code::Locked, message)
                .hint("Wait for it, or end it (`vice status` shows it), and run the command then."))
        }
        Err(TryLockError::Error(error)) => Err(error).context(Code::StateUnwritable, unwritable),
    }
}
