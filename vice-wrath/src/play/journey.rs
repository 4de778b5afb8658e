//! Scenarios as the journeys of a load: each is played as a run plays it, with its cookies, captures and teardown, and
//! what its steps took is handed over. It knows nothing of arrivals and figures; those are [`crate::load`]'s.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use rand::RngExt as _;
use serde_json::Value;
use tokio::time::Instant;
use vice_core::app::StopSignal;
use vice_core::payload::verification::CheckOutcome;
use vice_core::rng::Streams;

use super::Player;
use super::result::{ScenarioResult, StepResult, is_bad};
use crate::load::{Beat, Failure, Journey, Journeys, Played};
use crate::scenario::Scenario;
use crate::step::Bench;
use crate::values::Values;

/// What all threads share.
struct Book {
    scenarios: Vec<Scenario>,
    /// The sums of weights up to each scenario.
    weights: Vec<f64>,
    /// The number of the kind of each scenario; those of its steps follow it.
    kinds: Vec<usize>,
    values: Values,
    bench: Bench,
    env: Option<vice_core::id::EnvName>,
    streams: Streams,
}

/// Scenarios with weights, as the journeys of a load.
pub(crate) struct ScenarioJourneys(Arc<Book>);

impl ScenarioJourneys {
    /// The journeys of these scenarios, and the names of their kinds: of each scenario, and behind it of each step.
    pub(crate) fn new(all: Vec<(Scenario, f64)>, values: Values, like: &Player, seed: u64) -> (Self, Vec<String>) {
        let (mut names, mut kinds, mut weights, mut sum) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
        for (scenario, weight) in &all {
            kinds.push(names.len());
            names.push(scenario.name.clone());
            names.extend(scenario.all_steps().map(|step| format!("{} / {}", scenario.name, step.name)));
            sum += weight;
            weights.push(sum);
        }
        let book = Book {
            scenarios: all.into_iter().map(|(scenario, _)| scenario).collect(),
            weights,
            kinds,
            values,
            bench: like.bench.clone(),
            env: like.env.clone(),
            streams: Streams::new(seed),
        };
        (Self(Arc::new(book)), names)
    }
}

impl Journeys for ScenarioJourneys {
    fn player(&self) -> Rc<dyn Journey> {
        let player = Player {
            bench: Bench { clients: Arc::default(), ..self.0.bench.clone() },
            ui: None,
            stop: Arc::new(StopSignal::default()),
            env: self.0.env.clone(),
            jobs: 1,
        };
        Rc::new(OnThread { book: Arc::clone(&self.0), player })
    }
}

/// What plays on one thread.
struct OnThread {
    book: Arc<Book>,
    player: Player,
}

impl Journey for OnThread {
    fn play(&self, number: u64) -> LocalBoxFuture<'_, Played> {
        self.one(number).boxed_local()
    }

    fn end(&self) {
        self.player.stop.raise(false);
    }
}

impl OnThread {
    async fn one(&self, number: u64) -> Played {
        let book = &self.book;
        let all = book.weights.last().copied().unwrap_or(0.0);
        let place = book.streams.stream("load/journey", number).random::<f64>() * all;
        let index = book.weights.partition_point(|sum| *sum <= place).min(book.scenarios.len().saturating_sub(1));
        let kind = book.kinds.get(index).copied().unwrap_or(0);
        let nothing = Played { kind, good: None, beats: Vec::new(), reason: None };
        let Some(scenario) = book.scenarios.get(index) else { return nothing };
        let row = usize::try_from(number % scenario.rows.len().max(1) as u64).unwrap_or(0);
        let Some(row) = scenario.rows.get(row) else { return nothing };
        let mut values = book.values.clone();
        // What a journey makes must not meet what another one makes.
        let run = format!("{}-{number}", values.get("run.id").unwrap_or_default());
        values.set("run.id", Value::from(run));
        let result = self.player.scenario(scenario, row, &values, Instant::now()).await;
        played(kind, scenario, &result, self.player.stop.raised().is_some())
    }
}

/// What came of a scenario, as a load counts it. Steps that were not reached count for nothing.
fn played(kind: usize, scenario: &Scenario, result: &ScenarioResult, over: bool) -> Played {
    let sent = |step: &&(usize, &StepResult)| step.1.attempts > 0 && step.1.outcome != CheckOutcome::Skipped;
    let steps: Vec<(usize, &StepResult)> = result.steps.iter().enumerate().collect();
    let beats = steps.iter().filter(sent).map(|(index, step)| Beat {
        kind: kind + 1 + index,
        took: Duration::from_secs_f64(step.took_ms.max(0.0) / 1e3),
        status: step.status.unwrap_or(0),
        bytes: step.bytes as u64,
        bad: failure(step),
    });
    let first = result.first_bad();
    let whole = result.steps.len() == scenario.all_steps().count();
    let cut = over && (!whole || result.steps.iter().any(|step| step.outcome == CheckOutcome::Skipped));
    let reason = first.and_then(|step| Some(format!("{}: {}", step.name, step.findings.first()?.message)));
    Played {
        kind,
        good: if cut && first.is_none() { None } else { Some(result.outcome == CheckOutcome::Passed) },
        beats: beats.collect(),
        reason: result.reason.clone().or(reason).map(|reason| format!("{}: {reason}", scenario.name)),
    }
}

fn failure(step: &StepResult) -> Option<Failure> {
    if !is_bad(step.outcome) {
        return None;
    }
    Some(match step.outcome {
        CheckOutcome::Failed => Failure::Unexpected,
        _ if step.late => Failure::Timeout,
        _ => Failure::Undone,
    })
}
