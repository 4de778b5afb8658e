//! A history together with its archive: whoever reads an event gets its data, wherever they are. A file is fetched when
//! something in it is wanted, held to the digest in the chain, and kept in memory for a while. When it is not at hand, the
//! event comes without its data, which is said once, and nothing can be concluded from it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant};
use vice_core::Result;
use vice_core::app::ProcessEnv;
use vice_core::capability::Capability;
use vice_core::event::Recorded;
use vice_core::payload::history::DataArchived;
use vice_core::store::{EventStore, Query, StoreLayer, Verification};

use super::anchors;
use super::file::{Away, Bodies, fetch};
use crate::backup::{seal::Keys, vault};
use crate::place::Notices;

/// Files that are kept in memory: a rollout or a page lies in one or two.
const FILES_MAX: usize = 3;

/// So long a file that was not at hand is not asked for again.
const PATIENCE: Duration = Duration::from_secs(60);

/// The store with its archive, if it is one that can have one.
#[must_use]
pub(crate) fn reunited(store: Arc<dyn EventStore>, env: &Arc<ProcessEnv>, notices: &Notices) -> Arc<dyn EventStore> {
    if !store.capabilities().has(Capability::Archive) {
        return store;
    }
    let (env, notices) = (Arc::clone(env), Arc::clone(notices));
    Arc::new(Reunited { inner: store, env, notices, shelf: Mutex::default() })
}

struct Reunited {
    inner: Arc<dyn EventStore>,
    env: Arc<ProcessEnv>,
    notices: Notices,
    shelf: Mutex<Shelf>,
}

/// What is known of the archive.
#[derive(Default)]
struct Shelf {
    /// Up to which version the history's own stream was read.
    version: u64,
    /// The files by number.
    files: Vec<DataArchived>,
    /// The last event and the file of each span, by its first event.
    spans: BTreeMap<u64, (u64, usize)>,
    /// The files in memory, the latest last.
    open: VecDeque<(usize, Arc<Bodies>)>,
    /// Since when a file is known not to be at hand.
    away: HashMap<usize, Instant>,
}

impl Shelf {
    async fn refresh(&mut self, store: &dyn EventStore) -> Result<()> {
        let (found, version) = anchors(store, self.version).await?;
        self.version = version;
        for anchor in found {
            let number = self.files.len();
            self.spans.extend(anchor.archived.spans.iter().map(|(first, last)| (*first, (*last, number))));
            self.files.push(anchor.archived);
        }
        Ok(())
    }

    fn file_of(&self, seq: u64) -> Option<usize> {
        let (_, (last, file)) = self.spans.range(..=seq).next_back()?;
        (*last >= seq).then_some(*file)
    }
}

impl Reunited {
    async fn fetch(&self, archived: &DataArchived) -> Result<Bodies, Away> {
        let vault = vault(&archived.place, &self.env).map_err(Away::NotAtHand)?;
        let keys = Keys::of(&self.env).map_err(Away::NotAtHand)?;
        fetch(&*vault, &keys, archived).await
    }

    async fn bodies(&self, shelf: &mut Shelf, file: usize) -> Option<Arc<Bodies>> {
        if let Some((_, bodies)) = shelf.open.iter().find(|(number, _)| *number == file) {
            return Some(Arc::clone(bodies));
        }
        if shelf.away.get(&file).is_some_and(|since| since.elapsed() < PATIENCE) {
            return None;
        }
        let fetched = self.fetch(&shelf.files[file]).await;
        match fetched {
            Ok(bodies) => {
                let bodies = Arc::new(bodies);
                shelf.open.push_back((file, Arc::clone(&bodies)));
                if shelf.open.len() > FILES_MAX {
                    shelf.open.pop_front();
                }
                Some(bodies)
            }
            Err(away) => {
                (self.notices)(&told(&shelf.files[file], &away));
                shelf.away.insert(file, Instant::now());
                None
            }
        }
    }

    /// Gives the events back their data, where they are at hand.
    async fn bring_back(&self, events: &mut [Recorded]) -> Result<()> {
        let mut shelf = self.shelf.lock().await;
        shelf.refresh(&*self.inner).await?;
        for recorded in events.iter_mut().filter(|recorded| !recorded.event.has_data()) {
            let Some(file) = shelf.file_of(recorded.seq) else { continue };
            let Some(bodies) = self.bodies(&mut shelf, file).await else { continue };
            if let Some(found) = bodies.get(recorded.seq)
                && found.chain == recorded.chain
            {
                recorded.event.data = found.event.data;
            }
        }
        Ok(())
    }
}

fn told(archived: &DataArchived, away: &Away) -> String {
    let DataArchived { place, file, events, spans, .. } = archived;
    let (first, last) = (spans.first().map_or(0, |span| span.0), spans.last().map_or(0, |span| span.1));
    let fault = match away {
        Away::NotAtHand(fault) | Away::Damaged(fault) => fault.chain().join(" "),
    };
    format!(
        "The data of {events} events between {first} and {last} are archived in {file} of {place}, which can't be read here: {fault}"
    )
}

#[async_trait]
impl StoreLayer for Reunited {
    fn inner(&self) -> &dyn EventStore {
        &*self.inner
    }
    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        let mut events = self.inner.read(query).await?;
        if !query.bare && events.iter().any(|recorded| !recorded.event.has_data()) {
            self.bring_back(&mut events).await?;
        }
        Ok(events)
    }

    /// The history, and every file of its archive that is at hand. One that is not is told, and is no damage: the chain is
    /// whole without it.
    async fn verify(&self) -> Result<Verification> {
        let mut found = self.inner.verify().await?;
        for anchor in anchors(&*self.inner, 0).await?.0 {
            match self.fetch(&anchor.archived).await {
                Ok(_) => {}
                Err(away @ Away::NotAtHand(_)) => (self.notices)(&told(&anchor.archived, &away)),
                Err(Away::Damaged(fault)) => found.problems.push(fault.chain().join(" ")),
            }
        }
        Ok(found)
    }
}
