//! One attempt of one step: the command or the action with its time limit, and what came of it.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};
use vice_core::app::StopSignal;
use vice_core::port::action::Action;
use vice_core::port::command::{CommandRunner, CommandSpec};
use vice_core::{Code, Context, Fault, Millis, Result};

use crate::graph::output::Out;
use crate::graph::schema;

/// How long to wait before the first retry; doubles each time.
const BACKOFF_FIRST: Millis = Millis(1_000);

/// The longest wait before a retry.
const BACKOFF_MAX: Millis = Millis(30_000);

/// How often a wait looks whether the process was asked to end.
const LOOK_EVERY: Millis = Millis(200);

/// What to do, with everything filled in.
pub(crate) enum Act {
    /// Run a command and take its outputs.
    Command {
        /// The command.
        spec: Box<CommandSpec>,
        /// What it gives.
        out: IndexMap<String, Out>,
        /// The folder that file patterns start from.
        root: PathBuf,
        /// What runs it.
        runner: Arc<dyn CommandRunner>,
    },
    /// Run an action.
    Action {
        /// The action.
        action: Arc<dyn Action>,
        /// Its input.
        input: Value,
        /// The schema of its input.
        schema: Value,
        /// How long it may take.
        limit: Millis,
    },
}

/// Something that came to an end.
pub(crate) enum Happened {
    /// An attempt.
    Ended {
        /// Of which step.
        index: usize,
        /// How long it took.
        took: Millis,
        /// What it gave, or why it failed.
        result: Result<Map<String, Value>>,
    },
    /// The wait before a retry.
    Rested {
        /// Of which step.
        index: usize,
    },
}

/// Makes the attempt. An act that could not even be filled in has failed.
pub(crate) async fn perform(index: usize, act: Result<Act>) -> Happened {
    let started = Instant::now();
    let result = match act {
        Ok(act) => act.run().await,
        Err(fault) => Err(fault),
    };
    let took = Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    Happened::Ended { index, took, result }
}

impl Act {
    async fn run(self) -> Result<Map<String, Value>> {
        match self {
            Self::Command { spec, out, root, runner } => {
                let printed = runner.run(*spec).await?;
                if !printed.ok() {
                    return Err(Fault::new(Code::GraphFailed, format!("The command failed: {}.", printed.failure())));
                }
                let take =
                    move || out.iter().map(|(name, out)| Ok((name.clone(), out.take(&root, &printed)?))).collect();
                let taken = tokio::task::spawn_blocking(take).await;
                taken.context(Code::Internal, || "Taking the outputs of a command ended early.".to_owned())?
            }
            Self::Action { action, input, schema, limit } => {
                if let Some(problem) = schema::problem(&schema, &input) {
                    return Err(Fault::new(Code::GraphFailed, "The input does not fit the action.").because(problem));
                }
                match timeout(limit.as_duration(), action.run(input)).await {
                    Ok(Ok(Value::Object(outputs))) => Ok(outputs),
                    Ok(Ok(_)) => Err(Fault::internal("The action did not give an object.")),
                    Ok(Err(fault)) => Err(fault),
                    Err(_) => Err(Fault::new(Code::TimedOut, format!("The action did not end within {limit}."))
                        .hint("What it did is not known; a longer `timeout` may help.")),
                }
            }
        }
    }
}

/// How long to wait before retry number `retry`, counted from 1.
pub(crate) fn backoff(retry: u32) -> Millis {
    let factor = 1_u64.checked_shl(retry.saturating_sub(1)).unwrap_or(u64::MAX);
    Millis(BACKOFF_FIRST.0.saturating_mul(factor)).min(BACKOFF_MAX)
}

/// Waits before a retry, or until the process is asked to end.
pub(crate) async fn rest(index: usize, wait: Millis, stop: Arc<StopSignal>) -> Happened {
    let until = Instant::now() + wait.as_duration();
    while stop.raised().is_none() && Instant::now() < until {
        tokio::time::sleep_until(until.min(Instant::now() + LOOK_EVERY.as_duration())).await;
    }
    Happened::Rested { index }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let waits: Vec<u64> = [1, 2, 3, 5, 6, 64, 65, 100].iter().map(|retry| backoff(*retry).0).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 16_000, 30_000, 30_000, 30_000, 30_000]);
    }
}
