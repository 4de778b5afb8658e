//! Property: however a tree arrives, it has the same digest.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::Bench;
use super::corpus::{Tar, ZipEntry, gz, zip, zst};
use crate::artifact::Content;

#[derive(Debug, Clone)]
enum Kind {
    Folder,
    File { executable: bool, content: Vec<u8> },
}

fn kinds() -> impl Strategy<Value = Kind> {
    let content = prop::collection::vec(any::<u8>(), 0..1500);
    prop_oneof![
        1 => Just(Kind::Folder),
        3 => (any::<bool>(), content).prop_map(|(executable, content)| Kind::File { executable, content }),
    ]
}

/// Trees by path. Folders end in `.d` and files do not, so that no file lies where a folder should.
fn trees() -> impl Strategy<Value = BTreeMap<String, Kind>> {
    let name = prop_oneof!["[a-zA-Z0-9 _.-]{1,12}x", "[äßé日本🦀\\\\:$`';]{1,6}x"];
    let folders = prop::collection::vec(name.clone().prop_map(|name| format!("{name}.d")), 0..3);
    prop::collection::vec((folders, name, kinds()), 0..12).prop_map(|entries| {
        let path = |(folders, name, kind): (Vec<String>, String, Kind)| {
            let name = if matches!(kind, Kind::Folder) { format!("{name}.d") } else { name };
            (folders.into_iter().chain([name]).collect::<Vec<_>>().join("/"), kind)
        };
        entries.into_iter().map(path).collect()
    })
}

fn tar_of<'a>(tree: impl Iterator<Item = (&'a String, &'a Kind)>) -> Vec<u8> {
    let mut named = std::collections::BTreeSet::new();
    let tar = tree.fold(Tar::default(), |tar, (path, kind)| match kind {
        // A folder that an earlier entry named is not named again.
        Kind::Folder if !named.insert(path.clone()) => tar,
        Kind::Folder => tar.folder(&format!("{path}/")),
        Kind::File { executable, content } => tar.file(path, if *executable { 0o755 } else { 0o640 }, content),
    });
    tar.end()
}

fn zip_of(tree: &BTreeMap<String, Kind>) -> Vec<u8> {
    let entries = tree.iter().map(|(path, kind)| match kind {
        Kind::Folder => ZipEntry::new(&format!("{path}/"), 0o040_755, b""),
        Kind::File { executable, content } => {
            let mode = if *executable { 0o100_755 } else { 0o100_640 };
            ZipEntry { deflate: content.len() > 700, ..ZipEntry::new(path, mode, content) }
        }
    });
    zip(&entries.collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_has_one_digest(tree in trees()) {
        let bench = Bench::new();
        let dist = bench.path("dist");
        fs::create_dir(&dist).unwrap();
        for (path, kind) in &tree {
            let path = dist.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match kind {
                Kind::Folder => fs::create_dir_all(&path).unwrap(),
                Kind::File { executable, content } => {
                    fs::write(&path, content).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(if *executable { 0o711 } else { 0o600 })).unwrap();
                }
            }
        }
        let expected = bench.ingest(&Content::Folder(dist)).unwrap();
        bench.store.verify(expected.digest).unwrap();
        let forward = tar_of(tree.iter());
        let backward = tar_of(tree.iter().rev());
        for (name, bytes) in [
            ("a.tar", forward.clone()),
            ("b.tar", backward.clone()),
            ("a.tar.gz", gz(&forward)),
            ("a.tar.zst", zst(&backward)),
        ] {
            prop_assert_eq!(bench.ingest_bytes(name, &bytes).unwrap().digest, expected.digest, "{}", name);
        }
        if !tree.keys().any(|path| path.contains('\\') || path.contains(':')) {
            prop_assert_eq!(bench.ingest_bytes("a.zip", &zip_of(&tree)).unwrap().digest, expected.digest);
        }
    }

    #[test]
    fn damaged_archives_never_panic_or_write_outside(
        tree in trees(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        packed in 0..4_u8,
    ) {
        let bench = Bench::new();
        let plain = tar_of(tree.iter());
        let (name, mut bytes) = match packed {
            0 => ("a.tar", plain),
            1 => ("a.tar.gz", gz(&plain)),
            2 => ("a.tar.zst", zst(&plain)),
            _ => ("a.zip", zip_of(&tree)),
        };
        for (index, byte) in flips {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        // Either outcome is fine; a release that was taken must be what its name says.
        if let Ok(artifact) = bench.ingest_bytes(name, &bytes) {
            bench.store.verify(artifact.digest).unwrap();
        }
        prop_assert_eq!(fs::read(bench.path("canary/file")).unwrap(), b"untouched");
        let mut beside: Vec<_> = fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        beside.sort();
        prop_assert_eq!(beside, ["canary", "store"]);
    }
}
