//! The kit itself, the types of this crate, and a whole history as it was written once.

mod history;
mod types;

use serde::{Deserialize, Serialize};

use super::*;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[expect(clippy::disallowed_methods, reason = "the corpus is written when a variable asks for it")]
fn writes() -> bool {
    std::env::var("VICE_GOLDEN").is_ok_and(|value| value == "write")
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
