//! The agent's socket: one task a connection, one request each.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep, timeout};
use vice_core::port::target::{CONFIG_FACT, Inventory, UnitState, WeightTable};
use vice_core::{Code, Context, Fault, Millis, Result};

use super::super::client::described;
use super::super::shares;
use super::super::wire::{Hello, Line, PROTOCOL, Reply, Request};
use super::Agent;

/// An agent without units ends when nobody has asked for anything for so long.
const IDLE_FOR: Duration = Duration::from_secs(3);

/// How often idleness is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a client may take to say what it wants.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

/// Answers until the agent has nothing to do or is told to end.
pub(super) async fn serve(agent: &Arc<Agent>) -> Result<()> {
    let path = agent.layout.claim_socket()?;
    let failed = || format!("The agent can't listen on {}.", path.display());
    // Left by an agent that was killed; the lock says that it is nobody's.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context(Code::Io, failed),
        _ => {}
    }
    let listener = UnixListener::bind(&path).context(Code::Io, failed)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).context(Code::Io, failed)?;
    let connections = Arc::new(AtomicUsize::new(0));
    tokio::select! {
        () = accept(agent, &listener, &connections) => {}
        () = idle(agent, &connections) => {}
        () = agent.quit.cancelled() => {}
        () = agent.keep_logs_small() => {}
    }
    drop(listener);
    // Whoever was accepted before is served to the end.
    while connections.load(Ordering::SeqCst) > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    let gone = std::fs::remove_file(&path);
    gone.context(Code::Io, || format!("{} can't be removed.", path.display()))
}

async fn accept(agent: &Arc<Agent>, listener: &UnixListener, connections: &Arc<AtomicUsize>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.fetch_add(1, Ordering::SeqCst);
                let (agent, connections) = (Arc::clone(agent), Arc::clone(connections));
                // A task of its own: an operation goes on when its client goes away.
                tokio::spawn(async move {
                    if let Err(fault) = answer(&agent, stream).await {
                        tracing::debug!(%fault, "a client went away");
                    }
                    connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a client can't be accepted");
                sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// Returns when there is nothing to look after and nobody has asked for a while.
async fn idle(agent: &Agent, connections: &AtomicUsize) {
    let mut since = Instant::now();
    while since.elapsed() < IDLE_FOR {
        sleep(LOOK_EVERY).await;
        let state = agent.store.read();
        let busy = connections.load(Ordering::SeqCst) > 0 || !agent.running.is_empty();
        if busy || !state.units.is_empty() || !state.loose.is_empty() {
            since = Instant::now();
        }
    }
}

async fn answer(agent: &Arc<Agent>, stream: UnixStream) -> Result<()> {
    let mut line = Line::new(stream);
    let late = || Fault::new(Code::TimedOut, "The client did not say what it wants.");
    let Some(hello) = timeout(SAYS_WITHIN, line.receive::<Hello>()).await.map_err(|_| late())?? else {
        return Ok(());
    };
    let greeted = greet(agent, &hello).await;
    let welcome = greeted.is_ok();
    line.send(&Reply::of(greeted)).await?;
    if !welcome {
        return Ok(());
    }
    let reply = match timeout(SAYS_WITHIN, line.receive::<Request>()).await.map_err(|_| late())? {
        Ok(Some(request)) => carry_out(agent, request).await,
        Ok(None) => return Ok(()),
        // A later client may ask for what this agent has never heard of; it is told so, instead of nothing.
        Err(fault) if fault.code() == Code::Decode => Reply::of::<()>(Err(unknown_request())),
        Err(fault) => return Err(fault),
    };
    line.send(&reply).await
}

async fn greet(agent: &Agent, hello: &Hello) -> Result<()> {
    if hello.protocol != PROTOCOL {
        return Err(Fault::new(Code::Unsupported, "The local agent that runs is of another version of vice.")
            .hint("Stop the agent of this project and environment; its instances go on and are adopted by the next."));
    }
    match &hello.setup {
        Some(setup) => agent.set_up(setup).await,
        None => Ok(()),
    }
}

fn unknown_request() -> Fault {
    Fault::new(Code::Unsupported, "The local agent does not know this request.")
        .hint("It is of another version of vice. Stop it; its instances go on and are adopted by the next.")
}

async fn carry_out(agent: &Arc<Agent>, request: Request) -> Reply {
    match request {
        Request::Inventory => Reply::of(Ok(agent.inventory().await)),
        Request::Fence { epoch } => Reply::of(agent.fence(epoch).await),
        Request::Observe { op } => Reply::of(Ok(agent.observe(&op).await)),
        Request::Apply { op, workload } => Reply::of(agent.apply(&op, workload.map(Into::into)).await),
        Request::Undo { op, workload } => Reply::of(agent.undo(&op, workload.map(Into::into)).await),
        Request::Table => Reply::of(Ok(agent.table())),
        Request::SetWeights { table } => Reply::of(agent.set_weights(table).await),
        Request::Drain { unit, epoch, at_most } => Reply::of(agent.drain(&unit, epoch, at_most).await),
        Request::Counts => Reply::of(Ok(agent.counts())),
        Request::Counters => Reply::of(Ok(agent.counters())),
        Request::Shutdown { remove } => Reply::of(agent.shut_down(remove).await),
    }
}

impl Agent {
    async fn inventory(&self) -> Inventory {
        let state = self.store.read();
        let mut units: Vec<UnitState> = state
            .units
            .iter()
            .map(|(name, unit)| described(name, unit, self.cell(name).health(), unit.current.as_ref()))
            .collect();
        let looked = futures::future::join_all(units.iter().map(|unit| self.config_drift(&unit.name))).await;
        for (unit, drift) in units.iter_mut().zip(looked) {
            unit.facts.extend(drift.map(|drift| (CONFIG_FACT.to_owned(), drift)));
        }
        let port = self.front.port().filter(|_| !units.is_empty());
        Inventory {
            units,
            url: port.map(|port| format!("http://127.0.0.1:{port}")),
            metrics: self.exposition.url(),
            epoch: state.epoch,
        }
    }

    fn table(&self) -> WeightTable {
        self.store.read().table()
    }

    async fn set_weights(&self, table: WeightTable) -> Result<()> {
        self.fence(table.epoch).await?;
        let set = self.store.update(|state| {
            state.check_epoch(table.epoch)?;
            shares::check(&table, &state.names())?;
            state.weights = Some(table).filter(|table| !table.weights.is_empty());
            Ok(())
        });
        set.await?;
        self.route();
        Ok(())
    }

    async fn drain(&self, unit: &str, epoch: u64, at_most: Millis) -> Result<usize> {
        self.fence(epoch).await?;
        let drained = self.store.update(|state| {
            state.check_epoch(epoch)?;
            state.unit(unit)?;
            state.units.entry(unit.to_owned()).and_modify(|record| record.drained = true);
            Ok(())
        });
        drained.await?;
        self.route();
        match self.cell(unit).instance() {
            Some(instance) => Ok(self.front.drain(&instance.front_id(unit), at_most).await),
            None => Ok(0),
        }
    }

    /// Ends the agent. Its instances go on and wait for the next one, or, with `remove`, end first.
    async fn shut_down(&self, remove: bool) -> Result<()> {
        let epoch = self.store.read().epoch;
        self.running.shut_out(u64::MAX).await;
        if remove {
            self.remove_all(epoch).await?;
        }
        self.quit.cancel();
        Ok(())
    }

    async fn remove_all(&self, epoch: u64) -> Result<()> {
        self.cells().iter().for_each(|cell| cell.dismiss_minder());
        let removed = self.store.update(|state| {
            state.check_epoch(epoch)?;
            let units: BTreeMap<_, _> = std::mem::take(&mut state.units);
            state.loose.extend(units.into_values().filter_map(|unit| unit.current));
            state.weights = None;
            Ok(())
        });
        removed.await?;
        for cell in self.cells() {
            let _serial = cell.serial.lock().await;
            if let Some(instance) = cell.replace(None, vice_core::port::target::UnitHealth::Stopped) {
                self.route();
                self.retire(&cell.name, &instance, instance.record.stop_timeout).await;
            }
        }
        super::super::release::prune(&self.layout, &self.store.read());
        Ok(())
    }
}
