//! Runs the checks of a plan, one after the other, and is the [`Verifier`] that others know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls_pki_types::CertificateDer;
use tokio::time::{Instant, sleep_until};
use vice_core::app::StopSignal;
use vice_core::payload::verification::{CheckOutcome, CheckResult, SuiteResult};
use vice_core::port::command::CommandRunner;
use vice_core::port::verifier::{Verifier, VerifyRequest};
use vice_core::series::{Labels, Point, SeriesStore};
use vice_core::time::Clock;
use vice_core::ui::{Progress, ProgressState, Ui};
use vice_core::{Fault, Millis, Result};

use crate::attempt::Attempt;
use crate::http::{self, Clients, Http};
use crate::plan::{Plan, Planned, plan};
use crate::play::Player;
use crate::play::result::{RunResult, is_bad};
use crate::say;
use crate::step::Bench;
use crate::tls::Tls;
use crate::values::Values;

/// How long one attempt may take when the check does not say.
pub(crate) const ATTEMPT_TIMEOUT: Millis = Millis::from_secs(10);

/// How long to wait between attempts when the check does not say.
const RETRY_EVERY: Millis = Millis(500);

/// How often a pause looks whether the process was asked to end; about what a person notices.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// The series of the latency of good answers, in seconds.
const LATENCY_SERIES: &str = "check_latency_seconds";

/// Verification: checks against a live system. Cheap to clone.
#[derive(Clone)]
pub struct Wrath {
    clock: Arc<dyn Clock>,
    runner: Arc<dyn CommandRunner>,
    ui: Option<Arc<dyn Ui>>,
    series: Option<Arc<dyn SeriesStore>>,
    stop: Arc<StopSignal>,
    clients: Arc<Clients>,
    tls: Arc<Tls>,
}

impl Wrath {
    /// A verifier that tells nobody and records nothing. The program must have installed its TLS provider.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, runner: Arc<dyn CommandRunner>) -> Self {
        Self {
            clock,
            runner,
            ui: None,
            series: None,
            stop: Arc::default(),
            clients: Arc::default(),
            tls: Arc::new(Tls::new()),
        }
    }

    /// Tells the terminal about each check.
    #[must_use]
    pub fn with_ui(mut self, ui: Arc<dyn Ui>) -> Self {
        self.ui = Some(ui);
        self
    }

    /// Records the latency of good answers.
    #[must_use]
    pub fn with_series(mut self, series: Arc<dyn SeriesStore>) -> Self {
        self.series = Some(series);
        self
    }

    /// Ends between attempts when the process was asked to.
    #[must_use]
    pub fn with_stop(mut self, stop: Arc<StopSignal>) -> Self {
        self.stop = stop;
        self
    }

    /// Trusts these roots (DER) and no others, instead of those of the machine.
    #[must_use]
    pub fn with_roots(mut self, roots: Vec<CertificateDer<'static>>) -> Self {
        self.clients = Arc::new(Clients::trusting(roots));
        self
    }

    /// Whether the process was asked to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.raised().is_some()
    }

    /// Records observations, where there is a place for them.
    pub(crate) async fn observe(&self, points: impl Fn(jiff::Timestamp) -> Vec<Point>) -> Result<()> {
        let Some(series) = &self.series else { return Ok(()) };
        let points = points(self.clock.now());
        if points.is_empty() { Ok(()) } else { series.record(points).await }
    }

    /// One attempt of a check without its retries.
    pub(crate) async fn attempt(
        &self,
        request: &VerifyRequest,
        check: &Planned,
        values: &Values,
        timeout: Millis,
        until: Instant,
    ) -> Attempt {
        match check.kind {
            "tcp" => crate::tcp::attempt(check, values, timeout, until).await,
            "scenario" => self.scenario(request, check, values, until).await,
            "command" => crate::command::attempt(self.runner.as_ref(), request, check, values, until).await,
            _ => {
                let http = Http { clients: &self.clients, tls: &self.tls, clock: self.clock.as_ref() };
                http.attempt(check, values, timeout, until).await
            }
        }
    }

    /// Plays the scenario of a check. It may take as long as the check, and its teardown a moment longer.
    async fn scenario(&self, request: &VerifyRequest, check: &Planned, values: &Values, until: Instant) -> Attempt {
        let Some(scenario) = &check.scenario else { return Attempt::errored("there is no scenario") };
        let left = until.saturating_duration_since(Instant::now());
        let left = Millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let mut scenario = scenario.clone();
        scenario.timeout = Some(scenario.timeout.unwrap_or(left).min(left));
        let mut values = values.clone();
        values.set("run.id", serde_json::Value::from(self.clock.now().as_millisecond().to_string()));
        let env = crate::command::environment(request, &values);
        let player = Player {
            bench: Bench {
                clock: Arc::clone(&self.clock),
                runner: Arc::clone(&self.runner),
                clients: Arc::clone(&self.clients),
                dir: request.project.root.clone(),
                env: Arc::new(env),
            },
            ui: None,
            stop: Arc::clone(&self.stop),
            env: Some(request.env.clone()),
            jobs: 1,
        };
        match player.play(std::slice::from_ref(&scenario), &values).await {
            Ok(run) => attempt_of(&run),
            Err(fault) => Attempt::errored(fault.to_string()),
        }
    }

    fn tell(&self, check: &Planned, state: ProgressState, text: String) {
        if let Some(ui) = &self.ui {
            ui.progress(Progress { key: format!("check/{}", check.name), text, state, gist: None });
        }
    }

    /// Fails when the process was asked to end.
    fn go_on(&self) -> Result<()> {
        match self.stop.raised() {
            None => Ok(()),
            Some(code) => Err(Fault::new(code, "The verification was interrupted.")),
        }
    }

    /// Waits, and looks in between whether to go on.
    async fn pause_until(&self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            self.go_on()?;
            sleep_until(end.min(Instant::now() + STOP_EVERY)).await;
        }
        Ok(())
    }

    async fn record(&self, request: &VerifyRequest, latencies: Vec<(String, Duration)>) {
        let Some(series) = self.series.as_ref().filter(|_| !latencies.is_empty()) else { return };
        let mut labels: Labels = [("env".to_owned(), request.env.to_string())].into();
        labels.insert("project".to_owned(), request.project.name().to_string());
        labels.extend(request.vars.get("version").map(|version| ("version".to_owned(), version.clone())));
        let time = self.clock.now();
        let points = latencies.into_iter().map(|(check, latency)| {
            let mut labels = labels.clone();
            labels.insert("check".to_owned(), check);
            Point { name: LATENCY_SERIES.to_owned(), labels, time, value: latency.as_secs_f64() }
        });
        // Observations are not history: a check run that can't be observed is still a check run.
        drop(series.record(points.collect()).await);
    }
}

#[async_trait]
impl Verifier for Wrath {
    async fn verify(&self, request: VerifyRequest) -> Result<SuiteResult> {
        let values = Values::new(&request.vars, request.config.as_ref());
        let plan = plan(&request, &values)?;
        let begun = Instant::now();
        let started = self.clock.now();
        let deadline = begun + request.deadline.as_duration().min(FAR);
        let mut run =
            Run { wrath: self, request: &request, values, deadline, results: BTreeMap::new(), latencies: Vec::new() };
        let checks = run.all(&plan).await?;
        let latencies = std::mem::take(&mut run.latencies);
        self.record(&request, latencies).await;
        Ok(SuiteResult { started, took: elapsed(begun), checks })
    }
}

/// Longer than any run; keeps sums of instants in range.
const FAR: Duration = Duration::from_secs(30 * 86_400);

fn elapsed(since: Instant) -> Millis {
    Millis(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// What playing a scenario means for the check that names it.
fn attempt_of(run: &RunResult) -> Attempt {
    let mut attempt = Attempt { latency: Some(Duration::from_secs_f64(run.took_ms / 1000.0)), ..Attempt::default() };
    for scenario in run.scenarios.iter().filter(|scenario| is_bad(scenario.outcome)) {
        let bad = scenario.steps.iter().filter(|step| is_bad(step.outcome));
        let lines =
            bad.flat_map(|step| step.findings.iter().map(move |finding| format!("{}: {}", step.name, finding.message)));
        let lines: Vec<String> = scenario.reason.iter().cloned().chain(lines).collect();
        if scenario.outcome == CheckOutcome::Failed {
            attempt.failures.extend(lines);
        } else {
            attempt.error.get_or_insert_with(|| lines.join("; "));
        }
    }
    if run.count(CheckOutcome::Passed) == 0 && attempt.messages().next().is_none() {
        attempt.error = Some("nothing of the scenario was played".to_owned());
    }
    attempt
}

struct Run<'a> {
    wrath: &'a Wrath,
    request: &'a VerifyRequest,
    values: Values,
    deadline: Instant,
    results: BTreeMap<usize, CheckResult>,
    latencies: Vec<(String, Duration)>,
}

impl Run<'_> {
    /// Runs all checks; the results are in the order of `vice.toml`.
    async fn all(&mut self, plan: &Plan) -> Result<Vec<CheckResult>> {
        for index in &plan.order {
            let check = &plan.checks[*index];
            let result = match self.skip(check, plan) {
                Some(reason) => self.not_run(check, CheckOutcome::Skipped, reason),
                None if Instant::now() >= self.deadline => {
                    let reason = format!("not reached before the deadline of {} for all checks", self.request.deadline);
                    self.not_run(check, CheckOutcome::Errored, reason)
                }
                None => self.one(check).await?,
            };
            self.tell_end(check, &result);
            self.results.insert(*index, result);
        }
        Ok(std::mem::take(&mut self.results).into_values().collect())
    }

    fn skip(&self, check: &Planned, plan: &Plan) -> Option<String> {
        if !check.applies {
            let only: Vec<&str> = check.spec.only.iter().map(vice_core::id::EnvName::as_str).collect();
            return Some(format!("only for {}", only.join(", ")));
        }
        let ended = |need: &String| {
            let index = plan.checks.iter().position(|other| other.name == *need)?;
            let result = self.results.get(&index)?;
            (result.outcome != CheckOutcome::Passed).then_some((need.clone(), result.outcome))
        };
        let (need, outcome) = check.needs.iter().find_map(ended)?;
        let how = match outcome {
            CheckOutcome::Failed => "failed",
            CheckOutcome::Errored => "could not be run",
            CheckOutcome::Skipped | CheckOutcome::Passed => "was skipped",
        };
        Some(format!("needs {need}, which {how}"))
    }

    fn not_run(&self, check: &Planned, outcome: CheckOutcome, reason: String) -> CheckResult {
        CheckResult {
            name: check.name.clone(),
            kind: check.kind.to_owned(),
            subject: self.subject(check),
            outcome,
            attempts: 0,
            took: Millis::ZERO,
            messages: vec![reason],
        }
    }

    /// One check with all its attempts.
    async fn one(&mut self, check: &Planned) -> Result<CheckResult> {
        let begun = Instant::now();
        let retry_end = begun + check.spec.retry_for.unwrap_or_default().as_duration().min(FAR);
        let pause = check.spec.retry_every.unwrap_or(RETRY_EVERY).max(Millis(1)).as_duration();
        let mut attempts = 0;
        self.wrath.tell(check, ProgressState::Running, format!("{}: {}", check.name, self.subject(check)));
        let last = loop {
            self.wrath.go_on()?;
            attempts += 1;
            let attempt = self.attempt(check).await;
            let next = Instant::now() + pause;
            if attempt.outcome() == CheckOutcome::Passed || next >= retry_end || next >= self.deadline {
                break attempt;
            }
            let why =
                attempt.messages().next().map(|text| say::message(self.values.masker(), text)).unwrap_or_default();
            self.wrath.tell(check, ProgressState::Waiting, format!("{}: attempt {attempts}: {why}", check.name));
            self.wrath.pause_until(next).await?;
        };
        Ok(self.result(check, last, attempts, elapsed(begun)))
    }

    async fn attempt(&self, check: &Planned) -> Attempt {
        let limit = check.spec.timeout.unwrap_or(ATTEMPT_TIMEOUT).min(Millis(FAR.as_secs() * 1000));
        let now = Instant::now();
        let until = (now + limit.as_duration()).min(self.deadline);
        // The time that is named in messages: what was left of the deadline, when that is shorter.
        let timeout = Millis(u64::try_from((until - now).as_millis()).unwrap_or(u64::MAX));
        self.wrath.attempt(self.request, check, &self.values, timeout, until).await
    }

    fn result(&mut self, check: &Planned, attempt: Attempt, attempts: u32, took: Millis) -> CheckResult {
        let outcome = attempt.outcome();
        let masker = self.values.masker();
        let messages = attempt.messages().map(|text| say::message(masker, text)).collect();
        if outcome == CheckOutcome::Passed {
            self.latencies.extend(attempt.latency.map(|latency| (check.name.clone(), latency)));
        }
        let subject = self.subject(check);
        for captured in attempt.captured {
            self.values.capture(captured);
        }
        CheckResult {
            name: check.name.clone(),
            kind: check.kind.to_owned(),
            subject,
            outcome,
            attempts,
            took,
            messages,
        }
    }

    /// What the check looks at, with values where they are known.
    fn subject(&self, check: &Planned) -> String {
        let template = check.subject_template();
        let filled = self.values.text(&template).unwrap_or(template);
        let shown = http::shown_url(&filled);
        let method = http::method(&check.spec);
        let text =
            if check.kind == "http" && method != "GET" { format!("{method} {shown}") } else { shown.into_owned() };
        say::message(self.values.masker(), &text)
    }

    fn tell_end(&self, check: &Planned, result: &CheckResult) {
        let first = result.messages.first().map(String::as_str).unwrap_or_default();
        let (state, text) = match result.outcome {
            CheckOutcome::Passed => (ProgressState::Done, format!("{}: passed in {}", check.name, result.took)),
            CheckOutcome::Failed => (ProgressState::Failed, format!("{}: failed: {first}", check.name)),
            CheckOutcome::Errored => (ProgressState::Failed, format!("{}: could not be run: {first}", check.name)),
            CheckOutcome::Skipped => (ProgressState::Done, format!("{}: skipped: {first}", check.name)),
        };
        self.wrath.tell(check, state, text);
    }
}
