//! Unpacking zip files, with the `zip` crate as the reader and [`super::zipwalk`] as the witness.

use std::fs::File;
use std::io::{self, BufReader, Read};

use vice_core::fault::{Code, Fault, Result};

use super::names::quoted;
use super::tree::{Limits, TreeWriter};
use super::zipwalk::{self, Listed};

const LINK_BYTES_MAX: u64 = 4096;
const KIND: u32 = 0o170_000;

/// Unpacks the whole file.
pub(super) fn unpack(mut file: File, label: &str, limits: &Limits, writer: &mut TreeWriter) -> Result<()> {
    let rejected = |what: &str| Fault::new(Code::ArtifactRejected, format!("{label}: {what}."));
    let listed =
        zipwalk::list(&mut file, limits.entries).map_err(|reason| rejected(&format!("the archive {reason}")))?;
    let mut archive =
        zip::ZipArchive::new(BufReader::new(file)).map_err(|error| rejected("the archive is broken").because(error))?;
    if archive.len() != listed.len() {
        return Err(rejected("the archive has entries of the same name or reads differently with two readers"));
    }
    for (index, listed) in listed.iter().enumerate() {
        let name = quoted(&listed.name);
        let mut entry =
            archive.by_index(index).map_err(|error| rejected(&format!("the entry {name} is broken")).because(error))?;
        // Names are compared and used as bytes: Info-ZIP writes UTF-8 without the flag for it, and the old code page
        // shares all of ASCII with it, separators included.
        let agrees = entry.name_raw() == listed.name
            && (entry.size(), entry.compressed_size(), entry.crc32()) == (listed.size, listed.packed, listed.crc32);
        if !agrees {
            return Err(rejected(&format!("the entry {name} reads differently with two readers")));
        }
        check_ratio(listed, limits, writer)?;
        write(&mut entry, listed, writer)?;
    }
    Ok(())
}

fn check_ratio(listed: &Listed, limits: &Limits, writer: &TreeWriter) -> Result<()> {
    if listed.size > limits.ratio_floor_bytes && listed.size > listed.packed.saturating_mul(limits.ratio) {
        let reason = format!("unpacks to more than {} times its size", limits.ratio);
        return Err(writer.refused(&listed.name, &reason));
    }
    Ok(())
}

fn write(entry: &mut impl Read, listed: &Listed, writer: &mut TreeWriter) -> Result<()> {
    let name = &listed.name;
    let is_folder = name.ends_with(b"/");
    match (listed.mode & KIND, is_folder) {
        (0 | 0o040_000, true) if listed.size == 0 => writer.folder(name),
        (0 | 0o100_000, false) => writer.file(name, listed.mode & 0o111 != 0, listed.size, entry),
        (0o120_000, false) if listed.size <= LINK_BYTES_MAX => {
            let mut target = Vec::new();
            let read = entry.take(LINK_BYTES_MAX).read_to_end(&mut target);
            read.map_err(|error: io::Error| writer.refused(name, "can't be read").because(error))?;
            writer.symlink(name, &target)
        }
        (0o020_000 | 0o060_000, _) => Err(writer.refused(name, "is a device")),
        (0o010_000 | 0o140_000, _) => Err(writer.refused(name, "is a pipe or a socket")),
        _ => Err(writer.refused(name, "is of a kind that does not fit its name")),
    }
}
