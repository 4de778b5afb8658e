//! The folder of a local target: where its files lie, and how they are written so that a power cut leaves either the
//! old content or the new.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use vice_core::{Code, Context, Digest, Fault, Result};

/// The longest path that is used for the socket; the system's limit is 108 bytes with the final zero.
const SOCKET_PATH_MAX: usize = 100;

/// The longest name of a unit. It becomes a file name and part of process environments.
const UNIT_BYTES_MAX: usize = 63;

/// The paths inside the folder.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub(super) fn new(dir: impl Into<PathBuf>) -> Self {
        // The agent has another working folder than its clients.
        let dir = dir.into();
        Self { dir: std::path::absolute(&dir).unwrap_or(dir) }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join("agent.lock")
    }

    pub(super) fn agent_log(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    /// Where instances without files run.
    pub(super) fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    pub(super) fn log(&self, unit: &str) -> PathBuf {
        self.logs().join(format!("{unit}.log"))
    }

    pub(super) fn releases(&self) -> PathBuf {
        self.dir.join("releases")
    }

    pub(super) fn release(&self, key: u64) -> PathBuf {
        self.releases().join(format!("{key}.json"))
    }

    /// Where what a running instance is configured with lies.
    pub(super) fn lives(&self) -> PathBuf {
        self.dir.join("live")
    }

    /// The configuration of one process.
    pub(super) fn live(&self, generation: u64) -> PathBuf {
        self.lives().join(format!("{generation}.json"))
    }

    /// What marks the processes of this folder: the start of their `VICE_INSTANCE`.
    pub(super) fn token_prefix(&self) -> String {
        format!("{}.", Digest::of(self.dir.as_os_str().as_bytes()).short())
    }

    /// Makes the folders, readable by nobody else.
    pub(super) fn prepare(&self) -> Result<()> {
        for dir in [self.dir.clone(), self.logs(), self.releases(), self.work(), self.lives()] {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir).context(Code::StateUnwritable, || {
                format!("The folder {} of the local target can't be made.", dir.display())
            })?;
        }
        Ok(())
    }

    /// Where the socket is: in the folder, or, when that path is too long for a socket, where the agent has noted.
    pub(super) fn socket(&self) -> PathBuf {
        let plain = self.dir.join("agent.sock");
        if plain.as_os_str().len() <= SOCKET_PATH_MAX {
            return plain;
        }
        match std::fs::read_to_string(self.socket_note()) {
            Ok(noted) => PathBuf::from(noted),
            Err(_) => plain,
        }
    }

    fn socket_note(&self) -> PathBuf {
        self.dir.join("agent.sock.path")
    }

    /// The socket's path for the agent: makes and notes a private folder for it when the own one's path is too long.
    pub(super) fn claim_socket(&self) -> Result<PathBuf> {
        let path = self.socket();
        if path.as_os_str().len() <= SOCKET_PATH_MAX && path.parent().is_some_and(Path::is_dir) {
            return Ok(path);
        }
        let failed = || "A folder for the agent's socket can't be made.".to_owned();
        // The name is chosen at random and the mode is 0700, so that nobody else can have prepared it.
        let private = tempfile::Builder::new().prefix("vice-").tempdir().context(Code::Io, failed)?.keep();
        let path = private.join("agent.sock");
        if path.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(Fault::new(Code::Io, format!("{} is too long for a socket.", path.display()))
                .hint("Set TMPDIR to a short path."));
        }
        write_durably(&self.socket_note(), path.as_os_str().as_bytes())?;
        Ok(path)
    }
}

/// Replaces a file at once and for good; readable by its owner only.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes)
        .context(Code::StateUnwritable, || format!("{} can't be written.", path.display()))
        .map_err(|fault| fault.hint("See that the disk has space and that the folder can be written."))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&tmp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&tmp, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Refuses names of units that can't be file names.
pub(super) fn check_unit(unit: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let starts = unit.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts && unit.len() <= UNIT_BYTES_MAX && unit.bytes().all(fine) {
        return Ok(());
    }
    let shown: String = unit.chars().take(80).collect();
    Err(Fault::new(Code::InvalidName, format!("{shown:?} can't be the name of a unit."))
        .hint("Units have 1 to 63 letters, digits, dots, - and _, and start with a letter or digit."))
}
