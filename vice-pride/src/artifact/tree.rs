//! Writing a release into a fresh folder that nobody else can touch, and the digest of what was written.
//!
//! Every source (folder, file, tar, zip) goes through [`TreeWriter`], so the rules hold for all of them. The folder is
//! ours alone (mode 0700 above it) and was created empty, so what lies in it is exactly what this writer made; parents
//! are opened one component at a time without following links, so even a wrong belief about them can't lead outside.
//!
//! The tree digest is SHA-256 over `vice-tree-1\n` and then, for each entry in byte order of its path: a type byte
//! (`d` folder, `f` file, `x` executable file, `l` link), the path's length as 8 bytes little endian and the path; for
//! files the size as 8 bytes and the SHA-256 of the content; for links the target's length and the target. Times,
//! owners, the order in an archive and permission bits other than "executable" don't count.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use sha2::{Digest as _, Sha256};
use vice_core::digest::Digest;
use vice_core::fault::{Code, Context, Fault, Result};

use super::links;
use super::names::{self, Style, quoted};

/// What an artifact may take at most. The defaults hold a large application and stop a bomb.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of content, unpacked.
    pub bytes: u64,
    /// Bytes of an archive that is downloaded.
    pub download_bytes: u64,
    /// Files, folders and links together.
    pub entries: u64,
    /// Folders above one entry.
    pub depth: usize,
    /// Unpacked bytes for each packed byte, once `ratio_floor_bytes` have been unpacked.
    pub ratio: u64,
    /// Unpacked bytes below which the ratio does not matter.
    pub ratio_floor_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 4 << 30,
            download_bytes: 4 << 30,
            entries: 200_000,
            depth: 64,
            ratio: 200,
            ratio_floor_bytes: 64 << 20,
        }
    }
}

/// All names of a release together; keeps memory flat whatever an archive claims.
const NAMES_BYTES_MAX: usize = 32 << 20;
/// Links of a release; each is walked to its end.
const LINKS_MAX: usize = 20_000;
/// Up to here each file is synced by itself; beyond, one sync of the whole file system is cheaper.
/// (Only Linux has that call with a guarantee.)
const SYNC_SINGLY_MAX: u64 = if cfg!(target_os = "linux") { 256 } else { u64::MAX };

/// One entry of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File { executable: bool, bytes: u64, sha256: [u8; 32] },
    Link { target: String },
}

/// What a finished tree amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) files: u64,
}

impl Tree {
    pub(super) fn of(nodes: &BTreeMap<String, Node>) -> Self {
        let mut hash = Sha256::new();
        let (mut bytes, mut files) = (0_u64, 0_u64);
        hash.update(b"vice-tree-1\n");
        for (path, node) in nodes {
            let kind: &[u8; 1] = match node {
                Node::Folder => b"d",
                Node::File { executable: false, .. } => b"f",
                Node::File { executable: true, .. } => b"x",
                Node::Link { .. } => b"l",
            };
            hash.update(kind);
            hash.update((path.len() as u64).to_le_bytes());
            hash.update(path.as_bytes());
            match node {
                Node::Folder => {}
                Node::File { bytes: size, sha256, .. } => {
                    hash.update(size.to_le_bytes());
                    hash.update(sha256);
                    bytes = bytes.saturating_add(*size);
                    files += 1;
                }
                Node::Link { target } => {
                    hash.update((target.len() as u64).to_le_bytes());
                    hash.update(target.as_bytes());
                }
            }
        }
        Self { digest: Digest(hash.finalize().into()), bytes, files }
    }
}

/// Writes one release.
pub(super) struct TreeWriter {
    root: OwnedFd,
    label: String,
    style: Style,
    limits: Limits,
    nodes: BTreeMap<String, Node>,
    /// Folders that exist only because something lies in them; an archive may still name them once.
    implied: std::collections::BTreeSet<String>,
    bytes: u64,
    files: u64,
    links: usize,
    names_bytes: usize,
    parent: Option<(String, OwnedFd)>,
}

impl TreeWriter {
    /// Starts in the existing, empty folder `root`; `label` names the source in messages.
    pub(super) fn new(root: &Path, label: impl Into<String>, style: Style, limits: Limits) -> Result<Self> {
        let label = label.into();
        let root = rustix::fs::open(root, folder_flags(), Mode::empty())
            .context(Code::StateUnwritable, || "The store's temporary folder can't be opened.".to_owned())?;
        Ok(Self {
            root,
            label,
            style,
            limits,
            nodes: BTreeMap::new(),
            implied: std::collections::BTreeSet::new(),
            bytes: 0,
            files: 0,
            links: 0,
            names_bytes: 0,
            parent: None,
        })
    }

    /// A refusal that names the source and the entry.
    pub(super) fn refused(&self, raw: &[u8], reason: &str) -> Fault {
        Fault::new(Code::ArtifactRejected, format!("{}: the entry {} {reason}.", self.label, quoted(raw)))
    }

    /// Adds a folder.
    pub(super) fn folder(&mut self, raw: &[u8]) -> Result<()> {
        let parts = self.parts(raw)?;
        if parts.is_empty() {
            return Ok(());
        }
        let path = parts.join("/");
        if self.implied.remove(&path) {
            return Ok(());
        }
        let (parent, name) = self.place(raw, &parts)?;
        let made = rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755));
        made.map_err(|error| self.unwritten(raw, error))?;
        self.note(raw, path, Node::Folder)
    }

    /// Adds a file of exactly `size` bytes. More or fewer in `content` is a refusal.
    pub(super) fn file(&mut self, raw: &[u8], executable: bool, size: u64, content: &mut dyn Read) -> Result<()> {
        self.count_bytes(raw, size)?;
        let parts = self.file_parts(raw)?;
        let (parent, name) = self.place(raw, &parts)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(opened.map_err(|error| self.unwritten(raw, error))?);
        let sha256 = self.copy(raw, size, content, &mut file)?;
        let mode = Mode::from_raw_mode(if executable { 0o555 } else { 0o444 });
        rustix::fs::fchmod(&file, mode).map_err(|error| self.unwritten(raw, error))?;
        self.files += 1;
        if self.files <= SYNC_SINGLY_MAX {
            file.sync_all().map_err(|error| self.unwritten(raw, error))?;
        }
        self.note(raw, parts.join("/"), Node::File { executable, bytes: size, sha256 })
    }

    /// Adds a symbolic link; whether it stays inside through other links is checked by [`Self::finish`].
    pub(super) fn symlink(&mut self, raw: &[u8], target: &[u8]) -> Result<()> {
        let parts = self.file_parts(raw)?;
        let above = &parts[..parts.len() - 1];
        let target = names::link_target(target, above, self.style, self.limits.depth)
            .map_err(|reason| self.refused(raw, reason))?;
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(self.refused(raw, "is one link too many"));
        }
        let (parent, name) = self.place(raw, &parts)?;
        rustix::fs::symlinkat(target, &parent, name).map_err(|error| self.unwritten(raw, error))?;
        self.names_bytes += target.len();
        self.note(raw, parts.join("/"), Node::Link { target: target.to_owned() })
    }

    /// Adds another name for a regular file that is already there.
    pub(super) fn hardlink(&mut self, raw: &[u8], target: &[u8]) -> Result<()> {
        let parts = self.file_parts(raw)?;
        let target_parts = names::components(target, self.style, self.limits.depth)
            .map_err(|_| self.refused(raw, "is a hard link that leaves the release folder"))?;
        let node = match self.nodes.get(&target_parts.join("/")) {
            Some(node @ Node::File { .. }) => node.clone(),
            _ => return Err(self.refused(raw, "is a hard link to something that is not an earlier file")),
        };
        if let Node::File { bytes, .. } = node {
            self.count_bytes(raw, bytes)?;
        }
        let (from, from_name) = self.place_of_existing(&target_parts)?;
        let (parent, name) = self.place(raw, &parts)?;
        let linked = rustix::fs::linkat(&from, from_name, &parent, name, AtFlags::empty());
        linked.map_err(|error| self.unwritten(raw, error))?;
        self.note(raw, parts.join("/"), node)
    }

    /// Checks the links, makes folders read-only (but for the top one, which still has to be renamed) and syncs.
    pub(super) fn finish(mut self) -> Result<Tree> {
        for (path, node) in &self.nodes {
            if matches!(node, Node::Link { .. }) {
                links::stays_inside(&self.nodes, path).map_err(|reason| self.refused(path.as_bytes(), reason))?;
            }
        }
        self.parent = None;
        let singly = self.files <= SYNC_SINGLY_MAX;
        for (path, _) in self.nodes.iter().rev().filter(|(_, node)| **node == Node::Folder) {
            let parts: Vec<&str> = path.split('/').collect();
            let folder = self.open_folder(&parts)?;
            rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o555)).map_err(unsynced)?;
            if singly {
                rustix::fs::fsync(&folder).map_err(unsynced)?;
            }
        }
        if singly {
            rustix::fs::fsync(&self.root).map_err(unsynced)?;
        } else {
            sync_all_of(&self.root)?;
        }
        Ok(Tree::of(&self.nodes))
    }

    fn parts<'r>(&self, raw: &'r [u8]) -> Result<Vec<&'r str>> {
        names::components(raw, self.style, self.limits.depth).map_err(|reason| self.refused(raw, reason))
    }

    fn file_parts<'r>(&self, raw: &'r [u8]) -> Result<Vec<&'r str>> {
        let parts = self.parts(raw)?;
        if parts.is_empty() || raw.ends_with(b"/") || raw.ends_with(b"/.") {
            return Err(self.refused(raw, "has the name of a folder but is none"));
        }
        Ok(parts)
    }

    fn count_bytes(&mut self, raw: &[u8], size: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            let reason = format!("makes the release larger than {} bytes", self.limits.bytes);
            return Err(self.refused(raw, &reason).hint("Raise the limit of artifacts if the content is genuine."));
        }
        Ok(())
    }

    /// The folder that will hold the entry, making it where only an archive's file names imply it.
    fn place<'p>(&mut self, raw: &[u8], parts: &[&'p str]) -> Result<(OwnedFd, &'p str)> {
        let (name, above) = parts.split_last().ok_or_else(|| self.refused(raw, "has no name"))?;
        if self.nodes.contains_key(&parts.join("/")) {
            return Err(self.refused(raw, "occurs twice"));
        }
        for end in 1..=above.len() {
            let path = above[..end].join("/");
            match self.nodes.get(&path) {
                Some(Node::Folder) => {}
                Some(_) => return Err(self.refused(raw, "lies below something that is not a folder")),
                None => {
                    let holder = self.open_folder(&above[..end - 1])?;
                    let made = rustix::fs::mkdirat(&holder, above[end - 1], Mode::from_raw_mode(0o755));
                    made.map_err(|error| self.unwritten(raw, error))?;
                    self.note(raw, path.clone(), Node::Folder)?;
                    self.implied.insert(path);
                }
            }
        }
        Ok((self.cached_folder(above)?, name))
    }

    fn place_of_existing<'p>(&self, parts: &[&'p str]) -> Result<(OwnedFd, &'p str)> {
        let (name, above) = parts.split_last().ok_or_else(|| Fault::internal("An entry has no name."))?;
        Ok((self.open_folder(above)?, name))
    }

    fn cached_folder(&mut self, parts: &[&str]) -> Result<OwnedFd> {
        let path = parts.join("/");
        if let Some((known, folder)) = &self.parent
            && *known == path
        {
            return folder.try_clone().map_err(unsynced);
        }
        let folder = self.open_folder(parts)?;
        let copy = folder.try_clone().map_err(unsynced)?;
        self.parent = Some((path, copy));
        Ok(folder)
    }

    fn open_folder(&self, parts: &[&str]) -> Result<OwnedFd> {
        let mut here = self.root.try_clone().map_err(unsynced)?;
        for part in parts {
            here = rustix::fs::openat(&here, *part, folder_flags(), Mode::empty()).map_err(unsynced)?;
        }
        Ok(here)
    }

    fn note(&mut self, raw: &[u8], path: String, node: Node) -> Result<()> {
        self.names_bytes += path.len();
        self.nodes.insert(path, node);
        if self.nodes.len() as u64 > self.limits.entries {
            let reason = format!("makes the release hold more than {} entries", self.limits.entries);
            return Err(self.refused(raw, &reason));
        }
        if self.names_bytes > NAMES_BYTES_MAX {
            return Err(self.refused(raw, "makes the names of the release too long together"));
        }
        Ok(())
    }

    fn copy(&self, raw: &[u8], size: u64, content: &mut dyn Read, file: &mut File) -> Result<[u8; 32]> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0_u8; 64 << 10];
        let mut left = size;
        loop {
            let read = match content.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.refused(raw, "can't be read").because(error)),
            };
            if read == 0 {
                break;
            }
            left = left.checked_sub(read as u64).ok_or_else(|| self.refused(raw, "is longer than its stated size"))?;
            hash.update(&buffer[..read]);
            file.write_all(&buffer[..read]).map_err(|error| self.unwritten(raw, error))?;
        }
        if left > 0 {
            return Err(self.refused(raw, "is shorter than its stated size"));
        }
        Ok(hash.finalize().into())
    }

    fn unwritten(&self, raw: &[u8], error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
        Fault::new(Code::StateUnwritable, format!("{}: the entry {} can't be stored.", self.label, quoted(raw)))
            .because(error)
    }
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn unsynced(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    Fault::new(Code::StateUnwritable, "The unpacked release can't be written to disk.").because(error)
}

#[cfg(target_os = "linux")]
fn sync_all_of(folder: impl AsFd) -> Result<()> {
    rustix::fs::syncfs(folder).map_err(unsynced)
}

#[cfg(not(target_os = "linux"))]
fn sync_all_of(folder: impl AsFd) -> Result<()> {
    rustix::fs::fsync(folder).map_err(unsynced)
}
