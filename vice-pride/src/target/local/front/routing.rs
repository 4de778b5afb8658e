//! The table of upstreams with what must outlast it: removed upstreams until their requests have ended, and counters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clients::{Audience, Failing};
use super::counts::Counts;
use super::table::{Entry, Table};
use super::upstream::{InFlight, UpstreamState};
use super::{Upstream, UpstreamCounts};

/// Counters are kept for this many ids and versions beyond those in the table, the newest ones.
const COUNTS_KEPT_MAX: usize = 256;

pub(super) struct Routing {
    table: Table<Arc<UpstreamState>>,
    /// Removed, but with something in flight when the table was last changed.
    removed: Vec<Arc<UpstreamState>>,
    counts: Vec<Counted>,
    /// The sums by version of what is not kept by id any more.
    forgotten: BTreeMap<String, UpstreamCounts>,
    audience: Arc<Audience>,
    /// Which clients failed, of each version that has counters.
    failing: BTreeMap<String, Arc<Failing>>,
}

struct Counted {
    id: String,
    version: String,
    counts: Arc<Counts>,
}

impl Routing {
    /// Without upstreams.
    pub(super) fn new(audience: Arc<Audience>) -> Self {
        Self {
            table: Table::new(Vec::new()),
            removed: Vec::new(),
            counts: Vec::new(),
            forgotten: BTreeMap::new(),
            audience,
            failing: BTreeMap::new(),
        }
    }

    /// The next upstream that is not among `failed`, with a request begun on it.
    pub(super) fn choose(&mut self, failed: &[Arc<UpstreamState>]) -> Option<InFlight> {
        let usable = |upstream: &Arc<UpstreamState>| !failed.iter().any(|other| Arc::ptr_eq(other, upstream));
        self.table.pick(usable).map(UpstreamState::begin)
    }

    pub(super) fn set_healthy(&mut self, id: &str, healthy: bool) -> bool {
        let entry = self.table.find_mut(|upstream| upstream.id == id);
        entry.map(|entry| entry.healthy = healthy).is_some()
    }

    /// Sets the new table. Pools are closed and opened under the same lock, so that two changes can't cross.
    pub(super) fn replace(&mut self, upstreams: Vec<Upstream>) {
        let mut entries: Vec<Entry<Arc<UpstreamState>>> = Vec::with_capacity(upstreams.len());
        for wanted in upstreams {
            if !entries.iter().any(|entry| entry.value.id == wanted.id) {
                entries.push(self.entry(wanted));
            }
        }
        let old = std::mem::replace(&mut self.table, Table::new(entries));
        let stays = |upstream: &Arc<UpstreamState>| {
            self.table.entries().iter().any(|entry| Arc::ptr_eq(&entry.value, upstream) && entry.weight > 0)
        };
        let listed = |upstream: &Arc<UpstreamState>| {
            self.table.entries().iter().any(|entry| Arc::ptr_eq(&entry.value, upstream))
        };
        let closing: Vec<_> = old.entries().iter().map(|entry| &entry.value).filter(|it| !stays(it)).cloned().collect();
        self.removed.retain(|upstream| upstream.in_flight() > 0);
        let gone = closing.iter().filter(|upstream| upstream.in_flight() > 0 && !listed(upstream));
        self.removed.extend(gone.cloned());
        for upstream in closing {
            upstream.pool.close();
        }
        self.forget_old_counts();
    }

    fn entry(&mut self, wanted: Upstream) -> Entry<Arc<UpstreamState>> {
        let same = |state: &UpstreamState| {
            state.id == wanted.id && state.addr == wanted.addr && state.version == wanted.version
        };
        if let Some(old) = self.table.entries().iter().find(|entry| same(&entry.value)) {
            if wanted.weight > 0 {
                old.value.pool.open();
            }
            return Entry::new(Arc::clone(&old.value), wanted.weight).continuing(old);
        }
        let counts = self.counts_of(&wanted.id, &wanted.version);
        Entry::new(Arc::new(UpstreamState::new(wanted.id, wanted.version, wanted.addr, counts)), wanted.weight)
    }

    fn counts_of(&mut self, id: &str, version: &str) -> Arc<Counts> {
        if let Some(known) = self.counts.iter().find(|known| known.id == id && known.version == version) {
            return Arc::clone(&known.counts);
        }
        let failing = self.failing.entry(version.to_owned()).or_insert_with(|| Arc::new(Failing::new()));
        let counts = Arc::new(Counts::new(Arc::clone(&self.audience), Arc::clone(failing)));
        self.counts.push(Counted { id: id.to_owned(), version: version.to_owned(), counts: Arc::clone(&counts) });
        counts
    }

    fn forget_old_counts(&mut self) {
        // Whoever is in the table or in flight shares its counters; the rest is history.
        let mut excess = self.counts.iter().filter(|known| Arc::strong_count(&known.counts) == 1).count();
        excess = excess.saturating_sub(COUNTS_KEPT_MAX);
        self.counts.retain(|known| {
            let forget = excess > 0 && Arc::strong_count(&known.counts) == 1;
            excess -= usize::from(forget);
            if forget {
                let sum = self.forgotten.entry(known.version.clone()).or_default();
                sum.add(&known.counts.read(&known.id, &known.version));
            }
            !forget
        });
        // Whose version has no counters any more is shared by nobody.
        self.failing.retain(|_, failing| Arc::strong_count(failing) > 1);
    }

    /// Takes an upstream out of the rotation and closes its idle connections; returns it, or the removed ones of
    /// that id.
    pub(super) fn retire(&mut self, id: &str) -> Vec<Arc<UpstreamState>> {
        match self.table.find_mut(|upstream| upstream.id == id) {
            Some(entry) => {
                entry.weight = 0;
                entry.value.pool.close();
                vec![Arc::clone(&entry.value)]
            }
            None => self.removed.iter().filter(|upstream| upstream.id == id).cloned().collect(),
        }
    }

    pub(super) fn upstreams(&self) -> Vec<Arc<UpstreamState>> {
        self.table.entries().iter().map(|entry| Arc::clone(&entry.value)).collect()
    }

    pub(super) fn counts(&self) -> Vec<UpstreamCounts> {
        let read = |known: &Counted| {
            let mut read = known.counts.read(&known.id, &known.version);
            let same = |state: &&Arc<UpstreamState>| state.id == known.id && state.version == known.version;
            let listed = self.table.entries().iter().map(|entry| &entry.value);
            read.in_table = listed.clone().any(|state| same(&state));
            read.in_flight = listed.chain(&self.removed).filter(same).map(|state| state.in_flight()).sum();
            read
        };
        self.counts.iter().map(read).collect()
    }

    /// The counters of each version.
    pub(super) fn version_counts(&self) -> Vec<UpstreamCounts> {
        let mut versions = self.forgotten.clone();
        for counts in self.counts() {
            versions.entry(counts.version.clone()).or_default().add(&counts);
        }
        versions.into_iter().map(|(version, counts)| UpstreamCounts { version, ..counts }).collect()
    }
}
