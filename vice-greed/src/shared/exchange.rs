//! Mirror and medium together: bringing the one up to date with the other, handing batches in, and trying again when
//! somebody else was first.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::{Handle, Runtime};
use tokio::time::{Duration, Instant};
use vice_core::store::Verification;
use vice_core::{Code, Digest, Fault, Result};

use super::draft::{Drafted, draft};
use super::medium::{Kept, Known, Medium, Pushed};
use super::mirror::{self, Taken};
use crate::desk::{Answer, Work};
use crate::jsonl::log::Log;
use crate::jsonl::verify;
use crate::place::Notices;
use crate::witness::Witness;

/// How often a batch is decided anew because somebody else was first. Each loss means that another one won.
const ROUNDS_MAX: u32 = 200;

/// How long a batch is fought for.
const FIGHT_MAX: Duration = Duration::from_secs(60);

/// The longest pause between two tries.
const PAUSE_MAX_MS: u64 = 400;

/// Pages of batches that one pull may have; a thousand batches each.
const PAGES_MAX: u32 = 100_000;

/// The runtime on which a medium works: a connection must live on the one that made it.
struct Engine(Option<Runtime>);

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct State {
    log: Log,
    witness: Option<Witness>,
}

/// A shared history on this machine.
pub(crate) struct Exchange {
    place: String,
    folder: PathBuf,
    medium: tokio::sync::Mutex<Box<dyn Medium>>,
    state: Mutex<State>,
    /// When the medium was last looked at.
    looked: Mutex<Option<Instant>>,
    engine: OnceLock<Engine>,
    notices: Notices,
}

/// What became of a group of works.
pub(crate) struct Grouped {
    pub(crate) answers: Vec<Answer>,
    pub(crate) head: Option<vice_core::store::LogHead>,
}

impl Exchange {
    pub(crate) fn new(place: String, medium: Box<dyn Medium>, folder: PathBuf, notices: Notices) -> Self {
        Self {
            place,
            medium: tokio::sync::Mutex::new(medium),
            state: Mutex::new(State { log: Log::new(folder.clone()), witness: None }),
            folder,
            looked: Mutex::new(None),
            engine: OnceLock::new(),
            notices,
        }
    }

    /// The runtime of the medium.
    pub(crate) fn handle(&self) -> Result<Handle> {
        if self.engine.get().is_none() {
            let made = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("shared-history")
                .enable_all()
                .build()
                .map_err(|error| {
                    Fault::internal("The runtime of the shared history can't be started.").because(error)
                })?;
            // When another thread was first, this one ends with its unused runtime.
            drop(self.engine.set(Engine(Some(made))));
        }
        let runtime = self.engine.get().and_then(|engine| engine.0.as_ref());
        runtime.map(|runtime| runtime.handle().clone()).ok_or_else(|| Fault::internal("The history is closed."))
    }

    /// Runs something on the medium's runtime, to its end even when nobody waits any more.
    pub(crate) async fn on_engine<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let done = self.handle()?.spawn(work).await;
        done.map_err(|error| Fault::internal("The shared history broke down.").because(error))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the mirror as it is.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Log) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        mirror::refresh(&mut state.log)?;
        work(&state.log)
    }

    fn is_older_than(&self, age: Duration) -> bool {
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.is_none_or(|looked| looked.elapsed() >= age)
    }

    /// Looks for what others appended, unless that was done a moment ago.
    pub(crate) async fn freshen(&self, age: Duration) -> Result<()> {
        if !self.is_older_than(age) {
            return Ok(());
        }
        let mut medium = self.medium.lock().await;
        // Whoever had it before may have looked.
        if self.is_older_than(age) { self.pull(medium.as_mut()).await } else { Ok(()) }
    }

    /// Brings the mirror to where the medium is.
    async fn pull(&self, medium: &mut dyn Medium) -> Result<()> {
        let mut anew = false;
        for _ in 0..PAGES_MAX {
            let known = self.known()?;
            let page = medium.pull(&known).await.map_err(|fault| self.lost(fault))?;
            let taken = mirror::take(&mut self.state().log, &page.batches)?;
            match taken {
                Taken::All => {}
                // The copy may be what is wrong; all of it is fetched once more before the medium is blamed.
                Taken::Strange(_) if !anew => {
                    anew = true;
                    mirror::reset(&mut self.state().log)?;
                    continue;
                }
                Taken::Strange(problem) => return Err(mirror::rewritten(&self.place, &problem)),
            }
            if !page.more {
                match self.witnessed() {
                    Err(fault) if fault.code() == Code::HistoryDamaged && !anew => {
                        anew = true;
                        mirror::reset(&mut self.state().log)?;
                        continue;
                    }
                    other => other?,
                }
                *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                return Ok(());
            }
        }
        Err(Fault::internal("The shared history has no end."))
    }

    fn witnessed(&self) -> Result<()> {
        let mut guard = self.state();
        let state = &mut *guard;
        mirror::witness(&mut state.log, &mut state.witness, &self.place)
    }

    fn lost(&self, fault: Fault) -> Fault {
        if fault.code() != Code::HistoryDamaged {
            return fault;
        }
        mirror::rewritten(&self.place, &fault.to_string())
    }

    fn known(&self) -> Result<Known> {
        let mut state = self.state();
        mirror::refresh(&mut state.log)?;
        mirror::known(&state.log)
    }

    /// Decides on works and hands in what they write, until it is stored or refused.
    pub(crate) async fn group(&self, works: &[Work]) -> Result<Grouped> {
        let mut medium = self.medium.lock().await;
        let begun = Instant::now();
        let mut latest = false;
        if self.is_older_than(Duration::MAX) {
            self.pull(medium.as_mut()).await?;
            latest = true;
        }
        for round in 0..ROUNDS_MAX {
            let drafted = self.draft(works)?;
            if drafted.unproven && !latest {
                self.pull(medium.as_mut()).await?;
                latest = true;
                continue;
            }
            if drafted.bytes.is_empty() {
                return Ok(Grouped { answers: drafted.answers, head: None });
            }
            match medium.push(&drafted.known, &drafted.bytes, &drafted.summary).await {
                Ok(Pushed::Done(tip)) => return self.stored(drafted, tip),
                Ok(Pushed::Lost) if begun.elapsed() < FIGHT_MAX => pause(round).await,
                Ok(Pushed::Lost) => break,
                // Nobody can tell whether it was written; if so, its events are recognised.
                Err(fault) if fault.code() == Code::Unreachable && round == 0 => {
                    tracing::warn!("the answer of the shared history was lost: {fault}");
                }
                Err(fault) => return Err(fault),
            }
            self.pull(medium.as_mut()).await?;
            latest = true;
        }
        Err(Fault::new(Code::Io, format!("Others kept writing to {} first.", self.place))
            .hint("Nothing was recorded. Try again in a moment."))
    }

    fn draft(&self, works: &[Work]) -> Result<Drafted> {
        let mut state = self.state();
        mirror::refresh(&mut state.log)?;
        let known = mirror::known(&state.log)?;
        draft(&state.log, known, works)
    }

    /// The batch is durable; the mirror gets it as well. That this fails must not make anybody believe it were not.
    fn stored(&self, drafted: Drafted, tip: String) -> Result<Grouped> {
        let mut guard = self.state();
        let state = &mut *guard;
        let taken = mirror::take(&mut state.log, &[Kept { tip, bytes: drafted.bytes }]);
        let noted = match taken {
            Ok(Taken::All) => mirror::witness(&mut state.log, &mut state.witness, &self.place),
            Ok(Taken::Strange(problem)) => Err(Fault::internal(problem)),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = noted {
            (self.notices)(&format!("The copy of {} on this machine could not be written: {fault}", self.place));
        }
        Ok(Grouped { answers: drafted.answers, head: Some(drafted.head) })
    }

    pub(crate) async fn beat(&self, scope: &str, mark: &str) -> Result<()> {
        self.medium.lock().await.beat(scope, mark).await
    }

    pub(crate) async fn pulse(&self, scope: &str) -> Result<Option<String>> {
        self.medium.lock().await.pulse(scope).await
    }

    /// Fetches everything anew into a folder of its own, checks that, and compares it with the mirror.
    pub(crate) async fn verify(&self) -> Result<Verification> {
        let mut medium = self.medium.lock().await;
        let mut problems = Vec::new();
        if let Err(fault) = self.pull(medium.as_mut()).await {
            if fault.code() != Code::HistoryDamaged {
                return Err(fault);
            }
            problems.push(fault.to_string());
        }
        let fail = |error| crate::disk::unwritable(error, &self.folder);
        crate::disk::make_private_dir(&self.folder).map_err(fail)?;
        let place = tempfile::Builder::new().prefix("verify-").tempdir_in(&self.folder).map_err(fail)?;
        let other: Notices = Arc::new(|_| {});
        let copy = Self::new(self.place.clone(), medium.elsewhere(place.path()), place.path().to_owned(), other);
        let again = {
            let mut medium = copy.medium.lock().await;
            copy.pull(medium.as_mut()).await
        };
        if let Err(fault) = again {
            if fault.code() != Code::HistoryDamaged {
                return Err(fault);
            }
            problems.push(fault.to_string());
        }
        let mut found = verify::verify(&copy.state().log)?;
        let ours = self.read(|log| Ok((log.index.records, log.index.mark)))?;
        let theirs = copy.read(|log| Ok((log.index.records, log.index.mark)))?;
        if problems.is_empty() && ours != theirs {
            problems.push(differ(ours, theirs));
        }
        problems.append(&mut found.problems);
        Ok(Verification { problems, ..found })
    }

    /// Brings the witness to the disk.
    pub(crate) fn release(&self) -> Result<()> {
        let mut state = self.state();
        state.log.forget();
        state.witness.take().map_or(Ok(()), |mut witness| witness.sync())
    }

    pub(crate) fn due_in(&self) -> Option<Duration> {
        self.state().witness.as_ref().and_then(Witness::due_in)
    }

    pub(crate) fn sync(&self) -> Result<()> {
        self.state().witness.as_mut().map_or(Ok(()), Witness::sync)
    }
}

fn differ(ours: (u64, Digest), theirs: (u64, Digest)) -> String {
    format!("The copy on this machine has {} records and the shared history {}, or they differ.", ours.0, theirs.0)
}

/// Waits longer after each loss, and not as long as others do: by the process, so that two do not meet again and again.
async fn pause(round: u32) {
    let most = PAUSE_MAX_MS.min(4 << round.min(10));
    let seed = Digest::of(format!("{}/{round}", std::process::id()).as_bytes());
    let part = u64::from(seed.0[0]) * most / 255;
    tokio::time::sleep(Duration::from_millis(part)).await;
}
