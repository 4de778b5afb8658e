//! One process driving one rollout: inputs into the engine, one append, effects, and again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use vice_core::app::App;
use vice_core::id::RolloutId;
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::{OperatorCommand, RolloutCommanded, RolloutStepped, RolloutWaiting};
use vice_core::payload::{ReleaseRef, rollout_stream};
use vice_core::port::notifier::Severity;
use vice_core::port::target::Inventory;
use vice_core::store::{Append, EventStoreExt, Expected, Query};
use vice_core::{Code, Context, Fault, Millis, Result};
use vice_pride_engine::{
    Answer as Said, Details as _, Effect, Input, Reason, Recorder, State, Waiting, Work, describe_reason, notes_named,
    step,
};

use super::begin::{Asks, EndState, Ended};
use super::journal::{Ending, StoredInput, Texts, ending_events, heard_command, hold_event, verification_events};
use super::perform::{Answer, Performer};
use super::present::Screen;
use super::tasks;
use crate::lease::Lease;

/// How often the log is looked at for what operators say, and the stop signal for what the user says.
const LISTEN_EVERY: Duration = Duration::from_millis(200);

/// So many looks at the log have one at the lease among them: about every two seconds.
const CONFIRM_EVERY: u64 = 10;

/// A wait up to this long is sat out; a longer one parks the rollout, and `vice tick` goes on with it.
const SIT_OUT_MAX: Millis = Millis(10 * 60 * 1000);

/// How often an append is tried again when an operator's word came in between.
const TRIES_MAX: u32 = 32;

/// A rollout in this process.
pub(crate) struct Session {
    pub(crate) app: App,
    pub(crate) id: RolloutId,
    pub(crate) performer: Arc<Performer>,
    pub(crate) lease: Lease,
    pub(crate) state: State,
    pub(crate) steps: u64,
    pub(crate) version: u64,
    pub(crate) texts: Texts,
    pub(crate) started_at: jiff::Timestamp,
    /// Operator commands that were read and not yet handed to the engine.
    pub(crate) unheard: Vec<StoredInput>,
    /// What was shown of it.
    pub(crate) screen: Screen,
    /// Whether the engine was told that the user wants this process to end.
    pub(crate) told_to_stop: bool,
    /// How often the log was looked at for what operators say.
    pub(crate) listened: u64,
}

impl Session {
    /// Drives until the rollout ends or parks.
    pub(crate) async fn run(mut self, first: Input) -> Result<Ended> {
        let mut work: JoinSet<Option<Answer>> = JoinSet::new();
        let mut inputs = vec![StoredInput::plain(first)];
        inputs.append(&mut self.unheard);
        loop {
            let effects = match self.step(inputs).await {
                Ok(effects) => effects,
                Err(fault) => return Err(self.broken_off(fault)),
            };
            for effect in effects {
                self.start(effect, &mut work);
            }
            if let Some(outcome) = self.state.outcome() {
                return self.finished(outcome).await;
            }
            if let (Some(waiting), true) = (self.state.waiting(), work.is_empty())
                && self.parks(waiting)
                && self.says_that_it_waits(waiting).await?
            {
                return self.park(waiting).await;
            }
            inputs = match self.next(&mut work).await {
                Ok(inputs) => inputs,
                Err(fault) => return Err(self.broken_off(fault)),
            };
        }
    }

    fn start(&self, effect: Effect, work: &mut JoinSet<Option<Answer>>) {
        let purpose: Option<Work> = effect.op().and_then(|op| self.state.work(op));
        let performer = Arc::clone(&self.performer);
        if effect.op().is_some() {
            work.spawn(async move { performer.perform(effect, purpose).await });
        }
    }

    /// One step of the engine, stored together with what it caused; nothing is stored when nothing changed.
    ///
    /// The state moves on in place, before the append: a session whose append fails is dropped by [`Self::run`] and
    /// never acts on what it did not store. A step that changes nothing leaves the state as it was, which the engine's
    /// property tests hold it to.
    async fn step(&mut self, inputs: Vec<StoredInput>) -> Result<Vec<Effect>> {
        let now = self.app.clock.now();
        let plain: Vec<Input> = inputs.iter().map(|stored| stored.input).collect();
        // Asked before the step, which closes the operation that the answer is for.
        let mut verified = Vec::new();
        for stored in &inputs {
            if let Some(suite) = &stored.suite {
                verified.extend(verification_events(&self.app, &self.id, self.verified_version(&stored.input), suite)?);
            }
        }
        let mut recorder = Recorder::default();
        let changed = step(&mut self.state, now, &plain, &mut recorder);
        let heard = inputs.iter().any(|stored| stored.heard.is_some());
        if !changed && !heard {
            return Ok(Vec::new());
        }
        inputs.iter().for_each(|stored| self.texts.take(stored));
        let said = Said::from(recorder);
        self.texts.asked(&said.effects);
        let notes = notes_named(&said.notes, &self.performer.plan, &self.texts);
        let stepped = RolloutStepped {
            rollout: self.id.clone(),
            step: self.steps + 1,
            now,
            inputs: json!(inputs),
            effects: json!(said),
            notes: notes.clone(),
        };
        let mut events = vec![self.app.event(rollout_stream(&self.id), Some(&self.id.scope), &stepped)?];
        events.append(&mut verified);
        for effect in &said.effects {
            events.extend(self.caused(effect, now).await?);
        }
        self.append(events).await?;
        self.steps += 1;
        self.screen.show(self.app.ui.as_ref(), &said.notes, &notes, &self.performer.plan);
        Ok(said.effects)
    }

    /// The version that a verification was about: the wanted one, or what runs again.
    fn verified_version(&self, input: &Input) -> &str {
        let plan = &self.performer.plan;
        let work = match input {
            Input::Verified { op, .. } => self.state.work(*op),
            _ => None,
        };
        let back = matches!(work, Some(Work::Verify { direction: Direction::Rollback }));
        let release = plan.from.as_ref().filter(|_| back && plan.direction == Direction::Deploy).unwrap_or(&plan.to);
        &release.version
    }

    /// The events for everybody else that an effect is: holds and the end.
    async fn caused(&self, effect: &Effect, now: jiff::Timestamp) -> Result<Vec<vice_core::event::Event>> {
        let (plan, state) = (&self.performer.plan, &self.state);
        match effect {
            Effect::PlaceHold { reason } => {
                let reason = describe_reason(reason, plan);
                // A version that runs already is not what failed: then only this release of it is put on hold.
                let from = plan.from.as_ref();
                let name = from.map_or_else(|| plan.to.version.clone(), |from| plan.to.name_beside(from));
                Ok(vec![hold_event(&self.app, &self.id, &name, reason)?])
            }
            Effect::Finish { outcome } => {
                let running = match state.running() {
                    Some(release) => Some(release.clone()),
                    None if matches!(outcome, RolloutOutcome::NotRestored | RolloutOutcome::Aborted) => {
                        self.agreed().await
                    }
                    None => None,
                };
                let ending = Ending {
                    outcome: *outcome,
                    plan,
                    proven: state.is_proven(),
                    reason: self.reason(*outcome),
                    took: Millis::between(self.started_at, now),
                    running,
                    split: state.is_split(),
                };
                let mut events = ending_events(&self.app, &self.id, &ending)?;
                events.extend(self.left_behind(*outcome)?);
                Ok(events)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Whoever rolls back does not want the version that is left: it is put on hold, so that no trigger brings it back.
    fn left_behind(&self, outcome: RolloutOutcome) -> Result<Option<vice_core::event::Event>> {
        let plan = &self.performer.plan;
        let left = plan.from.as_ref().filter(|from| from.version != plan.to.version);
        match (plan.direction, outcome, left) {
            (Direction::Rollback, RolloutOutcome::Succeeded, Some(left)) => {
                let reason = format!("It was rolled back to {}.", plan.to.version);
                hold_event(&self.app, &self.id, &left.version, reason).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Why it did not succeed: the engine's reason, and the text of the failure where there is one.
    fn reason(&self, outcome: RolloutOutcome) -> Option<String> {
        if outcome == RolloutOutcome::Succeeded {
            return None;
        }
        let Some(cause) = self.state.cause() else { return self.failure(outcome) };
        let sentence = describe_reason(&cause, &self.performer.plan);
        let caused = |effect: &Effect| match (cause, effect) {
            (Reason::UnitFailed { unit, .. }, Effect::Apply { unit: changed, .. }) => unit == *changed,
            (Reason::TaskFailed { task, .. }, Effect::RunTask { task: ran, .. }) => task == *ran,
            (Reason::ChecksInconclusive, Effect::Verify { .. })
            | (Reason::WeighingFailed { .. }, Effect::SetWeights { .. }) => true,
            _ => false,
        };
        Some(match self.texts.failure_of(caused) {
            Some(text) => format!("{sentence} {text}"),
            None => sentence,
        })
    }

    /// What went wrong where nothing was decided about turning back: before anything was begun, or in being left.
    fn failure(&self, outcome: RolloutOutcome) -> Option<String> {
        if outcome != RolloutOutcome::Aborted || !self.state.is_split() || self.performer.backend.traffic.is_none() {
            return self.texts.failure_of(|_| true).cloned();
        }
        let why = self.texts.failure_of(|effect| matches!(effect, Effect::SetWeights { share: None, .. }));
        let left =
            "Traffic may still be split between the versions; the next rollout gives it back to the units first.";
        Some(why.map_or_else(|| left.to_owned(), |why| format!("{left} {why}")))
    }

    /// What every unit runs, where they agree.
    async fn agreed(&self) -> Option<ReleaseRef> {
        let inventory: Inventory = self.performer.backend.target.inventory().await.ok()?;
        let first = inventory.units.first()?.release.clone();
        inventory.units.iter().all(|unit| unit.release == first).then_some(first).flatten()
    }

    /// Appends under the lease's fence. An operator's word that came in between is read, and the append tried again.
    async fn append(&mut self, events: Vec<vice_core::event::Event>) -> Result<()> {
        let stream = rollout_stream(&self.id);
        // Whoever is not heard of any more may have been passed over on the target as well.
        self.lease.check()?;
        for _ in 0..TRIES_MAX {
            let append = Append::of(events.clone())
                .expect(stream.clone(), Expected::from_version(self.version))
                .fenced(self.lease.fence());
            match self.app.events.append(append).await {
                Ok(_) => {
                    let own = events.iter().filter(|event| event.stream == stream).count();
                    self.version += u64::try_from(own).unwrap_or(0);
                    return Ok(());
                }
                Err(fault) if fault.code() == Code::Conflict => self.listen().await?,
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::new(Code::Conflict, format!("Too many commands came for {} at once.", self.id)))
    }

    /// Reads what operators have said since.
    async fn listen(&mut self) -> Result<()> {
        self.listened += 1;
        if self.listened.is_multiple_of(CONFIRM_EVERY) {
            self.lease.confirm(&self.app).await?;
        }
        let events = self.app.events.read_all(Query::stream(rollout_stream(&self.id), self.version)).await?;
        for recorded in events {
            let Some(commanded) = recorded.event.decode::<RolloutCommanded>()? else {
                return Err(Fault::new(Code::Fenced, format!("Another process drives {} now.", self.id)));
            };
            self.version = recorded.version;
            self.unheard.push(heard_command(&recorded, commanded));
        }
        Ok(())
    }

    /// The next inputs: answers of effects, an operator's word, the user's wish to end, or time.
    async fn next(&mut self, work: &mut JoinSet<Option<Answer>>) -> Result<Vec<StoredInput>> {
        loop {
            if !self.unheard.is_empty() {
                return Ok(std::mem::take(&mut self.unheard));
            }
            if let (Some(_), false) = (self.app.stop.raised(), self.told_to_stop) {
                self.told_to_stop = true;
                return Ok(vec![self.pause_for_the_user()]);
            }
            // A window of a metric may be due while operations are under way.
            let until = self.state.wakes_at();
            let now = self.app.clock.now();
            if until.is_some_and(|until| until <= now) || (work.is_empty() && self.state.waiting().is_none()) {
                return Ok(vec![StoredInput::plain(Input::Tick)]);
            }
            let left = until.map_or(LISTEN_EVERY, |until| Millis::between(now, until).as_duration().min(LISTEN_EVERY));
            let left = left.max(Duration::from_millis(1));
            tokio::select! {
                Some(answer) = work.join_next() => {
                    let mut inputs = stored(answer)?;
                    while let Some(answer) = work.try_join_next() {
                        inputs.extend(stored(answer)?);
                    }
                    return Ok(inputs);
                }
                () = tokio::time::sleep(left) => self.listen().await?,
            }
        }
    }

    fn pause_for_the_user(&self) -> StoredInput {
        StoredInput {
            by: Some(self.app.actor.to_string()),
            reason: Some("the process was told to end".to_owned()),
            ..StoredInput::plain(Input::Operator { command: OperatorCommand::Pause })
        }
    }

    fn parks(&self, waiting: Waiting) -> bool {
        let far = |until| Millis::between(self.app.clock.now(), until) > SIT_OUT_MAX;
        self.unheard.is_empty() && (self.told_to_stop || waiting.until.is_none_or(far))
    }

    /// For what it waits; where figures are missing, with what their sources said.
    fn waits_because(&self, waiting: Waiting) -> String {
        let sentence = describe_reason(&waiting.reason, &self.performer.plan);
        match (waiting.reason, self.texts.measured()) {
            (Reason::NoProof { cause }, Some(said)) if cause.lacks_figures() => format!("{sentence} {said}"),
            _ => sentence,
        }
    }

    /// Records that it waits; false when an operator spoke in between, so that there is something to do first.
    async fn says_that_it_waits(&mut self, waiting: Waiting) -> Result<bool> {
        let reason = self.waits_because(waiting);
        let parked = RolloutWaiting { rollout: self.id.clone(), reason, until: waiting.until };
        let event = self.app.event(rollout_stream(&self.id), Some(&self.id.scope), &parked)?;
        self.append(vec![event]).await?;
        Ok(self.unheard.is_empty())
    }

    async fn park(self, waiting: Waiting) -> Result<Ended> {
        let reason = self.waits_because(waiting);
        // A command that comes from here on is heard by whoever takes the rollout up next.
        self.lease.release(&self.app).await?;
        let stopped = self.app.stop.raised();
        let asks = match waiting.reason {
            Reason::RollbackForbidden { .. } => Asks::Leave,
            Reason::NoProof { .. } => Asks::Proof,
            Reason::InDoubt { op } => Asks::WhatHappened { op: op.0 },
            _ => Asks::Nothing,
        };
        Ok(Ended { id: self.id, state: EndState::Parked { reason, until: waiting.until, asks, stopped } })
    }

    async fn finished(self, outcome: RolloutOutcome) -> Result<Ended> {
        let reason = self.reason(outcome);
        let running = self.state.running().cloned();
        tasks::forget(&self.app, &self.performer.run);
        // The rollout is over and the lock is free in any case; that nobody could write it down must not hide how it
        // ended.
        if let Err(fault) = self.lease.release(&self.app).await {
            self.app.ui.say(Severity::Warning, &format!("The lease could not be given back in the history: {fault}"));
        }
        Ok(Ended { id: self.id, state: EndState::Finished { outcome, running, reason } })
    }

    /// The rollout stopped in the middle because something around it broke.
    fn broken_off(&self, fault: Fault) -> Fault {
        if fault.code() == Code::Fenced {
            return fault.hint(format!("`vice why {}` says where it stands.", self.id));
        }
        let scope = &self.id.scope;
        let hints = fault.hints().to_vec();
        let broken =
            Fault::new(Code::InDoubt, format!("The rollout {} stopped in the middle.", self.id)).because(fault);
        hints
            .into_iter()
            .fold(broken, Fault::hint)
            .hint(format!("When that is mended, go on with: vice pride resume {} --env {}.", scope.project, scope.env))
    }
}

fn stored(answer: std::result::Result<Option<Answer>, tokio::task::JoinError>) -> Result<Vec<StoredInput>> {
    let answer = answer.context(Code::Internal, || "An effect broke down.".to_owned())?;
    let Some(answer) = answer else { return Ok(Vec::new()) };
    let last = StoredInput { text: answer.text, suite: answer.suite, ..StoredInput::plain(answer.input) };
    Ok(answer.before.into_iter().map(StoredInput::plain).chain([last]).collect())
}
