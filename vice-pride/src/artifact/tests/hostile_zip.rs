//! Zip files that want to do harm.

use super::Bench;
use super::corpus::{ZipEntry, zip};

const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

fn one(name: &str) -> ZipEntry {
    ZipEntry::new(name, FILE, b"content")
}

#[test]
fn honest_files_unpack() {
    let bench = Bench::new();
    let mut packed = ZipEntry::new("d/run", 0o100_755, &[b'a'; 5000]);
    packed.deflate = true;
    let link = ZipEntry::new("link", LINK, b"d/run");
    let bytes = zip(&[ZipEntry::new("d/", 0o040_755, b""), packed, one("ünï"), link]);
    let artifact = bench.ingest_bytes("a.zip", &bytes).unwrap();
    assert_eq!((artifact.files, artifact.bytes), (2, 5007));
    assert_eq!(std::fs::read(artifact.path.join("link")).unwrap(), [b'a'; 5000]);
    bench.store.verify(artifact.digest).unwrap();
}

#[test]
fn names_and_links_can_not_lead_out() {
    let bench = Bench::new();
    for (name, reason) in [
        ("../canary/file", "leaves the release folder"),
        ("/etc/passwd", "absolute path"),
        ("..\\canary", "backslash"),
        ("C:/x", "drive prefix"),
        ("a\nb", "control character"),
    ] {
        bench.refuses("a.zip", &zip(&[one(name)]), reason);
    }
    bench.refuses("a.zip", &zip(&[ZipEntry::new("s", LINK, b"../../canary")]), "leaves the release folder");
    bench.refuses("a.zip", &zip(&[ZipEntry::new("s", LINK, b"/etc")]), "absolute path");
    let through = [ZipEntry::new("s", LINK, b"d"), ZipEntry::new("s/file", FILE, b"harm")];
    bench.refuses("a.zip", &zip(&through), "not a folder");
    let two_hops = [ZipEntry::new("a/b/s", LINK, b"../.."), ZipEntry::new("t", LINK, b"a/b/s/../canary")];
    bench.refuses("a.zip", &zip(&two_hops), "through another link");
    bench.refuses("a.zip", &zip(&[ZipEntry::new("dev", 0o020_644, b"")]), "device");
    bench.refuses("a.zip", &zip(&[ZipEntry::new("fifo", 0o010_644, b"")]), "pipe");
    bench.refuses("a.zip", &zip(&[one("f"), one("./f")]), "occurs twice");
    bench.refuses("a.zip", &zip(&[one("f"), one("f")]), "same name");
}

#[test]
fn the_two_lists_must_say_the_same() {
    let bench = Bench::new();
    let renamed = ZipEntry { local_name: b"other".to_vec(), ..one("f") };
    bench.refuses("a.zip", &zip(&[renamed]), "local header");
    bench.refuses("a.zip", &zip(&[ZipEntry { local_size: Some(3), ..one("f") }]), "local header");
    bench.refuses("a.zip", &zip(&[ZipEntry { central_size: Some(3), ..one("f") }]), "different sizes");
    let mut inflated = one("f");
    inflated.deflate = true;
    inflated.central_size = Some(3);
    inflated.local_size = Some(3);
    bench.refuses("a.zip", &zip(&[inflated]), "\"f\"");
    bench.refuses("a.zip", &zip(&[ZipEntry { crc: Some(1), ..one("f") }]), "\"f\"");
    let two_names = ZipEntry { extra: [&[0x75, 0x70, 6, 0, 1, 0, 0, 0, 0][..], b"g"].concat(), ..one("f") };
    bench.refuses("a.zip", &zip(&[two_names]), "two names");
}

#[test]
fn overlaps_and_hidden_content_are_refused() {
    let bench = Bench::new();
    let over = [one("f"), ZipEntry { offset: Some(0), ..one("f") }];
    bench.refuses("a.zip", &zip(&over), "overlap");
    let good = zip(&[one("f"), one("g")]);
    let prefixed = [b"#!/bin/sh\n".to_vec(), good.clone()].concat();
    bench.refuses("a.zip", &prefixed, "before its start");
    bench.refuses("a.zip", &[good.clone(), b"tail".to_vec()].concat(), "a.zip");
    // The second of two entries is taken off the list, but its bytes are still there.
    let hidden = zip(&[one("f"), ZipEntry { offset: Some(0), ..one("g") }]);
    bench.refuses("a.zip", &hidden, "overlap");
    for cut in [4, 20, good.len() / 2, good.len() - 1] {
        bench.refuses("a.zip", &good[..cut], "a.zip");
    }
}

#[test]
fn encryption_zip64_and_bombs_are_refused() {
    let mut bench = Bench::new();
    bench.refuses("a.zip", &zip(&[ZipEntry { flags: 1, ..one("f") }]), "encrypted");
    let zip64 = ZipEntry { extra: vec![1, 0, 0, 0], ..one("f") };
    bench.refuses("a.zip", &zip(&[zip64]), "zip64");
    bench.limits.ratio_floor_bytes = 1 << 20;
    let mut bomb = ZipEntry::new("zeros", FILE, &vec![0; 4 << 20]);
    bomb.deflate = true;
    bench.refuses("a.zip", &zip(&[bomb]), "times its size");
    bench.limits.entries = 1;
    bench.refuses("a.zip", &zip(&[one("f"), one("g")]), "more than 1 entries");
    bench.limits.bytes = 6;
    bench.refuses("a.zip", &zip(&[one("f")]), "larger than 6");
}
