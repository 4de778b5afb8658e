//! Removing releases that nobody needs, and what dead processes left behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use vice_core::digest::Digest;
use vice_core::fault::{Code, Context, Result};
use vice_core::time::Millis;

use super::found;
use super::staging::{self, PREFIX, Staging};
use super::store::ArtifactStore;

/// What a prune did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// The releases that are gone.
    pub removed: Vec<Digest>,
    /// Bytes of their files.
    pub bytes: u64,
    /// Temporary folders of dead processes that are gone.
    pub leftovers: u64,
}

impl ArtifactStore {
    /// Removes every release that is not in `keep` and was last used at least `min_age` before `now`. Releases whose
    /// description can't be read stay: they may belong to a newer version of vice.
    ///
    /// # Errors
    /// [`Code::StateUnwritable`] when something can't be removed.
    pub fn prune(&self, keep: &BTreeSet<Digest>, now: Timestamp, min_age: Millis) -> Result<Pruned> {
        let stuck = || "Something in the artifact store can't be removed.".to_owned();
        let mut pruned = Pruned::default();
        // Under the lock things only move aside, so that nobody waits for the removal itself.
        let lock = staging::lock(self.root(), FlockOperation::LockExclusive)?;
        let aside = Staging::new(self.root())?;
        for digest in self.digests()? {
            let Ok(description) = self.describe(digest) else { continue };
            if keep.contains(&digest) || min_age.after(description.used) > now {
                continue;
            }
            let folder = self.folder(digest);
            // A folder that moves to another parent has to be writable.
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).context(Code::StateUnwritable, stuck)?;
            fs::rename(&folder, aside.beside(&digest.to_string())).context(Code::StateUnwritable, stuck)?;
            fs::remove_file(self.description_path(digest)).context(Code::StateUnwritable, stuck)?;
            pruned.bytes = pruned.bytes.saturating_add(description.bytes);
            pruned.removed.push(digest);
        }
        let names = found::names(self.root())?;
        let folders: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let orphan = |name: &&String| {
            let digest = name.strip_suffix(".json").filter(|stem| stem.parse::<Digest>().is_ok());
            digest.is_some_and(|stem| !folders.contains(stem))
        };
        for name in names.iter().filter(orphan) {
            fs::remove_file(self.root().join(name)).context(Code::StateUnwritable, stuck)?;
        }
        let work: Vec<_> =
            names.iter().filter(|name| name.starts_with(PREFIX)).map(|name| self.root().join(name)).collect();
        let dead: Vec<_> = work.into_iter().filter(|path| staging::is_abandoned(path)).collect();
        drop(lock);
        for path in dead.iter().map(PathBuf::as_path).chain([aside.path()]) {
            staging::remove_tree(path).context(Code::StateUnwritable, stuck)?;
        }
        pruned.leftovers = dead.len() as u64;
        Ok(pruned)
    }
}
