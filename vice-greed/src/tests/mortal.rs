//! A history whose user is killed at its n-th append, just before it or just after it: the call never comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;
use vice_core::capability::{BackendInfo, Capabilities};
use vice_core::event::Recorded;
use vice_core::store::{Append, Appended, EventStore, LogHead, Query, Snapshot, StreamHead, Verification};
use vice_core::{Millis, Result};

pub(crate) struct Mortal {
    store: Arc<dyn EventStore>,
    appends_left: Arc<AtomicUsize>,
    /// Whether the last append still reaches the disk.
    written: bool,
    killed: Arc<Notify>,
}

impl Mortal {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        appends_left: Arc<AtomicUsize>,
        written: bool,
        killed: Arc<Notify>,
    ) -> Self {
        Self { store, appends_left, written, killed }
    }
}

#[async_trait]
impl EventStore for Mortal {
    async fn append(&self, append: Append) -> Result<Appended> {
        let left = self.appends_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            return self.store.append(append).await;
        }
        if self.written {
            self.store.append(append).await?;
        }
        self.killed.notify_one();
        std::future::pending().await
    }
    fn describe(&self) -> BackendInfo {
        self.store.describe()
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        self.store.read(query).await
    }
    async fn head(&self) -> Result<LogHead> {
        self.store.head().await
    }
    async fn streams(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<StreamHead>> {
        self.store.streams(prefix, after, limit).await
    }
    async fn fences(&self) -> Result<BTreeMap<String, u64>> {
        self.store.fences().await
    }
    async fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
        self.store.snapshot(fold, stream).await
    }
    async fn put_snapshot(&self, fold: &str, stream: &str, snapshot: Snapshot) -> Result<()> {
        self.store.put_snapshot(fold, stream, snapshot).await
    }
    async fn wait(&self, after: u64, at_most: Millis) -> Result<LogHead> {
        self.store.wait(after, at_most).await
    }
    async fn beat(&self, scope: &str, mark: &str) -> Result<()> {
        self.store.beat(scope, mark).await
    }
    async fn pulse(&self, scope: &str) -> Result<Option<String>> {
        self.store.pulse(scope).await
    }
    async fn let_go(&self, anchor: u64) -> Result<u64> {
        self.store.let_go(anchor).await
    }
    async fn verify(&self) -> Result<Verification> {
        self.store.verify().await
    }
    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
