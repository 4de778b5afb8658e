//! Plays scenarios: rows, phases, groups, attempts, and the judgement of each answer. It decides the order and when to
//! stop; it must not know how a step reaches a system ([`crate::step`]) or how a result looks ([`crate::report`]).

pub(crate) mod journey;
pub(crate) mod judge;
pub(crate) mod result;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use tokio::time::{Instant, sleep_until};
use vice_core::app::StopSignal;
use vice_core::payload::verification::CheckOutcome;
use vice_core::ui::{Progress, ProgressState, Ui};
use vice_core::{Code, Fault, Millis, Result};

use crate::capture::Captured;
use crate::query::facts::{Facts, millis};
use crate::say;
use crate::scenario::{Row, Scenario, Step};
use crate::step::cookies::Jar;
use crate::step::{Bench, Tried, Try};
use crate::suite::ATTEMPT_TIMEOUT;
use crate::values::Values;
use judge::{Judged, judge};
use result::{Finding, Phase, RunResult, ScenarioResult, StepResult, is_bad, together};

/// How long setup and steps of a scenario may take when it does not say.
const SCENARIO_TIMEOUT: Millis = Millis::from_secs(300);

/// How long a teardown may take when the time of its scenario is over: it is what puts things right again.
const TEARDOWN_TIME: Duration = Duration::from_secs(30);

/// How often a wait looks whether the process was asked to end.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// So many steps of a group are under way at the same time.
const GROUP_MAX: usize = 64;

/// So many scenarios may be under way at the same time.
pub(crate) const JOBS_MAX: usize = 1000;

/// Longer than any run; keeps sums of instants in range.
const FAR: Duration = Duration::from_secs(30 * 86_400);

/// What plays scenarios.
pub(crate) struct Player {
    pub(crate) bench: Bench,
    pub(crate) ui: Option<Arc<dyn Ui>>,
    pub(crate) stop: Arc<StopSignal>,
    /// The environment that the scenarios are played against, where there is one.
    pub(crate) env: Option<vice_core::id::EnvName>,
    /// How many scenarios are under way at the same time.
    pub(crate) jobs: usize,
}

impl Player {
    /// Plays all scenarios with all their rows. The results are in the order of the scenarios.
    ///
    /// # Errors
    /// `Interrupted` or `Terminated` when the process was asked to end, after teardowns have run.
    pub(crate) async fn play(&self, scenarios: &[Scenario], values: &Values) -> Result<RunResult> {
        let started = self.bench.clock.now();
        let began = Instant::now();
        let games: Vec<(&Scenario, &Row)> =
            scenarios.iter().flat_map(|scenario| scenario.rows.iter().map(move |row| (scenario, row))).collect();
        let mut waiting = games.into_iter();
        let mut playing = FuturesOrdered::new();
        let mut scenarios = Vec::new();
        loop {
            while playing.len() < self.jobs.clamp(1, JOBS_MAX)
                && let Some((scenario, row)) = waiting.next()
            {
                playing.push_back(self.scenario(scenario, row, values, began));
            }
            match playing.next().await {
                Some(played) => scenarios.push(played),
                None => break,
            }
        }
        if let Some(code) = self.stop.raised() {
            return Err(Fault::new(code, "The run was interrupted; teardowns have run."));
        }
        Ok(RunResult { started, took_ms: millis(began.elapsed()), scenarios })
    }

    pub(crate) async fn scenario(
        &self,
        scenario: &Scenario,
        row: &Row,
        values: &Values,
        run: Instant,
    ) -> ScenarioResult {
        let began = Instant::now();
        let mut result = ScenarioResult {
            name: scenario.name.clone(),
            row: say::message(values.masker(), &row.label),
            about: scenario.about.clone(),
            file: scenario.spot.source.file.clone(),
            line: scenario.spot.line(),
            tags: scenario.tags.clone(),
            outcome: CheckOutcome::Skipped,
            reason: self.not_for(scenario),
            began_ms: millis(began - run),
            took_ms: 0.0,
            steps: Vec::new(),
        };
        if result.reason.is_some() || self.stop.raised().is_some() {
            return result;
        }
        let title = result.title();
        self.tell(&title, ProgressState::Running, title.clone());
        let limit = scenario.timeout.unwrap_or(SCENARIO_TIMEOUT).as_duration().min(FAR);
        let mut game = Game {
            player: self,
            scenario,
            values: values.clone(),
            jar: scenario.cookies.then(Jar::default),
            began,
            deadline: began + limit,
            broken: None,
            results: Vec::new(),
        };
        match game.variables(row) {
            Ok(()) => game.all().await,
            Err(why) => result.reason = Some(say::message(game.values.masker(), &why)),
        }
        result.steps = game.results;
        result.outcome = match result.reason {
            Some(_) => CheckOutcome::Errored,
            None => together(result.steps.iter().map(|step| step.outcome)),
        };
        result.took_ms = millis(began.elapsed());
        self.tell_end(&title, &result);
        result
    }

    fn not_for(&self, scenario: &Scenario) -> Option<String> {
        let env = self.env.as_ref()?;
        let names: Vec<&str> = scenario.only.iter().map(vice_core::id::EnvName::as_str).collect();
        (!names.is_empty() && !scenario.only.contains(env)).then(|| format!("only for {}", names.join(", ")))
    }

    fn tell(&self, title: &str, state: ProgressState, text: String) {
        if let Some(ui) = &self.ui {
            ui.progress(Progress { key: format!("scenario/{title}"), text, state, gist: None });
        }
    }

    fn tell_end(&self, title: &str, result: &ScenarioResult) {
        let took = result::millis(result.took_ms);
        let first =
            result.first_bad().and_then(|step| Some(format!("{}: {}", step.name, step.findings.first()?.message)));
        let first = result.reason.clone().or(first).unwrap_or_default();
        let (state, text) = match result.outcome {
            CheckOutcome::Passed => (ProgressState::Done, format!("{title}: passed in {took}")),
            CheckOutcome::Failed => (ProgressState::Failed, format!("{title}: failed: {first}")),
            CheckOutcome::Errored => (ProgressState::Failed, format!("{title}: could not be played: {first}")),
            CheckOutcome::Skipped => (ProgressState::Done, format!("{title}: skipped")),
        };
        self.tell(title, state, text);
    }
}

/// One scenario with one row, under way.
struct Game<'a> {
    player: &'a Player,
    scenario: &'a Scenario,
    values: Values,
    jar: Option<Jar>,
    began: Instant,
    deadline: Instant,
    /// Why no further steps are played.
    broken: Option<String>,
    results: Vec<StepResult>,
}

/// What one step gave.
struct Ended {
    result: StepResult,
    captured: Vec<Captured>,
}

impl Game<'_> {
    /// The variables of the scenario, then those of the row, which win.
    fn variables(&mut self, row: &Row) -> Result<(), String> {
        for (name, value) in &row.values {
            self.values.set(name, value.clone());
        }
        for (name, value) in self.scenario.vars.iter().filter(|(name, _)| !row.values.contains_key(name)) {
            let filled = self.values.json(value).map_err(|fault| format!("the variable {name}: {fault}"))?;
            self.values.set_tainted(name, filled, value);
        }
        Ok(())
    }

    async fn all(&mut self) {
        self.phase(&self.scenario.setup, Phase::Setup).await;
        self.phase(&self.scenario.steps, Phase::Step).await;
        // Whatever happened, and even when the process was asked to end: what was set up is taken down.
        self.deadline = self.deadline.max(Instant::now() + TEARDOWN_TIME);
        self.phase(&self.scenario.teardown, Phase::Teardown).await;
    }

    async fn phase(&mut self, steps: &[Step], phase: Phase) {
        let mut rest = steps;
        while let Some(first) = rest.first() {
            let same = |step: &&Step| step.parallel.is_some() && step.parallel == first.parallel;
            let length = rest.iter().take_while(same).count().max(1);
            let (group, later) = rest.split_at(length);
            rest = later;
            if let Some(reason) = self.stopped(phase) {
                let skipped: Vec<StepResult> = group.iter().map(|step| self.skipped(step, phase, &reason)).collect();
                self.results.extend(skipped);
                continue;
            }
            let ended = self.group(group, phase).await;
            for Ended { result, captured } in ended {
                if is_bad(result.outcome)
                    && phase != Phase::Teardown
                    && (phase == Phase::Setup || !self.scenario.keep_going)
                {
                    self.broken.get_or_insert_with(|| format!("{} did not pass", result.name));
                }
                self.results.push(result);
                captured.into_iter().for_each(|captured| self.values.capture(captured));
            }
        }
    }

    /// Steps that are under way at the same time; what they gave, in their order.
    async fn group(&self, group: &[Step], phase: Phase) -> Vec<Ended> {
        let mut waiting = group.iter();
        let mut playing = FuturesOrdered::new();
        let mut all = Vec::new();
        loop {
            while playing.len() < GROUP_MAX
                && let Some(step) = waiting.next()
            {
                playing.push_back(self.one(step, phase));
            }
            match playing.next().await {
                Some(ended) => all.push(ended),
                None => return all,
            }
        }
    }

    fn stopped(&self, phase: Phase) -> Option<String> {
        if phase == Phase::Teardown {
            return None;
        }
        if self.player.stop.raised().is_some() {
            return Some("the run was interrupted".to_owned());
        }
        if Instant::now() >= self.deadline {
            let limit = self.scenario.timeout.unwrap_or(SCENARIO_TIMEOUT);
            return Some(format!("not reached within {limit}"));
        }
        self.broken.clone()
    }

    fn skipped(&self, step: &Step, phase: Phase, reason: &str) -> StepResult {
        let mut result = self.blank(step, phase);
        // Time that ran out is an error of the scenario; what follows a failure is not.
        if reason.starts_with("not reached") {
            result.outcome = CheckOutcome::Errored;
        }
        result.findings = vec![self.finding(step, reason)];
        result
    }

    fn blank(&self, step: &Step, phase: Phase) -> StepResult {
        StepResult {
            name: say::message(self.values.masker(), &step.name),
            kind: step.action.kind(),
            subject: self.subject(step),
            phase,
            outcome: CheckOutcome::Skipped,
            attempts: 0,
            began_ms: millis(self.began.elapsed()),
            took_ms: 0.0,
            first_ms: None,
            latency_ms: None,
            status: None,
            bytes: 0,
            late: false,
            findings: Vec::new(),
            file: step.spot.source.file.clone(),
            line: step.spot.line(),
        }
    }

    fn finding(&self, step: &Step, message: &str) -> Finding {
        Finding {
            message: say::message(self.values.masker(), message),
            expected: None,
            got: None,
            diff: Vec::new(),
            file: step.spot.source.file.clone(),
            line: step.spot.line(),
        }
    }

    /// What the step looks at, with values where they are known.
    fn subject(&self, step: &Step) -> String {
        let template = step.action.subject();
        let filled = self.values.text(&template).unwrap_or(template);
        let shown = match filled.split_once(' ') {
            Some((word, url)) => format!("{word} {}", crate::http::shown_url(url)),
            None => crate::http::shown_url(&filled).into_owned(),
        };
        say::message(self.values.masker(), &shown)
    }

    /// One step with all its attempts.
    async fn one(&self, step: &Step, phase: Phase) -> Ended {
        let mut result = self.blank(step, phase);
        if let Some(missing) = self.missing(step) {
            result.outcome = if self.broken.is_some() { CheckOutcome::Skipped } else { CheckOutcome::Errored };
            result.findings = vec![self.finding(step, &format!("{{{{{missing}}}}} was never captured"))];
            return Ended { result, captured: Vec::new() };
        }
        let begun = Instant::now();
        let (tried, judged) = self.attempts(step, phase, begun, &mut result.attempts).await;
        result.late = tried.late;
        result.took_ms = millis(begun.elapsed());
        self.fill(&mut result, &tried.facts);
        result.outcome = judged.outcome;
        result.findings = judged.findings;
        Ended { result, captured: judged.captured }
    }

    async fn attempts(&self, step: &Step, phase: Phase, begun: Instant, attempts: &mut u32) -> (Tried, Judged) {
        let retry = step.retry;
        let within = retry.map(|retry| retry.within.map_or(FAR, |within| within.as_duration().min(FAR)));
        let end = begun + within.unwrap_or_default();
        loop {
            *attempts += 1;
            let tried = self.attempt(step).await;
            let judged = judge(step, &tried, &self.values);
            let next = Instant::now() + retry.map_or(Duration::ZERO, |retry| retry.every.as_duration().min(FAR));
            let used_up = retry.is_none_or(|retry| retry.times.is_some_and(|times| *attempts > times));
            let ending = phase != Phase::Teardown && self.player.stop.raised().is_some();
            if judged.outcome == CheckOutcome::Passed || used_up || next >= end || next >= self.deadline || ending {
                return (tried, judged);
            }
            while Instant::now() < next && (phase == Phase::Teardown || self.player.stop.raised().is_none()) {
                sleep_until(next.min(Instant::now() + STOP_EVERY)).await;
            }
        }
    }

    async fn attempt(&self, step: &Step) -> Tried {
        let limit = step.timeout.unwrap_or(ATTEMPT_TIMEOUT).as_duration().min(FAR);
        let now = Instant::now();
        let until = (now + limit).min(self.deadline);
        // The time that is named in messages: what was left of the scenario's, when that is shorter.
        let timeout = Millis(u64::try_from((until - now).as_millis()).unwrap_or(u64::MAX));
        let attempt =
            Try { bench: &self.player.bench, step, values: &self.values, jar: self.jar.as_ref(), timeout, until };
        let mut tried = attempt.run().await;
        tried.late = tried.error.is_some() && Instant::now() >= until;
        tried
    }

    /// A capture that this step needs and that no step gave.
    fn missing(&self, step: &Step) -> Option<String> {
        let own = |name: &str| step.captures.iter().any(|capture| capture.name == name);
        crate::scenario::names::used(step).into_iter().find(|name| !self.values.knows(name) && !own(name))
    }

    fn fill(&self, result: &mut StepResult, facts: &Facts) {
        result.first_ms = facts.timing.first.map(millis);
        result.latency_ms = (!facts.timing.total.is_zero()).then(|| millis(facts.timing.total));
        result.status = facts.status;
        result.bytes = facts.body.len();
    }
}

/// What a run means for whoever called, by its results.
pub(crate) fn class(run: &RunResult) -> vice_core::Class {
    if run.count(CheckOutcome::Failed) > 0 {
        vice_core::Class::Verification
    } else if run.count(CheckOutcome::Errored) > 0 || run.count(CheckOutcome::Passed) == 0 {
        // No data is not healthy.
        vice_core::Class::Failed
    } else {
        vice_core::Class::Done
    }
}

/// Fails when nothing is to be played.
pub(crate) fn refuse_nothing(scenarios: &[Scenario]) -> Result<()> {
    if scenarios.is_empty() {
        return Err(Fault::new(Code::Usage, "There are no scenarios to run.")
            .hint("Write one to wrath/NAME.toml beside vice.toml, or name a file.")
            .hint("`vice wrath import` makes one of a curl command or of a HAR file."));
    }
    Ok(())
}
