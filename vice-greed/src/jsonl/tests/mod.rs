//! Tests of what only JSON lines have: torn ends, segments, damage of lines.

mod damage;
mod torn;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use vice_core::store::{Append, EventStore};
use vice_core::testkit::event_store::event;

use super::{FOLDER, JsonlStore};

/// A store with small segments, and what it told.
fn open_told(dir: &Path) -> (JsonlStore, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&told);
    let store =
        JsonlStore::with_segments(dir, Arc::new(move |text: &str| into.lock().unwrap().push(text.into())), 4000);
    (store, told)
}

fn open(dir: &Path) -> JsonlStore {
    open_told(dir).0
}

/// A closed history of so many appends of two events each.
async fn history(dir: &Path, appends: u32) {
    let store = open(dir);
    for n in 0..appends {
        let events = vec![event(&format!("a{n}"), "s/1"), event(&format!("b{n}"), &format!("s/{}", n % 5))];
        store.append(Append::of(events)).await.unwrap();
    }
    store.close().await.unwrap();
}

/// The segments in order.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join(FOLDER)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
    found.sort();
    found
}
