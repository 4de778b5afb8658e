//! A history whose user is killed at its n-th append, just before it or just after it: the call never comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;
use vice_core::Result;
use vice_core::store::{Append, Appended, EventStore, StoreLayer};

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
impl StoreLayer for Mortal {
    fn inner(&self) -> &dyn EventStore {
        &*self.store
    }
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
}
