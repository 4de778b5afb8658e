//! Unpacking tar archives, with the `tar` crate as the reader and [`TarWalk`] as the witness.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use vice_core::fault::{Code, Fault, Result};

use super::names::quoted;
use super::tarwalk::{Listed, TarWalk};
use super::tree::TreeWriter;

/// Unpacks all of `stream`, to its last byte.
pub(super) fn unpack(stream: Box<dyn Read>, label: &str, writer: &mut TreeWriter) -> Result<()> {
    let walk = Rc::new(RefCell::new(TarWalk::new()));
    let mut archive = tar::Archive::new(Witnessed { inner: stream, walk: Rc::clone(&walk) });
    let broken = |error: io::Error| broken(label, &walk.borrow(), error);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let listed = walk.borrow_mut().take();
        if listed.is_none() && entry.header().as_bytes()[156] == b'g' {
            // Headers for all entries are no entries; the walk refuses those that would change one.
            continue;
        }
        let Some(listed) = listed.filter(|listed| agrees(&entry, listed)) else {
            let name = quoted(&entry.path_bytes());
            return Err(rejected(label, &format!("the entry {name} reads differently with two readers")));
        };
        write(&mut entry, &listed, writer).map_err(|fault| explained(fault, label, &walk.borrow()))?;
    }
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    walk.borrow().finish().map_err(|reason| rejected(label, &format!("the archive {reason}")))
}

fn write<R: Read>(entry: &mut tar::Entry<'_, R>, listed: &Listed, writer: &mut TreeWriter) -> Result<()> {
    let name = &listed.name;
    if listed.kind != b'0' && listed.kind != 0 && listed.size != 0 {
        return Err(writer.refused(name, "carries content although it is no file"));
    }
    match listed.kind {
        b'0' | 0 => {
            let mode =
                entry.header().mode().map_err(|error| writer.refused(name, "has a broken mode").because(error))?;
            writer.file(name, mode & 0o111 != 0, listed.size, entry)
        }
        b'5' => writer.folder(name),
        b'2' => writer.symlink(name, &listed.link),
        b'1' => writer.hardlink(name, &listed.link),
        b'3' | b'4' => Err(writer.refused(name, "is a device")),
        b'6' => Err(writer.refused(name, "is a pipe")),
        _ => Err(writer.refused(name, "is of a kind that releases can't hold")),
    }
}

fn agrees<R: Read>(entry: &tar::Entry<'_, R>, listed: &Listed) -> bool {
    let is_link = matches!(listed.kind, b'1' | b'2');
    let link = entry.link_name_bytes();
    entry.size() == listed.size
        && *entry.path_bytes() == *listed.name
        && entry.header().as_bytes()[156] == listed.kind
        && (!is_link || link.as_deref() == Some(&listed.link[..]))
}

fn rejected(label: &str, what: &str) -> Fault {
    Fault::new(Code::ArtifactRejected, format!("{label}: {what}."))
}

/// A failed read in the middle of an entry is the archive's fault; the walk knows the reason best.
fn explained(fault: Fault, label: &str, walk: &TarWalk) -> Fault {
    match walk.verdict() {
        Some(reason) => rejected(label, &format!("the archive {reason}")),
        None => fault,
    }
}

fn broken(label: &str, walk: &TarWalk, error: io::Error) -> Fault {
    if error.raw_os_error().is_some() {
        return Fault::new(Code::Io, format!("{label} can't be read.")).because(error);
    }
    match walk.verdict() {
        Some(reason) => rejected(label, &format!("the archive {reason}")),
        None => rejected(label, "the archive can't be unpacked").because(error),
    }
}

/// Shows every byte to the walk before the reader gets it.
struct Witnessed {
    inner: Box<dyn Read>,
    walk: Rc<RefCell<TarWalk>>,
}

impl Read for Witnessed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.walk.borrow_mut().feed(&buffer[..read]).map_err(io::Error::other)?;
        Ok(read)
    }
}
