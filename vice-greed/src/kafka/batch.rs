//! Batches of records, as topics hold them (version 2 of the format, of Kafka 0.11 and later).

use super::unpack::{self, Unpacked};
use super::wire::{Malformed, Reader, Writer};

/// The format of a batch that is understood.
const MAGIC: i8 = 2;

/// The bytes before what the checksum is over: place, length, epoch, format and the checksum itself.
const HEAD: usize = 8 + 4 + 4 + 1 + 4;

/// A record that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) offset: i64,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// Who produces, and the number of the next record: a broker takes a record of the same number once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

/// Records as one batch.
pub(super) fn encode(records: &[Outgoing], producer: Producer) -> Vec<u8> {
    let first = records.iter().map(|record| record.time).min().unwrap_or(0);
    let last = records.iter().map(|record| record.time).max().unwrap_or(0);
    let mut body = Writer::default();
    let highest = records.len().saturating_sub(1);
    body.i16(0).length(highest).i64(first).i64(last);
    body.i64(producer.id).i16(producer.epoch).i32(producer.sequence).length(records.len());
    for (number, record) in (0..).zip(records) {
        let one = encode_record(number, record, first);
        body.varbytes(&one);
    }
    let mut batch = Writer::default();
    // The broker sets the place; the length counts from behind itself.
    batch.i64(0).length(body.bytes.len() + HEAD - 12).i32(-1).i8(MAGIC);
    batch.raw(&crc32c(&body.bytes).to_be_bytes()).raw(&body.bytes);
    batch.bytes
}

fn encode_record(number: i64, record: &Outgoing, first: i64) -> Vec<u8> {
    let mut out = Writer::default();
    out.i8(0).varint(record.time - first).varint(number);
    out.varbytes(&record.key).varbytes(&record.value);
    out.varint(i64::try_from(record.headers.len()).unwrap_or(0));
    for (name, value) in &record.headers {
        out.varbytes(name.as_bytes()).varbytes(value);
    }
    out.bytes
}

/// Why a batch can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    Malformed,
    Checksum(i64),
    Format(i8),
    Packing(String),
}

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What an answer held of one partition.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) records: Vec<Incoming>,
    /// Where to go on, where anything was whole.
    pub(super) next: Option<i64>,
}

/// Head of a batch.
struct BatchHead {
    offset: i64,
    attributes: i16,
    last: i64,
    first_time: i64,
    last_time: i64,
    producer: i64,
    count: usize,
}

/// Reads batches from `from` on. What a broker sends is cut anywhere at its end. What belongs to transactions that were
/// given up (`aborted`: producer and first place) is left out, as is what only brokers need.
pub(super) fn decode(bytes: &[u8], from: i64, aborted: &[(i64, i64)]) -> Result<Decoded, Unreadable> {
    let (mut reader, mut out) = (Reader::new(bytes), Decoded::default());
    let (mut waiting, mut given_up) = (aborted.to_vec(), Vec::new());
    while let Some((head, body)) = next_batch(&mut reader)? {
        let end = head.offset + head.last + 1;
        out.next = Some(out.next.unwrap_or(from).max(end));
        given_up.extend(waiting.extract_if(.., |(_, first)| *first < end).map(|(id, _)| id));
        let (transactional, control) = (head.attributes & 0x10 != 0, head.attributes & 0x20 != 0);
        if control {
            given_up.retain(|id| *id != head.producer);
        } else if !(transactional && given_up.contains(&head.producer)) {
            records(&head, body, from, &mut out.records)?;
        }
    }
    Ok(out)
}

/// The next whole batch.
fn next_batch<'a>(reader: &mut Reader<'a>) -> Result<Option<(BatchHead, &'a [u8])>, Unreadable> {
    let mut ahead = *reader;
    let (Ok(offset), Ok(length)) = (ahead.i64(), ahead.i32()) else { return Ok(None) };
    let length = usize::try_from(length).map_err(|_| Unreadable::Malformed)?;
    let Ok(batch) = ahead.take(length) else { return Ok(None) };
    *reader = ahead;
    let mut batch = Reader::new(batch);
    batch.i32()?;
    let format = batch.i8()?;
    if format != MAGIC {
        return Err(Unreadable::Format(format));
    }
    let checksum = batch.u32()?;
    let checked = batch.take(batch.left())?;
    if crc32c(checked) != checksum {
        return Err(Unreadable::Checksum(offset));
    }
    let mut batch = Reader::new(checked);
    let (attributes, last) = (batch.i16()?, i64::from(batch.i32()?));
    let (first_time, last_time, producer) = (batch.i64()?, batch.i64()?, batch.i64()?);
    batch.i16()?;
    batch.i32()?;
    let count = usize::try_from(batch.i32()?).map_err(|_| Unreadable::Malformed)?;
    let head = BatchHead { offset, attributes, last, first_time, last_time, producer, count };
    Ok(Some((head, batch.take(batch.left())?)))
}

fn records(head: &BatchHead, body: &[u8], from: i64, into: &mut Vec<Incoming>) -> Result<(), Unreadable> {
    let body: Unpacked<'_> = unpack::unpack(head.attributes & 0x07, body).map_err(Unreadable::Packing)?;
    let mut reader = Reader::new(&body);
    // Time of the append instead of that of the sender.
    let fixed = (head.attributes & 0x08 != 0).then_some(head.last_time);
    for _ in 0..head.count {
        let mut record = Reader::new(reader.varbytes()?.ok_or(Unreadable::Malformed)?);
        record.i8()?;
        let time = head.first_time.saturating_add(record.varint()?);
        let offset = head.offset.saturating_add(record.varint()?);
        record.varbytes()?;
        let value = record.varbytes()?.map(<[u8]>::to_vec);
        let mut headers = Vec::new();
        for _ in 0..record.varint()? {
            let name = String::from_utf8_lossy(record.varbytes()?.ok_or(Unreadable::Malformed)?).into_owned();
            headers.push((name, record.varbytes()?.unwrap_or_default().to_vec()));
        }
        // A batch begins where it begins, also where it was asked for from its middle.
        if offset >= from {
            into.push(Incoming { offset, time: fixed.unwrap_or(time), value, headers });
        }
    }
    Ok(())
}

/// CRC-32C (Castagnoli).
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(u32::MAX, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut crc, mut bit) = (at as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}
