//! Probes: checks over HTTP and scenarios as traffic, each sent to both versions at the same moment.
//!
//! Pairs keep the two versions comparable: the same check at the same time, one exposure each, whatever either answers.
//! A pair counts when both halves have ended, so a slow half delays its partner and biases nothing. Nothing here decides
//! what the counts mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use vice_core::histogram::{latency_bucket, latency_edge_seconds};
use vice_core::payload::verification::CheckOutcome;
use vice_core::port::metric::{PROBE_SERIES, ProbeArm, ProbeCounts, ProbeReport, ProbeRequest, Prober};
use vice_core::port::verifier::VerifyRequest;
use vice_core::series::{Labels, Point};
use vice_core::{Code, Fault, Millis, Result};

use crate::plan::{Planned, plan};
use crate::say;
use crate::scenario::{Scenario, names};
use crate::suite::{ATTEMPT_TIMEOUT, Wrath};
use crate::values::Values;

/// The most pairs a second. Probes fill a sample; they are no load test.
pub(crate) const RATE_MAX: f64 = 1000.0;

/// How many pairs may be under way. At the limit the next ones are left out for both versions alike.
const PAIRS_MAX: usize = 256;

/// How often what was found goes to the series.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// So many reasons are kept.
const REASONS_MAX: usize = 5;

/// Fails for a rate that can't be kept.
pub(crate) fn check_rate(rate: f64) -> Result<()> {
    if rate.is_finite() && rate > 0.0 && rate <= RATE_MAX {
        return Ok(());
    }
    Err(Fault::new(Code::Usage, format!("A rate of {rate} probes a second can't be sent."))
        .hint(format!("Give a number above 0 and up to {RATE_MAX}.")))
}

/// What probes one unit needs.
struct Unit {
    request: VerifyRequest,
    checks: Vec<Planned>,
    values: Values,
}

/// One half of a pair.
struct Half {
    bad: bool,
    latency: Option<Duration>,
    reason: Option<String>,
}

/// One pair that has ended.
struct Pair {
    check: usize,
    halves: [Half; 2],
}

/// What one version did at one check since the last flush.
#[derive(Default)]
struct Tally {
    counts: ProbeCounts,
    buckets: BTreeMap<usize, u64>,
}

/// A run of probes.
struct Run<'a> {
    wrath: &'a Wrath,
    request: &'a ProbeRequest,
    /// The units of canary and baseline.
    units: [Vec<Arc<Unit>>; 2],
    checks: Vec<String>,
    report: ProbeReport,
    tallies: BTreeMap<(usize, usize), Tally>,
}

#[async_trait]
impl Prober for Wrath {
    async fn probe(&self, request: ProbeRequest) -> Result<ProbeReport> {
        check_rate(request.rate)?;
        let canary = units(&request, &request.canary)?;
        let baseline = units(&request, &request.baseline)?;
        let checks = canary.first().map(|unit| unit.checks.iter().map(|check| check.name.clone()).collect());
        let mut run = Run {
            wrath: self,
            request: &request,
            units: [canary, baseline],
            checks: checks.unwrap_or_default(),
            report: ProbeReport::default(),
            tallies: BTreeMap::new(),
        };
        run.all().await?;
        Ok(run.report)
    }
}

/// The probes of each unit of a version.
fn units(request: &ProbeRequest, arm: &ProbeArm) -> Result<Vec<Arc<Unit>>> {
    if arm.urls.is_empty() {
        return Err(Fault::new(Code::Usage, format!("No unit of version {} can be asked alone.", arm.version))
            .hint("Probes need units that run and have an address; see `vice status --units`."));
    }
    arm.urls.iter().map(|url| unit(request, &arm.version, url).map(Arc::new)).collect()
}

fn unit(request: &ProbeRequest, version: &str, url: &str) -> Result<Unit> {
    let mut vars = request.vars.clone();
    vars.insert("env.url".to_owned(), url.to_owned());
    vars.insert("version".to_owned(), version.to_owned());
    let values = Values::new(&vars, request.config.as_ref());
    let verify = VerifyRequest {
        project: Arc::clone(&request.project),
        env: request.env.clone(),
        only: request.checks.clone(),
        tags: Vec::new(),
        direction: None,
        vars,
        config: request.config.clone(),
        deadline: request.during,
    };
    let planned = plan(&verify, &values)?.checks;
    // One that needs another is a step of a story, and has no meaning alone; one that never mentions the unit's
    // address would show the same for both versions.
    let fits = |check: &Planned| {
        let asks = |text: &String| text.contains("env.url");
        let story = |scenario: &Scenario| names::foreign(scenario).iter().any(|name| name == "env.url");
        let asks_unit = check.spec.http.as_ref().is_some_and(asks) || check.scenario.as_ref().is_some_and(story);
        check.applies && check.needs.is_empty() && asks_unit
    };
    let (checks, others): (Vec<Planned>, Vec<Planned>) = planned.into_iter().partition(fits);
    if let Some(other) = others.iter().find(|check| request.checks.contains(&check.name)) {
        return Err(Fault::new(Code::Usage, format!("The check {} can't be a probe.", other.name))
            .hint("A probe is an HTTP check or a scenario that asks {{env.url}} and needs no other check."));
    }
    if checks.is_empty() {
        return Err(Fault::new(Code::Usage, format!("No check of {} can be a probe.", request.project.name()))
            .hint("Add an HTTP check that needs no other, such as [check.smoke] with http = \"{{env.url}}/\"."));
    }
    Ok(Unit { request: verify, checks, values })
}

impl Run<'_> {
    async fn all(&mut self) -> Result<()> {
        let until = Instant::now() + self.request.during.as_duration();
        let mut ticks = interval(Duration::from_secs_f64(1.0 / self.request.rate).max(Duration::from_micros(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut flushes = interval(FLUSH_EVERY);
        flushes.tick().await;
        let room = Arc::new(Semaphore::new(PAIRS_MAX));
        let mut pairs: JoinSet<Pair> = JoinSet::new();
        let mut number = 0_usize;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => break,
                _ = flushes.tick() => self.flush().await?,
                Some(ended) = pairs.join_next(), if !pairs.is_empty() => self.count(ended)?,
                _ = ticks.tick() => {
                    if self.wrath.is_stopped() {
                        break;
                    }
                    if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
                        pairs.spawn(self.pair(number, permit));
                        number = number.wrapping_add(1);
                    }
                }
            }
        }
        while let Some(ended) = pairs.join_next().await {
            self.count(ended)?;
        }
        self.flush().await
    }

    /// The next check at the next unit of both versions.
    fn pair(
        &self,
        number: usize,
        room: tokio::sync::OwnedSemaphorePermit,
    ) -> impl Future<Output = Pair> + Send + use<> {
        let check = number % self.checks.len().max(1);
        let turn = number / self.checks.len().max(1);
        let unit = |arm: usize| self.units[arm].get(turn % self.units[arm].len().max(1)).cloned();
        let (canary, baseline) = (unit(0), unit(1));
        let wrath = self.wrath.clone();
        async move {
            let (canary, baseline) = tokio::join!(half(&wrath, canary, check), half(&wrath, baseline, check));
            drop(room);
            Pair { check, halves: [canary, baseline] }
        }
    }

    fn count(&mut self, ended: Result<Pair, tokio::task::JoinError>) -> Result<()> {
        let pair = ended.map_err(|error| Fault::internal("A probe broke off.").because(error))?;
        for (arm, half) in pair.halves.into_iter().enumerate() {
            let tally = self.tallies.entry((arm, pair.check)).or_default();
            let total = if arm == 0 { &mut self.report.canary } else { &mut self.report.baseline };
            for counts in [&mut tally.counts, total] {
                counts.seen += 1;
                counts.bad += u64::from(half.bad);
            }
            // No answer is slower than any.
            let micros = half.latency.map_or(u64::MAX, |it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX));
            *tally.buckets.entry(latency_bucket(micros)).or_default() += 1;
            if let Some(reason) = half.reason.filter(|_| self.report.reasons.len() < REASONS_MAX) {
                let check = self.checks.get(pair.check).map_or("", String::as_str);
                let line = format!("{}: {check}: {reason}", self.version(arm));
                if !self.report.reasons.contains(&line) {
                    self.report.reasons.push(line);
                }
            }
        }
        Ok(())
    }

    /// Hands what was counted to the series, where readers find it by version.
    async fn flush(&mut self) -> Result<()> {
        let tallies = std::mem::take(&mut self.tallies);
        let points = |time| tallies.iter().flat_map(|(key, tally)| self.points(*key, tally, time)).collect();
        self.wrath.observe(points).await
    }

    fn points(&self, (arm, check): (usize, usize), tally: &Tally, time: Timestamp) -> Vec<Point> {
        let own = [
            ("project", self.request.project.name().as_str()),
            ("env", self.request.env.as_str()),
            ("version", self.version(arm)),
            ("check", self.checks.get(check).map_or("", String::as_str)),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut labels: Labels = self.request.labels.clone();
        labels.extend(own);
        let point = |suffix: &str, labels: Labels, count: u64| Point {
            name: format!("{PROBE_SERIES}_{suffix}"),
            labels,
            time,
            value: count as f64,
        };
        let mut points =
            vec![point("total", labels.clone(), tally.counts.seen), point("bad", labels.clone(), tally.counts.bad)];
        points.extend(tally.buckets.iter().map(|(bucket, count)| {
            let mut labels = labels.clone();
            labels.insert("le".to_owned(), latency_edge_seconds(*bucket).to_string());
            point("bucket", labels, *count)
        }));
        points
    }

    fn version(&self, arm: usize) -> &str {
        if arm == 0 { &self.request.canary.version } else { &self.request.baseline.version }
    }
}

/// One probe of one unit.
async fn half(wrath: &Wrath, unit: Option<Arc<Unit>>, check: usize) -> Half {
    let Some((unit, check)) = unit.as_ref().and_then(|unit| Some((unit, unit.checks.get(check)?))) else {
        return Half { bad: true, latency: None, reason: Some("there is no unit to ask".to_owned()) };
    };
    let timeout: Millis = check.spec.timeout.unwrap_or(ATTEMPT_TIMEOUT);
    let until = Instant::now() + timeout.as_duration().min(Duration::from_secs(600));
    let attempt = wrath.attempt(&unit.request, check, &unit.values, timeout, until).await;
    let masker = unit.values.masker();
    Half {
        bad: attempt.outcome() != CheckOutcome::Passed,
        latency: attempt.latency,
        reason: attempt.messages().next().map(|text| say::message(masker, text)),
    }
}
