//! From a workload to a healthy process, or to an error that says why not and no process.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use vice_core::port::target::Workload;
use vice_core::{Code, Fault, Millis, Result};

use super::super::health;
use super::super::live;
use super::super::output;
use super::super::release::masker;
use super::Agent;
use super::instance::{Instance, spawn};

/// The first pause between two questions; short, so that a fast service starts fast.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The longest pause while an instance starts.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// How often another port is tried when somebody was faster.
const PORT_TRIES: u32 = 3;

/// A command without a health probe that runs so long, or accepts connections earlier, has started.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);

/// So many of its last lines are part of the error.
const TAIL_LINES: usize = 5;

/// A line in an error is cut, in characters.
const TAIL_LINE_CHARS: usize = 300;

/// Starts a process and waits until it is healthy. It stays noted as loose until the caller switches to it. On an
/// error it is gone.
pub(super) async fn bring_up(
    agent: &Agent,
    unit: &str,
    workload: &Workload,
    cancel: &CancellationToken,
) -> Result<Instance> {
    let mut tries = 1;
    loop {
        let instance = spawn(agent, unit, workload).await?;
        let Err(fault) = ready(agent, unit, &instance, workload, cancel).await else { return Ok(instance) };
        discard(agent, &instance).await;
        if fault.code() != Code::PortInUse || tries == PORT_TRIES || cancel.is_cancelled() {
            return Err(fault);
        }
        tries += 1;
    }
}

/// Ends a process that will not be used and forgets it.
pub(super) async fn discard(agent: &Agent, instance: &Instance) {
    instance.stop(Millis::ZERO).await;
    forget(agent, instance).await;
}

/// Takes an ended process off the list of loose ones.
pub(super) async fn forget(agent: &Agent, instance: &Instance) {
    let generation = instance.record.generation;
    live::remove(&agent.layout, generation);
    let forgotten = agent.store.update(|state| {
        state.loose.retain(|loose| loose.generation != generation);
        Ok(())
    });
    if let Err(fault) = forgotten.await {
        // Harmless: it is gone, and whoever reads the list looks at the start time.
        tracing::warn!(%fault, generation, "an ended process stays on the list");
    }
}

async fn ready(
    agent: &Agent,
    unit: &str,
    instance: &Instance,
    workload: &Workload,
    cancel: &CancellationToken,
) -> Result<()> {
    let deadline = Instant::now() + workload.ready_timeout.as_duration();
    let mut last = String::new();
    let why = tokio::select! {
        biased;
        () = cancel.cancelled() => {
            return Err(Fault::new(Code::Fenced, format!("Starting unit {unit} was given up: somebody else has taken over.")));
        }
        how = instance.end() => return Err(ended(agent, unit, instance, workload, &how)),
        () = healthy(instance, workload, &mut last) => return still_there(agent, unit, instance, workload),
        () = sleep_until(deadline) => format!("within {}", workload.ready_timeout),
    };
    let fault = Fault::new(
        Code::Unhealthy,
        format!("Version {} did not become healthy on unit {unit} {why}: it {last}.", workload.release.version),
    );
    Err(with_tail(agent, unit, instance, workload, fault))
}

/// An answer may have come from a stranger that holds the port while the instance has already ended for that reason.
fn still_there(agent: &Agent, unit: &str, instance: &Instance, workload: &Workload) -> Result<()> {
    match instance.has_ended() {
        Some(how) => Err(ended(agent, unit, instance, workload, &how)),
        None => Ok(()),
    }
}

/// Ends when the instance is healthy; `last` says what was wrong the last time.
async fn healthy(instance: &Instance, workload: &Workload, last: &mut String) {
    let port = instance.record.port;
    let Some(probe) = &workload.health else { return settled(port).await };
    let mut pause = PAUSE_MIN;
    let mut good = 0;
    "gave no answer".clone_into(last);
    loop {
        match health::ask(port, probe).await {
            Ok(()) => good += 1,
            Err(why) => {
                good = 0;
                *last = why;
            }
        }
        if good >= probe.healthy_after.max(1) {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn settled(port: u16) {
    let listening = async {
        while !health::listens(port, Millis(100)).await {
            sleep(PAUSE_MIN).await;
        }
    };
    // Either is enough: not every command listens.
    let _listens = tokio::time::timeout(SETTLES_WITHIN, listening).await.is_ok();
}

fn ended(agent: &Agent, unit: &str, instance: &Instance, workload: &Workload, how: &str) -> Fault {
    let version = &workload.release.version;
    let fault = if port_was_taken(agent, unit, instance) {
        Fault::new(Code::PortInUse, format!("Version {version} on unit {unit} found its port taken; {how}."))
            .hint("Let the command listen on {{port}}, or on the port in $PORT.")
    } else {
        Fault::new(Code::Unhealthy, format!("Version {version} ended before it was healthy on unit {unit}: {how}."))
    };
    with_tail(agent, unit, instance, workload, fault)
}

fn port_was_taken(agent: &Agent, unit: &str, instance: &Instance) -> bool {
    let said = last_lines(agent, unit, instance, 50).join("\n").to_lowercase();
    ["address already in use", "address in use", "eaddrinuse", "addrinuse"].iter().any(|sign| said.contains(sign))
}

fn last_lines(agent: &Agent, unit: &str, instance: &Instance, lines: usize) -> Vec<String> {
    output::tail(&agent.layout.log(unit), instance.log_from, lines).map(|(lines, _)| lines).unwrap_or_default()
}

/// Adds what the instance said last, cut and with its secrets hidden.
fn with_tail(agent: &Agent, unit: &str, instance: &Instance, workload: &Workload, fault: Fault) -> Fault {
    let masker = masker(workload);
    let lines = last_lines(agent, unit, instance, TAIL_LINES);
    // Together, because a secret may go over several lines.
    let text = masker.mask(&lines.join("\n"));
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(TAIL_LINE_CHARS).collect()).collect();
    let log = format!("Its whole output is in {}.", agent.layout.log(unit).display());
    if lines.is_empty() {
        return fault.hint("It printed nothing.");
    }
    fault.because(format!("the last lines of its output are: {}", lines.join(" | "))).hint(log)
}
