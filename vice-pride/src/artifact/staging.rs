//! Temporary folders of the store. Each is locked as long as its owner lives, so that whoever sweeps can tell a dead
//! owner from a slow one without trusting process ids (they are reused, and differ between containers).

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use vice_core::fault::{Code, Context, Fault, Result};

/// What the names of temporary folders start with.
pub(super) const PREFIX: &str = "tmp-";
const TRIES_MAX: u32 = 10_000;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// One temporary folder; removed when dropped.
pub(super) struct Staging {
    path: PathBuf,
    /// Holds the lock.
    _owner: OwnedFd,
}

impl Staging {
    /// Makes and locks a fresh folder below the store's `root`. The caller holds the store's lock (shared), so that no
    /// sweep can come between the two.
    pub(super) fn new(root: &Path) -> Result<Self> {
        let unwritable = || "A temporary folder can't be made in the artifact store.".to_owned();
        let process = std::process::id();
        for _ in 0..TRIES_MAX {
            let path = root.join(format!("{PREFIX}{process}-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let owner = open_folder(&path).context(Code::StateUnwritable, unwritable)?;
                    flock(&owner, FlockOperation::LockExclusive).context(Code::StateUnwritable, unwritable)?;
                    fs::create_dir(path.join("tree")).context(Code::StateUnwritable, unwritable)?;
                    return Ok(Self { path, _owner: owner });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Fault::new(Code::StateUnwritable, unwritable()).because(error)),
            }
        }
        Err(Fault::new(Code::StateUnwritable, unwritable()).hint("Run a prune of the artifact store."))
    }

    /// The empty folder for a tree.
    pub(super) fn tree(&self) -> PathBuf {
        self.path.join("tree")
    }

    /// A place for one file that is not part of the tree.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::debug!(%error, "a temporary folder of the artifact store stays until the next prune");
        }
    }
}

/// Whether nobody holds the temporary folder at `path` any more.
pub(super) fn is_abandoned(path: &Path) -> bool {
    open_folder(path).is_ok_and(|folder| flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok())
}

/// The store's own lock: shared for those who add, exclusive for those who remove.
pub(super) fn lock(root: &Path, operation: FlockOperation) -> Result<OwnedFd> {
    let unlocked = || "The artifact store can't be locked.".to_owned();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(root.join("lock"), flags, Mode::from_raw_mode(0o600))
        .context(Code::StateUnwritable, unlocked)?;
    flock(&file, operation).context(Code::StateUnwritable, unlocked)?;
    Ok(file)
}

/// Removes a folder with all read-only folders in it; links are removed, never followed.
pub(super) fn remove_tree(path: &Path) -> std::io::Result<()> {
    make_writable(path)?;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_writable(root: &Path) -> std::io::Result<()> {
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        match fs::symlink_metadata(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
            Ok(metadata) if !metadata.is_dir() => continue,
            Ok(_) => fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?,
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    Ok(())
}

fn open_folder(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Writes a small file so that it is there wholly or not at all, also after a power cut.
pub(super) fn write_whole(path: &Path, staging: &Staging, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = staging.beside("file");
    let mut file = File::create(&temporary)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
