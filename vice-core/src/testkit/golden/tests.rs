//! The kit itself, the types of this crate, and a whole history as it was written once.

mod history;
mod types;

use serde::{Deserialize, Serialize};

use super::*;

fn own() -> Corpus {
    Corpus::of(env!("CARGO_MANIFEST_DIR"))
}

macro_rules! probe {
    ($module:ident, $kind:literal, { $($field:tt)* }) => {
        mod $module {
            use super::*;
            #[derive(Serialize, Deserialize)]
            pub(super) struct Probe { $($field)* }
            impl Payload for Probe {
                const KIND: &'static str = $kind;
                fn subject(&self) -> String { "probe".into() }
                fn upcast(version: &str, mut content: Value) -> Option<Value> {
                    (version == "0.1.0").then(|| { content["count"] = content["n"].take(); content })
                }
            }
        }
    };
}
probe!(first, "dev.cdeventsx.vice-probe.made.0.1.0", { pub(super) n: u32 });
probe!(grown, "dev.cdeventsx.vice-probe.made.0.1.0", { pub(super) n: u32, #[serde(default)] pub(super) more: bool });
probe!(broken, "dev.cdeventsx.vice-probe.made.0.1.0", { pub(super) n: u32, pub(super) more: bool });
probe!(renamed, "dev.cdeventsx.vice-probe.made.0.1.0", { #[serde(default)] pub(super) m: u32 });
probe!(second, "dev.cdeventsx.vice-probe.made.0.2.0", { pub(super) count: u32 });

fn corpus() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    assert!(problems(dir.path(), &[first::Probe { n: 3 }], true).is_empty());
    dir
}

#[test]
fn a_type_that_changes_without_a_version_or_an_entry_is_reported() {
    let dir = corpus();
    assert!(problems(dir.path(), &[first::Probe { n: 3 }], false).is_empty());
    let grown = problems(dir.path(), &[grown::Probe { n: 3, more: true }], false);
    assert!(grown.len() == 1 && grown[0].contains("no entry"), "a field without an entry: {grown:?}");
    let broken = problems(dir.path(), &[broken::Probe { n: 3, more: true }], false);
    assert!(broken.len() == 2 && broken[1].contains("not read any more"), "a field without a default: {broken:?}");
    let renamed = problems(dir.path(), &[renamed::Probe { m: 3 }], true);
    assert!(renamed.len() == 1 && renamed[0].contains("not all of it"), "a field that was dropped: {renamed:?}");
}

#[test]
fn a_new_field_gets_an_entry_and_a_new_version_reads_the_old_one() {
    let dir = corpus();
    assert!(problems(dir.path(), &[grown::Probe { n: 3, more: true }], true).is_empty());
    assert_eq!(entries(&dir.path().join("dev.cdeventsx.vice-probe.made.0.1.0")).len(), 2);
    assert!(problems(dir.path(), &[grown::Probe { n: 3, more: true }], false).is_empty());
    assert!(problems(dir.path(), &[second::Probe { count: 3 }], true).is_empty());
}

#[test]
fn an_entry_is_never_written_over() {
    let dir = corpus();
    let own = dir.path().join("dev.cdeventsx.vice-probe.made.0.1.0");
    std::fs::rename(own.join("000.json"), own.join("001.json")).unwrap();
    let samples = [4, 3, 5, 5].map(|n| first::Probe { n });
    assert!(problems(dir.path(), &samples, true).is_empty());
    let mut numbers: Vec<u64> = entries(&own).iter().map(|(_, entry)| entry["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [3, 4, 5], "each form once, and the first is still there");
}

#[test]
fn a_type_without_an_entry_is_found_in_the_sources() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("src/room");
    std::fs::create_dir_all(source.join("tests")).unwrap();
    let kind = |name: &str| format!("{}dev.cdeventsx.vice-{name}{}", '"', '"');
    let shipped = format!("const A: &str = {};\nconst B: &str = {};\n", kind("made.up.0.1.0"), kind("made."));
    let unit = format!("#[cfg(test)]\nmod tests {{\n{}", kind("unit.test.0.1.0"));
    std::fs::write(source.join("payload.rs"), shipped + &unit).unwrap();
    std::fs::write(source.join("tests/one.rs"), kind("other.test.0.1.0")).unwrap();
    let found: Vec<String> = types(&dir.path().join("src")).into_iter().collect();
    assert_eq!(found, ["dev.cdeventsx.vice-made.up.0.1.0"]);
    let corpus = Corpus::of(dir.path().to_str().unwrap());
    assert_eq!(corpus.without_entry(), found);
    std::fs::create_dir_all(corpus.folder().join(&found[0])).unwrap();
    std::fs::write(corpus.folder().join(&found[0]).join("000.json"), "{}").unwrap();
    assert!(corpus.without_entry().is_empty());
}

#[test]
fn every_type_of_this_crate_has_an_entry() {
    own().has_every_type();
}
