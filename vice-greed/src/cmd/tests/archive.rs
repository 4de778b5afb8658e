//! `greed archive`, and what the other commands say of what was archived.

use std::sync::Arc;

use vice_core::Code;

use super::bench;
use super::support::{Told, greed};
use crate::archive;

/// An app whose history is one of thirty deploys together with its archive.
async fn archived() -> (super::Bench, String) {
    let mut bench = bench(Told::default());
    archive::tests::fill(&*bench.app.events).await;
    let said = Arc::clone(&bench.told);
    let notices: crate::Notices = Arc::new(move |text: &str| said.said.lock().unwrap().push(text.to_owned()));
    bench.app.events = archive::reunited(Arc::clone(&bench.app.events), &bench.app.env, &notices);
    let place = format!("file://{}", bench.dir.path().join("place").display());
    (bench, place)
}

#[tokio::test]
async fn archiving_says_what_went_where() {
    let (bench, place) = archived().await;
    let before = "1970-01-17T00:00:00Z";
    let dry = greed(&bench.app, &["archive", "--before", before, "--keep", "3", "--dry-run"]).await.unwrap();
    assert_eq!(dry.json["events"], 60);
    assert_eq!(greed(&bench.app, &["archive", "--list"]).await.unwrap().text, "Nothing was archived.\n");
    let made = greed(&bench.app, &["archive", "--before", before, "--keep", "3", "--to", &place]).await.unwrap();
    assert_eq!((&made.json["events"], &made.json["files"]), (&60.into(), &1.into()));
    assert_eq!(made.json["data_bytes"], dry.json["data_bytes"]);
    assert!(made.text.contains("60 events") && made.text.contains("brought back and compared"), "{}", made.text);
    let list = greed(&bench.app, &["archive", "--list"]).await.unwrap();
    assert_eq!((&list.json[0]["events"], &list.json[0]["place"]), (&60.into(), &place.as_str().into()));
    let again = greed(&bench.app, &["archive", "--before", before, "--keep", "3", "--to", &place]).await.unwrap();
    assert!(again.text.starts_with("Nothing from before"), "{}", again.text);
    let verified = greed(&bench.app, &["verify"]).await.unwrap();
    assert_eq!(verified.json["sound"], true);
}

#[tokio::test]
async fn what_is_archived_is_shown_or_said_to_be_away() {
    let (bench, place) = archived().await;
    let before = "1970-01-17T00:00:00Z";
    greed(&bench.app, &["archive", "--before", before, "--keep", "3", "--to", &place]).await.unwrap();
    let shown = greed(&bench.app, &["show", "2.1"]).await.unwrap();
    assert!(shown.text.contains("xxxx"), "{}", shown.text);
    let memory = greed(&bench.app, &["memory"]).await.unwrap();
    assert_eq!((&memory.json["archived"], &memory.json["environments"][0]["version"]), (&0.into(), &"30".into()));

    std::fs::remove_dir_all(bench.dir.path().join("place")).unwrap();
    let notices: crate::Notices = Arc::new(|_| {});
    let mut app = bench.app.clone();
    app.events = archive::reunited(
        Arc::new(crate::SqliteStore::open(&bench.dir.path().join("state"), app.clock.clone()).unwrap()),
        &app.env,
        &notices,
    );
    let away = greed(&app, &["show", "2.1"]).await.unwrap();
    assert!(away.text.contains("archived in archive/") && away.text.contains(&place), "{}", away.text);
    assert_eq!(away.json["vicearchived"], true);
    let listed = greed(&app, &["log", "--stream", "rollout/shop/prod/2"]).await.unwrap();
    assert!(listed.text.contains("rollout.finished"), "{}", listed.text);
    let memory = greed(&app, &["memory"]).await.unwrap();
    assert_eq!((&memory.json["archived"], &memory.json["environments"][0]["version"]), (&9.into(), &"30".into()));
    bench.told.emitted.lock().unwrap().clear();
    greed(&app, &["export"]).await.unwrap();
    let emitted = bench.told.emitted.lock().unwrap();
    let away = emitted.iter().filter(|event| event["vicearchived"] == true && event["data"].is_null());
    assert_eq!((away.count(), emitted.len()), (60, 241), "headers are exported, and say that the data are elsewhere");
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_is_done() {
    let (bench, place) = archived().await;
    for words in [
        &["archive"][..],
        &["archive", "--before", "90d"],
        &["archive", "--to", &place],
        &["archive", "--list", "--to", &place],
        &["archive", "--before", "soon", "--to", &place],
        &["archive", "--before", "90d", "--to", "ftp://x"],
        &["archive", "--before", "90d", "--to", "relative/folder"],
        &["archive", "--before", "90d", "--keep", "-1", "--to", &place],
        &["archive", "--before", "90d", "--to", &place, "--recipient", "nobody"],
    ] {
        let fault = greed(&bench.app, words).await.unwrap_err();
        assert_eq!(fault.code(), Code::Usage, "{words:?}: {fault:?}");
    }
    assert!(!bench.dir.path().join("place").exists());
}
