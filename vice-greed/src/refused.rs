//! A history that must not be used as it is configured, and says why to everybody who asks. It is no error when it is opened,
//! so that commands that need no history, and the one that puts it right, still work.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use vice_core::capability::{BackendInfo, Capabilities};
use vice_core::event::Recorded;
use vice_core::store::{Append, Appended, EventStore, LogHead, Query, Snapshot, StreamHead, Verification};
use vice_core::{Fault, Millis, Result};

use crate::desk::repeat;
use crate::place::{Opening, StorePlace};

/// The history of a project: [`StorePlace::open`], unless its folder holds one of another kind.
///
/// # Errors
/// What the kind of store opens with.
pub fn configured(place: &StorePlace, opening: &Opening) -> Result<Arc<dyn EventStore>> {
    let store = place.open(opening)?;
    Ok(match place.require_own_kind() {
        Ok(()) => store,
        Err(fault) => Arc::new(Refused { info: store.describe(), fault }),
    })
}

struct Refused {
    info: BackendInfo,
    fault: Fault,
}

impl Refused {
    fn no<T>(&self) -> Result<T> {
        Err(repeat(&self.fault))
    }
}

#[async_trait]
impl EventStore for Refused {
    fn describe(&self) -> BackendInfo {
        self.info.clone()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn append(&self, _: Append) -> Result<Appended> {
        self.no()
    }

    async fn read(&self, _: &Query) -> Result<Vec<Recorded>> {
        self.no()
    }

    async fn head(&self) -> Result<LogHead> {
        self.no()
    }

    async fn streams(&self, _: &str, _: &str, _: usize) -> Result<Vec<StreamHead>> {
        self.no()
    }

    async fn fences(&self) -> Result<BTreeMap<String, u64>> {
        self.no()
    }

    async fn snapshot(&self, _: &str, _: &str) -> Result<Option<Snapshot>> {
        self.no()
    }

    async fn put_snapshot(&self, _: &str, _: &str, _: Snapshot) -> Result<()> {
        self.no()
    }

    async fn wait(&self, _: u64, _: Millis) -> Result<LogHead> {
        self.no()
    }

    async fn beat(&self, _: &str, _: &str) -> Result<()> {
        self.no()
    }

    async fn pulse(&self, _: &str) -> Result<Option<String>> {
        self.no()
    }

    async fn let_go(&self, _: u64) -> Result<u64> {
        self.no()
    }

    async fn verify(&self) -> Result<Verification> {
        self.no()
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
