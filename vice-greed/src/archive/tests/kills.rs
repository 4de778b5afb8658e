//! Whoever archives is killed: before and after each step, at any moment of it, and by a file that may not grow. Nothing is
//! lost, the history is sound, and the next run ends what was begun.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use vice_core::Result;
use vice_core::store::{Append, Appended, EventStore, StoreLayer};

use super::{Bench, GO, KINDS, open, run, run_whole, sound, told, without_data};
use crate::backup::{Vault, vault};

/// Counts steps; at the last one the caller never comes back.
struct Fate {
    left: AtomicUsize,
    over: Notify,
}

impl Fate {
    async fn step(&self) {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            self.over.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// A store or a place whose user dies before or after one of its calls.
struct Doomed<T: ?Sized> {
    fate: Arc<Fate>,
    inner: Arc<T>,
}

#[async_trait]
impl StoreLayer for Doomed<dyn EventStore> {
    fn inner(&self) -> &dyn EventStore {
        &*self.inner
    }
    async fn append(&self, append: Append) -> Result<Appended> {
        self.fate.step().await;
        let done = self.inner.append(append).await;
        self.fate.step().await;
        done
    }
    async fn let_go(&self, anchor: u64) -> Result<u64> {
        self.fate.step().await;
        let done = self.inner.let_go(anchor).await;
        self.fate.step().await;
        done
    }
}

#[async_trait]
impl Vault for Doomed<dyn Vault> {
    async fn put_new_file(&self, name: &str, file: &Path) -> Result<bool> {
        self.fate.step().await;
        let done = self.inner.put_new_file(name, file).await;
        self.fate.step().await;
        done
    }
    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
        self.inner.put_new(name, bytes).await
    }
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.inner.put(name, bytes).await
    }
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.inner.get(name).await
    }
    async fn fetch(&self, name: &str, file: &Path) -> Result<bool> {
        self.fate.step().await;
        self.inner.fetch(name, file).await
    }
}

/// Archives until the `steps`-th step; false when it ended before.
async fn live_until(bench: &Bench, steps: usize) -> bool {
    let fate = Arc::new(Fate { left: AtomicUsize::new(steps), over: Notify::new() });
    let store = Doomed { fate: Arc::clone(&fate), inner: bench.whole() };
    let place = bench.place();
    let inner = vault(&place, &vice_core::app::ProcessEnv::default()).unwrap();
    let place_of_it = Doomed { fate: Arc::clone(&fate), inner };
    let work = run(&store, &place_of_it, &place, 1);
    let died = tokio::select! {
        done = work => { done.unwrap(); false }
        () = fate.over.notified() => true,
    };
    store.inner.close().await.unwrap();
    died
}

#[tokio::test]
async fn a_kill_between_any_two_steps_loses_nothing() {
    for kind in KINDS {
        let mut points = 0;
        for steps in 0.. {
            let bench = Bench::filled(kind).await;
            let before = told(&*bench.raw()).await;
            if !live_until(&bench, steps).await {
                break;
            }
            points += 1;
            sound(&*bench.whole()).await;
            assert!(told(&*bench.whole()).await == before, "{kind}: something is lost after step {steps}");
            let made = run_whole(&bench, 2).await.unwrap();
            assert!(made.events + made.finished == GO || made == crate::archive::Made::default(), "{kind}: {made:?}");
            sound(&*bench.whole()).await;
            assert!(told(&*bench.whole()).await == before, "{kind}: something is lost after {steps} and another run");
            assert_eq!(without_data(&told(&*bench.raw()).await), GO, "{kind}");
        }
        // Storing (2), fetching, naming (2), letting go (2).
        assert_eq!(points, 7, "{kind}: every step was one to die at");
    }
}

const CHILD_KIND: &str = "GREED_TEST_ARCHIVE_KIND";
const CHILD_DIR: &str = "GREED_TEST_ARCHIVE_DIR";
const CHILD_RUN: &str = "GREED_TEST_ARCHIVE_RUN";

/// This test binary as a process that archives, started by a shell that runs `before` it.
#[expect(clippy::disallowed_methods, reason = "a test of what another process does starts one")]
fn child(bench: &Bench, run: u64, before: &str) -> Child {
    let script = format!("{before} exec \"$0\" --exact archive::tests::kills::the_child_archives --test-threads=1");
    Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD_KIND, bench.kind)
        .env(CHILD_DIR, bench.dir.path())
        .env(CHILD_RUN, run.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the child is told by variables what to do")]
fn var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What the child does. As a test of its own it archives a history of its own.
#[tokio::test]
async fn the_child_archives() {
    let own = match var(CHILD_DIR) {
        Some(_) => Bench::new("sqlite"),
        None => Bench::filled("sqlite").await,
    };
    let kind = var(CHILD_KIND).unwrap_or_else(|| "sqlite".to_owned());
    let dir = var(CHILD_DIR).map_or_else(|| own.dir.path().to_owned(), Into::into);
    let number = var(CHILD_RUN).map_or(1, |run| run.parse().unwrap());
    let place = format!("file://{}", dir.join("place").display());
    let vault = vault(&place, &vice_core::app::ProcessEnv::default()).unwrap();
    let store = open(&kind, &dir);
    run(&*store, &*vault, &place, number).await.unwrap();
    store.close().await.unwrap();
}

/// The moment of a kill is as it comes: whatever it is, nothing is lost.
#[tokio::test]
async fn a_killed_process_loses_nothing() {
    for kind in KINDS {
        let bench = Bench::filled(kind).await;
        let before = told(&*bench.raw()).await;
        for round in 0..12 {
            let mut process = child(&bench, 10 + round, "");
            tokio::time::sleep(Duration::from_millis(round * 9 + 3)).await;
            process.kill().unwrap();
            process.wait().unwrap();
            sound(&*bench.whole()).await;
            assert!(told(&*bench.whole()).await == before, "{kind}: something is lost in round {round}");
        }
        run_whole(&bench, 2).await.unwrap();
        assert_eq!(without_data(&told(&*bench.raw()).await), GO, "{kind}");
        assert!(told(&*bench.whole()).await == before, "{kind}");
    }
}

/// Files may not grow beyond so many blocks, as on a full disk, from where nothing can be stored to where almost all can.
#[tokio::test]
async fn without_room_nothing_is_lost() {
    for kind in KINDS {
        let bench = Bench::filled(kind).await;
        let before = told(&*bench.raw()).await;
        let (mut failed, mut went) = (0, 0);
        for (round, blocks) in [1, 8, 16, 32, 48, 64, 96, 128, 192, 256, 512, 4096].into_iter().enumerate() {
            let limit = format!("trap '' XFSZ; ulimit -f {blocks};");
            let ended = child(&bench, 50 + round as u64, &limit).wait().unwrap();
            *if ended.success() { &mut went } else { &mut failed } += 1;
            sound(&*bench.whole()).await;
            assert!(told(&*bench.whole()).await == before, "{kind}: something is lost with {blocks} blocks");
        }
        assert!(failed > 0 && went > 0, "{kind}: {failed} failed, {went} went through");
        run_whole(&bench, 2).await.unwrap();
        assert_eq!(without_data(&told(&*bench.raw()).await), GO, "{kind}");
    }
}
