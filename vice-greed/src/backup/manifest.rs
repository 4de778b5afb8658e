//! What is known about a backup.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vice_core::store::LogHead;
use vice_core::{Code, Context, Digest, Fault, Result};

/// The version of the layout of a backup.
pub(crate) const FORMAT: u32 = 1;

/// `manifest.json`; `latest.json` is a copy of the newest one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// The format of the database.
    pub(crate) history_format: u32,
    /// The last event.
    pub(crate) seq: u64,
    /// The chain hash of that event.
    pub(crate) chain: Digest,
    /// How many events there are.
    pub(crate) events: u64,
    /// The digest of `history.db`.
    pub(crate) sha256: Digest,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// When it was made.
    pub(crate) created: Timestamp,
}

/// The folder of a backup: the same end of the log gives the same name.
pub(crate) fn folder(head: &LogHead) -> String {
    format!("{}-{}", head.seq, head.chain.short())
}

impl Manifest {
    pub(crate) const fn head(&self) -> LogHead {
        LogHead { seq: self.seq, chain: self.chain }
    }

    pub(crate) fn folder(&self) -> String {
        folder(&self.head())
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).context(Code::Internal, || "A manifest does not serialise.".to_owned())
    }

    pub(crate) fn parse(bytes: &[u8], url: &str) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(bytes)
            .context(Code::Backup, || format!("The manifest of the backup in {url} does not make sense."))?;
        if manifest.format > FORMAT || manifest.history_format > crate::sqlite::FORMAT {
            return Err(Fault::new(Code::HistoryNewer, format!("The backup in {url} has a newer format."))
                .hint("A newer vice made it. Use that version or a later one."));
        }
        Ok(manifest)
    }

    /// Whether a file is the one that was backed up.
    pub(crate) fn require_file(&self, digest: Digest, size: u64, url: &str) -> Result<()> {
        if digest == self.sha256 && size == self.size {
            return Ok(());
        }
        let message = format!(
            "What came back from {url} is not what was stored there: {size} bytes, sha256 {}; expected {} bytes, sha256 {}.",
            digest.short(),
            self.size,
            self.sha256.short()
        );
        Err(Fault::new(Code::Backup, message).hint("Keep the other backups, and check that storage."))
    }
}

/// Digest and size of a file.
pub(crate) fn measure(path: &Path) -> Result<(Digest, u64)> {
    let unreadable = || format!("{} can't be read.", path.display());
    let mut file = File::open(path).context(Code::Io, unreadable)?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0_u8; 256 * 1024]);
    loop {
        let count = file.read(&mut buffer).context(Code::Io, unreadable)?;
        if count == 0 {
            return Ok((Digest(hash.finalize().into()), size));
        }
        hash.update(&buffer[..count]);
        size += u64::try_from(count).unwrap_or(0);
    }
}
