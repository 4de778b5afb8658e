//! The content-addressed store: one read-only folder for each release, named by the digest of its tree.
//!
//! ```text
//! root/<digest>/        a release, read-only
//! root/<digest>.json    where it came from, its size, when it was made and last used
//! root/cache.json       which source gave which release (a hint)
//! root/lock             shared while something is added, exclusive while something is removed
//! root/tmp-<pid>-<n>/   work in progress; locked by its owner
//! ```
//!
//! A release appears by one rename, after its files and its description were synced. So a folder that has a digest for
//! a name is whole, whatever was killed when; and two processes that add the same release both succeed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use vice_core::digest::Digest;
use vice_core::fault::{Code, Context, Fault, Result};

use super::reference::Format;
use super::source::{self, Fingerprint};
use super::staging::{self, Staging};
use super::tree::{Limits, Tree};
use super::unpack::{label_of, unpack};
use super::{cache, found};

const FORMAT: u32 = 1;

/// Where a release came from, for the event log. Holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The reference, without user, password and query.
    pub reference: String,
    /// The SHA-256 of the archive that was downloaded; pins a URL that had no digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_sha256: Option<Digest>,
    /// The git commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// A release in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The digest of the tree: the release's identity.
    pub digest: Digest,
    /// The read-only folder.
    pub path: PathBuf,
    /// Bytes of all files.
    pub bytes: u64,
    /// Regular files.
    pub files: u64,
    /// Where this request got it from.
    pub origin: Origin,
    /// Whether it was in the store before.
    pub reused: bool,
}

/// What there is to take in.
#[derive(Debug, Clone)]
pub enum Content {
    /// A folder, copied as it is.
    Folder(PathBuf),
    /// One executable file; the release holds it under its own name.
    File(PathBuf),
    /// An archive.
    Archive {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: Format,
    },
}

impl Content {
    fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::File(path) | Self::Archive { path, .. } => path,
        }
    }
}

/// What lies beside each release as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Description {
    format: u32,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) files: u64,
    pub(super) origin: Origin,
    pub(super) created: Timestamp,
    pub(super) used: Timestamp,
}

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    root: PathBuf,
}

impl ArtifactStore {
    /// Opens the store in `root`, making the folder (for its owner only) when it is not there.
    ///
    /// # Errors
    /// [`Code::StateUnwritable`] when that is impossible.
    pub fn open(root: &Path) -> Result<Self> {
        let unwritable = || format!("The artifact store {} can't be opened.", label_of(root));
        fs::create_dir_all(root).context(Code::StateUnwritable, unwritable)?;
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).context(Code::StateUnwritable, unwritable)?;
        let root = root.canonicalize().context(Code::StateUnwritable, unwritable)?;
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Takes `content` in, or finds that it is there. Blocks; see [`super::resolve`] for the asynchronous way.
    ///
    /// # Errors
    /// [`Code::ArtifactMissing`], [`Code::ArtifactRejected`] with the entry that is to blame, or
    /// [`Code::StateUnwritable`]. Nothing is left behind then.
    pub fn ingest(&self, content: &Content, origin: Origin, limits: &Limits, now: Timestamp) -> Result<Artifact> {
        let path = content.path();
        let label = label_of(path);
        if fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Err(super::missing(path));
        }
        let absolute = path.canonicalize().context(Code::Io, || format!("{label} can't be read."))?;
        let key = format!("{}:{}", key_prefix(content), absolute.to_string_lossy());
        let before = self.look(content, &absolute, limits)?;
        if let Some(artifact) = self.remembered(&key, before.print.digest, &origin, now)? {
            return Ok(artifact);
        }
        let staging = self.stage()?;
        let read_ns = source::changed_ns(&fs::metadata(staging.tree()).context(Code::Io, || label.clone())?);
        let tree = match content {
            Content::Folder(_) => source::copy(&before.found, &label, &staging.tree(), limits)?,
            Content::File(_) => source::copy_single(&absolute, &label, &staging.tree(), limits)?,
            Content::Archive { format, .. } => unpack(&absolute, *format, &label, &staging.tree(), limits)?,
        };
        if self.look(content, &absolute, limits)?.print != before.print {
            return Err(Fault::new(Code::ArtifactRejected, format!("{label} changed while it was being read."))
                .hint("Wait until the build has ended, then run the command again."));
        }
        let artifact = self.publish(&staging, tree, origin, now)?;
        if cache::is_settled(&before.print, read_ns) {
            cache::remember(&self.root, &staging, &key, before.print.digest, artifact.digest);
        }
        Ok(artifact)
    }

    /// Takes in an archive whose content `key` names for ever, such as its digest or a commit.
    pub(super) fn ingest_named(
        &self,
        staging: &Staging,
        archive: (&Path, Format),
        key: &str,
        origin: Origin,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Artifact> {
        let tree = unpack(archive.0, archive.1, &origin.reference, &staging.tree(), limits)?;
        let artifact = self.publish(staging, tree, origin, now)?;
        cache::remember(&self.root, staging, key, Digest::ZERO, artifact.digest);
        Ok(artifact)
    }

    /// The release that a lasting name gave before.
    pub(super) fn named(&self, key: &str, origin: &Origin, now: Timestamp) -> Result<Option<Artifact>> {
        self.remembered(key, Digest::ZERO, origin, now)
    }

    /// A temporary folder of this store.
    pub(super) fn stage(&self) -> Result<Staging> {
        let _lock = staging::lock(&self.root, FlockOperation::LockShared)?;
        Staging::new(&self.root)
    }

    fn look(&self, content: &Content, path: &Path, limits: &Limits) -> Result<Look> {
        if !matches!(content, Content::Folder(_)) {
            return Ok(Look { print: Fingerprint::of_file(path)?, found: Vec::new() });
        }
        if self.root.strip_prefix(path).is_ok_and(is_delivered) {
            return Err(Fault::new(
                Code::ArtifactRejected,
                format!("The folder {} contains the artifact store.", label_of(path)),
            )
            .hint("Point the artifact at the build's output, such as `dist`."));
        }
        let found = source::walk(path, limits, source::NOT_DELIVERED)?;
        Ok(Look { print: Fingerprint::of_found(path, &found)?, found })
    }

    fn remembered(&self, key: &str, seen: Digest, origin: &Origin, now: Timestamp) -> Result<Option<Artifact>> {
        let Some(digest) = cache::look_up(&self.root, key, seen) else { return Ok(None) };
        let _lock = staging::lock(&self.root, FlockOperation::LockShared)?;
        let Ok(mut description) = self.describe(digest) else { return Ok(None) };
        if !self.folder(digest).is_dir() {
            return Ok(None);
        }
        self.touch(&mut description, now)?;
        Ok(Some(self.artifact(&description, origin.clone(), true)))
    }

    fn publish(&self, staging: &Staging, tree: Tree, origin: Origin, now: Timestamp) -> Result<Artifact> {
        let unwritable = || "The release can't be moved into the artifact store.".to_owned();
        let _lock = staging::lock(&self.root, FlockOperation::LockShared)?;
        let folder = self.folder(tree.digest);
        let reused = folder.is_dir();
        let mut description = match self.describe(tree.digest) {
            Ok(known) if reused => known,
            Err(fault) if fault.code() == Code::HistoryNewer => return Err(fault),
            _ => Description {
                format: FORMAT,
                digest: tree.digest,
                bytes: tree.bytes,
                files: tree.files,
                origin: origin.clone(),
                created: now,
                used: now,
            },
        };
        description.used = now;
        self.write(&description, staging)?;
        match fs::rename(staging.tree(), &folder) {
            Ok(()) => {}
            // Somebody else was first with the same content.
            Err(error) if is_taken(&error) => {}
            Err(error) => return Err(Fault::new(Code::StateUnwritable, unwritable()).because(error)),
        }
        // A rename into another parent needs a writable folder, hence only now.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).context(Code::StateUnwritable, unwritable)?;
        fs::File::open(&self.root).and_then(|root| root.sync_all()).context(Code::StateUnwritable, unwritable)?;
        Ok(self.artifact(&description, origin, reused))
    }

    fn touch(&self, description: &mut Description, now: Timestamp) -> Result<()> {
        // The last use matters by the day; a store that is written on every look would be a needless cost.
        let stale = now.duration_since(description.used).as_secs() >= 3600;
        if stale {
            description.used = now;
            self.write(description, &Staging::new(&self.root)?)?;
        }
        Ok(())
    }

    fn write(&self, description: &Description, staging: &Staging) -> Result<()> {
        let path = self.description_path(description.digest);
        serde_json::to_vec_pretty(description)
            .map_err(std::io::Error::other)
            .and_then(|bytes| staging::write_whole(&path, staging, &bytes))
            .context(Code::StateUnwritable, || "The description of a release can't be written.".to_owned())
    }

    pub(super) fn describe(&self, digest: Digest) -> Result<Description> {
        let bytes = fs::read(self.description_path(digest)).context(Code::ArtifactMissing, || {
            format!("The release {} is not in the artifact store.", digest.short())
        })?;
        let broken = || format!("The description of the release {} is broken.", digest.short());
        let version: Versioned = serde_json::from_slice(&bytes).context(Code::Decode, broken)?;
        if version.format > FORMAT {
            let message = format!("The release {} was stored by a newer version of vice.", digest.short());
            return Err(Fault::new(Code::HistoryNewer, message).hint("Update vice."));
        }
        serde_json::from_slice(&bytes).context(Code::Decode, broken)
    }

    /// The release of that digest.
    ///
    /// # Errors
    /// [`Code::ArtifactMissing`] when it is not there (any more).
    pub fn get(&self, digest: Digest) -> Result<Artifact> {
        let description = self.describe(digest)?;
        if !self.folder(digest).is_dir() {
            let message = format!("The release {} is not in the artifact store.", digest.short());
            return Err(Fault::new(Code::ArtifactMissing, message));
        }
        let origin = description.origin.clone();
        Ok(self.artifact(&description, origin, true))
    }

    /// Every release, in order of the digests. What can't be read is left out.
    ///
    /// # Errors
    /// [`Code::Io`] when the folder can't be listed.
    pub fn list(&self) -> Result<Vec<Artifact>> {
        let digests = self.digests()?;
        Ok(digests.into_iter().filter_map(|digest| self.get(digest).ok()).collect())
    }

    /// The digests that have a folder.
    pub(super) fn digests(&self) -> Result<Vec<Digest>> {
        let mut digests: Vec<Digest> = found::names(&self.root)?.iter().filter_map(|name| name.parse().ok()).collect();
        digests.sort_unstable();
        Ok(digests)
    }

    /// Reads a release again and compares it with its name.
    ///
    /// # Errors
    /// [`Code::ArtifactDigest`] when it is not what it was.
    pub fn verify(&self, digest: Digest) -> Result<Artifact> {
        let artifact = self.get(digest)?;
        let found = source::measure(&artifact.path)?;
        if found.digest == digest {
            return Ok(artifact);
        }
        Err(Fault::new(Code::ArtifactDigest, format!("The stored release {} was changed.", digest.short()))
            .hint("Remove its folder from the artifact store and deploy the version again.")
            .detail("expected", digest.to_string())
            .detail("found", found.digest.to_string()))
    }

    pub(super) fn folder(&self, digest: Digest) -> PathBuf {
        self.root.join(digest.to_string())
    }

    pub(super) fn description_path(&self, digest: Digest) -> PathBuf {
        self.root.join(format!("{digest}.json"))
    }

    fn artifact(&self, description: &Description, origin: Origin, reused: bool) -> Artifact {
        let Description { digest, bytes, files, .. } = *description;
        Artifact { digest, path: self.folder(digest), bytes, files, origin, reused }
    }
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

struct Look {
    print: Fingerprint,
    found: Vec<source::Found>,
}

/// Whether a path below a folder would be delivered with it.
fn is_delivered(below: &Path) -> bool {
    let first = below.components().next();
    first.is_none_or(|first| source::NOT_DELIVERED.iter().all(|name| first.as_os_str() != *name))
}

fn key_prefix(content: &Content) -> &'static str {
    match content {
        Content::Folder(_) => "folder",
        Content::File(_) => "file",
        Content::Archive { format, .. } => format.as_str(),
    }
}

fn is_taken(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::DirectoryNotEmpty)
}
