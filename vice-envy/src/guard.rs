//! One command at a time changes the files of a project's configuration. The lock is the system's: it ends with the
//! process that has it, however that ends. What the lock's file says is for people, and for telling that a command was
//! killed in the middle. It protects from other commands of vice, not from editors.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vice_core::manifest::Project;
use vice_core::text::sanitize;
use vice_core::{Clock, Code, Context, Fault, Result};

use crate::file;
use crate::layer::{LayerSpec, specs};

/// How long a command waits for another one: as long as encrypting a large project again takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The longest note that is read, in bytes.
const NOTE_BYTES_MAX: u64 = 4096;

/// Who has the lock, or had it when it was killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// What it does, as a command to repeat.
    pub(crate) command: String,
    pub(crate) pid: u32,
    pub(crate) since: String,
}

/// The lock, until it is dropped.
pub(crate) struct Guard {
    file: File,
    /// The command that had the lock before and did not end by itself.
    pub(crate) killed: Option<Note>,
}

impl Guard {
    /// Waits for the lock of a project's configuration and takes it for a command.
    ///
    /// # Errors
    /// `Locked`, naming who has it; `StateUnwritable` when its file can't be made.
    pub(crate) fn take(state: &Path, project: &Project, command: &str, clock: &dyn Clock) -> Result<Self> {
        Self::take_within(state, project, command, clock, PATIENCE)
    }

    fn take_within(
        state: &Path,
        project: &Project,
        command: &str,
        clock: &dyn Clock,
        patience: Duration,
    ) -> Result<Self> {
        let path = state.join("locks").join(format!("config.{}.lock", project.name()));
        let unwritable = || format!("The lock file {} can't be used.", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).context(Code::StateUnwritable, unwritable)?;
        }
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = opened.context(Code::StateUnwritable, unwritable)?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(error).context(Code::StateUnwritable, unwritable),
                Err(TryLockError::WouldBlock) if waited >= patience => return Err(held(project, note(&mut file))),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_EVERY),
            }
            waited += LOOK_EVERY;
        }
        let killed = note(&mut file);
        if killed.is_some() {
            sweep(project);
        }
        let own = Note { command: command.to_owned(), pid: std::process::id(), since: clock.now().to_string() };
        let text = serde_json::to_vec(&own).context(Code::Internal, || "A note can't be encoded.".to_owned())?;
        overwrite(&mut file, &text).context(Code::StateUnwritable, unwritable)?;
        Ok(Self { file, killed })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // An emptied file says that nothing was cut off. When that fails, the next command says too much, not too little.
        overwrite(&mut self.file, b"").ok();
    }
}

impl Note {
    /// How somebody goes on after the command was killed.
    pub(crate) fn advice(&self) -> String {
        format!(
            "`{}` (pid {}, {}) was cut off. Every file is whole, as it was before or as it should become; run it again to \
             complete it.",
            sanitize(&self.command),
            self.pid,
            sanitize(&self.since)
        )
    }
}

fn overwrite(file: &mut File, text: &[u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.set_len(0)?;
    file.write_all(text)
}

/// What stands in the file; nothing where it can't be read or was not written by a command.
fn note(file: &mut File) -> Option<Note> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(NOTE_BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn held(project: &Project, holder: Option<Note>) -> Fault {
    let name = project.name();
    let Some(note) = holder else {
        return Fault::new(Code::Locked, format!("Another command is changing the configuration of {name}."))
            .hint("It has just begun; try again in a moment.");
    };
    let (command, since) = (sanitize(&note.command), sanitize(&note.since));
    let message = format!("`{command}` (pid {}, since {since}) is changing the configuration of {name}.", note.pid);
    Fault::new(Code::Locked, message)
        .hint("Wait until it has ended and try again; nothing was changed.")
        .detail("pid", note.pid)
        .detail("command", command)
}

/// Removes the new files that a killed command did not come to put in their places. Only the holder of the lock does it.
fn sweep(project: &Project) {
    for folder in folders(project) {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let ours = entry.file_name().to_str().is_some_and(file::is_unfinished);
            if ours && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                std::fs::remove_file(entry.path()).ok();
            }
        }
    }
}

/// The folders that have layers.
fn folders(project: &Project) -> std::collections::BTreeSet<PathBuf> {
    let specs = project.manifest.env.keys().filter_map(|env| specs(project, env).ok()).flatten();
    let paths = specs.filter_map(|spec: LayerSpec| spec.file().map(|path| project.root.join(path)));
    paths.filter_map(|path| path.parent().map(Path::to_path_buf)).collect()
}

#[cfg(test)]
mod tests {
    use vice_core::time::ManualClock;

    use super::*;
    use crate::tests::Bench;

    #[test]
    fn a_second_command_waits_and_then_names_the_first() {
        let bench = Bench::new("");
        let (project, state, clock) = (
            bench.project(),
            bench.root().join(".vice"),
            ManualClock::new(jiff::Timestamp::UNIX_EPOCH, vice_core::Millis(0)),
        );
        let first = Guard::take(&state, &project, "vice envy rotate", &clock).unwrap();
        assert_eq!(first.killed, None);
        let second = Guard::take_within(&state, &project, "vice envy set", &clock, Duration::from_millis(100));
        let fault = second.err().unwrap();
        assert_eq!(fault.code(), Code::Locked);
        assert!(fault.to_string().contains(&format!("`vice envy rotate` (pid {}", std::process::id())), "{fault}");
        drop(first);
        assert_eq!(Guard::take(&state, &project, "vice envy set", &clock).unwrap().killed, None);
    }

    #[test]
    fn what_a_killed_command_left_is_told_and_swept() {
        let bench = Bench::new("[config]\nlayers = [\"config/a.toml\"]\n");
        bench.file("config/a.toml", "").file("config/.vice-a1B2c3d4", "half").file("config/.vice-kept.toml", "");
        let (project, state, clock) = (
            bench.project(),
            bench.root().join(".vice"),
            ManualClock::new(jiff::Timestamp::UNIX_EPOCH, vice_core::Millis(0)),
        );
        let note = r#"{"command":"vice envy rotate","pid":7,"since":"2026-01-01T00:00:00Z"}"#;
        bench.file(".vice/locks/config.shop.lock", note);
        let guard = Guard::take(&state, &project, "vice envy fmt", &clock).unwrap();
        assert!(guard.killed.as_ref().unwrap().advice().starts_with("`vice envy rotate` (pid 7, 2026-"));
        assert!(!bench.root().join("config/.vice-a1B2c3d4").exists());
        assert!(bench.root().join("config/.vice-kept.toml").exists());
        drop(guard);
        bench.file(".vice/locks/config.shop.lock", "not ours");
        assert_eq!(Guard::take(&state, &project, "vice envy fmt", &clock).unwrap().killed, None);
    }
}
