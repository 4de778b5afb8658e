//! What senders pack batches with: gzip, snappy, lz4 and zstd, each up to a limit of what comes out.

use std::borrow::Cow;
use std::io::Read;

use ruzstd::decoding::StreamingDecoder;

/// The most that a batch may unpack to, in bytes: brokers take a mebibyte packed unless they are told otherwise.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The records of a batch.
pub(super) type Unpacked<'a> = Cow<'a, [u8]>;

const DAMAGED: &str = "what is packed is damaged";
const LARGE: &str = "it unpacks to more than 64 MiB";

/// Unpacks what was packed in the way of this number.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub(super) fn unpack(way: i16, bytes: &[u8]) -> Result<Unpacked<'_>, String> {
    match way {
        0 => Ok(Cow::Borrowed(bytes)),
        1 => read(flate2::read::MultiGzDecoder::new(bytes)).map(Cow::Owned),
        2 => snappy(bytes).map(Cow::Owned).map_err(str::to_owned),
        3 => lz4(bytes).map(Cow::Owned).map_err(str::to_owned),
        4 => {
            let decoder = StreamingDecoder::new(bytes).map_err(|error| error.to_string())?;
            read(decoder).map(Cow::Owned)
        }
        other => Err(format!("nothing is known of packing {other}")),
    }
}

fn read(from: impl Read) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    from.take(BYTES_MAX as u64 + 1).read_to_end(&mut out).map_err(|error| error.to_string())?;
    if out.len() > BYTES_MAX { Err(LARGE.to_owned()) } else { Ok(out) }
}

/// One block, or several in the frames of Java's library.
fn snappy(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(b"\x82SNAPPY\0") else {
        snappy_block(bytes, &mut out)?;
        return Ok(out);
    };
    // Two numbers say which version wrote it and which may read it.
    rest = rest.get(8..).ok_or(DAMAGED)?;
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk().ok_or(DAMAGED)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, behind) = behind.split_at_checked(length).ok_or(DAMAGED)?;
        snappy_block(block, &mut out)?;
        rest = behind;
    }
    Ok(out)
}

fn snappy_block(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let (mut length, mut at) = (0_u64, 0);
    for shift in [0, 7, 14, 21, 28] {
        let byte = *bytes.get(at).ok_or(DAMAGED)?;
        at += 1;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (start, length) = (out.len(), usize::try_from(length).map_err(|_| LARGE)?);
    if start + length > BYTES_MAX {
        return Err(LARGE);
    }
    let mut rest = bytes.get(at..).ok_or(DAMAGED)?;
    while let Some((tag, behind)) = rest.split_first() {
        rest = snappy_part(*tag, behind, start, out)?;
        if out.len() - start > length {
            return Err(DAMAGED);
        }
    }
    if out.len() - start == length { Ok(()) } else { Err(DAMAGED) }
}

fn little(bytes: &[u8], count: usize) -> Result<(usize, &[u8]), &'static str> {
    let (number, rest) = bytes.split_at_checked(count).ok_or(DAMAGED)?;
    Ok((number.iter().rev().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), rest))
}

/// A literal or a copy; gives what is behind it.
fn snappy_part<'a>(tag: u8, rest: &'a [u8], start: usize, out: &mut Vec<u8>) -> Result<&'a [u8], &'static str> {
    let high = usize::from(tag >> 2);
    if tag & 3 == 0 {
        let (length, rest) = if high < 60 { (high, rest) } else { little(rest, high - 59)? };
        let (literal, rest) = rest.split_at_checked(length + 1).ok_or(DAMAGED)?;
        out.extend_from_slice(literal);
        return Ok(rest);
    }
    let (length, back, rest) = match tag & 3 {
        1 => {
            let (low, rest) = little(rest, 1)?;
            ((high & 7) + 4, (usize::from(tag >> 5) << 8) | low, rest)
        }
        2 => {
            let (back, rest) = little(rest, 2)?;
            (high + 1, back, rest)
        }
        _ => {
            let (back, rest) = little(rest, 4)?;
            (high + 1, back, rest)
        }
    };
    copy(out, start, back, length)?;
    Ok(rest)
}

/// Repeats what came out `back` bytes ago; the two may overlap.
fn copy(out: &mut Vec<u8>, start: usize, back: usize, length: usize) -> Result<(), &'static str> {
    if back == 0 || back > out.len() - start {
        return Err(DAMAGED);
    }
    if out.len() + length > BYTES_MAX {
        return Err(LARGE);
    }
    for _ in 0..length {
        out.push(out[out.len() - back]);
    }
    Ok(())
}

/// A frame of lz4. Its checksums are not computed: the batch has its own.
fn lz4(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let rest = bytes.strip_prefix(&0x184d_2204_u32.to_le_bytes()).ok_or(DAMAGED)?;
    let flags = *rest.first().ok_or(DAMAGED)?;
    let (sized, named, block_sums) = (flags & 0x08 != 0, flags & 0x01 != 0, flags & 0x10 != 0);
    let head = 3 + if sized { 8 } else { 0 } + if named { 4 } else { 0 };
    let (mut rest, mut out) = (rest.get(head..).ok_or(DAMAGED)?, Vec::new());
    loop {
        let (size, behind) = little(rest, 4)?;
        if size == 0 {
            return Ok(out);
        }
        let (plain, size) = (size & 0x8000_0000 != 0, size & 0x7fff_ffff);
        let (block, behind) = behind.split_at_checked(size).ok_or(DAMAGED)?;
        if plain {
            out.extend_from_slice(block);
        } else {
            lz4_block(block, &mut out)?;
        }
        if out.len() > BYTES_MAX {
            return Err(LARGE);
        }
        rest = if block_sums { behind.get(4..).ok_or(DAMAGED)? } else { behind };
    }
}

fn lz4_length(short: u8, mut rest: &[u8]) -> Result<(usize, &[u8]), &'static str> {
    let mut length = usize::from(short);
    if short == 15 {
        loop {
            let (more, behind) = rest.split_first().ok_or(DAMAGED)?;
            (length, rest) = (length + usize::from(*more), behind);
            if *more != 255 {
                break;
            }
        }
    }
    Ok((length, rest))
}

fn lz4_block(mut rest: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    loop {
        let (token, behind) = rest.split_first().ok_or(DAMAGED)?;
        let (length, behind) = lz4_length(token >> 4, behind)?;
        let (literal, behind) = behind.split_at_checked(length).ok_or(DAMAGED)?;
        out.extend_from_slice(literal);
        if behind.is_empty() {
            return Ok(());
        }
        let (back, behind) = little(behind, 2)?;
        let (length, behind) = lz4_length(token & 15, behind)?;
        copy(out, 0, back, length + 4)?;
        rest = behind;
    }
}
