//! The store: identity, reuse, change, damage, pruning, and processes that are killed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use vice_core::fault::Code;
use vice_core::time::Millis;

use super::super::staging::PREFIX;
use super::corpus::{Tar, gz};
use super::{Bench, at, origin};
use crate::artifact::{Artifact, ArtifactStore, Content, Format, Limits};

fn sample(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir_all(root.join("empty")).unwrap();
    fs::write(root.join("bin/run"), b"#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("bin/run"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(root.join("readme"), b"hello").unwrap();
    std::os::unix::fs::symlink("bin/run", root.join("start")).unwrap();
}

fn sample_tar() -> Vec<u8> {
    let tar = Tar::default().symlink("start", "bin/run").file("readme", 0o600, b"hello");
    tar.folder("empty").file("./bin/run", 0o775, b"#!/bin/sh\n").end()
}

/// Ingests until the source is old enough to be remembered, and once more.
fn ingest_until_remembered(bench: &Bench, content: &Content) -> Artifact {
    for _ in 0..1000 {
        let before = fs::read(bench.path("store/cache.json")).unwrap_or_default();
        let artifact = bench.ingest(content).unwrap();
        let after = fs::read(bench.path("store/cache.json")).unwrap_or_default();
        if after != before {
            return artifact;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the source was never remembered");
}

#[test]
fn the_digest_is_the_one_of_the_content() {
    let bench = Bench::new();
    sample(&bench.path("dist"));
    let folder = bench.ingest(&Content::Folder(bench.path("dist"))).unwrap();
    assert!(!folder.reused);
    assert_eq!((folder.files, folder.bytes), (2, 15));
    let archive = bench.ingest_bytes("a.tgz", &gz(&sample_tar())).unwrap();
    assert!(archive.reused);
    assert_eq!(archive.digest, folder.digest);
    // The definition is part of the store's format. The value was computed by another program, from its description.
    let expected = "bcf07af56fbe2fdda769afdf6b78f33e398b75b2b9b2167f5cf51e2479663ef1";
    assert_eq!(folder.digest.to_string(), expected);
    assert_eq!(bench.store.list().unwrap().len(), 1);
    assert_eq!(bench.store.get(folder.digest).unwrap().bytes, 15);
    bench.store.verify(folder.digest).unwrap();
}

#[test]
fn every_part_of_the_content_counts() {
    let bench = Bench::new();
    let variants = [
        Tar::default().file("f", 0o644, b"1"),
        Tar::default().file("f", 0o755, b"1"),
        Tar::default().file("f", 0o644, b"2"),
        Tar::default().file("g", 0o644, b"1"),
        Tar::default().symlink("f", "1"),
        Tar::default().symlink("f", "2"),
        Tar::default().folder("f"),
        Tar::default().folder("f").folder("g"),
        Tar::default().file("f/g", 0o644, b"1"),
        Tar::default(),
    ];
    let count = variants.len();
    let digests = variants.map(|tar| bench.ingest_bytes("a.tar", &tar.end()).unwrap().digest);
    assert_eq!(BTreeSet::from(digests).len(), count);
}

#[test]
fn a_single_file_becomes_an_executable() {
    let bench = Bench::new();
    fs::write(bench.path("server"), b"binary").unwrap();
    let artifact = bench.ingest(&Content::File(bench.path("server"))).unwrap();
    assert_eq!(fs::read(artifact.path.join("server")).unwrap(), b"binary");
    assert_eq!(artifact.path.join("server").metadata().unwrap().permissions().mode() & 0o777, 0o555);
}

#[test]
fn unchanged_sources_are_not_read_again() {
    let bench = Bench::new();
    sample(&bench.path("dist"));
    fs::write(bench.path("a.tar"), sample_tar()).unwrap();
    for content in
        [Content::Folder(bench.path("dist")), Content::Archive { path: bench.path("a.tar"), format: Format::Tar }]
    {
        let first = ingest_until_remembered(&bench, &content);
        // A limit of no bytes lets nothing be read: what succeeds, succeeds without reading.
        let file = if let Content::Folder(_) = content { bench.path("dist/readme") } else { bench.path("a.tar") };
        let limits = Limits { bytes: 0, ..Limits::default() };
        let again = bench.store.ingest(&content, origin(), &limits, at(2_000)).unwrap();
        assert_eq!((again.digest, again.reused), (first.digest, true));
        // After a change, be it only of the time stamp that nobody can set, the same call has to read.
        let mode = file.metadata().unwrap().permissions();
        fs::set_permissions(&file, mode).unwrap();
        let fault = bench.store.ingest(&content, origin(), &limits, at(2_000)).unwrap_err();
        assert_eq!(fault.code(), Code::ArtifactRejected);
    }
}

#[test]
fn a_change_with_the_same_size_and_time_is_seen() {
    let bench = Bench::new();
    sample(&bench.path("dist"));
    let content = Content::Folder(bench.path("dist"));
    let first = ingest_until_remembered(&bench, &content);
    let file = bench.path("dist/readme");
    let before = file.metadata().unwrap();
    fs::write(&file, b"HELLO").unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(before.modified().unwrap()).unwrap();
    let after = file.metadata().unwrap();
    assert_eq!((after.len(), after.mtime_nsec(), after.ino()), (before.len(), before.mtime_nsec(), before.ino()));
    let second = bench.ingest(&content).unwrap();
    assert_ne!(second.digest, first.digest);
    assert_eq!(fs::read(second.path.join("readme")).unwrap(), b"HELLO");
}

#[test]
fn a_broken_cache_is_an_empty_one() {
    let bench = Bench::new();
    sample(&bench.path("dist"));
    let content = Content::Folder(bench.path("dist"));
    let first = ingest_until_remembered(&bench, &content);
    let cache = bench.path("store/cache.json");
    let good = fs::read_to_string(&cache).unwrap();
    let lost = good.replace(&first.digest.to_string(), &"0".repeat(64));
    for broken in ["", "{", "null", &good[..good.len() / 2], &good.replace("\"format\":1", "\"format\":2"), &lost] {
        fs::write(&cache, broken).unwrap();
        assert_eq!(bench.ingest(&content).unwrap().digest, first.digest, "{broken}");
    }
}

#[test]
fn damage_is_found() {
    let bench = Bench::new();
    sample(&bench.path("dist"));
    let artifact = bench.ingest(&Content::Folder(bench.path("dist"))).unwrap();
    let file = artifact.path.join("readme");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, b"HELLO").unwrap();
    assert_eq!(bench.store.verify(artifact.digest).unwrap_err().code(), Code::ArtifactDigest);
    let json = bench.path("store").join(format!("{}.json", artifact.digest));
    let text = fs::read_to_string(&json).unwrap();
    fs::write(&json, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert_eq!(bench.store.get(artifact.digest).unwrap_err().code(), Code::HistoryNewer);
    let pruned = bench.store.prune(&BTreeSet::new(), at(1_000_000), Millis::ZERO).unwrap();
    assert!(pruned.removed.is_empty(), "what a newer version stored stays");
}

#[test]
fn sources_that_can_not_be_taken_are_named() {
    let bench = Bench::new();
    let fault = bench.ingest(&Content::Folder(bench.path("dist"))).unwrap_err();
    assert_eq!(fault.code(), Code::ArtifactMissing);
    let fault = bench.ingest(&Content::Folder(bench.folder.path().to_owned())).unwrap_err();
    assert!(fault.to_string().contains("contains the artifact store"), "{fault}");
    sample(&bench.path("dist"));
    std::os::unix::fs::symlink("/etc/passwd", bench.path("dist/out")).unwrap();
    let fault = bench.ingest(&Content::Folder(bench.path("dist"))).unwrap_err();
    assert!(fault.to_string().contains("\"out\" is a link to an absolute path"), "{fault}");
    fs::remove_file(bench.path("dist/out")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("dist/socket")).unwrap();
    let fault = bench.ingest(&Content::Folder(bench.path("dist"))).unwrap_err();
    assert!(fault.to_string().contains("\"socket\" is neither"), "{fault}");
    let fault = bench.ingest(&Content::Archive { path: bench.path("dist"), format: Format::Tar }).unwrap_err();
    assert_eq!(fault.code(), Code::ArtifactRejected, "{fault}");
    assert!(bench.store.list().unwrap().is_empty());
}

#[test]
fn a_store_that_can_not_be_written_says_so() {
    let bench = Bench::new();
    sample(&bench.path("dist"));
    fs::write(bench.path("taken"), b"a file where the store should be").unwrap();
    assert_eq!(ArtifactStore::open(&bench.path("taken")).unwrap_err().code(), Code::StateUnwritable);
    // A folder in the place of the lock stops everybody, root included, as a read-only disk would.
    fs::remove_dir_all(bench.path("store")).unwrap();
    fs::create_dir_all(bench.path("store/lock")).unwrap();
    let fault = bench.ingest(&Content::Folder(bench.path("dist"))).unwrap_err();
    assert_eq!(fault.code(), Code::StateUnwritable, "{fault:?}");
}

#[test]
fn prune_keeps_what_is_needed_young_or_in_work() {
    let bench = Bench::new();
    let ingest = |name: &str, second| {
        let path = bench.path("a.tar");
        fs::write(&path, Tar::default().file(name, 0o644, b"12345").end()).unwrap();
        let content = Content::Archive { path, format: Format::Tar };
        bench.store.ingest(&content, origin(), &bench.limits, at(second)).unwrap().digest
    };
    let (old, kept, young) = (ingest("old", 100), ingest("kept", 100), ingest("young", 900));
    let working = bench.store.stage().unwrap();
    fs::create_dir_all(bench.path(&format!("store/{PREFIX}1-1/tree/d"))).unwrap();
    fs::set_permissions(bench.path(&format!("store/{PREFIX}1-1/tree")), fs::Permissions::from_mode(0o555)).unwrap();
    let orphan = bench.path("store").join(format!("{}.json", "0".repeat(64)));
    fs::write(&orphan, b"{}").unwrap();
    let pruned = bench.store.prune(&BTreeSet::from([kept]), at(1_000), Millis::from_secs(500)).unwrap();
    assert_eq!(pruned, crate::artifact::Pruned { removed: vec![old], bytes: 5, leftovers: 1 });
    assert!(working.tree().is_dir());
    assert!(!orphan.exists() && !bench.path(&format!("store/{PREFIX}1-1")).exists());
    let left: BTreeSet<_> = bench.store.list().unwrap().into_iter().map(|artifact| artifact.digest).collect();
    assert_eq!(left, BTreeSet::from([kept, young]));
    assert_eq!(bench.store.get(old).unwrap_err().code(), Code::ArtifactMissing);
    assert_eq!(ingest("old", 1_000), old);
    // Used again, so young again.
    assert!(bench.store.prune(&BTreeSet::new(), at(1_400), Millis::from_secs(500)).unwrap().removed.len() < 3);
    drop(working);
    assert_eq!(
        fs::read_dir(bench.path("store"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(PREFIX))
            .count(),
        0
    );
}

#[test]
fn many_at_once_agree() {
    let bench = Bench::new();
    fs::write(bench.path("a.tar"), sample_tar()).unwrap();
    let digests: BTreeSet<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let store = ArtifactStore::open(&bench.path("store")).unwrap();
                    let content = Content::Archive { path: bench.path("a.tar"), format: Format::Tar };
                    let artifact = store.ingest(&content, origin(), &Limits::default(), at(1)).unwrap();
                    store.prune(&BTreeSet::new(), at(1), Millis::from_secs(1)).unwrap();
                    artifact.digest
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(digests.len(), 1);
    bench.store.verify(*digests.first().unwrap()).unwrap();
}

const CHILD_STORE: &str = "VICE_TEST_ARTIFACT_CHILD";

/// Not a test of its own: the process that [`a_killed_process_leaves_no_half_release`] kills. Without the variable it
/// checks that it is not one.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test binary hands the folder to its own child by a variable")]
fn child_that_ingests_for_ever() {
    let Some(folder) = std::env::var_os(CHILD_STORE) else {
        assert!(std::env::args().count() > 0);
        return;
    };
    let folder = Path::new(&folder);
    let store = ArtifactStore::open(&folder.join("store")).unwrap();
    let content = Content::Archive { path: folder.join("a.tar"), format: Format::Tar };
    println!("ready");
    for round in 0.. {
        let digest = store.ingest(&content, origin(), &Limits::default(), at(round)).unwrap().digest;
        fs::remove_file(folder.join("store/cache.json")).ok();
        store.prune(&BTreeSet::new(), at(round), Millis::ZERO).unwrap();
        assert!(store.get(digest).is_err());
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a process has to be killed, and only this binary knows how to ingest")]
fn a_killed_process_leaves_no_half_release() {
    let bench = Bench::new();
    let tar = (0..20).fold(Tar::default(), |tar, n| tar.file(&format!("d{n}/f"), 0o644, &vec![n; 20_000]));
    fs::write(bench.path("a.tar"), tar.end()).unwrap();
    for round in 0..12_u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["child_that_ingests_for_ever", "--nocapture"])
            .env(CHILD_STORE, bench.folder.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(b"ready\n") && child.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 {
            said.push(byte[0]);
        }
        assert!(said.ends_with(b"ready\n"), "the child did not start");
        // When exactly the blow falls decides nothing: what must hold, holds at every moment.
        std::thread::sleep(std::time::Duration::from_micros(700 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        for artifact in bench.store.list().unwrap() {
            bench.store.verify(artifact.digest).unwrap();
        }
        bench.store.prune(&BTreeSet::new(), at(0), Millis::from_secs(1)).unwrap();
        let work = fs::read_dir(bench.path("store"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(PREFIX));
        assert_eq!(work.count(), 0, "leftovers of the dead are swept");
    }
    let content = Content::Archive { path: bench.path("a.tar"), format: Format::Tar };
    let artifact = bench.ingest(&content).unwrap();
    bench.store.verify(artifact.digest).unwrap();
}
