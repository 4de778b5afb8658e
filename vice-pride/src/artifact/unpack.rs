//! Unpacking an archive of any format into an empty folder; see [`super::tree`] for the rules that hold for all.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use vice_core::fault::{Code, Context, Fault, Result};

use super::names::{Style, quoted};
use super::reference::Format;
use super::tree::{Limits, Tree, TreeWriter};
use super::{decode, tarball, zipball};

/// Unpacks the archive at `path` into `target`, an empty folder that only this process knows.
pub(super) fn unpack(path: &Path, format: Format, label: &str, target: &Path, limits: &Limits) -> Result<Tree> {
    let file = open_regular(path, label)?;
    let style = if format == Format::Zip { Style::Zip } else { Style::Unix };
    let mut writer = TreeWriter::new(target, label, style, *limits)?;
    match format {
        Format::Zip => zipball::unpack(file, label, limits, &mut writer)?,
        Format::Tar | Format::TarGz | Format::TarZst => {
            tarball::unpack(decode::open(file, format, limits), label, &mut writer)?;
        }
    }
    writer.finish()
}

/// Opens a regular file and nothing else: a pipe would block for ever, a device could do anything.
pub(super) fn open_regular(path: &Path, label: &str) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let file = File::from(opened.context(Code::Io, || format!("{label} can't be opened."))?);
    let metadata = file.metadata().context(Code::Io, || format!("{label} can't be read."))?;
    if !metadata.is_file() {
        return Err(Fault::new(Code::ArtifactRejected, format!("{label} is not a regular file.")));
    }
    Ok(file)
}

/// A path as messages show it.
pub(super) fn label_of(path: &Path) -> String {
    let text = quoted(path.as_os_str().as_encoded_bytes());
    text.trim_matches('"').to_owned()
}
