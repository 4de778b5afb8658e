//! What the events of a run add up to. The same view is printed after a run, shown later, and resumed from.

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use vice_core::event::{Event, Recorded};
use vice_core::id::EnvName;
use vice_core::{Class, Code, Digest, Fault, Millis, Result};

use super::payload::{
    Ending, RunFinished, RunId, RunParked, RunResumed, RunStarted, StepError, StepFinished, StepSkipped, StepStarted,
};
use crate::graph::Steps;
use crate::graph::reference::Outputs;

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunStatus {
    /// It has no end yet: a process works on it, or was killed.
    Running,
    /// It was left in a safe place.
    Parked,
    /// It ended well.
    Succeeded,
    /// It ended badly.
    Failed,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepStatus {
    /// It has not been started.
    Pending,
    /// It has been started and has not ended, as far as is known.
    Running,
    /// It ended well.
    Succeeded,
    /// It ended badly.
    Failed,
    /// What it did can't be told.
    InDoubt,
    /// It stopped in a safe place.
    Interrupted,
    /// It was skipped.
    Skipped,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StepView {
    /// How it stands.
    pub(crate) status: StepStatus,
    /// How often it was started.
    pub(crate) attempts: u32,
    /// How long the last attempt took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) took: Option<Millis>,
    /// What it gave.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) outputs: Map<String, Value>,
    /// What it failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<StepError>,
    /// Whether somebody said that it had done its work when that was in doubt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) assumed: bool,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunView {
    /// Which.
    pub(crate) run: RunId,
    /// The environment that its actions get when their step says none.
    pub(crate) env: Option<EnvName>,
    /// How it stands.
    pub(crate) status: RunStatus,
    /// What that means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) class: Option<Class>,
    /// Who began it.
    pub(crate) by: String,
    /// When it began.
    pub(crate) started: Timestamp,
    /// When it last came to an end or was left.
    pub(crate) ended: Option<Timestamp>,
    /// How often it was gone on with.
    pub(crate) resumed: u32,
    /// The steps in the order of the file.
    pub(crate) steps: IndexMap<String, StepView>,
    /// The digest of the definition.
    pub(crate) definition_digest: Digest,
    /// The steps as they were written.
    #[serde(skip)]
    pub(crate) definition: Steps,
    /// How many steps may run at once.
    pub(crate) parallel: u32,
    /// The version of the stream up to which this was read.
    #[serde(skip)]
    pub(crate) version: u64,
}

impl RunView {
    /// Folds the events of one stream.
    ///
    /// # Errors
    /// `Decode` when an event does not decode, or the first one is not the start of a run.
    pub(crate) fn fold(events: &[Recorded]) -> Result<Self> {
        let missing = || Fault::new(Code::Decode, "The stream does not begin with the start of a run.");
        let (first, rest) = events.split_first().ok_or_else(missing)?;
        let started = first.event.decode::<RunStarted>()?.ok_or_else(missing)?;
        let mut view = Self::begin(started, &first.event);
        view.version = first.version;
        for recorded in rest {
            view.apply(&recorded.event)?;
            view.version = recorded.version;
        }
        Ok(view)
    }

    fn begin(started: RunStarted, event: &Event) -> Self {
        let fresh = || StepView {
            status: StepStatus::Pending,
            attempts: 0,
            took: None,
            outputs: Map::new(),
            error: None,
            assumed: false,
        };
        Self {
            steps: started.definition.keys().map(|name| (name.clone(), fresh())).collect(),
            run: started.run,
            env: started.env,
            status: RunStatus::Running,
            class: None,
            by: event.actor.to_string(),
            started: event.time,
            ended: None,
            resumed: 0,
            definition_digest: started.digest,
            definition: started.definition,
            parallel: started.parallel,
            version: 0,
        }
    }

    fn apply(&mut self, event: &Event) -> Result<()> {
        if let Some(started) = event.decode::<StepStarted>()? {
            if let Some(step) = self.steps.get_mut(&started.step) {
                step.status = StepStatus::Running;
                step.attempts = started.attempt;
            }
        } else if let Some(finished) = event.decode::<StepFinished>()? {
            if let Some(step) = self.steps.get_mut(&finished.step) {
                step.status = match finished.ending {
                    Ending::Succeeded => StepStatus::Succeeded,
                    Ending::Failed => StepStatus::Failed,
                    Ending::InDoubt => StepStatus::InDoubt,
                    Ending::Interrupted => StepStatus::Interrupted,
                };
                step.took = Some(finished.took);
                step.outputs = finished.outputs;
                step.error = finished.error;
            }
        } else if let Some(skipped) = event.decode::<StepSkipped>()? {
            if let Some(step) = self.steps.get_mut(&skipped.step) {
                step.status = StepStatus::Skipped;
            }
        } else if let Some(resumed) = event.decode::<RunResumed>()? {
            self.resume(&resumed);
        } else if event.decode::<RunParked>()?.is_some() {
            self.close(RunStatus::Parked, None, event.time);
        } else if let Some(finished) = event.decode::<RunFinished>()? {
            let status = if finished.succeeded { RunStatus::Succeeded } else { RunStatus::Failed };
            self.close(status, Some(finished.class), event.time);
        }
        Ok(())
    }

    fn close(&mut self, status: RunStatus, class: Option<Class>, at: Timestamp) {
        (self.status, self.class, self.ended) = (status, class, Some(at));
    }

    /// Everything that has not succeeded is open again.
    fn resume(&mut self, resumed: &RunResumed) {
        (self.status, self.class, self.ended) = (RunStatus::Running, None, None);
        self.resumed += 1;
        for (name, step) in &mut self.steps {
            if resumed.skip.contains(name) {
                (step.status, step.assumed, step.error) = (StepStatus::Succeeded, true, None);
            } else if step.status != StepStatus::Succeeded {
                (step.status, step.error) = (StepStatus::Pending, None);
            }
        }
    }

    /// The outputs of the steps that have succeeded.
    pub(crate) fn outputs(&self) -> Outputs {
        let good = self.steps.iter().filter(|(_, step)| step.status == StepStatus::Succeeded);
        good.map(|(name, step)| (name.clone(), step.outputs.clone())).collect()
    }

    /// The steps that have been started and whose end is not known.
    pub(crate) fn in_doubt(&self) -> Vec<&str> {
        let doubtful = |step: &StepView| matches!(step.status, StepStatus::Running | StepStatus::InDoubt);
        self.steps.iter().filter(|(_, step)| doubtful(step)).map(|(name, _)| name.as_str()).collect()
    }
}
