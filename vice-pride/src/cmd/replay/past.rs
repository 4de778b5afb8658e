//! `vice pride replay --all`: a policy over the whole history, against what is known of each release by now.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use vice_core::Result;
use vice_core::app::App;
use vice_core::event::Recorded;
use vice_core::id::{EnvName, ProjectName, RolloutId, Scope};
use vice_core::payload::environment::{
    Direction, HoldPlaced, HoldReleased, RolloutBegan, RolloutEnded, RolloutOutcome,
};
use vice_core::payload::simulation::Probability;
use vice_core::payload::{environment_stream, version_in};
use vice_core::store::{EventStoreExt, Query};
use vice_core::ui::Outcome;
use vice_pride_engine::hindsight::End;
use vice_pride_simulator::counted;

use super::policy::Policy;
use super::{Replayed, render, was_judged};
use crate::driver::load;

/// The newest rollouts of an environment that are replayed: each is read and run through the engine twice, which takes
/// about a millisecond a window.
const ROLLOUTS_MAX: usize = 2_000;

/// What is known of a release by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Label {
    /// It was rolled back for its own sake and is still on hold, or it was put on hold later.
    Bad,
    /// It succeeded, and nobody has put it on hold since; or its hold was released and it succeeded then.
    Good,
    /// Nobody can tell: it was left, failed for other reasons, or its hold was released and it was not tried again.
    Unknown,
}

/// One rollout of the history under the policy.
#[derive(Debug, Serialize)]
pub(super) struct Case {
    pub(super) rollout: RolloutId,
    pub(super) label: Label,
    /// Whether the label is a word of the judge itself, so that it can't speak against it.
    pub(super) by_judge: bool,
    /// What happened.
    pub(super) outcome: Option<RolloutOutcome>,
    /// How it would have ended on the recorded counts.
    pub(super) would_be: End,
    /// Whether the policy leaves the recorded shares before that.
    pub(super) departs: bool,
    #[serde(skip)]
    pub(super) stops: bool,
    #[serde(skip)]
    pub(super) stopped_then: bool,
}

/// How well a policy tells bad releases from good ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Score {
    pub(super) bad_stopped: u64,
    pub(super) bad_passed: u64,
    pub(super) good_stopped: u64,
    pub(super) good_passed: u64,
    /// Of what it stops, how much is bad; exact 95 % interval.
    pub(super) precision: Probability,
    /// Of what is bad, how much it stops.
    pub(super) recall: Probability,
}

impl Score {
    fn of(cases: &[Case], stops: impl Fn(&Case) -> bool) -> Self {
        let count = |label: Label, stopped: bool| {
            let found = cases.iter().filter(|case| case.label == label && stops(case) == stopped).count();
            u64::try_from(found).unwrap_or(u64::MAX)
        };
        let (bad_stopped, bad_passed) = (count(Label::Bad, true), count(Label::Bad, false));
        let (good_stopped, good_passed) = (count(Label::Good, true), count(Label::Good, false));
        Self {
            bad_stopped,
            bad_passed,
            good_stopped,
            good_passed,
            precision: counted(bad_stopped, bad_stopped + good_stopped),
            recall: counted(bad_stopped, bad_stopped + bad_passed),
        }
    }
}

/// What a history holds.
pub(super) struct History {
    pub(super) cases: Vec<Case>,
    /// Rollouts that nothing was recorded of that a judge could judge.
    pub(super) unjudged: u64,
    /// Rollouts that could not be replayed, and why.
    pub(super) skipped: Vec<(RolloutId, String)>,
}

/// Replays every rollout that has readings.
pub(super) async fn run(
    app: &App,
    project: Option<&ProjectName>,
    env: Option<&EnvName>,
    policy: &Policy,
) -> Result<Outcome> {
    let mut history = History { cases: Vec::new(), unjudged: 0, skipped: Vec::new() };
    if let Some(project) = project {
        let project = app.workspace.project(project.as_str())?;
        env.map(|env| project.env(env)).transpose()?;
    }
    for found in app.workspace.projects.values() {
        if project.is_some_and(|wanted| wanted != found.name()) {
            continue;
        }
        for name in found.manifest.env.keys().filter(|name| env.is_none_or(|wanted| wanted == *name)) {
            collect(app, &Scope::new(found.name().clone(), name.clone()), policy, &mut history).await?;
        }
    }
    let score = Score::of(&history.cases, |case| case.stops);
    let then = Score::of(&history.cases, |case| case.stopped_then);
    let text = render::all(&history, policy, &score, &then);
    let skipped: Vec<_> = history.skipped.iter().map(|(id, why)| json!({ "rollout": id, "reason": why })).collect();
    let value = json!({
        "policy": policy.name,
        "ignored": policy.ignored,
        "score": score,
        "recorded_score": then,
        "rollouts": history.cases,
        "without_readings": history.unjudged,
        "skipped": skipped,
    });
    Ok(Outcome::done(text, value))
}

async fn collect(app: &App, scope: &Scope, policy: &Policy, history: &mut History) -> Result<()> {
    let events = app.events.read_all(Query::stream(environment_stream(scope), 0)).await?;
    let known = Known::of(&events)?;
    for (id, one) in known.rollouts.iter().rev().take(ROLLOUTS_MAX) {
        if app.stop.raised().is_some() {
            break;
        }
        let journal = match load(app, id).await {
            Ok(journal) => journal,
            Err(fault) => {
                history.skipped.push((id.clone(), fault.chain().join(" ")));
                continue;
            }
        };
        let judged = journal.plan.analysis.is_some()
            && !vice_pride_engine::hindsight::recorded_windows(&journal.recorded, 0).is_empty();
        if !judged {
            history.unjudged += 1;
            continue;
        }
        match Replayed::new(id, &journal, policy) {
            Ok(replayed) => history.cases.push(Case {
                rollout: id.clone(),
                label: known.label(id, one),
                by_judge: was_judged(&journal),
                outcome: one.outcome,
                would_be: replayed.policy.end,
                departs: replayed.policy.departure.is_some(),
                stops: replayed.stops(),
                stopped_then: matches!(replayed.recorded.end, End::Stopped(_)),
            }),
            Err(fault) => history.skipped.push((id.clone(), fault.chain().join(" "))),
        }
    }
    Ok(())
}

/// What an environment's stream says of its releases.
#[derive(Debug, Default)]
struct Known {
    rollouts: Vec<(RolloutId, One)>,
    /// Versions that are on hold now.
    held: BTreeMap<String, ()>,
    /// The last rollout by number in which a version succeeded.
    succeeded: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct One {
    version: String,
    outcome: Option<RolloutOutcome>,
    /// Whether it put its own version on hold.
    blamed: bool,
}

impl Known {
    fn of(events: &[Recorded]) -> Result<Self> {
        let mut known = Self::default();
        for recorded in events {
            let event = &recorded.event;
            if let Some(began) = event.decode::<RolloutBegan>()? {
                if began.direction == Direction::Deploy {
                    let one = One { version: began.to.version, outcome: None, blamed: false };
                    known.rollouts.push((began.rollout, one));
                }
            } else if let Some(ended) = event.decode::<RolloutEnded>()? {
                known.ended(&ended);
            } else if let Some(hold) = event.decode::<HoldPlaced>()? {
                if let Some(one) = hold.rollout.as_ref().and_then(|id| known.one(id)) {
                    one.blamed |= one.version == version_in(&hold.version);
                }
                known.held.insert(hold.version, ());
            } else if let Some(released) = event.decode::<HoldReleased>()? {
                known.held.remove(&released.version);
            }
        }
        Ok(known)
    }

    fn one(&mut self, id: &RolloutId) -> Option<&mut One> {
        self.rollouts.iter_mut().rev().find(|(other, _)| other == id).map(|(_, one)| one)
    }

    fn ended(&mut self, ended: &RolloutEnded) {
        let number = ended.rollout.number;
        let Some(one) = self.one(&ended.rollout) else { return };
        one.outcome = Some(ended.outcome);
        if ended.outcome == RolloutOutcome::Succeeded {
            let version = one.version.clone();
            self.succeeded.insert(version, number);
        }
    }

    fn label(&self, id: &RolloutId, one: &One) -> Label {
        let came_through = self.succeeded.get(&one.version).is_some_and(|number| *number >= id.number);
        match (self.held.contains_key(&one.version), one.outcome) {
            (true, Some(RolloutOutcome::Succeeded)) => Label::Bad,
            (true, Some(_)) if one.blamed => Label::Bad,
            (false, Some(RolloutOutcome::Succeeded)) => Label::Good,
            (false, Some(_)) if one.blamed && came_through => Label::Good,
            _ => Label::Unknown,
        }
    }
}
