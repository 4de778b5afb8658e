//! Archives made byte by byte.

use std::io::Write;

/// One tar header's fields, all free to be wrong.
#[derive(Clone)]
pub(super) struct Head<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) link: &'a [u8],
    pub(super) size: u64,
}

/// A tar file in the making.
#[derive(Default)]
pub(super) struct Tar(pub(super) Vec<u8>);

impl Tar {
    pub(super) fn head(mut self, head: &Head<'_>) -> Self {
        let mut block = [0_u8; 512];
        block[..head.name.len()].copy_from_slice(head.name);
        block[100..108].copy_from_slice(format!("{:07o}\0", head.mode).as_bytes());
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        block[124..136].copy_from_slice(format!("{:011o}\0", head.size).as_bytes());
        block[136..148].copy_from_slice(b"00000000000\0");
        block[148..156].copy_from_slice(b"        ");
        block[156] = head.kind;
        block[157..157 + head.link.len()].copy_from_slice(head.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(block);
        self
    }

    pub(super) fn content(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().div_ceil(512) * 512, 0);
        self
    }

    pub(super) fn file(self, name: &str, mode: u32, bytes: &[u8]) -> Self {
        let size = bytes.len() as u64;
        let tar = if name.len() > 100 { self.pax(&[("path", name.as_bytes())]) } else { self };
        let short = &name.as_bytes()[..name.len().min(100)];
        tar.head(&Head { name: short, kind: b'0', mode, link: b"", size }).content(bytes)
    }

    pub(super) fn folder(self, name: &str) -> Self {
        let tar = if name.len() > 100 { self.pax(&[("path", name.as_bytes())]) } else { self };
        let short = &name.as_bytes()[..name.len().min(100)];
        tar.head(&Head { name: short, kind: b'5', mode: 0o755, link: b"", size: 0 })
    }

    pub(super) fn special(self, name: &str, kind: u8, link: &str) -> Self {
        self.head(&Head { name: name.as_bytes(), kind, mode: 0o644, link: link.as_bytes(), size: 0 })
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Self {
        self.special(name, b'2', target)
    }

    pub(super) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.extension(b'x', &records.iter().flat_map(|(key, value)| record(key, value)).collect::<Vec<_>>())
    }

    pub(super) fn extension(self, kind: u8, body: &[u8]) -> Self {
        let size = body.len() as u64;
        self.head(&Head { name: b"extension", kind, mode: 0o644, link: b"", size }).content(body)
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length.to_string().len() + body != length {
        length = length.to_string().len() + body;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub(super) fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

pub(super) fn zst(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// One zip entry's fields, all free to be wrong.
#[derive(Clone)]
pub(super) struct ZipEntry {
    pub(super) name: Vec<u8>,
    pub(super) local_name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
    pub(super) deflate: bool,
    pub(super) flags: u16,
    pub(super) local_size: Option<u32>,
    pub(super) central_size: Option<u32>,
    pub(super) crc: Option<u32>,
    pub(super) offset: Option<u32>,
    pub(super) extra: Vec<u8>,
}

impl ZipEntry {
    pub(super) fn new(name: &str, mode: u32, content: &[u8]) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            local_name: name.as_bytes().to_vec(),
            mode,
            content: content.to_vec(),
            deflate: false,
            // Names are UTF-8.
            flags: 1 << 11,
            local_size: None,
            central_size: None,
            crc: None,
            offset: None,
            extra: Vec::new(),
        }
    }
}

pub(super) fn zip(entries: &[ZipEntry]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let packed = if entry.deflate { deflated(&entry.content) } else { entry.content.clone() };
        let mut sum = flate2::Crc::new();
        sum.update(&entry.content);
        let crc = entry.crc.unwrap_or(sum.sum());
        let size = u32::try_from(entry.content.len()).unwrap();
        let method = if entry.deflate { 8_u16 } else { 0 };
        let offset = entry.offset.unwrap_or(u32::try_from(out.len()).unwrap());
        let common = |size: u32, name: &[u8]| {
            let mut head = Vec::new();
            head.extend(20_u16.to_le_bytes());
            head.extend(entry.flags.to_le_bytes());
            head.extend(method.to_le_bytes());
            head.extend([0; 4]);
            head.extend(crc.to_le_bytes());
            head.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
            head.extend(size.to_le_bytes());
            head.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
            head.extend(u16::try_from(entry.extra.len()).unwrap().to_le_bytes());
            head
        };
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(common(entry.central_size.unwrap_or(size), &entry.name));
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&entry.name);
        directory.extend(&entry.extra);
        out.extend(b"PK\x03\x04");
        out.extend(common(entry.local_size.unwrap_or(size), &entry.local_name));
        out.extend(&entry.local_name);
        out.extend(&entry.extra);
        out.extend(packed);
    }
    let start = u32::try_from(out.len()).unwrap();
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, count].concat());
    out.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}
