//! `greed copy` as it is typed.

use std::fs::File;

use vice_core::store::Append;
use vice_core::testkit::event_store::event;
use vice_core::{Class, Code};

use super::filled;
use super::support::{Told, greed};

#[tokio::test]
async fn a_copy_says_what_it_did_and_how_to_use_it() {
    let bench = filled(Told::default()).await;
    let done = greed(&bench.app, &["copy", "state", "jsonl:other"]).await.unwrap();
    assert_eq!(done.class, Class::Done);
    assert_eq!((done.json["events"].as_u64(), done.json["compared"].as_bool()), (Some(3), Some(true)));
    assert!(done.text.contains("store = \"jsonl:other\""), "{}", done.text);
    bench.app.events.append(Append::of(vec![event("later", "s/1")])).await.unwrap();
    let done = greed(&bench.app, &["copy", "state", "jsonl:other"]).await.unwrap();
    assert_eq!((done.json["events"].as_u64(), done.json["new"].as_u64()), (Some(4), Some(1)));
}

#[tokio::test]
async fn places_that_make_no_sense_are_usage() {
    let bench = filled(Told::default()).await;
    for words in [["copy", "state", "state"], ["copy", "state", "sqlite:state"], ["copy", "memory:", "x"]] {
        assert_eq!(greed(&bench.app, &words).await.unwrap_err().code(), Code::Usage, "{words:?}");
    }
}

#[tokio::test]
async fn nothing_is_copied_under_a_rollout() {
    let mut bench = filled(Told::default()).await;
    let workspace = vice_core::app::Workspace { state: bench.dir.path().join("state"), ..Default::default() };
    bench.app.workspace = workspace.into();
    let locks = bench.dir.path().join("state/locks");
    std::fs::create_dir_all(&locks).unwrap();
    let held = File::create(locks.join("shop.prod.lock")).unwrap();
    held.lock().unwrap();
    let fault = greed(&bench.app, &["copy", "state", "jsonl:other"]).await.unwrap_err();
    assert_eq!(fault.code(), Code::Locked, "{fault:?}");
    assert!(!bench.dir.path().join("other").exists(), "nothing was begun");
    held.unlock().unwrap();
    greed(&bench.app, &["copy", "state", "jsonl:other"]).await.unwrap();
}
