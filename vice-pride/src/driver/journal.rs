//! What a rollout leaves in the history, and reading it back: inputs with their texts, the engine's answers, and the
//! events for everybody else, all of one step in one append.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vice_core::app::App;
use vice_core::event::Event;
use vice_core::id::{RolloutId, Scope};
use vice_core::payload::cdevents::{
    EnvironmentRef, ServiceDeployed, ServiceRemoved, ServiceRolledBack, ServiceUpgraded, TestSuiteRunFinished,
    package_url,
};
use vice_core::payload::environment::{Direction, HoldPlaced, RolloutEnded, RolloutOutcome};
use vice_core::payload::rollout::{
    OperatorCommand, RolloutCommanded, RolloutFinished, RolloutPredicted, RolloutStarted, RolloutStepped,
    RolloutWaiting,
};
use vice_core::payload::verification::{SuiteResult, VerificationFinished};
use vice_core::payload::{ReleaseRef, environment_stream, rollout_stream, verification_stream};
use vice_core::store::{EventStoreExt, Query};
use vice_core::{Code, Context, Fault, Millis, Result};
use vice_pride_engine::{
    Answer, Course, Details, Effect, Input, OpNo, OpResult, PLANNER_VERSION, Plan, Recorded, State, check_replay,
};

/// One input as it is stored: the engine's value, and the texts that belong to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredInput {
    pub(crate) input: Input,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) suite: Option<SuiteResult>,
    /// Who spoke, for operator commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The stream version of the command, so that none is heard twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heard: Option<u64>,
}

impl StoredInput {
    pub(crate) const fn plain(input: Input) -> Self {
        Self { input, text: None, suite: None, by: None, reason: None, heard: None }
    }
}

/// The texts of a rollout so far: the engine has only numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    run: String,
    /// What was asked for, by number.
    asked: BTreeMap<OpNo, Effect>,
    failures: BTreeMap<OpNo, String>,
    suites: BTreeMap<OpNo, SuiteResult>,
    /// What the sources of the metrics said when they were read last.
    measured: Option<String>,
    operators: Vec<(OperatorCommand, String, Option<String>)>,
}

impl Texts {
    pub(crate) fn new(run: &str) -> Self {
        Self { run: run.to_owned(), ..Self::default() }
    }

    pub(crate) fn take(&mut self, stored: &StoredInput) {
        match &stored.input {
            Input::EffectDone { op, result: OpResult::Done }
                if matches!(self.asked.get(op), Some(Effect::Measure { .. })) =>
            {
                self.measured.clone_from(&stored.text);
            }
            Input::EffectDone { op, .. } | Input::Verified { op, .. } | Input::Observed { op, .. } => {
                if let Some(text) = &stored.text {
                    self.failures.insert(*op, text.clone());
                }
                if let Some(suite) = &stored.suite {
                    self.suites.insert(*op, suite.clone());
                }
            }
            Input::Operator { command } => {
                let by = stored.by.clone().unwrap_or_default();
                self.operators.push((*command, by, stored.reason.clone()));
            }
            Input::Tick | Input::Begin { .. } | Input::Resumed { .. } | Input::Measured { .. } => {}
        }
    }

    /// Remembers what operations are for: the engine forgets those that are over.
    pub(crate) fn asked(&mut self, effects: &[Effect]) {
        let acts = |effect: &&Effect| !matches!(effect, Effect::Observe { .. });
        let numbered = effects.iter().filter(acts).filter_map(|effect| effect.op().map(|op| (op, *effect)));
        self.asked.extend(numbered);
    }

    /// What was said when an operation of this kind failed first, for the reason of an unhappy end.
    pub(crate) fn failure_of(&self, wanted: impl Fn(&Effect) -> bool) -> Option<&String> {
        self.failures.iter().find(|(op, _)| self.asked.get(*op).is_some_and(&wanted)).map(|(_, text)| text)
    }
}

impl Details for Texts {
    fn op_id(&self, op: OpNo) -> String {
        format!("{}/{}", self.run, op.0)
    }
    fn failure(&self, op: OpNo) -> Option<String> {
        self.failures.get(&op).cloned()
    }
    fn suite(&self, op: OpNo) -> Option<SuiteResult> {
        self.suites.get(&op).cloned()
    }
    fn measured(&self) -> Option<String> {
        self.measured.clone()
    }
    fn operator(&self, command: OperatorCommand) -> (String, Option<String>) {
        let found = self.operators.iter().rev().find(|(said, _, _)| *said == command);
        found.map_or_else(|| ("somebody".to_owned(), None), |(_, by, reason)| (by.clone(), reason.clone()))
    }
}

/// A rollout read back from the history and replayed.
pub struct Journal {
    /// How it was started.
    pub started: RolloutStarted,
    /// When.
    pub started_at: jiff::Timestamp,
    /// Who asked.
    pub by: String,
    /// The plan.
    pub plan: Plan,
    /// The state at its end.
    pub state: State,
    /// Every step as it was recorded.
    pub recorded: Vec<Recorded>,
    /// How many steps it has.
    pub steps: u64,
    /// The version of its stream.
    pub version: u64,
    /// Whether an end is recorded.
    pub finished: bool,
    /// The name of this run; see [`run_name`].
    pub(crate) run: String,
    pub(crate) texts: Texts,
    /// Operator commands that no step has heard yet.
    pub(crate) unheard: Vec<StoredInput>,
    /// The types of its events that this version does not know.
    pub(crate) unknown: BTreeSet<String>,
}

impl Journal {
    /// Fails when something is in it that this version does not know: what it would mean must not be guessed.
    ///
    /// # Errors
    /// `Unsupported`, with the types.
    pub(crate) fn understood(&self) -> Result<()> {
        let Some(first) = self.unknown.first() else { return Ok(()) };
        let id = &self.started.rollout;
        let (project, env) = (&id.scope.project, &id.scope.env);
        Err(Fault::new(Code::Unsupported, format!("The journal of {id} has an event that this vice does not know."))
            .because(first.chars().take(200).collect::<String>())
            .hint("Go on with the version of vice that wrote it.")
            .hint(format!("Or end it where it is: vice pride abandon {project} --env {env} --reason WHY."))
            .detail("unknown", self.unknown.iter().take(10).cloned().collect::<Vec<_>>())
            .detail("planner", self.started.planner.to_string()))
    }
}

/// Reads a rollout and replays it.
///
/// # Errors
/// `UnknownName` when there is none of that id; `HistoryDamaged` when its plan does not have the hash that was recorded,
/// or when replaying the inputs does not give the recorded answers.
pub async fn load(app: &App, id: &RolloutId) -> Result<Journal> {
    let events = app.events.read_all(Query::stream(rollout_stream(id), 0)).await?;
    let mut reader = Reader::default();
    let run = events.first().map(|first| run_name(id, &first.event.id)).unwrap_or_default();
    let mut texts = Texts::new(&run);
    for recorded in &events {
        if let Err(fault) = reader.take(recorded, &mut texts) {
            let planner = reader.started.as_ref().map(|(started, ..)| started.planner);
            return Err(foreign(id, planner.unwrap_or(PLANNER_VERSION), fault));
        }
    }
    let Some((started, started_at, by)) = reader.started else {
        return Err(
            Fault::new(Code::UnknownName, format!("There is no rollout {id}.")).hint("`vice history` lists them.")
        );
    };
    let (plan, state) = replayed(id, &started, &reader.steps).map_err(|fault| foreign(id, started.planner, fault))?;
    let unheard =
        reader.commands.into_iter().filter(|command| command.heard.is_none_or(|at| !reader.heard.contains(&at)));
    Ok(Journal {
        unheard: unheard.collect(),
        unknown: reader.unknown,
        started,
        started_at,
        by,
        plan,
        state,
        recorded: reader.steps,
        steps: reader.last_step,
        version: events.last().map_or(0, |recorded| recorded.version),
        finished: reader.finished,
        run,
        texts,
    })
}

/// The plan, and the state that the steps lead to.
fn replayed(id: &RolloutId, started: &RolloutStarted, steps: &[Recorded]) -> Result<(Plan, State)> {
    let plan: Plan = serde_json::from_value(started.plan.clone())
        .context(Code::HistoryDamaged, || format!("The plan of {id} does not decode."))?;
    if plan.hash() != started.plan_hash {
        return Err(damaged(id, "Its plan does not have the hash that was recorded when it began."));
    }
    let course = Course::new(plan.clone())?;
    let state = check_replay(&course, steps).map_err(|mismatch| damaged(id, &mismatch.to_string()))?;
    Ok((plan, state))
}

/// A journal that another version of vice wrote is no damage: what it decided need not be what this one would.
fn foreign(id: &RolloutId, planner: u32, fault: Fault) -> Fault {
    if planner == PLANNER_VERSION {
        return fault;
    }
    let scope = &id.scope;
    let message = format!(
        "{id} was begun by another version of vice (planner {planner}; this one has {PLANNER_VERSION}), which decides \
         differently, so that this one can't go on with it."
    );
    Fault::new(Code::Unsupported, message)
        .hint("Go on with the version that began it.")
        .hint(format!("Or end it where it is: vice pride abandon {} --env {} --reason WHY.", scope.project, scope.env))
        .detail("planner", planner.to_string())
        .because(fault)
}

/// The id of a rollout with the end of its first event's id, which no other rollout has.
pub(crate) fn run_name(id: &RolloutId, first_event: &str) -> String {
    let unique: String = first_event.chars().rev().take(12).collect();
    format!("{id}-{}", unique.chars().rev().collect::<String>())
}

fn damaged(id: &RolloutId, what: &str) -> Fault {
    Fault::new(Code::HistoryDamaged, format!("The journal of {id} can't be trusted. {what}"))
        .hint("`vice greed verify` says whether stored events were altered.")
}

#[derive(Default)]
struct Reader {
    started: Option<(RolloutStarted, jiff::Timestamp, String)>,
    steps: Vec<Recorded>,
    last_step: u64,
    commands: Vec<StoredInput>,
    heard: BTreeSet<u64>,
    finished: bool,
    unknown: BTreeSet<String>,
}

impl Reader {
    fn take(&mut self, recorded: &vice_core::event::Recorded, texts: &mut Texts) -> Result<()> {
        let event = &recorded.event;
        if let Some(stepped) = event.decode::<RolloutStepped>()? {
            let fail = || format!("Step {} of {} does not decode.", stepped.step, stepped.rollout);
            let inputs: Vec<StoredInput> =
                serde_json::from_value(stepped.inputs.clone()).context(Code::Decode, fail)?;
            let answer: Answer = serde_json::from_value(stepped.effects.clone()).context(Code::Decode, fail)?;
            texts.asked(&answer.effects);
            inputs.iter().for_each(|input| texts.take(input));
            self.heard.extend(inputs.iter().filter_map(|input| input.heard));
            self.last_step = stepped.step;
            let inputs = inputs.into_iter().map(|stored| stored.input).collect();
            self.steps.push(Recorded { now: stepped.now, inputs, answer });
        } else if let Some(started) = event.decode::<RolloutStarted>()? {
            self.started = Some((started, event.time, event.actor.to_string()));
        } else if let Some(commanded) = event.decode::<RolloutCommanded>()? {
            self.commands.push(heard_command(recorded, commanded));
        } else if event.decode::<RolloutFinished>()?.is_some() {
            self.finished = true;
        } else if !is_remark(event)? {
            self.unknown.insert(event.kind.clone());
        }
        Ok(())
    }
}

/// What stands in a rollout's stream for others, and decides nothing.
fn is_remark(event: &Event) -> Result<bool> {
    Ok(event.decode::<RolloutWaiting>()?.is_some() || event.decode::<RolloutPredicted>()?.is_some())
}

/// An operator's word from the stream as an input.
pub(crate) fn heard_command(recorded: &vice_core::event::Recorded, commanded: RolloutCommanded) -> StoredInput {
    StoredInput {
        by: Some(recorded.event.actor.to_string()),
        reason: commanded.reason,
        heard: Some(recorded.version),
        ..StoredInput::plain(Input::Operator { command: commanded.command })
    }
}

/// How a rollout ended, for the events about it.
pub(crate) struct Ending<'a> {
    pub(crate) outcome: RolloutOutcome,
    pub(crate) plan: &'a Plan,
    pub(crate) running: Option<ReleaseRef>,
    pub(crate) proven: bool,
    pub(crate) reason: Option<String>,
    pub(crate) took: Millis,
    /// Whether traffic may still be split.
    pub(crate) split: bool,
}

/// The events that end a rollout: in its own stream, in the environment's, and as standard CDEvents.
pub(crate) fn ending_events(app: &App, id: &RolloutId, ending: &Ending<'_>) -> Result<Vec<Event>> {
    let scope = &id.scope;
    let finished = RolloutFinished {
        rollout: id.clone(),
        outcome: ending.outcome,
        to: ending.plan.to.clone(),
        running: ending.running.clone(),
        reason: ending.reason.clone(),
        took: ending.took,
    };
    let ended = RolloutEnded {
        rollout: id.clone(),
        outcome: ending.outcome,
        running: ending.running.clone(),
        proven: ending.proven,
        reason: ending.reason.clone(),
        took: ending.took,
        split: ending.split,
    };
    let mut events = vec![
        app.event(rollout_stream(id), Some(scope), &finished)?,
        app.event(environment_stream(scope), Some(scope), &ended)?,
    ];
    events.extend(service_event(app, id, ending)?);
    Ok(events)
}

fn service_event(app: &App, id: &RolloutId, ending: &Ending<'_>) -> Result<Option<Event>> {
    let scope = &id.scope;
    let stream = format!("service/{}/{}", scope.project, scope.env);
    let environment = EnvironmentRef { id: scope.env.to_string() };
    let (service, rollout) = (scope.project.to_string(), id.to_string());
    let url = |release: &ReleaseRef| package_url(scope.project.as_str(), release);
    let plan = ending.plan;
    let event = match (ending.outcome, plan.direction, &plan.from) {
        (RolloutOutcome::Succeeded, Direction::Deploy, None) => {
            let deployed = ServiceDeployed { environment, artifact_id: url(&plan.to), service, rollout };
            app.event(stream, Some(scope), &deployed)?
        }
        (RolloutOutcome::Succeeded, Direction::Deploy, Some(_)) => {
            let upgraded = ServiceUpgraded { environment, artifact_id: url(&plan.to), service, rollout };
            app.event(stream, Some(scope), &upgraded)?
        }
        (RolloutOutcome::Succeeded, Direction::Rollback, _) => {
            let back = ServiceRolledBack { environment, artifact_id: url(&plan.to), service, rollout };
            app.event(stream, Some(scope), &back)?
        }
        (RolloutOutcome::RolledBack, _, Some(from)) => {
            let back = ServiceRolledBack { environment, artifact_id: url(from), service, rollout };
            app.event(stream, Some(scope), &back)?
        }
        (RolloutOutcome::RolledBack, _, None) => {
            app.event(stream, Some(scope), &ServiceRemoved { environment, service })?
        }
        _ => return Ok(None),
    };
    Ok(Some(event))
}

/// A hold on the version that turned out bad.
pub(crate) fn hold_event(app: &App, id: &RolloutId, version: &str, reason: String) -> Result<Event> {
    let placed = HoldPlaced { scope: id.scope.clone(), version: version.to_owned(), reason, rollout: Some(id.clone()) };
    app.event(environment_stream(&id.scope), Some(&id.scope), &placed)
}

/// What a verification found, in vice's words and in CDEvents'.
pub(crate) fn verification_events(app: &App, id: &RolloutId, version: &str, suite: &SuiteResult) -> Result<Vec<Event>> {
    let scope: &Scope = &id.scope;
    let finished = VerificationFinished {
        scope: scope.clone(),
        version: Some(version.to_owned()),
        rollout: Some(id.clone()),
        suite: suite.clone(),
    };
    let run = TestSuiteRunFinished {
        environment: EnvironmentRef { id: scope.env.to_string() },
        outcome: if suite.passed() { "success" } else { "failure" }.to_owned(),
        severity: None,
        reason: None,
        run: id.to_string(),
    };
    let stream = verification_stream(scope);
    Ok(vec![app.event(stream.clone(), Some(scope), &finished)?, app.event(stream, Some(scope), &run)?])
}
