//! Decompression as a stream with a ceiling: constant memory, and a stop as soon as the output is out of proportion.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::reference::Format;
use super::tree::Limits;

/// Windows beyond this need more memory than an unpacker should take (`zstd --ultra -21` and up, `--long`).
const ZSTD_WINDOW_MAX: u64 = 32 << 20;

/// Opens the byte stream of a tar archive.
pub(super) fn open(file: File, format: Format, limits: &Limits) -> Box<dyn Read> {
    let packed = Rc::new(Cell::new(0));
    let input = BufReader::with_capacity(64 << 10, Counted { inner: file, count: Rc::clone(&packed) });
    let inner: Box<dyn Read> = match format {
        Format::TarGz => Box::new(MultiGzDecoder::new(input)),
        Format::TarZst => Box::new(ZstdFrames { input, decoder: FrameDecoder::new(), inside: false }),
        Format::Tar | Format::Zip => return Box::new(input),
    };
    // Headers and padding come on top of the content.
    let unpacked_max = limits.bytes.saturating_add(limits.entries.saturating_mul(2048)).saturating_add(1 << 20);
    Box::new(Guarded { inner, packed, unpacked: 0, unpacked_max, limits: *limits })
}

struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

struct Guarded {
    inner: Box<dyn Read>,
    packed: Rc<Cell<u64>>,
    unpacked: u64,
    unpacked_max: u64,
    limits: Limits,
}

impl Read for Guarded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.unpacked += read as u64;
        let bomb = self.unpacked > self.limits.ratio_floor_bytes
            && self.unpacked > self.packed.get().saturating_mul(self.limits.ratio);
        if bomb {
            return Err(io::Error::other(format!("unpacks to more than {} times its size", self.limits.ratio)));
        }
        if self.unpacked > self.unpacked_max {
            return Err(io::Error::other(format!("unpacks to more than {} bytes", self.limits.bytes)));
        }
        Ok(read)
    }
}

/// All frames of a zstd file one after the other; each checksum is compared, and what follows must be a frame again.
struct ZstdFrames<R> {
    input: R,
    decoder: FrameDecoder,
    inside: bool,
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.inside {
                let read = self.frame_bytes(buffer)?;
                if read > 0 {
                    return Ok(read);
                }
                self.close_frame()?;
            }
            if self.input.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.next_frame()?;
        }
    }
}

impl<R: BufRead> ZstdFrames<R> {
    fn frame_bytes(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() < buffer.len() && !self.decoder.is_finished() {
            let wanted = buffer.len() - self.decoder.can_collect();
            self.decoder
                .decode_blocks(&mut self.input, BlockDecodingStrategy::UptoBytes(wanted))
                .map_err(io::Error::other)?;
        }
        self.decoder.read(buffer)
    }

    fn close_frame(&mut self) -> io::Result<()> {
        self.inside = false;
        let stated = self.decoder.get_checksum_from_data();
        if stated.is_some() && stated != self.decoder.get_calculated_checksum() {
            return Err(io::Error::other("the zstd checksum is wrong"));
        }
        Ok(())
    }

    fn next_frame(&mut self) -> io::Result<()> {
        let mut magic = [0; 4];
        self.input.read_exact(&mut magic)?;
        if magic[0] & 0xf0 == 0x50 && magic[1..] == [0x2a, 0x4d, 0x18] {
            return self.skip_frame();
        }
        if magic != [0x28, 0xb5, 0x2f, 0xfd] {
            return Err(io::Error::other("there is something that is not a zstd frame"));
        }
        let mut head = magic.to_vec();
        let mut descriptor = [0];
        self.input.read_exact(&mut descriptor)?;
        head.push(descriptor[0]);
        let window_at = head.len();
        head.resize(window_at + rest_of_header(descriptor[0]), 0);
        self.input.read_exact(&mut head[window_at..])?;
        let single_segment = descriptor[0] & 0x20 != 0;
        if !single_segment && window_bytes(head[window_at]) > ZSTD_WINDOW_MAX {
            return Err(io::Error::other("the zstd window is larger than 32 MiB; compress with level 19 or less"));
        }
        self.decoder.init(&head[..]).map_err(io::Error::other)?;
        if single_segment && self.decoder.content_size() > ZSTD_WINDOW_MAX {
            return Err(io::Error::other("the zstd frame wants more than 32 MiB of memory"));
        }
        self.inside = true;
        Ok(())
    }

    fn skip_frame(&mut self) -> io::Result<()> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        let skipped = io::copy(&mut self.input.by_ref().take(length), &mut io::sink())?;
        if skipped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Bytes of a frame header after the descriptor (RFC 8878, 3.1.1.1).
fn rest_of_header(descriptor: u8) -> usize {
    let single_segment = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    usize::from(!single_segment) + dictionary + content_size
}

/// The window of a frame by its descriptor byte (RFC 8878, 3.1.1.1.2).
fn window_bytes(descriptor: u8) -> u64 {
    let base = 1_u64 << (10 + u32::from(descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}
