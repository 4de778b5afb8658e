//! Which source gave which release, so that deploying the same thing again does not read it again.
//!
//! A hint, never a truth: an entry counts only when everything that `stat` says is as it was, the last change lay
//! clearly before the reading (a change within the clock's grain could leave every time stamp as it is), and the release
//! is still in the store. A broken file is an empty cache.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vice_core::digest::Digest;

use super::source::Fingerprint;
use super::staging::{self, Staging};

const FILE: &str = "cache.json";
const FORMAT: u32 = 1;
const ENTRIES_MAX: usize = 512;
const BYTES_MAX: u64 = 4 << 20;

/// Kernels stamp changes with a clock that ticks every 1 to 10 ms; five times the worst.
const GRAIN_NS: i128 = 50_000_000;

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    /// What `stat` said; zero for sources that are named by their own digest.
    seen: Digest,
    /// The release.
    digest: Digest,
    /// Counts up, so that the oldest can go.
    turn: u64,
}

/// Whether a source whose last change was at `changed_ns` can change again after `read_ns` without a new time stamp.
pub(super) fn is_settled(print: &Fingerprint, read_ns: i128) -> bool {
    print.changed_ns + GRAIN_NS < read_ns
}

/// The release that `key` gave when it looked like `seen`.
pub(super) fn look_up(root: &Path, key: &str, seen: Digest) -> Option<Digest> {
    load(root).get(key).filter(|entry| entry.seen == seen).map(|entry| entry.digest)
}

/// Remembers. Two writers at once may lose one of two entries, which costs a second reading and nothing else.
pub(super) fn remember(root: &Path, staging: &Staging, key: &str, seen: Digest, digest: Digest) {
    let mut entries = load(root);
    let turn = entries.values().map(|entry| entry.turn).max().unwrap_or(0).saturating_add(1);
    entries.insert(key.to_owned(), Entry { seen, digest, turn });
    while entries.len() > ENTRIES_MAX {
        let oldest = entries.iter().min_by_key(|(_, entry)| entry.turn).map(|(key, _)| key.clone());
        oldest.and_then(|key| entries.remove(&key));
    }
    let stored = Stored { format: FORMAT, entries };
    let written = serde_json::to_vec(&stored)
        .map_err(std::io::Error::other)
        .and_then(|bytes| staging::write_whole(&root.join(FILE), staging, &bytes));
    if let Err(error) = written {
        tracing::debug!(%error, "the artifact cache can't be written");
    }
}

fn load(root: &Path) -> BTreeMap<String, Entry> {
    let path = root.join(FILE);
    let small = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= BYTES_MAX);
    let bytes = if small { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
    match serde_json::from_slice::<Stored>(&bytes) {
        Ok(stored) if stored.format == FORMAT => stored.entries,
        _ => BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_changed_just_now_is_not_trusted() {
        let print = Fingerprint { digest: Digest::ZERO, changed_ns: 1_000_000_000 };
        assert!(is_settled(&print, 1_050_000_001));
        for read_ns in [1_050_000_000, 1_000_000_000, 0] {
            assert!(!is_settled(&print, read_ns), "{read_ns}");
        }
    }
}
