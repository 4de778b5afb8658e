//! One process: started with an environment made from scratch, watched to its end, and ended with its whole group.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;
use vice_core::port::target::Workload;
use vice_core::template::{Vars, render};
use vice_core::{Code, Context, Fault, Millis, Result};

use super::super::live::{self, FILE_VARIABLE, RELEASE_VARIABLE};
use super::super::output;
use super::super::process::{self, TOKEN_VARIABLE};
use super::super::state::InstanceRecord;
use super::Agent;

/// How long a killed process may take to be collected.
const KILLED_WITHIN: Millis = Millis::from_secs(5);

/// A process that is or was running. Cheap to clone.
#[derive(Clone)]
pub(super) struct Instance {
    pub(super) record: InstanceRecord,
    /// How it ended, once it has.
    ended: watch::Receiver<Option<String>>,
    /// Where its output begins in the unit's log.
    pub(super) log_from: u64,
    /// How the tokens of its folder's processes begin.
    token_prefix: Arc<str>,
}

impl Instance {
    fn of_child(record: InstanceRecord, mut child: Child, log_from: u64, token_prefix: Arc<str>) -> Self {
        let (tell, ended) = watch::channel(None);
        tokio::spawn(async move {
            let how = child.wait().await.map_or_else(|error| error.to_string(), describe);
            tell.send_replace(Some(how));
        });
        Self { record, ended, log_from, token_prefix }
    }

    /// A process that an earlier agent has started.
    pub(super) fn adopted(record: InstanceRecord, token_prefix: Arc<str>) -> Self {
        let (tell, ended) = watch::channel(None);
        let (pid, started) = (record.pid, record.start_time);
        tokio::spawn(async move {
            process::gone(pid, started).await;
            tell.send_replace(Some("it ended".to_owned()));
        });
        Self { record, ended, log_from: 0, token_prefix }
    }

    /// The name under which the front end knows it.
    pub(super) fn front_id(&self, unit: &str) -> String {
        format!("{unit}#{}", self.record.generation)
    }

    /// How it ended, if it has.
    pub(super) fn has_ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits for its end and says how.
    pub(super) async fn end(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "it is no longer watched".to_owned(),
        }
    }

    /// Ends it with everything it has started: SIGTERM, and SIGKILL when it takes longer than `politely`.
    pub(super) async fn stop(&self, politely: Millis) {
        let leader = self.record.pid;
        if self.has_ended().is_none() && politely > Millis::ZERO {
            process::signal_group(leader, Signal::TERM);
            let in_time = timeout(politely.as_duration(), self.end()).await.is_ok();
            tracing::info!(pid = leader, in_time, "told to end");
        }
        // Also after a polite end: what it has started may have stayed.
        process::signal_group(leader, Signal::KILL);
        if timeout(KILLED_WITHIN.as_duration(), self.end()).await.is_err() {
            tracing::warn!(pid = leader, "a killed process does not go away");
        }
        // And what has left the group for a session of its own.
        process::kill_marked(&self.token_prefix, self.record.generation).await;
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with status {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// Starts a process for a unit and notes it as loose, so that it can't be forgotten.
pub(super) async fn spawn(agent: &Agent, unit: &str, workload: &Workload) -> Result<Instance> {
    let generation = agent.next_generation().await?;
    let port = free_port()?;
    let mut command = command(agent, unit, workload, port, generation)?;
    if workload.reload.is_some() {
        live::write(&agent.layout, generation, workload)?;
        command.env(FILE_VARIABLE, agent.layout.live(generation));
    }
    let log = agent.layout.log(unit);
    let log_from = output::size(&log);
    let opened = output::open(&log).and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = opened.context(Code::StateUnwritable, || format!("{} can't be written.", log.display()))?;
    let child = command.stdout(out).stderr(err).spawn().map_err(|error| cannot_start(&workload.command, error))?;
    let pid = child.id().ok_or_else(|| Fault::internal("A process that was just started has no pid."))?;
    let record = InstanceRecord {
        generation,
        pid,
        // A child that has ended already has none; it is found out at once by whoever waits for its health.
        start_time: process::start_time(pid).unwrap_or(0),
        port,
        since: agent.clock.now(),
        version: workload.release.version.clone(),
        stop_timeout: workload.stop_timeout,
    };
    let instance = Instance::of_child(record, child, log_from, agent.layout.token_prefix().into());
    tracing::info!(unit, generation, pid, port, version = instance.record.version, "started");
    let noted = instance.record.clone();
    let noting = agent.store.update(|state| {
        state.loose.push(noted);
        Ok(())
    });
    if let Err(fault) = noting.await {
        instance.stop(Millis::ZERO).await;
        return Err(fault);
    }
    Ok(instance)
}

fn cannot_start(command: &[String], error: std::io::Error) -> Fault {
    let program = command.first().map_or("", String::as_str);
    Fault::new(Code::Usage, format!("The command {program:?} can't be started."))
        .hint("See that the program is part of the artifact or on PATH, and that it is executable.")
        .because(error)
}

fn free_port() -> Result<u16> {
    let taken = || "No free port can be had on 127.0.0.1.".to_owned();
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).context(Code::PortInUse, taken)?;
    socket.local_addr().map(|address| address.port()).context(Code::PortInUse, taken)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the agent owns instances for their whole life; CommandRunner runs commands to their end"
)]
fn command(agent: &Agent, unit: &str, workload: &Workload, port: u16, generation: u64) -> Result<Command> {
    let vars: Vars = [("port", port.to_string()), ("unit", unit.to_owned())].map(|(k, v)| (k.to_owned(), v)).into();
    let argv = workload.command.iter().map(|word| render(word, &vars)).collect::<Result<Vec<_>>>()?;
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| Fault::new(Code::Usage, "The release has no command.").hint("Set `command` in vice.toml."))?;
    let dir = workload.files.clone().unwrap_or_else(|| agent.layout.work());
    let mut command = Command::new(program_path(program, &dir));
    command.args(arguments).current_dir(&dir).env_clear().envs(&agent.base_env);
    command.envs(workload.environment.iter().map(|(name, value)| (name, value.reveal())));
    command.envs(own_variables(agent, unit, workload, port, generation));
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(false);
    Ok(command)
}

/// A path is meant inside the artifact, a bare name is looked up on PATH.
fn program_path(program: &str, dir: &Path) -> PathBuf {
    if program.contains('/') { dir.join(program) } else { PathBuf::from(program) }
}

fn own_variables(
    agent: &Agent,
    unit: &str,
    workload: &Workload,
    port: u16,
    generation: u64,
) -> BTreeMap<&'static str, String> {
    let scope = agent.store.read().scope.clone();
    BTreeMap::from([
        ("PORT", port.to_string()),
        ("VICE_PROJECT", scope.as_ref().map(|scope| scope.project.to_string()).unwrap_or_default()),
        ("VICE_ENV", scope.as_ref().map(|scope| scope.env.to_string()).unwrap_or_default()),
        ("VICE_VERSION", workload.release.version.clone()),
        (RELEASE_VARIABLE, workload.release.full_name()),
        ("VICE_UNIT", unit.to_owned()),
        (TOKEN_VARIABLE, format!("{}{generation}", agent.layout.token_prefix())),
    ])
}
