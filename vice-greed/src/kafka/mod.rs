//! A client for Kafka: as much of the protocol as events in and out need, over TLS by rustls.
//!
//! It produces as an idempotent producer whose id and numbers the caller keeps, so that a batch which was sent before a crash
//! can be sent once more and is still there once. It reads partitions from places that the caller keeps; there are no
//! groups, because two histories that share one reader's place would each see half of the events. It holds one
//! connection a broker and one answer at a time, and never retries by itself: whoever calls knows how long to wait.

mod batch;
mod calls;
mod cluster;
mod connection;
mod errors;
mod place;
mod sasl;
mod unpack;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use batch::{Outgoing, Producer};
pub(crate) use cluster::{Cluster, Fetched, Written};
pub(crate) use place::KafkaPlace;

/// The partition that the clients of others choose for a key, so that what has one key stays in one order whoever sends.
pub(crate) fn partition(key: &[u8], partitions: i32) -> i32 {
    let positive = murmur2(key) & 0x7fff_ffff;
    // Both are positive, and what is left is below the number of partitions.
    i32::try_from(positive % partitions.max(1).unsigned_abs()).unwrap_or(0)
}

/// MurmurHash2 with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c ^ length;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}
