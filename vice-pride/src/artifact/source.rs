//! Folders and single files as sources: what lies in them, a fingerprint to notice change, and copying them in.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use vice_core::digest::Digest;
use vice_core::fault::{Code, Context, Fault, Result};

use super::names::{Style, quoted};
use super::tree::{Limits, Node, Tree, TreeWriter};
use super::unpack::{label_of, open_regular};

/// One entry below a folder.
pub(super) struct Found {
    /// Relative, with `/`; raw bytes, as a name need not be text.
    pub(super) name: Vec<u8>,
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
}

/// What a project's folder holds that is not part of what it delivers: version control, and vice's own state. They are
/// left out where a folder is the artifact, at its top only.
pub(super) const NOT_DELIVERED: &[&str] = &[".git", ".hg", ".jj", ".vice"];

/// Everything below `root` in byte order of the paths, links not followed; without the names in `skip` at the top.
pub(super) fn walk(root: &Path, limits: &Limits, skip: &[&str]) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut todo = vec![(root.to_owned(), Vec::new(), 0)];
    while let Some((folder, prefix, depth)) = todo.pop() {
        let unreadable = || format!("The folder {} can't be read.", label_of(&folder));
        if depth > limits.depth {
            return Err(Fault::new(
                Code::ArtifactRejected,
                format!("The folder {} is nested too deeply.", label_of(&folder)),
            ));
        }
        for entry in fs::read_dir(&folder).context(Code::Io, unreadable)? {
            let entry = entry.context(Code::Io, unreadable)?;
            if depth == 0 && skip.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            let metadata = entry.metadata().context(Code::Io, unreadable)?;
            let name = [&prefix[..], entry.file_name().as_encoded_bytes()].concat();
            if metadata.is_dir() {
                todo.push((entry.path(), [&name[..], b"/"].concat(), depth + 1));
            }
            found.push(Found { name, path: entry.path(), metadata });
            if found.len() as u64 > limits.entries {
                let message = format!("{} holds more than {} entries.", label_of(root), limits.entries);
                return Err(
                    Fault::new(Code::ArtifactRejected, message).hint("Point the artifact at the build's output only.")
                );
            }
        }
    }
    found.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(found)
}

/// What `stat` says of a source, condensed, and the moment of its last change. Equal fingerprints with a last change
/// that lies well before the reading mean equal content; see [`super::cache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) digest: Digest,
    pub(super) changed_ns: i128,
}

impl Fingerprint {
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).context(Code::Io, || format!("{} can't be read.", label_of(path)))?;
        let mut print = Printer::new();
        print.add(b"", &metadata);
        Ok(print.finish())
    }

    pub(super) fn of_found(root: &Path, found: &[Found]) -> Result<Self> {
        let metadata = fs::metadata(root).context(Code::Io, || format!("{} can't be read.", label_of(root)))?;
        let mut print = Printer::new();
        print.add(b"", &metadata);
        for entry in found {
            print.add(&entry.name, &entry.metadata);
        }
        Ok(print.finish())
    }
}

/// A point in time of a file system, in nanoseconds.
pub(super) fn changed_ns(metadata: &Metadata) -> i128 {
    i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec())
}

struct Printer {
    hash: Sha256,
    changed_ns: i128,
}

impl Printer {
    fn new() -> Self {
        Self { hash: Sha256::new(), changed_ns: i128::MIN }
    }

    fn add(&mut self, name: &[u8], metadata: &Metadata) {
        self.hash.update((name.len() as u64).to_le_bytes());
        self.hash.update(name);
        for number in [metadata.dev(), metadata.ino(), metadata.len(), u64::from(metadata.mode())] {
            self.hash.update(number.to_le_bytes());
        }
        for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
            self.hash.update(number.to_le_bytes());
        }
        self.changed_ns = self.changed_ns.max(changed_ns(metadata));
    }

    fn finish(self) -> Fingerprint {
        Fingerprint { digest: Digest(self.hash.finalize().into()), changed_ns: self.changed_ns }
    }
}

/// Copies what was found into the empty folder `target`.
pub(super) fn copy(found: &[Found], label: &str, target: &Path, limits: &Limits) -> Result<Tree> {
    let mut writer = TreeWriter::new(target, label, Style::Unix, *limits)?;
    for entry in found {
        let kind = entry.metadata.file_type();
        if kind.is_dir() {
            writer.folder(&entry.name)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&entry.path)
                .map_err(|error| writer.refused(&entry.name, "can't be read").because(error))?;
            writer.symlink(&entry.name, link.as_os_str().as_encoded_bytes())?;
        } else if kind.is_file() {
            let executable = entry.metadata.permissions().mode() & 0o111 != 0;
            let mut file = open_entry(entry, &writer)?;
            writer.file(&entry.name, executable, entry.metadata.len(), &mut file)?;
        } else {
            return Err(writer.refused(&entry.name, "is neither a file, a folder nor a link"));
        }
    }
    writer.finish()
}

fn open_entry(entry: &Found, writer: &TreeWriter) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&entry.path, flags, Mode::empty());
    let unreadable = |error: std::io::Error| {
        Fault::new(Code::Io, format!("The file {} can't be read.", quoted(&entry.name))).because(error)
    };
    let file = File::from(opened.map_err(|error| unreadable(error.into()))?);
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_file() { Ok(file) } else { Err(writer.refused(&entry.name, "changed while it was being read")) }
}

/// Copies one executable file under its own name.
pub(super) fn copy_single(path: &Path, label: &str, target: &Path, limits: &Limits) -> Result<Tree> {
    let mut file = open_regular(path, label)?;
    let size = file.metadata().context(Code::Io, || format!("{label} can't be read."))?.len();
    let name =
        path.file_name().ok_or_else(|| Fault::new(Code::ArtifactRejected, format!("{label} has no file name.")))?;
    let mut writer = TreeWriter::new(target, label, Style::Unix, *limits)?;
    writer.file(name.as_encoded_bytes(), true, size, &mut file)?;
    writer.finish()
}

/// Reads a stored release again and computes its digest from the disk alone.
pub(super) fn measure(root: &Path) -> Result<Tree> {
    let mut nodes = std::collections::BTreeMap::new();
    for entry in walk(root, &Limits { entries: u64::MAX, ..Limits::default() }, &[])? {
        let unreadable = || format!("The stored file {} can't be read.", quoted(&entry.name));
        let kind = entry.metadata.file_type();
        let node = if kind.is_dir() {
            Node::Folder
        } else if kind.is_symlink() {
            let target = fs::read_link(&entry.path).context(Code::Io, unreadable)?;
            Node::Link { target: target.to_string_lossy().into_owned() }
        } else {
            let mut hash = Sha256::new();
            let mut file = open_regular(&entry.path, "A stored file")?;
            let bytes = std::io::copy(&mut file, &mut HashWriter(&mut hash)).context(Code::Io, unreadable)?;
            let executable = entry.metadata.permissions().mode() & 0o111 != 0;
            Node::File { executable, bytes, sha256: hash.finalize().into() }
        };
        nodes.insert(String::from_utf8_lossy(&entry.name).into_owned(), node);
    }
    Ok(Tree::of(&nodes))
}

/// `Sha256` as a writer.
pub(super) struct HashWriter<'h>(pub(super) &'h mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
