//! The questions that are asked, each in one version that brokers from 0.11 to 4 speak, and what their answers say.

use std::collections::BTreeMap;

use super::wire::{Malformed, Reader, Writer};

/// A question: its number and the version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) key: i16,
    pub(super) version: i16,
    pub(super) name: &'static str,
    /// Whether it has the form with tagged fields, which came with later versions.
    pub(super) tagged: bool,
}

const fn call(key: i16, version: i16, name: &'static str) -> Call {
    Call { key, version, name, tagged: false }
}

pub(super) const PRODUCE: Call = call(0, 3, "Produce");
pub(super) const FETCH: Call = call(1, 4, "Fetch");
pub(super) const LIST_OFFSETS: Call = call(2, 1, "ListOffsets");
pub(super) const METADATA: Call = call(3, 4, "Metadata");
pub(super) const SASL_HANDSHAKE: Call = call(17, 1, "SaslHandshake");
pub(super) const API_VERSIONS: Call = call(18, 0, "ApiVersions");
pub(super) const INIT_PRODUCER: Call = call(22, 0, "InitProducerId");
/// The same of Kafka 2.5 and later; some that speak its protocol only answer this.
pub(super) const INIT_PRODUCER_TAGGED: Call = Call { version: 3, tagged: true, ..INIT_PRODUCER };
pub(super) const SASL_AUTHENTICATE: Call = call(36, 0, "SaslAuthenticate");

/// What a broker must speak.
pub(super) const NEEDED: [Call; 4] = [PRODUCE, FETCH, LIST_OFFSETS, METADATA];

/// How long brokers may take to agree that a batch is safe, in milliseconds.
const AGREE_MS: i32 = 10_000;

/// The lowest and the highest version of each question that a broker speaks.
pub(super) type Spoken = BTreeMap<i16, (i16, i16)>;

/// The error, and what the broker speaks.
pub(super) fn versions(answer: &[u8]) -> Result<(i16, Spoken), Malformed> {
    let mut reader = Reader::new(answer);
    let error = reader.i16()?;
    let spoken = reader.list(|one| Ok((one.i16()?, (one.i16()?, one.i16()?))))?;
    Ok((error, spoken.into_iter().collect()))
}

pub(super) fn ask_metadata(topic: &str, create: bool) -> Vec<u8> {
    let mut out = Writer::default();
    out.i32(1).text(topic).i8(i8::from(create));
    out.bytes
}

/// A cluster as one of its brokers sees it.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    /// Host and port of each broker, by its number.
    pub(super) brokers: BTreeMap<i32, String>,
    /// What is wrong with the topic.
    pub(super) error: i16,
    /// The leader of each partition, -1 where there is none.
    pub(super) leaders: BTreeMap<i32, i32>,
}

pub(super) fn metadata(answer: &[u8]) -> Result<Metadata, Malformed> {
    let mut reader = Reader::new(answer);
    reader.i32()?;
    let brokers = reader.list(|one| {
        let (number, host, port) = (one.i32()?, one.text()?.ok_or(Malformed)?.to_owned(), one.i32()?);
        one.text()?;
        let bare = host.contains(':') && !host.starts_with('[');
        Ok((number, if bare { format!("[{host}]:{port}") } else { format!("{host}:{port}") }))
    })?;
    reader.text()?;
    reader.i32()?;
    let mut found = Metadata { brokers: brokers.into_iter().collect(), ..Metadata::default() };
    let topics = reader.list(|topic| {
        let error = topic.i16()?;
        topic.text()?;
        topic.i8()?;
        let leaders = topic.list(|one| {
            one.i16()?;
            let leader = (one.i32()?, one.i32()?);
            one.list(Reader::i32)?;
            one.list(Reader::i32)?;
            Ok(leader)
        })?;
        Ok((error, leaders))
    })?;
    for (error, leaders) in topics {
        found.error = error;
        found.leaders.extend(leaders);
    }
    Ok(found)
}

/// No transactions.
pub(super) fn ask_producer(tagged: bool) -> Vec<u8> {
    let mut out = Writer::default();
    if tagged {
        // Whoever was a producer before would say so.
        out.i8(0).i32(60_000).i64(-1).i16(-1).i8(0);
    } else {
        out.i16(-1).i32(60_000);
    }
    out.bytes
}

/// The error, and id and epoch of the producer.
pub(super) fn producer(answer: &[u8]) -> Result<(i16, i64, i16), Malformed> {
    let mut reader = Reader::new(answer);
    reader.i32()?;
    Ok((reader.i16()?, reader.i64()?, reader.i16()?))
}

/// A batch for a partition, acknowledged when all replicas that are in sync have it.
pub(super) fn ask_produce(topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.i16(-1).i16(-1).i32(AGREE_MS);
    out.i32(1).text(topic).i32(1).i32(partition).bytes(batch);
    out.bytes
}

/// The error.
pub(super) fn produced(answer: &[u8]) -> Result<i16, Malformed> {
    let mut reader = Reader::new(answer);
    let topics = reader.list(|topic| {
        topic.text()?;
        topic.list(|one| {
            let error = (one.i32()?, one.i16()?).1;
            one.i64()?;
            one.i64()?;
            Ok(error)
        })
    })?;
    topics.into_iter().flatten().next().ok_or(Malformed)
}

/// Where partitions end, begin, or what came after a time: -1, -2, or milliseconds.
pub(super) fn ask_offsets(topic: &str, partitions: &[i32], time: i64) -> Vec<u8> {
    let mut out = Writer::default();
    out.i32(-1).i32(1).text(topic).length(partitions.len());
    for partition in partitions {
        out.i32(*partition).i64(time);
    }
    out.bytes
}

/// By partition, the error and the place.
pub(super) fn offsets(answer: &[u8]) -> Result<Vec<(i32, i16, i64)>, Malformed> {
    let mut reader = Reader::new(answer);
    let topics = reader.list(|topic| {
        topic.text()?;
        topic.list(|one| {
            let (partition, error) = (one.i32()?, one.i16()?);
            one.i64()?;
            Ok((partition, error, one.i64()?))
        })
    })?;
    Ok(topics.into_iter().flatten().collect())
}

/// How much is asked for at once.
pub(super) struct Portion {
    /// How long the broker may wait for something to come, in milliseconds.
    pub(super) wait: i32,
    /// Bytes in all, and of one partition. A larger batch comes alone.
    pub(super) bytes: i32,
    pub(super) partition_bytes: i32,
}

/// What is behind the places, of transactions only what was committed.
pub(super) fn ask_fetch(topic: &str, places: &[(i32, i64)], portion: &Portion) -> Vec<u8> {
    let mut out = Writer::default();
    out.i32(-1).i32(portion.wait).i32(1).i32(portion.bytes).i8(1);
    out.i32(1).text(topic).length(places.len());
    for (partition, offset) in places {
        out.i32(*partition).i64(*offset).i32(portion.partition_bytes);
    }
    out.bytes
}

/// What an answer holds of one partition.
pub(super) struct Slice<'a> {
    pub(super) partition: i32,
    pub(super) error: i16,
    /// Transactions that were given up: producer and first place.
    pub(super) aborted: Vec<(i64, i64)>,
    pub(super) batches: &'a [u8],
}

pub(super) fn fetched(answer: &[u8]) -> Result<Vec<Slice<'_>>, Malformed> {
    let mut reader = Reader::new(answer);
    reader.i32()?;
    let topics = reader.list(|topic| {
        topic.text()?;
        topic.list(|one| {
            let (partition, error) = (one.i32()?, one.i16()?);
            one.i64()?;
            one.i64()?;
            let aborted = one.list(|one| Ok((one.i64()?, one.i64()?)))?;
            Ok(Slice { partition, error, aborted, batches: one.bytes()?.unwrap_or_default() })
        })
    })?;
    Ok(topics.into_iter().flatten().collect())
}

pub(super) fn ask_handshake(way: &str) -> Vec<u8> {
    let mut out = Writer::default();
    out.text(way);
    out.bytes
}

/// The error, and the ways that the broker knows.
pub(super) fn handshake(answer: &[u8]) -> Result<(i16, Vec<String>), Malformed> {
    let mut reader = Reader::new(answer);
    Ok((reader.i16()?, reader.list(|one| Ok(one.text()?.unwrap_or_default().to_owned()))?))
}

pub(super) fn ask_authenticate(message: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(message);
    out.bytes
}

/// The error, what the broker says to it, and what it answers.
pub(super) fn authenticated(answer: &[u8]) -> Result<(i16, String, Vec<u8>), Malformed> {
    let mut reader = Reader::new(answer);
    let (error, said) = (reader.i16()?, reader.text()?.unwrap_or_default().to_owned());
    Ok((error, said, reader.bytes()?.unwrap_or_default().to_vec()))
}
