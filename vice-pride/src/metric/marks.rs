//! Where the metrics of a rollout stood after its last window, in a file beside the local targets. Losing it costs one
//! window of data and nothing else, so no error of it ever stops a rollout.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vice_core::id::Scope;
use vice_core::port::metric::MetricMark;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    rollout: String,
    marks: BTreeMap<String, MetricMark>,
}

const FORMAT: u32 = 1;

/// The file of one rollout.
pub(super) struct MarkFile {
    path: PathBuf,
    rollout: String,
}

impl MarkFile {
    pub(super) fn new(state: &Path, scope: &Scope, rollout: &str) -> Self {
        let path = state.join("metric").join(scope.project.as_str()).join(format!("{}.json", scope.env));
        Self { path, rollout: rollout.to_owned() }
    }

    /// The marks of this rollout; none for those of another one, or when they can't be read.
    pub(super) fn load(&self) -> BTreeMap<String, MetricMark> {
        let small = std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() <= FILE_BYTES_MAX);
        let bytes = if small { std::fs::read(&self.path).unwrap_or_default() } else { Vec::new() };
        match serde_json::from_slice::<Stored>(&bytes) {
            Ok(stored) if stored.format == FORMAT && stored.rollout == self.rollout => stored.marks,
            _ => BTreeMap::new(),
        }
    }

    pub(super) fn store(&self, marks: BTreeMap<String, MetricMark>) {
        let stored = Stored { format: FORMAT, rollout: self.rollout.clone(), marks };
        if let Err(error) = self.write(&stored) {
            tracing::warn!(path = %self.path.display(), %error, "where the metrics stand can't be kept");
        }
    }

    fn write(&self, stored: &Stored) -> std::io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&mut file, stored)?;
        file.flush()?;
        file.persist(&self.path)?;
        Ok(())
    }
}
