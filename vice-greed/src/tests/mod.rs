//! Tests that every history in files passes: the suites, several processes, kills.

mod conformance;
pub(crate) mod copy;
pub(crate) mod mortal;
mod processes;

use std::path::Path;
use std::sync::Arc;

use vice_core::store::EventStore;
use vice_core::time::SystemClock;

/// A kind of history in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    #[cfg(feature = "jsonl")]
    Jsonl,
    #[cfg(feature = "jsonl")]
    Git,
}

impl Kind {
    #[cfg(feature = "jsonl")]
    pub(crate) const ALL: [Self; 3] = [Self::Sqlite, Self::Jsonl, Self::Git];
    #[cfg(not(feature = "jsonl"))]
    pub(crate) const ALL: [Self; 1] = [Self::Sqlite];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            #[cfg(feature = "jsonl")]
            Self::Jsonl => "jsonl",
            #[cfg(feature = "jsonl")]
            Self::Git => "git",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.name() == name).unwrap()
    }

    pub(crate) fn open(self, dir: &Path) -> Arc<dyn EventStore> {
        match self {
            Self::Sqlite => Arc::new(crate::SqliteStore::open(dir, Arc::new(SystemClock)).unwrap()),
            #[cfg(feature = "jsonl")]
            Self::Jsonl => Arc::new(crate::JsonlStore::open(dir, Arc::new(|_| {}))),
            #[cfg(feature = "jsonl")]
            Self::Git => crate::git::tests::open(dir),
        }
    }

    /// Whether it lies in the folder and nowhere else.
    pub(crate) fn is_in_files(self) -> bool {
        matches!(self.name(), "sqlite" | "jsonl")
    }
}
