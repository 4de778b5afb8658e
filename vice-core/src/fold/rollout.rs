//! A rollout as people see it: the timeline behind progress, reports, notifications and `why`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Fold;
use crate::digest::Digest;
use crate::event::Recorded;
use crate::fault::Result;
use crate::id::RolloutId;
use crate::payload::ReleaseRef;
use crate::payload::environment::{Direction, RolloutOutcome};
use crate::payload::rollout::{
    ConfigChange, Note, OperatorCommand, RolloutCommanded, RolloutFinished, RolloutPredicted, RolloutStarted,
    RolloutStepped, RolloutWaiting,
};
use crate::payload::simulation::Forecast;
use crate::time::Millis;

/// A note with its time and step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// In which step of the engine.
    pub step: u64,
    /// What.
    pub note: Note,
}

/// An operator's word that the driver has to hand to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingCommand {
    /// The stream version of the command.
    pub version: u64,
    /// The command.
    pub command: OperatorCommand,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// Everything that a report shows of a rollout.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutView {
    /// Its id; none before the first event.
    pub id: Option<RolloutId>,
    /// Deploy or rollback.
    pub direction: Option<Direction>,
    /// What ran before.
    pub from: Option<ReleaseRef>,
    /// What was wanted.
    pub to: Option<ReleaseRef>,
    /// The frozen plan.
    pub plan: Value,
    /// Its hash.
    pub plan_hash: Option<Digest>,
    /// Who asked.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Changes of the configuration, masked.
    pub config_changes: Vec<ConfigChange>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// The notes of every step, in order.
    pub timeline: Vec<Moment>,
    /// Every operator command so far, in order.
    pub commands: Vec<PendingCommand>,
    /// For what it waits, and until when.
    pub waiting: Option<(String, Option<Timestamp>)>,
    /// How it ended; none while it is under way.
    pub outcome: Option<RolloutOutcome>,
    /// Why it did not succeed.
    pub failure: Option<String>,
    /// What runs after it.
    pub running: Option<ReleaseRef>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// How long it took.
    pub took: Option<Millis>,
    /// What the simulator had said, where it was asked before.
    #[serde(default)]
    pub forecast: Option<Forecast>,
    /// How many engine steps are in the journal.
    pub steps: u64,
}

impl Fold for RolloutView {
    const NAME: &'static str = "rollout";
    const VERSION: u32 = 2;

    fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        let event = &recorded.event;
        if let Some(stepped) = event.decode::<RolloutStepped>()? {
            self.steps = stepped.step;
            self.waiting = None;
            let moment = |note| Moment { at: stepped.now, step: stepped.step, note };
            self.timeline.extend(stepped.notes.into_iter().map(moment));
        } else if let Some(started) = event.decode::<RolloutStarted>()? {
            self.id = Some(started.rollout);
            self.direction = Some(started.direction);
            self.from = started.from;
            self.to = Some(started.to);
            self.plan = started.plan;
            self.plan_hash = Some(started.plan_hash);
            self.by = event.actor.to_string();
            self.reason = started.reason;
            self.config_changes = started.config_changes;
            self.started = Some(event.time);
        } else if let Some(finished) = event.decode::<RolloutFinished>()? {
            self.outcome = Some(finished.outcome);
            self.failure = finished.reason;
            self.running = finished.running;
            self.finished = Some(event.time);
            self.took = Some(finished.took);
            self.waiting = None;
        } else if let Some(predicted) = event.decode::<RolloutPredicted>()? {
            self.forecast = Some(predicted.forecast);
        } else if let Some(waiting) = event.decode::<RolloutWaiting>()? {
            self.waiting = Some((waiting.reason, waiting.until));
        } else if let Some(commanded) = event.decode::<RolloutCommanded>()? {
            self.commands.push(PendingCommand {
                version: recorded.version,
                command: commanded.command,
                by: event.actor.to_string(),
                reason: commanded.reason,
            });
        }
        Ok(())
    }
}
