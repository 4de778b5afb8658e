//! What a restore must not do: pull a history away from under somebody, or give out an epoch twice.

use std::fs::File;
use std::sync::Arc;

use serde_json::json;
use vice_core::fold::{self, lease::LeaseState};
use vice_core::id::Scope;
use vice_core::manifest::Project;
use vice_core::payload::lease::{Holder, LeaseAcquired, LeaseReleased};
use vice_core::payload::lease_stream;
use vice_core::store::{Append, Fence};
use vice_core::testkit::event_store::{event, scope};
use vice_core::{Class, Code, Result};

use super::support::{Told, greed};
use super::{Bench, bench, filled};

fn url(bench: &Bench) -> String {
    url::Url::from_directory_path(bench.dir.path().join("backups")).unwrap().to_string()
}

fn fence(scope: &Scope, epoch: u64) -> Fence {
    Fence { scope: scope.to_string(), epoch }
}

/// What pride appends when it acquires the lease of a scope: the epoch after the highest known one.
async fn acquire(bench: &Bench, scope: &Scope) -> Result<u64> {
    let stream = lease_stream(scope);
    let (state, _) = fold::load::<LeaseState>(bench.app.events.as_ref(), &stream).await?;
    let holder = Holder {
        actor: "ada".into(),
        host: "h".into(),
        boot_id: String::new(),
        pid: 1,
        pid_start: 1,
        pid_space: String::new(),
    };
    let epoch = state.epoch + 1;
    let acquired = LeaseAcquired { scope: scope.clone(), epoch, holder, purpose: "deploy".into(), takeover: None };
    let event = bench.app.event(stream, Some(scope), &acquired)?;
    bench.app.events.append(Append::of(vec![event]).fenced(fence(scope, epoch))).await?;
    Ok(epoch)
}

async fn release(bench: &Bench, scope: &Scope, epoch: u64) {
    let released = LeaseReleased { scope: scope.clone(), epoch };
    let event = bench.app.event(lease_stream(scope), Some(scope), &released).unwrap();
    bench.app.events.append(Append::of(vec![event]).fenced(fence(scope, epoch))).await.unwrap();
}

async fn lease(bench: &Bench, scope: &Scope) -> LeaseState {
    fold::load::<LeaseState>(bench.app.events.as_ref(), &lease_stream(scope)).await.unwrap().0
}

#[tokio::test]
async fn a_rollout_or_run_under_way_keeps_its_history() {
    let mut bench = filled(Told::default()).await;
    let url = url(&bench);
    greed(&bench.app, &["backup", &url]).await.unwrap();
    bench.app.events.append(Append::of(vec![event("later", "s/1")])).await.unwrap();
    let locks = bench.dir.path().join("state/locks");
    std::fs::create_dir_all(&locks).unwrap();
    for name in ["shop.prod", "run-nightly.4"] {
        let path = locks.join(format!("{name}.lock"));
        let held = File::create(&path).unwrap();
        held.lock().unwrap();
        let fault = greed(&bench.app, &["restore", &url, "--yes"]).await.unwrap_err();
        assert_eq!((fault.code(), fault.class()), (Code::Locked, Class::Refused), "{fault:?}");
        assert!(fault.to_string().contains(name) && !fault.hints().is_empty(), "{fault:?}");
        assert_eq!(bench.app.events.head().await.unwrap().seq, 4, "nothing was replaced");
        drop(held);
    }

    // While it restores, nobody begins: not even in an environment that was never deployed to.
    let text = "name = \"shop\"\nversion = \"1\"\nartifact = \"x\"\ncommand = [\"x\"]\n[env.fresh]\n";
    let project = Project::parse(bench.dir.path().to_owned(), "vice.toml".into(), text).unwrap();
    let mut workspace = (*bench.app.workspace).clone();
    workspace.projects.insert(project.name().clone(), Arc::new(project));
    bench.app.workspace = Arc::new(workspace);
    let held = crate::backup::Locks::take(&bench.dir.path().join("state"), ["shop.fresh".to_owned()]).unwrap();
    let fault = greed(&bench.app, &["restore", &url, "--yes"]).await.unwrap_err();
    assert_eq!(fault.code(), Code::Locked, "{fault:?}");
    drop(held);
    greed(&bench.app, &["restore", &url, "--yes"]).await.unwrap();
    assert!(locks.join("shop.fresh.lock").exists(), "a restore takes the locks of known environments");
    assert_eq!(bench.app.events.head().await.unwrap().seq, 3);
    let free = File::open(locks.join("shop.prod.lock")).unwrap();
    free.try_lock().expect("the locks are free again");
}

#[tokio::test]
async fn epochs_go_on_after_a_restore() {
    let bench = filled(Told::default()).await;
    let (url, dev, prod) = (url(&bench), scope("shop", "dev"), scope("shop", "prod"));
    assert_eq!(acquire(&bench, &dev).await.unwrap(), 1);
    // This backup is of the middle of a deploy: the lease is held in it.
    greed(&bench.app, &["backup", &url]).await.unwrap();
    release(&bench, &dev, 1).await;
    for expected in 2..=5 {
        assert_eq!(acquire(&bench, &dev).await.unwrap(), expected);
        release(&bench, &dev, expected).await;
    }
    assert_eq!(acquire(&bench, &prod).await.unwrap(), 1);
    let other = Fence { scope: "not an environment".into(), epoch: 7 };
    bench.app.events.append(Append::of(vec![event("other", "s/1")]).fenced(other.clone())).await.unwrap();

    let outcome = greed(&bench.app, &["restore", &url, "--yes"]).await.unwrap();
    assert_eq!(outcome.json["epochs_raised"], json!(3));
    assert!(outcome.text.contains("epochs that were reached"), "{}", outcome.text);
    assert_eq!(outcome.json["head"], json!(bench.app.events.head().await.unwrap().seq));
    let found = bench.app.events.verify().await.unwrap();
    assert_eq!((found.problems, found.head.seq), (Vec::new(), 4 + 2 + 2), "a pair of events for each lease");
    for (scope, seen) in [(&dev, 5), (&prod, 1)] {
        let state = lease(&bench, scope).await;
        assert_eq!((state.epoch, state.held), (seen, None), "{scope}");
        let late = Append::of(vec![event("late", "s/1")]).fenced(fence(scope, seen - 1));
        assert_eq!(bench.app.events.append(late).await.unwrap_err().code(), Code::Fenced, "{scope}");
        assert_eq!(acquire(&bench, scope).await.unwrap(), seen + 1, "{scope}");
    }
    let late = Append::of(vec![event("late", "s/1")]).fenced(Fence { epoch: 6, ..other });
    assert_eq!(bench.app.events.append(late).await.unwrap_err().code(), Code::Fenced);

    // A second restore of the same backup starts from what the first one and its deploys have reached.
    greed(&bench.app, &["restore", &url, "--yes"]).await.unwrap();
    assert_eq!(acquire(&bench, &dev).await.unwrap(), 7);
}

#[tokio::test]
async fn a_history_whose_epochs_are_lost_is_replaced_with_a_warning() {
    let bench = filled(Told::default()).await;
    let (url, dev) = (url(&bench), scope("shop", "dev"));
    greed(&bench.app, &["backup", &url]).await.unwrap();
    acquire(&bench, &dev).await.unwrap();
    bench.app.events.close().await.unwrap();
    std::fs::write(bench.dir.path().join("state/history.db"), "no database at all".repeat(100)).unwrap();
    let outcome = greed(&bench.app, &["restore", &url, "--yes"]).await.unwrap();
    assert_eq!(outcome.json["epochs_raised"], json!(0));
    assert!(bench.told.said.lock().unwrap().iter().any(|said| said.contains("may be used again")));
    assert_eq!(bench.app.events.verify().await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn nothing_to_replace_is_nothing_to_carry_on() {
    let full = filled(Told::default()).await;
    let url = url(&full);
    acquire(&full, &scope("shop", "dev")).await.unwrap();
    greed(&full.app, &["backup", &url]).await.unwrap();
    let empty = bench(Told::default());
    let outcome = greed(&empty.app, &["restore", &url]).await.unwrap();
    assert_eq!((&outcome.json["epochs_raised"], &outcome.json["head"]), (&json!(0), &json!(4)));
    assert!(empty.told.said.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_history_is_brought_back_as_it_was() {
    let bench = filled(Told::default()).await;
    let (url, shop) = (url(&bench), scope("shop", "prod"));
    acquire(&bench, &shop).await.unwrap();
    greed(&bench.app, &["backup", &url]).await.unwrap();
    let dir = bench.dir.path();
    for (until, expected, to) in [("2", 2, "two"), ("2h", 2, "hours"), ("2026-07-14T08:00:00Z", 3, "exact")] {
        let done = greed(&bench.app, &["restore", &url, "--until", until, "--to", to]).await.unwrap();
        assert_eq!(done.json["until"], expected, "{until}");
        let store = crate::tests::Kind::Sqlite.open(&dir.join(to));
        let found = store.verify().await.unwrap();
        // Behind what was wanted, the lease passes through the epoch that was reached later.
        assert_eq!((found.events, found.problems), (expected + 2, Vec::new()), "{until}");
        assert_eq!(store.fences().await.unwrap().get("shop/prod"), Some(&1), "epochs never go back");
        let (state, _) = fold::load::<LeaseState>(store.as_ref(), &lease_stream(&shop)).await.unwrap();
        assert_eq!((state.epoch, state.held), (1, None), "and the next lease gets a higher one");
        let same = vice_core::store::Query { limit: 2, ..Default::default() };
        assert_eq!(store.read(&same).await.unwrap(), bench.app.events.read(&same).await.unwrap());
    }
    for until in ["0", "99", "100d"] {
        let fault = greed(&bench.app, &["restore", &url, "--until", until, "--to", "none"]).await.unwrap_err();
        assert_eq!(fault.code(), Code::Backup, "{until}: {fault:?}");
    }
}

#[cfg(feature = "jsonl")]
#[tokio::test]
async fn every_store_is_backed_up_and_brought_back_where_it_is_empty() {
    let mut bench = filled(Told::default()).await;
    let url = url(&bench);
    let workspace = |name: &str| vice_core::app::Workspace { state: bench.dir.path().join(name), ..Default::default() };
    let (one, two) = (workspace("lines"), workspace("empty"));
    greed(&bench.app, &["copy", "state", "jsonl:lines"]).await.unwrap();
    bench.app.events = crate::tests::Kind::Jsonl.open(&one.state);
    bench.app.workspace = one.into();
    let done = greed(&bench.app, &["backup", &url]).await.unwrap();
    assert_eq!((done.json["events"].as_u64(), done.json["verified"].as_bool()), (Some(3), Some(true)));
    greed(&bench.app, &["restore", &url]).await.unwrap();
    bench.app.events.append(Append::of(vec![event("later", "s/1")])).await.unwrap();
    let fault = greed(&bench.app, &["restore", &url, "--yes"]).await.unwrap_err();
    assert_eq!(fault.code(), Code::Conflict, "what is there is not written over: {fault:?}");
    bench.app.events = crate::tests::Kind::Jsonl.open(&two.state);
    bench.app.workspace = two.into();
    greed(&bench.app, &["restore", &url]).await.unwrap();
    assert_eq!(bench.app.events.verify().await.unwrap().events, 3);
}
