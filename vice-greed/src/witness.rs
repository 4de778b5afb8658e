//! The head witness: which event was the last one, kept outside the database. Neither SQLite nor a chain notices a lost
//! tail; comparing with the witness does.
//!
//! `history.head` is one record of 84 bytes, written in place under an exclusive lock of the file:
//!
//! | bytes | content |
//! | --- | --- |
//! | 0..8 | `VICEHEAD` |
//! | 8..12 | format, `u32` big-endian, 1 |
//! | 12..20 | sequence number, `u64` big-endian |
//! | 20..52 | chain hash of that event |
//! | 52..84 | SHA-256 of bytes 0..52 |
//!
//! It only goes forward; another process may be ahead. It is written after each commit and before the commit is
//! acknowledged, so that after a crash of the process every acknowledged event is witnessed. It is synced to the disk
//! at most a second after the commit, and on closing: after a power cut the witness lags by no more than the last
//! second. The events themselves are on disk in both cases.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tokio::time::{Duration, Instant};
use vice_core::store::LogHead;
use vice_core::{Code, Digest, Fault, Result};

use crate::disk::{unreadable, unwritable};

const MAGIC: &[u8; 8] = b"VICEHEAD";
const FORMAT: u32 = 1;
const LENGTH: usize = 84;

/// How far the witness may lag behind after a power cut.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The witness of one history, open for writing.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
    path: PathBuf,
    /// Since when a change is not synced yet.
    unsynced: Option<Instant>,
}

fn encode(head: &LogHead) -> [u8; LENGTH] {
    let mut record = [0_u8; LENGTH];
    record[..8].copy_from_slice(MAGIC);
    record[8..12].copy_from_slice(&FORMAT.to_be_bytes());
    record[12..20].copy_from_slice(&head.seq.to_be_bytes());
    record[20..52].copy_from_slice(&head.chain.0);
    let sum = Digest::of(&record[..52]);
    record[52..].copy_from_slice(&sum.0);
    record
}

fn decode(record: &[u8], path: &Path) -> Result<LogHead> {
    let damaged = || {
        Fault::new(Code::HistoryDamaged, format!("The head witness {} is damaged.", path.display()))
            .hint("`vice greed verify` checks the history; `vice greed restore URL` brings a backup back.")
    };
    if record.len() != LENGTH || &record[..8] != MAGIC || Digest::of(&record[..52]).0 != record[52..] {
        return Err(damaged());
    }
    let (mut format, mut seq, mut chain) = ([0; 4], [0; 8], [0; 32]);
    format.copy_from_slice(&record[8..12]);
    seq.copy_from_slice(&record[12..20]);
    chain.copy_from_slice(&record[20..52]);
    if u32::from_be_bytes(format) != FORMAT {
        let message = format!("The head witness {} has a format that this vice does not know.", path.display());
        return Err(Fault::new(Code::HistoryNewer, message).hint("Use the version of vice that wrote it."));
    }
    Ok(LogHead { seq: u64::from_be_bytes(seq), chain: Digest(chain) })
}

impl Witness {
    /// What the witness says; `None` when there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<LogHead>> {
        let mut record = Vec::with_capacity(LENGTH);
        match File::open(path).and_then(|file| file.take(1024).read_to_end(&mut record)) {
            Ok(0) => Ok(None),
            Ok(_) => decode(&record, path).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(error, "The head witness", path)),
        }
    }

    /// Opens the witness for writing; makes it where it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(|error| unwritable(error, path))?;
        Ok(Self { file, path: path.to_owned(), unsynced: None })
    }

    /// Writes the head unless the witness is there or further already.
    pub(crate) fn advance(&mut self, head: &LogHead) -> Result<()> {
        self.locked(|file, path| {
            let mut record = [0_u8; LENGTH];
            let known = match file.read_exact_at(&mut record, 0) {
                Ok(()) => Some(decode(&record, path)?.seq),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
                Err(error) => return Err(unwritable(error, path)),
            };
            if known.is_none_or(|known| known < head.seq) {
                file.write_all_at(&encode(head), 0).map_err(|error| unwritable(error, path))?;
            }
            Ok(())
        })?;
        self.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Writes the head whatever the witness says. Only for a history that was just restored and verified.
    pub(crate) fn replace(path: &Path, head: &LogHead) -> Result<()> {
        let mut witness = Self::open(path)?;
        witness.locked(|file, path| {
            file.set_len(0).and_then(|()| file.write_all_at(&encode(head), 0)).map_err(|error| unwritable(error, path))
        })?;
        witness.unsynced = Some(Instant::now());
        witness.sync()
    }

    fn locked<T>(&self, work: impl FnOnce(&File, &Path) -> Result<T>) -> Result<T> {
        self.file.lock().map_err(|error| unwritable(error, &self.path))?;
        let done = work(&self.file, &self.path);
        // Closing the file would unlock it as well, so a failure here changes nothing.
        self.file.unlock().ok();
        done
    }

    /// How long until the next sync is due; `None` when there is nothing to sync.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let since = self.unsynced?;
        Some((since + SYNC_EVERY).saturating_duration_since(Instant::now()))
    }

    /// Brings the witness to the disk, if it has changed.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if self.unsynced.take().is_some() {
            self.file.sync_data().map_err(|error| unwritable(error, &self.path))?;
        }
        Ok(())
    }
}
