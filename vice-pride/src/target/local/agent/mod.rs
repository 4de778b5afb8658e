//! The agent: the one detached process that owns the instances and the front end of a project in an environment.
//!
//! It outlives every command, is found through its socket, and keeps all that matters in the state file, so that it
//! may be killed at any moment: the next agent ends what was half done, adopts what runs, and goes on.

mod bring_up;
mod exposition;
mod front_end;
mod instance;
mod mind;
mod operate;
mod recover;
mod reload;
mod running;
mod serve;
mod unit;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use vice_core::{Clock, Code, Context, Result};

use self::exposition::Exposition;
use self::front_end::FrontEnd;
use self::running::Running;
use self::unit::UnitCell;
use super::layout::Layout;
use super::state::{self, Store};

/// The variables that every child gets.
pub(super) const BASE_VARIABLES: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "USER"];

/// Everything that the agent's tasks share.
struct Agent {
    layout: Layout,
    clock: Arc<dyn Clock>,
    store: Store,
    /// When this process began.
    began: Timestamp,
    front: Arc<FrontEnd>,
    exposition: Exposition,
    running: Running,
    units: Mutex<BTreeMap<String, Arc<UnitCell>>>,
    base_env: BTreeMap<String, String>,
    /// Ends the agent.
    quit: CancellationToken,
}

impl Agent {
    /// What is known of a unit beside its record; made when it is first named.
    fn cell(&self, unit: &str) -> Arc<UnitCell> {
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(units.entry(unit.to_owned()).or_insert_with(|| Arc::new(UnitCell::new(unit))))
    }

    fn cells(&self) -> Vec<Arc<UnitCell>> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    async fn next_generation(&self) -> Result<u64> {
        let counted = self.store.update(|state| {
            state.generation += 1;
            Ok(state.generation)
        });
        counted.await
    }
}

/// Runs the agent of a folder until it has nothing to do; what the hidden `agent` command calls. Returns at once when
/// another one is running there.
///
/// # Errors
/// `StateUnwritable`, `Decode` and the like when the folder can't be used.
pub async fn agent_main(dir: PathBuf, clock: Arc<dyn Clock>) -> Result<()> {
    // It fails for the leader of a group, which then has a terminal of its own anyway.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "no session of its own");
    }
    let layout = Layout::new(dir);
    layout.prepare()?;
    let lock_path = layout.lock();
    let lock = std::fs::File::options().create(true).append(true).open(&lock_path);
    let lock = lock.context(Code::StateUnwritable, || format!("{} can't be opened.", lock_path.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Ok(()),
        Err(std::fs::TryLockError::Error(error)) => {
            return Err(error).context(Code::Io, || format!("{} can't be locked.", lock_path.display()));
        }
    }
    let stored = state::load(&layout)?;
    let agent = Arc::new(Agent {
        store: Store::new(layout.clone(), stored),
        layout,
        began: clock.now(),
        clock,
        front: Arc::default(),
        exposition: Exposition::default(),
        running: Running::default(),
        units: Mutex::default(),
        base_env: base_env(),
        quit: CancellationToken::new(),
    });
    agent.recover().await?;
    let served = serve::serve(&agent).await;
    agent.exposition.close();
    agent.front.close().await;
    // Held to the last moment: the next agent must not begin before this one has let go of everything.
    drop(lock);
    served
}

#[expect(
    clippy::disallowed_methods,
    reason = "the agent's environment is exactly what its starter chose; it is read once, here"
)]
fn base_env() -> BTreeMap<String, String> {
    let set = BASE_VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    set.collect()
}
