//! Tests of artifacts as a whole. The corpora are made byte by byte here, without the code that reads them.

mod corpus;
mod fetching;
mod from_git;
mod hostile_tar;
mod hostile_zip;
mod ingesting;
mod round_trip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tempfile::TempDir;
use vice_core::fault::{Fault, Result};

use super::{Artifact, ArtifactStore, Content, Format, Limits, Origin};

/// A store in one folder, with a canary beside it that nothing may touch.
pub(super) struct Bench {
    pub(super) folder: TempDir,
    pub(super) store: ArtifactStore,
    pub(super) limits: Limits,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("canary")).unwrap();
        std::fs::write(folder.path().join("canary/file"), b"untouched").unwrap();
        let store = ArtifactStore::open(&folder.path().join("store")).unwrap();
        Self { folder, store, limits: Limits::default() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn ingest(&self, content: &Content) -> Result<Artifact> {
        self.store.ingest(content, origin(), &self.limits, at(1_000))
    }

    pub(super) fn ingest_bytes(&self, name: &str, bytes: &[u8]) -> Result<Artifact> {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        let format = Format::of(name).unwrap();
        let result = self.ingest(&Content::Archive { path: path.clone(), format });
        std::fs::remove_file(path).unwrap();
        result
    }

    /// The archive is refused, the message names it, and neither the store nor anything else on disk has changed.
    pub(super) fn refuses(&self, name: &str, bytes: &[u8], reason: &str) -> Fault {
        let before = snapshot(self.folder.path());
        let fault = self.ingest_bytes(name, bytes).expect_err(reason);
        assert_eq!(fault.code(), super::Code::ArtifactRejected, "{fault:?}");
        let text = fault.chain().join(" / ");
        assert!(text.contains(reason), "expected `{reason}` in: {text}");
        assert!(text.contains(name), "expected the archive's name in: {text}");
        assert!(text.len() < 2000 && !text.chars().any(char::is_control), "{text}");
        assert_eq!(snapshot(self.folder.path()), before, "{reason}");
        fault
    }
}

pub(super) fn origin() -> Origin {
    Origin { reference: "test".to_owned(), archive_sha256: None, commit: None }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Every path below a folder with its kind and content, but for the store's lock and cache.
pub(super) fn snapshot(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let content = if metadata.is_dir() {
                todo.push(path.clone());
                b"folder".to_vec()
            } else if metadata.is_symlink() {
                std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                std::fs::read(&path).unwrap()
            };
            if !matches!(path.file_name().and_then(|name| name.to_str()), Some("lock" | "cache.json")) {
                all.insert(path, content);
            }
        }
    }
    all
}
