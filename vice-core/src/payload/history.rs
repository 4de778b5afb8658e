//! What the history says of itself: which of its data were moved into an archive.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::event::Payload;

/// The stream of what the history says of itself.
pub const HISTORY_STREAM: &str = "history";

/// The data of some events lie in a file of an archive, which was stored, fetched again and compared. The events themselves
/// stay in the log with their headers, hashes and places; their data may be let go of once this is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataArchived {
    /// The place of the archive: a URL without credentials.
    pub place: String,
    /// The name of the file there.
    pub file: String,
    /// The digest of the file as it is stored.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The sequence numbers, as closed spans in order that do not touch.
    pub spans: Vec<(u64, u64)>,
    /// How many events they are.
    pub events: u64,
    /// The chain hash of the last of them.
    pub chain: Digest,
    /// Only events from before this time were moved.
    pub before: Timestamp,
}

impl DataArchived {
    /// Whether the data of an event are in this file.
    #[must_use]
    pub fn covers(&self, seq: u64) -> bool {
        let behind = self.spans.partition_point(|(first, _)| *first <= seq);
        behind > 0 && self.spans[behind - 1].1 >= seq
    }
}

impl Payload for DataArchived {
    const KIND: &'static str = "dev.cdeventsx.vice-history.archived.0.1.0";
    fn subject(&self) -> String {
        self.file.clone()
    }
}
