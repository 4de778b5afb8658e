//! A history on top of another one: it says what it does otherwise, and everything else is the other's.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Append, Appended, EventStore, LogHead, Query, Snapshot, StreamHead, Verification};
use crate::capability::{BackendInfo, Capabilities};
use crate::event::Recorded;
use crate::{Millis, Result};

/// A history that is another one but for some calls. Whatever is a layer is an [`EventStore`]; each call goes on to
/// [`StoreLayer::inner`] unless the layer has its own, with the errors of [`EventStore`].
#[async_trait]
pub trait StoreLayer: Send + Sync + 'static {
    /// The history below.
    fn inner(&self) -> &dyn EventStore;

    /// As [`EventStore::describe`].
    fn describe(&self) -> BackendInfo {
        self.inner().describe()
    }

    /// As [`EventStore::capabilities`].
    fn capabilities(&self) -> Capabilities {
        self.inner().capabilities()
    }

    /// As [`EventStore::append`].
    async fn append(&self, append: Append) -> Result<Appended> {
        self.inner().append(append).await
    }

    /// As [`EventStore::read`].
    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        self.inner().read(query).await
    }

    /// As [`EventStore::let_go`].
    async fn let_go(&self, anchor: u64) -> Result<u64> {
        self.inner().let_go(anchor).await
    }

    /// As [`EventStore::verify`].
    async fn verify(&self) -> Result<Verification> {
        self.inner().verify().await
    }
}

// What no layer has wanted to do otherwise yet goes straight on. A new call of a store has to be added here, so that no
// layer can forget it.
#[async_trait]
impl<L: StoreLayer + ?Sized> EventStore for L {
    fn describe(&self) -> BackendInfo {
        StoreLayer::describe(self)
    }
    fn capabilities(&self) -> Capabilities {
        StoreLayer::capabilities(self)
    }
    async fn append(&self, append: Append) -> Result<Appended> {
        StoreLayer::append(self, append).await
    }
    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        StoreLayer::read(self, query).await
    }
    async fn head(&self) -> Result<LogHead> {
        self.inner().head().await
    }
    async fn streams(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<StreamHead>> {
        self.inner().streams(prefix, after, limit).await
    }
    async fn fences(&self) -> Result<BTreeMap<String, u64>> {
        self.inner().fences().await
    }
    async fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
        self.inner().snapshot(fold, stream).await
    }
    async fn put_snapshot(&self, fold: &str, stream: &str, snapshot: Snapshot) -> Result<()> {
        self.inner().put_snapshot(fold, stream, snapshot).await
    }
    async fn wait(&self, after: u64, at_most: Millis) -> Result<LogHead> {
        self.inner().wait(after, at_most).await
    }
    async fn beat(&self, scope: &str, mark: &str) -> Result<()> {
        self.inner().beat(scope, mark).await
    }
    async fn pulse(&self, scope: &str) -> Result<Option<String>> {
        self.inner().pulse(scope).await
    }
    async fn let_go(&self, anchor: u64) -> Result<u64> {
        StoreLayer::let_go(self, anchor).await
    }
    async fn verify(&self) -> Result<Verification> {
        StoreLayer::verify(self).await
    }
    async fn close(&self) -> Result<()> {
        self.inner().close().await
    }
}
