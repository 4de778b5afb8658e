//! The client's side: finds the agent, starts it where that is allowed, and asks it. What can be read without an
//! agent is read from the folder.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use vice_core::payload::version_in;
use vice_core::port::target::{Inventory, Op, UnitHealth, UnitState, Workload};
use vice_core::{Code, Context, Fault, Result};

use super::agent::BASE_VARIABLES;
use super::front::UpstreamCounts;
use super::patience::{self, ANSWERS_WITHIN};
use super::release::StoredWorkload;
use super::state::{InstanceRecord, State, UnitRecord};
use super::wire::{Hello, Line, PROTOCOL, Reply, Request, Setup};
use super::{LocalOptions, LocalTarget, output, process};

/// How long a new agent may take until it answers.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// How often a connection is tried while the agent starts.
const TRY_EVERY: Duration = Duration::from_millis(10);

/// How long is waited before another start when some agent holds the folder and does not answer.
const LOCKED_FOR: Duration = Duration::from_millis(100);

/// So many of the agent's last lines are part of the error when it does not start.
const AGENT_LINES: usize = 5;

/// What the front end has counted for one version since the agent began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionCounts {
    /// The version.
    pub version: String,
    /// Responses of any status.
    pub requests: u64,
    /// Responses of status 200 to 299.
    pub status_2xx: u64,
    /// Responses of status 300 to 399.
    pub status_3xx: u64,
    /// Responses of status 400 to 499.
    pub status_4xx: u64,
    /// Responses of status 500 to 599.
    pub status_5xx: u64,
    /// Connections that switched protocols.
    pub upgrades: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Exchanges that broke off after they had begun.
    pub upstream_errors: u64,
    /// Requests that were handed to this version first and have ended.
    #[serde(default)]
    pub exposures: u64,
    /// Those of them that went wrong.
    #[serde(default)]
    pub failures: u64,
    /// Exposures by time; see [`vice_core::histogram`].
    #[serde(default)]
    pub latency: Vec<u64>,
    /// The sum of those times.
    #[serde(default)]
    pub latency_sum_us: u64,
}

/// What the front end has counted for one upstream, as far as a judgement needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitCounters {
    /// The upstream: a unit and which of its processes.
    pub id: String,
    /// The version it ran.
    pub version: String,
    /// The full name of the release that it ran; none from an agent that counts versions only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Requests that were handed to it first and have ended.
    pub exposures: u64,
    /// Those of them that went wrong.
    pub failures: u64,
    /// The failures, of each client at most one in a window; none from an agent that does not tell clients apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_failures: Option<u64>,
    /// Exposures by time; the buckets that have any. See [`vice_core::histogram`].
    pub latency: Vec<(u16, u64)>,
}

/// What a front end has counted, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontCounters {
    /// Changes whenever counting begins again at zero.
    pub run: String,
    /// The upstreams.
    pub units: Vec<UnitCounters>,
}

impl From<&UpstreamCounts> for UnitCounters {
    fn from(counts: &UpstreamCounts) -> Self {
        let buckets = counts.latency.iter().enumerate().filter(|(_, count)| **count > 0);
        Self {
            id: counts.id.clone(),
            version: version_in(&counts.version).to_owned(),
            release: Some(counts.version.clone()),
            exposures: counts.exposures,
            failures: counts.failures,
            client_failures: Some(counts.client_failures),
            latency: buckets.map(|(bucket, count)| (u16::try_from(bucket).unwrap_or(u16::MAX), *count)).collect(),
        }
    }
}

impl From<UpstreamCounts> for VersionCounts {
    fn from(counts: UpstreamCounts) -> Self {
        Self {
            version: counts.version,
            requests: counts.requests,
            status_2xx: counts.status_2xx,
            status_3xx: counts.status_3xx,
            status_4xx: counts.status_4xx,
            status_5xx: counts.status_5xx,
            upgrades: counts.upgrades,
            connect_failures: counts.connect_failures,
            upstream_errors: counts.upstream_errors,
            exposures: counts.exposures,
            failures: counts.failures,
            latency: counts.latency,
            latency_sum_us: counts.latency_sum_us,
        }
    }
}

/// A unit for people and plans.
pub(super) fn described(
    name: &str,
    unit: &UnitRecord,
    health: UnitHealth,
    instance: Option<&InstanceRecord>,
) -> UnitState {
    let mut facts = BTreeMap::new();
    if let Some(instance) = instance {
        facts.insert("pid".to_owned(), instance.pid.to_string());
        facts.insert("port".to_owned(), instance.port.to_string());
    }
    if unit.drained {
        facts.insert("traffic".to_owned(), "drained".to_owned());
    }
    UnitState {
        name: name.to_owned(),
        release: Some(unit.placed.release.clone()),
        health,
        since: instance.map(|instance| instance.since),
        restarts: unit.restarts,
        url: instance.map(|instance| format!("http://127.0.0.1:{}", instance.port)),
        facts,
    }
}

/// What is there according to the file and the process table, without an agent.
pub(super) fn inventory_of(state: &State) -> Inventory {
    let same_boot = state.boot == process::boot_id();
    let units = state.units.iter().map(|(name, unit)| {
        let is_alive = |record: &&InstanceRecord| same_boot && process::is_alive(record.pid, record.start_time);
        let instance = unit.current.as_ref().filter(is_alive);
        let health = match (unit.running, instance) {
            (false, _) => UnitHealth::Stopped,
            // It may answer by itself, but nobody looks after it, and no front end leads to it.
            (true, Some(_)) => UnitHealth::Unhealthy,
            (true, None) => UnitHealth::Crashed,
        };
        let mut described = described(name, unit, health, instance);
        if unit.running {
            described.facts.insert("agent".to_owned(), "not running".to_owned());
        }
        described
    });
    let units: Vec<UnitState> = units.collect();
    let port = state.front_port.filter(|_| !units.is_empty());
    let url = port.map(|port| format!("http://127.0.0.1:{port}"));
    Inventory { units, url, metrics: None, epoch: state.epoch }
}

pub(super) fn apply_request(op: &Op, workload: Option<&Workload>) -> Request {
    Request::Apply { op: op.clone(), workload: workload.map(StoredWorkload::from) }
}

pub(super) fn undo_request(op: &Op, workload: Option<&Workload>) -> Request {
    Request::Undo { op: op.clone(), workload: workload.map(StoredWorkload::from) }
}

impl LocalTarget {
    /// Asks the agent, if one runs.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<Option<T>> {
        match self.greeted(None).await? {
            Some(line) => self.exchange(line, request).await.map(Some),
            None => Ok(None),
        }
    }

    /// Asks the agent, which is started when none runs.
    pub(super) async fn tell<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        let LocalOptions { scope, port, metrics, clients, .. } = &self.options;
        let setup = Setup { scope: scope.clone(), port: *port, metrics: *metrics, clients: clients.clone() };
        let deadline = Instant::now() + STARTS_WITHIN;
        let mut child: Option<Child> = None;
        loop {
            if let Some(line) = self.greeted(Some(&setup)).await? {
                return self.exchange(line, request).await;
            }
            if Instant::now() >= deadline {
                return Err(self.did_not_start());
            }
            match child.as_mut().map(Child::try_wait) {
                Some(Ok(None)) => {}
                Some(Ok(Some(status))) if status.success() => {
                    // It found another one that is just beginning or ending; which of both will show soon.
                    child = None;
                    sleep(LOCKED_FOR).await;
                }
                Some(_) => return Err(self.did_not_start()),
                None => child = Some(self.start()?),
            }
            sleep(TRY_EVERY).await;
        }
    }

    /// A connection on which the agent has said that it is there; none when it isn't.
    async fn greeted(&self, setup: Option<&Setup>) -> Result<Option<Line>> {
        let line = match UnixStream::connect(self.layout.socket()).await {
            Ok(stream) => Line::new(stream),
            // Nobody takes the connections that wait already.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(self.silent(None).because(error)),
            Err(_) => return Ok(None),
        };
        let (pid, hello) = (line.peer(), Hello { protocol: PROTOCOL, setup: setup.cloned() });
        timeout(ANSWERS_WITHIN, greet(line, &hello)).await.unwrap_or_else(|_| Err(self.silent(pid)))
    }

    fn silent(&self, pid: Option<i32>) -> Fault {
        patience::silent(&self.options.scope, &self.layout, pid)
    }

    async fn exchange<T: DeserializeOwned>(&self, line: Line, request: &Request) -> Result<T> {
        let limit = patience::limit(&self.layout, request);
        self.exchange_within(limit, line, request).await
    }

    async fn exchange_within<T: DeserializeOwned>(&self, limit: Duration, line: Line, request: &Request) -> Result<T> {
        let pid = line.peer();
        let answered = timeout(limit, exchange(line, request)).await;
        answered.unwrap_or_else(|_| {
            Err(match request {
                Request::Apply { .. } | Request::Undo { .. } | Request::Shutdown { remove: true } => {
                    patience::late(&self.options.scope, &self.layout, pid, limit)
                }
                _ => self.silent(pid),
            })
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the agent outlives this process, which CommandRunner's commands must not"
    )]
    fn start(&self) -> Result<Child> {
        self.layout.prepare()?;
        let log = self.layout.agent_log();
        let opened = output::open(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = opened.context(Code::StateUnwritable, || format!("{} can't be written.", log.display()))?;
        let kept = |(name, _): &(&String, &String)| BASE_VARIABLES.contains(&name.as_str());
        let mut command = Command::new(&self.options.exe);
        command.arg("agent").arg("--dir").arg(self.layout.dir()).current_dir("/");
        command.env_clear().envs(self.options.env.vars.iter().filter(kept));
        command.stdin(Stdio::null()).stdout(out).stderr(err).kill_on_drop(false);
        command
            .spawn()
            .context(Code::Io, || format!("The local agent {} can't be started.", self.options.exe.display()))
    }

    fn did_not_start(&self) -> Fault {
        let log = self.layout.agent_log();
        let fault = Fault::new(Code::Unreachable, "The local agent did not start.")
            .hint(format!("Its output is in {}.", log.display()));
        match output::tail(&log, 0, AGENT_LINES) {
            Ok((lines, _)) if !lines.is_empty() => fault.because(format!("its last lines are: {}", lines.join(" | "))),
            _ => fault,
        }
    }
}

/// Hands the connection back when the agent has said that it is there.
async fn greet(mut line: Line, hello: &Hello) -> Result<Option<Line>> {
    // An agent that is about to end breaks off here, before it has begun anything.
    if line.send(hello).await.is_err() {
        return Ok(None);
    }
    match line.receive::<Reply>().await {
        Ok(Some(reply)) => reply.into_result::<()>().map(|()| Some(line)),
        Ok(None) => Ok(None),
        Err(fault) if fault.code() == Code::Unreachable => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn exchange<T: DeserializeOwned>(mut line: Line, request: &Request) -> Result<T> {
    let lost = || {
        Fault::new(Code::Unreachable, "The local agent ended before it answered; what it did is not known.")
            .hint("Resume: the next agent knows what was carried out.")
    };
    match line.send(request).await {
        Err(fault) if fault.code() == Code::Unreachable => return Err(lost().because(fault)),
        sent => sent?,
    }
    match line.receive::<Reply>().await {
        Ok(Some(reply)) => reply.into_result(),
        Ok(None) => Err(lost()),
        Err(fault) if fault.code() == Code::Unreachable => Err(lost().because(fault)),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::UnixListener;
    use vice_core::app::ProcessEnv;
    use vice_core::id::{EnvName, ProjectName, Scope};
    use vice_core::port::target::Change;
    use vice_core::time::SystemClock;

    use super::*;

    fn target(dir: &std::path::Path) -> LocalTarget {
        LocalTarget::new(LocalOptions {
            dir: dir.to_owned(),
            scope: Scope::new(ProjectName::new("shop").unwrap(), EnvName::new("dev").unwrap()),
            exe: dir.join("never-started"),
            port: None,
            metrics: None,
            clients: super::super::front::ClientOptions::default(),
            clock: Arc::new(SystemClock),
            env: Arc::new(ProcessEnv::default()),
        })
    }

    #[tokio::test]
    async fn an_agent_that_falls_silent_is_left_after_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let target = target(dir.path());
        let op = Op { id: "a".into(), epoch: 1, unit: "1".into(), change: Change::Stop, before: None };
        let undo = Request::Undo { op: op.clone(), workload: None };
        let apply = Request::Apply { op, workload: None };
        let me = std::process::id();
        let cases = [(apply, Code::TimedOut), (undo, Code::TimedOut), (Request::Inventory, Code::Unreachable)];
        let listener = UnixListener::bind(target.layout.socket()).unwrap();
        for (request, code) in cases {
            // It says that it is there, and nothing more.
            let greeting = async {
                let mut line = Line::new(listener.accept().await.unwrap().0);
                line.receive::<Hello>().await.unwrap().unwrap();
                line.send(&Reply::of(Ok(()))).await.unwrap();
                line
            };
            let (line, _agent) = tokio::join!(target.greeted(None), greeting);
            let line = line.unwrap().unwrap();
            let within = Duration::from_millis(50);
            let fault = target.exchange_within::<()>(within, line, &request).await.unwrap_err();
            assert_eq!(fault.code(), code);
            assert!(fault.to_string().contains("shop/dev"), "{fault}");
            assert!(fault.to_string().contains(&format!("(pid {me})")), "{fault}");
        }
    }
}
