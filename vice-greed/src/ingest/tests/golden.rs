//! The events of the ingest itself against what was ever written of them; and that no type of this crate has been forgotten.

use serde_json::{Value, json};
use vice_core::Digest;
use vice_core::testkit::golden::Corpus;

use super::bench;
use super::webhooks::github;
use crate::ingest::answer::Conflicted;

fn corpus() -> Corpus {
    Corpus::of(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn evidence_is_read_as_it_was_written() {
    corpus().hold(&[Conflicted {
        source: "/cron".into(),
        id: "n-7".into(),
        kind: "com.example.made".into(),
        subject: "cache".into(),
        sender: "builds".into(),
        digest: Digest::of(b"data"),
        data: "{\"took\":12}".into(),
        whole: false,
    }]);
}

/// Nothing decodes a receipt: it is there so that its id is taken.
#[tokio::test]
async fn receipts_are_written_as_they_were() {
    let bench = bench(false).await;
    let body = json!({ "action": "starred", "repository": { "full_name": "shop/web" } });
    let (status, said) = github(&bench, "star", "72d3162e-cc78-11e3-81ab-4c9367dc0958", &body).await;
    assert!(status.is_success(), "{said}");
    let receipts = bench.stored("receipts/").await;
    let data: Vec<Value> = receipts.iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect();
    assert_eq!(data.len(), 1);
    corpus().hold_data(&receipts[0].kind, &data);
}

#[test]
fn every_type_of_this_crate_has_an_entry() {
    corpus().has_every_type();
}
