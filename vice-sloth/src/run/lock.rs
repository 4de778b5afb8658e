//! One process works on a run at a time. On one machine a lock file says so without timers: the system lets go of it
//! when the process ends, however it ends. Between machines the history itself does, by the expected version.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::PathBuf;

use vice_core::app::App;
use vice_core::{Code, Context, Result};

use crate::journal::payload::RunId;

/// Takes the lock of a run; none when another process has it. Dropping the file lets go of it.
pub(crate) fn take(app: &App, run: &RunId) -> Result<Option<File>> {
    let folder = app.workspace.state.join("locks");
    let unwritable = || format!("The lock file of the run {run} could not be made in {}.", folder.display());
    std::fs::create_dir_all(&folder).context(Code::StateUnwritable, unwritable)?;
    let file =
        OpenOptions::new().create(true).append(true).open(path(app, run)).context(Code::StateUnwritable, unwritable)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).context(Code::StateUnwritable, unwritable),
    }
}

fn path(app: &App, run: &RunId) -> PathBuf {
    app.workspace.state.join("locks").join(format!("run-{run}.lock"))
}

/// Lets go of the lock. Nobody can go on with a run that has succeeded, so its file is of no use any more; one that
/// stays behind does no harm.
pub(crate) fn give_back(app: &App, run: &RunId, lock: File, succeeded: bool) {
    if succeeded {
        std::fs::remove_file(path(app, run)).ok();
    }
    drop(lock);
}
