//! A second, strict reader of zip files: the central directory, every local header and every data descriptor.
//!
//! A zip file has two lists of its content, and readers differ in which one they believe. Here both must say the same,
//! and the entries must lie one directly behind the other from the first byte to the central directory, so that nothing
//! overlaps and nothing hides in between.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

const END_SIGNATURE: &[u8; 4] = b"PK\x05\x06";
const END_BYTES: u64 = 22;
const COMMENT_BYTES_MAX: u64 = 65_535;

/// One entry, as both lists state it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    pub(super) size: u64,
    pub(super) packed: u64,
    pub(super) crc32: u32,
    pub(super) mode: u32,
    offset: u64,
    flags: u16,
    method: u16,
}

type Verdict<T> = Result<T, String>;

/// Lists the entries in the order of the central directory.
pub(super) fn list(file: &mut File, entries_max: u64) -> Verdict<Vec<Listed>> {
    let length = file.seek(SeekFrom::End(0)).map_err(text)?;
    let end = End::find(file, length)?;
    if end.entries > entries_max {
        return Err(format!("holds more than {entries_max} entries"));
    }
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(end.start)).map_err(text)?;
    let listed = (0..end.entries).map(|_| central(&mut reader)).collect::<Verdict<Vec<_>>>()?;
    if reader.stream_position().map_err(text)? != end.at {
        return Err("has a central directory of another length than stated".to_owned());
    }
    let mut by_offset: Vec<&Listed> = listed.iter().collect();
    by_offset.sort_by_key(|entry| entry.offset);
    let mut next = 0;
    for entry in by_offset {
        if entry.offset != next {
            return Err("has entries that overlap or content that no list names".to_owned());
        }
        next = local(&mut reader, entry)?;
    }
    if next == end.start {
        Ok(listed)
    } else {
        Err("has content that no list names, or an overlapping entry".to_owned())
    }
}

struct End {
    at: u64,
    start: u64,
    entries: u64,
}

impl End {
    fn find(file: &mut File, length: u64) -> Verdict<Self> {
        let tail_bytes = length.min(END_BYTES + COMMENT_BYTES_MAX);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(length - tail_bytes)).map_err(text)?;
        file.read_to_end(&mut tail).map_err(text)?;
        let starts = tail.windows(4).enumerate().filter(|(_, window)| window == END_SIGNATURE).map(|(index, _)| index);
        let fitting: Vec<usize> = starts
            .filter(|start| {
                let comment = tail.get(start + 20..start + 22).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
                comment.is_some_and(|comment| start + 22 + comment == tail.len())
            })
            .collect();
        let [start] = fitting[..] else {
            return Err("is cut off, no zip file, or has more than one end".to_owned());
        };
        let mut field = Fields(&tail[start + 4..start + 20]);
        let (disk, disk_of_directory) = (field.u16()?, field.u16()?);
        let (here, entries) = (field.u16()?, field.u16()?);
        let (size, offset) = (u64::from(field.u32()?), u64::from(field.u32()?));
        let at = length - tail_bytes + start as u64;
        if disk != 0 || disk_of_directory != 0 || here != entries {
            return Err("is a part of a split archive".to_owned());
        }
        if entries == u16::MAX || offset == u64::from(u32::MAX) {
            return Err("is in the zip64 format, which is not supported; use a tar.gz".to_owned());
        }
        if offset + size != at {
            return Err("has content before its start or after its central directory".to_owned());
        }
        Ok(Self { at, start: offset, entries: u64::from(entries) })
    }
}

fn central(reader: &mut impl Read) -> Verdict<Listed> {
    let head = take(reader, 46)?;
    if head[..4] != *b"PK\x01\x02" {
        return Err("has a broken central directory".to_owned());
    }
    let mut field = Fields(&head[4..]);
    let system = field.u16()? >> 8;
    field.u16()?;
    let (flags, method) = (field.u16()?, field.u16()?);
    field.u32()?;
    let crc32 = field.u32()?;
    let (packed, size) = (u64::from(field.u32()?), u64::from(field.u32()?));
    let lengths = [field.u16()?, field.u16()?, field.u16()?];
    field.u32()?;
    let attributes = field.u32()?;
    let offset = u64::from(field.u32()?);
    let name = take(reader, usize::from(lengths[0]))?;
    check_extra(&take(reader, usize::from(lengths[1]))?, &name)?;
    take(reader, usize::from(lengths[2]))?;
    if flags & 1 != 0 || flags & (1 << 13) != 0 {
        return Err("is encrypted".to_owned());
    }
    if !matches!(method, 0 | 8) {
        return Err("uses a compression other than deflate".to_owned());
    }
    if method == 0 && packed != size {
        return Err("states two different sizes for an entry that is not compressed".to_owned());
    }
    // Only Unix writers (3) and macOS (19) keep a mode in the upper half of the attributes.
    let mode = if matches!(system, 3 | 19) { attributes >> 16 } else { 0 };
    Ok(Listed { name, size, packed, crc32, mode, offset, flags, method })
}

/// Refuses fields that would give an entry another size or another name.
fn check_extra(mut extra: &[u8], name: &[u8]) -> Verdict<()> {
    while !extra.is_empty() {
        let [id_low, id_high, size_low, size_high, rest @ ..] = extra else {
            // Some writers pad with up to three zero bytes.
            return if extra.iter().all(|byte| *byte == 0) {
                Ok(())
            } else {
                Err("has a broken extra field".to_owned())
            };
        };
        let size = usize::from(u16::from_le_bytes([*size_low, *size_high]));
        let body = rest.get(..size).ok_or("has a broken extra field")?;
        match u16::from_le_bytes([*id_low, *id_high]) {
            0x0001 => return Err("is in the zip64 format, which is not supported; use a tar.gz".to_owned()),
            0x7075 if body.get(5..) != Some(name) => return Err("gives one entry two names".to_owned()),
            0x9901 => return Err("is encrypted".to_owned()),
            _ => {}
        }
        extra = &rest[size..];
    }
    Ok(())
}

/// Compares an entry's local header with the central one; returns where the entry ends.
fn local(reader: &mut (impl Read + Seek), entry: &Listed) -> Verdict<u64> {
    let differs = || format!("has a local header that differs from the list for {}", super::names::quoted(&entry.name));
    reader.seek(SeekFrom::Start(entry.offset)).map_err(text)?;
    let head = take(reader, 30)?;
    let mut field = Fields(&head[4..]);
    field.u16()?;
    let (flags, method) = (field.u16()?, field.u16()?);
    field.u32()?;
    let crc32 = field.u32()?;
    let (packed, size) = (u64::from(field.u32()?), u64::from(field.u32()?));
    let lengths = [usize::from(field.u16()?), usize::from(field.u16()?)];
    let name = take(reader, lengths[0])?;
    check_extra(&take(reader, lengths[1])?, &name)?;
    let same = (crc32, packed, size) == (entry.crc32, entry.packed, entry.size);
    let streamed = flags & 8 != 0;
    let later = streamed && (crc32, packed, size) == (0, 0, 0);
    let agrees = head[..4] == *b"PK\x03\x04" && name == entry.name && flags == entry.flags && method == entry.method;
    if !agrees || !(same || later) {
        return Err(differs());
    }
    let data = entry.offset + 30 + lengths.iter().sum::<usize>() as u64;
    let end = data.checked_add(entry.packed).ok_or_else(differs)?;
    if !streamed {
        return Ok(end);
    }
    reader.seek(SeekFrom::Start(end)).map_err(text)?;
    descriptor(reader, entry).map(|bytes| end + bytes).ok_or_else(differs)
}

/// The length of the descriptor behind a streamed entry, when it states the same as the list.
fn descriptor(reader: &mut impl Read, entry: &Listed) -> Option<u64> {
    let stated = [entry.crc32.to_le_bytes(), u32_of(entry.packed)?, u32_of(entry.size)?].concat();
    let first = take(reader, 4).ok()?;
    if first == b"PK\x07\x08" {
        return (take(reader, 12).ok()? == stated).then_some(16);
    }
    let rest = take(reader, 8).ok()?;
    ([first, rest].concat() == stated).then_some(12)
}

fn u32_of(value: u64) -> Option<[u8; 4]> {
    u32::try_from(value).ok().map(u32::to_le_bytes)
}

fn take(reader: &mut impl Read, count: usize) -> Verdict<Vec<u8>> {
    let mut bytes = vec![0; count];
    reader.read_exact(&mut bytes).map_err(|_| "is cut off".to_owned())?;
    Ok(bytes)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of an argument to map_err")]
fn text(error: std::io::Error) -> String {
    format!("can't be read ({error})")
}

/// Little-endian fields one after the other.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> Verdict<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or("is cut off")?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Verdict<u16> {
        self.bytes().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Verdict<u32> {
        self.bytes().map(u32::from_le_bytes)
    }
}
