//! What topics hold, against what others know of it: numbers from Kafka's own tests, packed bytes made by hand, and bytes that
//! make no sense.

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::batch::{Unreadable, crc32c, decode, encode};
use super::unpack::unpack;
use super::{Outgoing, Producer, murmur2, partition};

const PRODUCER: Producer = Producer { id: 7, epoch: 1, sequence: 40 };

fn record(n: i64) -> Outgoing {
    let headers = vec![("ce_id".to_owned(), format!("é{n}").into_bytes())];
    Outgoing { key: b"shop/prod".to_vec(), value: vec![b'x'; 100], headers, time: 1_700_000_000_000 + n }
}

/// A batch as a broker hands it out: at its place.
fn placed(mut batch: Vec<u8>, offset: i64) -> Vec<u8> {
    batch[..8].copy_from_slice(&offset.to_be_bytes());
    batch
}

/// With other flags, under a checksum that fits.
fn flagged(mut batch: Vec<u8>, flags: i16) -> Vec<u8> {
    batch[21..23].copy_from_slice(&flags.to_be_bytes());
    let checksum = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    batch
}

#[test]
fn hashes_are_those_of_others() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    let known: [(&str, i32); 5] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("abc", 479_470_107),
    ];
    for (key, hash) in known {
        assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
    }
    assert_eq!(partition(b"abc", 4), 479_470_107 % 4);
    assert_eq!(partition(b"anything", 1), 0);
}

#[test]
fn a_batch_comes_back_as_it_was() {
    let records: Vec<Outgoing> = (0..5).map(record).collect();
    let mut bytes = placed(encode(&records, PRODUCER), 10);
    bytes.extend(placed(encode(&records[..2], PRODUCER), 15));
    let found = decode(&bytes, 12, &[]).unwrap();
    assert_eq!(found.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [12, 13, 14, 15, 16]);
    assert_eq!(found.next, Some(17));
    assert_eq!(found.records[0].value.as_deref(), Some(records[2].value.as_slice()));
    assert_eq!((&found.records[0].headers, found.records[0].time), (&records[2].headers, records[2].time));
    // Brokers cut at the end.
    let cut = decode(&bytes[..bytes.len() - 1], 10, &[]).unwrap();
    assert_eq!((cut.records.len(), cut.next), (5, Some(15)));
    assert_eq!(decode(&bytes[..11], 10, &[]).unwrap().next, None);
}

#[test]
fn what_a_transaction_gave_up_is_left_out() {
    let batch = |offset, flags| placed(flagged(encode(&[record(0)], PRODUCER), flags), offset);
    let (transactional, control) = (0x10, 0x30);
    let bytes =
        [batch(0, 0), batch(1, transactional), batch(2, control), batch(3, transactional), batch(4, control)].concat();
    let offsets = |aborted: &[(i64, i64)]| {
        let found = decode(&bytes, 0, aborted).unwrap();
        assert_eq!(found.next, Some(5), "what is left out is passed");
        found.records.iter().map(|record| record.offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(&[]), [0, 1, 3]);
    assert_eq!(offsets(&[(7, 1)]), [0, 3]);
    assert_eq!(offsets(&[(7, 1), (7, 3)]), [0]);
    assert_eq!(offsets(&[(8, 1)]), [0, 1, 3], "another producer");
}

#[test]
fn damage_is_noticed() {
    let whole = placed(encode(&[record(0), record(1)], PRODUCER), 3);
    for at in 21..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        assert_eq!(decode(&bytes, 0, &[]).unwrap_err(), Unreadable::Checksum(3), "byte {at}");
    }
    let mut old = whole.clone();
    old[16] = 1;
    assert_eq!(decode(&old, 0, &[]).unwrap_err(), Unreadable::Format(1));
    assert!(matches!(decode(&flagged(whole, 9), 0, &[]), Err(Unreadable::Packing(_))));
}

/// By hand from the descriptions of the formats.
#[test]
fn packed_bytes_are_unpacked() {
    let snappy: &[u8] = b"\x11\x14hello \x2a\x06\x00";
    assert_eq!(unpack(2, snappy).unwrap().as_ref(), b"hello hello hello");
    let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    framed.extend(u32::try_from(snappy.len()).unwrap().to_be_bytes());
    framed.extend(snappy);
    assert_eq!(unpack(2, &framed).unwrap().as_ref(), b"hello hello hello");
    let lz4: &[u8] = b"\x04\x22\x4d\x18\x60\x40\x82\x0b\0\0\0\x67hello \x06\0\x10!\0\0\0\0";
    assert_eq!(unpack(3, lz4).unwrap().as_ref(), b"hello hello hello!");
    let zstd = ruzstd::encoding::compress_to_vec(&b"hello"[..], ruzstd::encoding::CompressionLevel::Fastest);
    assert_eq!(unpack(4, &zstd).unwrap().as_ref(), b"hello");
    assert!(unpack(2, b"\xff\xff\xff\xff\x7f").unwrap_err().contains("64 MiB"), "a bomb");
    assert!(unpack(7, b"").is_err());
}

/// Seed 11.
#[test]
fn bytes_that_make_no_sense_are_errors() {
    let mut rng = Pcg64Mcg::seed_from_u64(11);
    let snappy: &[u8] = b"\x11\x14hello \x2a\x06\x00";
    let lz4: &[u8] = b"\x04\x22\x4d\x18\x60\x40\x82\x0b\0\0\0\x67hello \x06\0\x10!\0\0\0\0";
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..20_000 {
        for (way, sample) in [(1, &b"\x1f\x8b\x08"[..]), (2, snappy), (3, lz4), (4, &b"\x28\xb5\x2f\xfd"[..])] {
            let mut bytes = sample.to_vec();
            let at = rng.random_range(0..bytes.len());
            bytes[at] = (rng.next_u32() & 0xff) as u8;
            match unpack(way, &bytes) {
                Ok(_) => right += 1,
                Err(_) => wrong += 1,
            }
        }
        let mut batch = encode(&[record(0)], PRODUCER);
        let at = rng.random_range(12..batch.len());
        batch[at] = (rng.next_u32() & 0xff) as u8;
        // Under a checksum that fits, so that what is behind it is read.
        let batch = flagged(batch, 0);
        if batch[16] == 2 {
            wrong += usize::from(decode(&batch, 0, &[]).is_err());
        }
    }
    assert!(right > 0 && wrong > 20_000, "{right} {wrong}");
}
