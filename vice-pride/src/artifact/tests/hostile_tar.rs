//! Tar files that want to do harm.

use std::os::unix::fs::PermissionsExt;

use super::Bench;
use super::corpus::{Head, Tar, gz, zst};

#[test]
fn names_that_leave_the_folder_are_refused() {
    let bench = Bench::new();
    let absolute = bench.path("canary/file");
    let cases = [
        ("../canary/file", "leaves the release folder"),
        ("a/../../canary/file", "leaves the release folder"),
        ("a/..", "leaves the release folder"),
        (absolute.to_str().unwrap(), "absolute path"),
        ("bell\u{7}", "control character"),
        ("line\nfeed", "control character"),
        ("folder/", "name of a folder"),
    ];
    for (name, reason) in cases {
        bench.refuses("a.tar", &Tar::default().file(name, 0o644, b"x").end(), reason);
    }
    let tar = Tar::default().head(&Head { name: b"\xff\xfe", kind: b'0', mode: 0o644, link: b"", size: 0 });
    bench.refuses("a.tar", &tar.end(), "not UTF-8");
    let tar = Tar::default().pax(&[("path", b"a\0b")]).file("c", 0o644, b"");
    bench.refuses("a.tar", &tar.end(), "zero byte");
    bench.refuses("a.tar", &Tar::default().file(&"n".repeat(256), 0o644, b"").end(), "longer than 255");
    bench.refuses("a.tar", &Tar::default().file(&"d/".repeat(1600), 0o644, b"").end(), "too long");
    bench.refuses("a.tar", &Tar::default().folder(&"d/".repeat(65)).end(), "nested too deeply");
}

#[test]
fn links_can_not_lead_out() {
    let bench = Bench::new();
    let canary = bench.path("canary");
    let canary = canary.to_str().unwrap();
    bench.refuses("a.tar", &Tar::default().symlink("s", canary).end(), "absolute path");
    bench.refuses("a.tar", &Tar::default().symlink("s", "../../canary").end(), "leaves the release folder");
    bench.refuses("a.tar", &Tar::default().symlink("d/s", "x/../../..").end(), "leaves the release folder");
    let through = Tar::default().folder("d").symlink("s", "d").file("s/file", 0o644, b"harm");
    bench.refuses("a.tar", &through.end(), "below something that is not a folder");
    let over = Tar::default().symlink("s", "t").file("s", 0o644, b"harm");
    bench.refuses("a.tar", &over.end(), "occurs twice");
    let two_hops = Tar::default().folder("a").folder("a/b").symlink("a/b/s", "../..").symlink("t", "a/b/s/../canary");
    bench.refuses("a.tar", &two_hops.end(), "through another link");
    // The same with the second link first, so that the order of the entries does not matter.
    let two_hops = Tar::default().symlink("t", "a/b/s/../canary").symlink("a/b/s", "../..");
    bench.refuses("a.tar", &two_hops.end(), "through another link");
    bench.refuses("a.tar", &Tar::default().symlink("x", "y").symlink("y", "x").end(), "circle");
}

#[test]
fn hard_links_name_earlier_files_only() {
    let bench = Bench::new();
    for target in ["../canary/file", "/etc/passwd"] {
        bench.refuses("a.tar", &Tar::default().special("h", b'1', target).end(), "hard link that leaves");
    }
    bench.refuses("a.tar", &Tar::default().special("h", b'1', "later").file("later", 0o644, b"").end(), "earlier file");
    let to_link = Tar::default().file("f", 0o644, b"").symlink("s", "f").special("h", b'1', "s");
    bench.refuses("a.tar", &to_link.end(), "earlier file");
    let good = Tar::default().file("f", 0o755, b"same").special("d/h", b'1', "./f").end();
    let artifact = bench.ingest_bytes("a.tar", &good).unwrap();
    assert_eq!(std::fs::read(artifact.path.join("d/h")).unwrap(), b"same");
    let twice = Tar::default().file("f", 0o755, b"same").file("d/h", 0o755, b"same").end();
    assert_eq!(bench.ingest_bytes("a.tar", &twice).unwrap().digest, artifact.digest);
    bench.store.verify(artifact.digest).unwrap();
}

#[test]
fn devices_pipes_and_unknown_kinds_are_refused() {
    let bench = Bench::new();
    for (kind, reason) in [(b'3', "device"), (b'4', "device"), (b'6', "pipe"), (b'7', "of a kind"), (b'S', "")] {
        bench.refuses("a.tar", &Tar::default().special("x", kind, "").end(), reason);
    }
}

#[test]
fn modes_are_reduced_to_executable_or_not() {
    let bench = Bench::new();
    let tar = Tar::default().file("suid", 0o6755, b"x").file("open", 0o666, b"x").folder("d").end();
    let artifact = bench.ingest_bytes("a.tar", &tar).unwrap();
    let mode = |name: &str| artifact.path.join(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("suid"), mode("open"), mode("d"), mode("")), (0o555, 0o444, 0o555, 0o555));
}

#[test]
fn two_readings_of_one_archive_are_refused() {
    let bench = Bench::new();
    // To a reader that believes the ustar size the second entry is `hidden`; to one that believes PAX it is content.
    let hidden = Tar::default().file("hidden", 0o755, b"#!/bin/sh\n").0;
    let size = hidden.len().to_string();
    let tar = Tar::default()
        .pax(&[("size", size.as_bytes())])
        .head(&Head { name: b"outer", kind: b'0', mode: 0o644, link: b"", size: 0 })
        .content(&hidden);
    bench.refuses("a.tar", &tar.end(), "two different sizes");
    let tar = Tar::default().pax(&[("size", b"0")]).file("outer", 0o644, b"four");
    bench.refuses("a.tar", &tar.end(), "two different sizes");
    let tar = Tar::default().pax(&[("path", b"one"), ("path", b"two")]).file("three", 0o644, b"");
    bench.refuses("a.tar", &tar.end(), "twice");
    let tar = Tar::default().extension(b'L', b"long\0").pax(&[("path", b"pax")]).file("f", 0o644, b"");
    bench.refuses("a.tar", &tar.end(), "twice");
    let tar = Tar::default().extension(b'g', b"12 path=all\n").file("f", 0o644, b"");
    bench.refuses("a.tar", &tar.end(), "all entries");
    let tar = Tar::default().pax(&[("GNU.sparse.major", b"1")]).file("f", 0o644, b"");
    bench.refuses("a.tar", &tar.end(), "sparse");
    let tar = Tar::default().extension(b'x', b"99 path=short\n").file("f", 0o644, b"");
    bench.refuses("a.tar", &tar.end(), "PAX header");
    let honest =
        Tar::default().pax(&[("size", b"4"), ("path", b"renamed"), ("mtime", b"1.5")]).file("f", 0o644, b"four");
    let artifact = bench.ingest_bytes("a.tar", &honest.end()).unwrap();
    assert_eq!(std::fs::read(artifact.path.join("renamed")).unwrap(), b"four");
}

#[test]
fn doubled_names_are_refused() {
    let bench = Bench::new();
    bench.refuses("a.tar", &Tar::default().file("f", 0o644, b"1").file("./f", 0o644, b"2").end(), "occurs twice");
    bench.refuses("a.tar", &Tar::default().folder("d").folder("d/").end(), "occurs twice");
    bench.refuses("a.tar", &Tar::default().file("f", 0o644, b"1").folder("f").end(), "occurs twice");
    bench.refuses("a.tar", &Tar::default().file("f", 0o644, b"").file("f/g", 0o644, b"").end(), "not a folder");
    // A folder that was only implied may be named once afterwards.
    bench.ingest_bytes("a.tar", &Tar::default().file("d/f", 0o644, b"1").folder("d").end()).unwrap();
}

#[test]
fn broken_archives_are_refused() {
    let bench = Bench::new();
    let good = Tar::default().file("one", 0o644, &[7; 3000]).file("two", 0o644, b"2").end();
    for cut in [100, 512, 1000, 512 + 3072, good.len() - 1024 - 512, good.len() - 1024] {
        bench.refuses("a.tar", &good[..cut], "a.tar");
        bench.refuses("a.tar.gz", &gz(&good[..cut]), "a.tar.gz");
    }
    let mut trailing = good.clone();
    trailing.extend(b"more");
    bench.refuses("a.tar", &trailing, "after its end marker");
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    bench.refuses("a.tar", &flipped, "checksum");
    let packed = gz(&good);
    for cut in [5, packed.len() / 2, packed.len() - 1] {
        bench.refuses("a.tar.gz", &packed[..cut], "a.tar.gz");
    }
    let mut bad_sum = packed.clone();
    let at = bad_sum.len() - 6;
    bad_sum[at] ^= 1;
    bench.refuses("a.tar.gz", &bad_sum, "can't be unpacked");
    bench.refuses("a.tar.gz", &[packed, b"junk".to_vec()].concat(), "can't be unpacked");
    bench.refuses("a.tar.gz", b"not gzip", "can't be unpacked");
    let packed = zst(&good);
    for cut in [3, packed.len() / 2, packed.len() - 1] {
        bench.refuses("a.tar.zst", &packed[..cut], "a.tar.zst");
    }
    bench.refuses("a.tar.zst", &[packed, b"junk".to_vec()].concat(), "zstd");
    bench.refuses("a.tar", b"", "cut off");
}

#[test]
fn zstd_files_may_have_frames_and_no_large_window() {
    let bench = Bench::new();
    let good = Tar::default().file("one", 0o644, &[7; 3000]).end();
    let expected = bench.ingest_bytes("a.tar", &good).unwrap().digest;
    let skipped = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let frames = [zst(&good[..700]), skipped, zst(&good[700..])].concat();
    assert_eq!(bench.ingest_bytes("a.tar.zst", &frames).unwrap().digest, expected);
    // One raw block, once without a checksum and once with a wrong one.
    let size = u32::try_from(good.len()).unwrap();
    let block = &(size << 3 | 1).to_le_bytes()[..3];
    let raw = |descriptor: u8| [&[0x28, 0xb5, 0x2f, 0xfd, descriptor][..], &size.to_le_bytes(), block, &good].concat();
    assert_eq!(bench.ingest_bytes("a.tar.zst", &raw(0xa0)).unwrap().digest, expected);
    bench.refuses("a.tar.zst", &[raw(0xa4), vec![0; 4]].concat(), "checksum");
    // A window descriptor of 64 MiB.
    let hungry = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 16 << 3, 1, 0, 0];
    bench.refuses("a.tar.zst", &hungry, "window");
}

#[test]
fn bombs_are_stopped_early_and_in_little_memory() {
    let bench = Bench::new();
    let gigabyte = 1 << 30;
    let head = Tar::default().head(&Head { name: b"zeros", kind: b'0', mode: 0o644, link: b"", size: gigabyte }).0;
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut writer, &head).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), gigabyte + 1024), &mut writer).unwrap();
    let bomb = writer.finish().unwrap();
    assert!(bomb.len() < 8 << 20, "{}", bomb.len());
    bench.refuses("a.tar.gz", &bomb, "times its size");
    // An extension header as large as the bomb stops at its header.
    let name = Tar::default().head(&Head { name: b"x", kind: b'L', mode: 0o644, link: b"", size: gigabyte }).0;
    bench.refuses("a.tar", &name, "extension header");
}

#[test]
fn limits_hold() {
    let mut bench = Bench::new();
    bench.limits.entries = 3;
    bench.limits.bytes = 10;
    let three = Tar::default().file("d/1", 0o644, b"1").file("d/2", 0o644, b"2");
    bench.ingest_bytes("a.tar", &Tar(three.0.clone()).end()).unwrap();
    bench.refuses("a.tar", &three.file("d/3", 0o644, b"3").end(), "more than 3 entries");
    bench.refuses(
        "a.tar",
        &Tar::default().file("1", 0o644, b"123456").file("2", 0o644, b"12345").end(),
        "larger than 10",
    );
    let linked = Tar::default().file("1", 0o644, b"123456").special("2", b'1', "1");
    bench.refuses("a.tar", &linked.end(), "larger than 10");
}

#[test]
fn messages_quote_names_bounded_and_escaped() {
    let bench = Bench::new();
    let name = format!("../\u{1b}[31m{}", "x".repeat(3000));
    let tar = Tar::default().pax(&[("path", name.as_bytes())]).file("f", 0o644, b"secret content");
    let fault = bench.refuses("a.tar", &tar.end(), "control character");
    assert!(fault.to_string().len() < 500, "{fault}");
    assert!(!format!("{fault:?}").contains("secret content"));
}
