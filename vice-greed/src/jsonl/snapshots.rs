//! Copies of fold states: one file each, replaced as a whole. They are not history: one that is missing or damaged is
//! computed again from the events.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vice_core::store::Snapshot;
use vice_core::{Digest, Result};

use crate::prepared::snapshot_sum;

/// The largest copy that is read.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Stored {
    fold: String,
    stream: String,
    fold_version: u32,
    version: u64,
    state: String,
    sum: Digest,
}

fn path(dir: &Path, fold: &str, stream: &str) -> PathBuf {
    let name = Digest::of(format!("{}:{fold}{stream}", fold.len()).as_bytes());
    dir.join("snapshots").join(format!("{name}.json"))
}

/// Stores a copy.
pub(crate) fn put(dir: &Path, fold: &str, stream: &str, snapshot: &Snapshot) -> std::io::Result<()> {
    let stored = Stored {
        fold: fold.to_owned(),
        stream: stream.to_owned(),
        fold_version: snapshot.fold_version,
        version: snapshot.version,
        state: snapshot.state.clone(),
        sum: snapshot_sum(fold, stream, snapshot),
    };
    let folder = dir.join("snapshots");
    crate::disk::make_private_dir(&folder)?;
    let mut file = tempfile::NamedTempFile::new_in(&folder)?;
    file.write_all(&serde_json::to_vec(&stored)?)?;
    file.persist(path(dir, fold, stream)).map_err(|error| error.error)?;
    Ok(())
}

/// The copy, where there is one that is sound.
pub(crate) fn get(dir: &Path, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
    let path = path(dir, fold, stream);
    if std::fs::metadata(&path).map_or(true, |found| found.len() > BYTES_MAX) {
        return Ok(None);
    }
    let Ok(bytes) = std::fs::read(&path) else { return Ok(None) };
    let Ok(stored) = serde_json::from_slice::<Stored>(&bytes) else { return Ok(None) };
    let snapshot = Snapshot { fold_version: stored.fold_version, version: stored.version, state: stored.state };
    let sound = stored.fold == fold && stored.stream == stream && stored.sum == snapshot_sum(fold, stream, &snapshot);
    Ok(sound.then_some(snapshot))
}
