//! Histories as the driver writes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde_json::{Value, json};
use vice_core::event::{Actor, ActorKind, Event, Head, Payload};
use vice_core::id::{RolloutId, Scope};
use vice_core::payload::environment::{Direction, HoldPlaced, RolloutBegan, RolloutEnded, RolloutOutcome};
use vice_core::payload::rollout::{
    ConfigChange, Note, RolloutFinished, RolloutPredicted, RolloutStarted, RolloutStepped, RolloutWaiting, Verdict,
};
use vice_core::payload::simulation::{Forecast, ForecastWave, Probability, SimulationMode};
use vice_core::payload::verification::{CheckOutcome, CheckResult, SuiteResult, VerificationFinished};
use vice_core::payload::{ReleaseRef, environment_stream, rollout_stream, verification_stream};
use vice_core::store::{Append, EventStore};
use vice_core::{Digest, Millis};

use crate::world::{CountingStore, World};

pub(crate) fn release(version: &str) -> ReleaseRef {
    let artifact = Some(Digest::of(version.as_bytes()));
    let source = format!("dist/hello-{version}.tar.gz");
    ReleaseRef { version: version.to_owned(), artifact, source, config: None, recipe: None }
}

pub(crate) fn scope() -> Scope {
    Scope::new("hello".parse().unwrap(), "dev".parse().unwrap())
}

pub(crate) struct Writer {
    store: Arc<CountingStore>,
    count: AtomicU64,
    pub(crate) actor: Actor,
}

impl Writer {
    pub(crate) fn new(world: &World) -> Self {
        let actor = Actor { id: "ada".into(), kind: ActorKind::Person, on_behalf_of: None, evidence: "login".into() };
        Self { store: Arc::clone(&world.store), count: AtomicU64::new(0), actor }
    }

    pub(crate) async fn write<P: Payload>(&self, stream: String, scope: &Scope, at: Timestamp, payload: &P) {
        let head = Head {
            id: format!("e{}", self.count.fetch_add(1, Ordering::SeqCst)),
            time: at,
            stream,
            scope: Some(scope.clone()),
            actor: self.actor.clone(),
            chain_id: None,
        };
        self.store.append(Append::of(vec![Event::new(head, payload).unwrap()])).await.unwrap();
    }
}

/// A rollout under construction.
pub(crate) struct Rollout<'a> {
    writer: &'a Writer,
    pub(crate) id: RolloutId,
    direction: Direction,
    to: ReleaseRef,
    started: Timestamp,
    at: Timestamp,
    step: u64,
}

impl<'a> Rollout<'a> {
    pub(crate) async fn start(writer: &'a Writer, id: &str, at: &str, versions: (Option<&str>, &str)) -> Rollout<'a> {
        let changes = vec![
            ConfigChange { key: "greeting".into(), before: Some("hi".into()), after: Some("hello".into()) },
            ConfigChange { key: "db.password".into(), before: None, after: Some("«secret:db.password»".into()) },
        ];
        Self::start_with(writer, id, at, (versions, Some("the spring release"), changes)).await
    }

    pub(crate) async fn start_planned(
        writer: &'a Writer,
        id: &str,
        at: &str,
        versions: (Option<&str>, &str),
        plan: Value,
    ) -> Rollout<'a> {
        Self::begin(writer, id, at, (versions, None, Vec::new()), plan).await
    }

    pub(crate) async fn start_with(
        writer: &'a Writer,
        id: &str,
        at: &str,
        about: ((Option<&str>, &str), Option<&str>, Vec<ConfigChange>),
    ) -> Rollout<'a> {
        Self::begin(writer, id, at, about, json!({})).await
    }

    async fn begin(
        writer: &'a Writer,
        id: &str,
        at: &str,
        ((from, to), reason, config_changes): ((Option<&str>, &str), Option<&str>, Vec<ConfigChange>),
        plan: Value,
    ) -> Rollout<'a> {
        let id: RolloutId = id.parse().unwrap();
        let started: Timestamp = at.parse().unwrap();
        let (from, to) = (from.map(release), release(to));
        let direction = Direction::Deploy;
        let reason = reason.map(str::to_owned);
        let start = RolloutStarted {
            rollout: id.clone(),
            direction,
            from: from.clone(),
            to: to.clone(),
            plan_hash: Digest::of(b"plan"),
            planner: 1,
            plan,
            reason: reason.clone(),
            config_changes,
            tasks: Default::default(),
        };
        writer.write(rollout_stream(&id), &id.scope, started, &start).await;
        let began = RolloutBegan { rollout: id.clone(), direction, from, to: to.clone(), reason };
        writer.write(environment_stream(&id.scope), &id.scope, started, &began).await;
        Rollout { writer, id, direction, to, started, at: started, step: 0 }
    }

    /// Notes at a moment after the start, in milliseconds.
    pub(crate) async fn notes(&mut self, after_ms: u64, notes: Vec<Note>) {
        self.step += 1;
        self.at = Millis(after_ms).after(self.started);
        let stepped = RolloutStepped {
            rollout: self.id.clone(),
            step: self.step,
            now: self.at,
            inputs: json!([]),
            effects: json!([]),
            notes,
        };
        self.writer.write(rollout_stream(&self.id), &self.id.scope, self.at, &stepped).await;
    }

    pub(crate) async fn finish(
        mut self,
        after_ms: u64,
        outcome: RolloutOutcome,
        running: Option<&str>,
        why: Option<&str>,
    ) {
        self.notes(after_ms, vec![Note::Finished { outcome }]).await;
        let (running, reason, took) = (running.map(release), why.map(str::to_owned), Millis(after_ms));
        let finished = RolloutFinished {
            rollout: self.id.clone(),
            outcome,
            to: self.to.clone(),
            running: running.clone(),
            reason: reason.clone(),
            took,
        };
        self.writer.write(rollout_stream(&self.id), &self.id.scope, self.at, &finished).await;
        let proven = running.is_some();
        let ended = RolloutEnded { rollout: self.id.clone(), outcome, running, proven, reason, took, split: false };
        self.writer.write(environment_stream(&self.id.scope), &self.id.scope, self.at, &ended).await;
    }

    pub(crate) async fn wait(&self, reason: &str, until: &str) {
        let until = Some(until.parse().unwrap());
        let waiting = RolloutWaiting { rollout: self.id.clone(), reason: reason.to_owned(), until };
        self.writer.write(rollout_stream(&self.id), &self.id.scope, self.at, &waiting).await;
    }

    pub(crate) async fn hold(&self, reason: &str) {
        let hold = HoldPlaced {
            scope: self.id.scope.clone(),
            version: self.to.version.clone(),
            reason: reason.to_owned(),
            rollout: Some(self.id.clone()),
        };
        self.writer.write(environment_stream(&self.id.scope), &self.id.scope, self.at, &hold).await;
    }

    pub(crate) async fn unit(&mut self, unit: &str, version: &str, from_ms: u64, to_ms: u64) {
        let (unit, version) = (unit.to_owned(), version.to_owned());
        let op = format!("op-{unit}-{from_ms}");
        self.notes(from_ms, vec![Note::UnitStarted { unit: unit.clone(), version: version.clone(), op }]).await;
        self.notes(to_ms, vec![Note::UnitFinished { unit, version, took: Millis(to_ms - from_ms) }]).await;
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }
}

/// What the simulator had said of a rollout: `wave_ms` are the predicted ends of its waves.
pub(crate) async fn predicted(writer: &Writer, id: &RolloutId, total_ms: f64, wave_ms: &[f64]) {
    let waves = wave_ms.iter().zip(1_u32..).map(|(end, wave)| ForecastWave {
        wave,
        end_ms: crate::study::quantiles(*end, 0.2),
        p_unfound_after: Some(0.5_f64.powi(wave as i32)),
    });
    let forecast = Forecast {
        seed: 7,
        runs: 1_000,
        mode: SimulationMode::Exact,
        assumed: 2,
        total_ms: crate::study::quantiles(total_ms, 0.2),
        unfinished: None,
        false_rollback: Some(Probability { value: 0.003, ..Probability::default() }),
        waves: waves.collect(),
    };
    let at = "2026-03-02T11:00:00Z".parse().unwrap();
    let stream = rollout_stream(id);
    writer.write(stream, &id.scope, at, &RolloutPredicted { rollout: id.clone(), forecast }).await;
}

/// `hello.dev.1` over two datacenters of three racks of four servers, by growing waves; one server fails, traffic is
/// moved by weights, and what was predicted stands with it.
pub(crate) async fn fleet(writer: &Writer) {
    let places = (0..24).map(|n| (format!("s{n:02}"), format!("dc{}/rack{}", n / 12 + 1, n % 12 / 4 + 1)));
    let places: Vec<(String, String)> = places.collect();
    let units: Vec<Value> =
        places.iter().map(|(name, place)| json!({ "name": name, "place": place, "action": "place" })).collect();
    let direction = Direction::Deploy;
    let versions = (Some("1"), "2");
    let mut rollout =
        Rollout::start_planned(writer, "hello.dev.1", "2026-03-02T09:00:00Z", versions, json!({ "units": units }))
            .await;
    predicted(writer, &rollout.id, 1_500_000.0, &[130_000.0, 620_000.0, 1_400_000.0]).await;
    let mut at = 0;
    // One of each rack first.
    let mut order: Vec<usize> = (0..24).step_by(4).chain((0..24).filter(|n| n % 4 != 0)).collect();
    for (number, size) in [(1, 2), (2, 6), (3, 16)] {
        let names: Vec<String> = order.drain(..size).map(|n| places[n].0.clone()).collect();
        rollout.notes(at, vec![Note::WaveStarted { wave: number, of: 3, units: names.clone(), direction }]).await;
        for name in &names {
            let (unit, version) = (name.clone(), "2".to_owned());
            rollout
                .notes(at, vec![Note::UnitStarted { unit: unit.clone(), version: version.clone(), op: String::new() }])
                .await;
            at += 40_000;
            let ended = match name.as_str() {
                "s17" => Note::UnitFailed { unit, version, reason: "The disk is full.".into(), took: Millis(40_000) },
                _ => Note::UnitFinished { unit, version, took: Millis(40_000) },
            };
            rollout.notes(at, vec![ended]).await;
        }
        let share = [500, 2_500, 10_000][number as usize - 1];
        rollout.notes(at, vec![weights(10_000 - share, share)]).await;
        for verdict in [Verdict::Hold, Verdict::Proceed] {
            at += 60_000;
            let evidence = json!({ "e": 0.4 });
            let reason = "errors: no worse than 1.5 times the baseline.".to_owned();
            rollout.notes(at, vec![Note::Judged { verdict, metric: None, reason, share, evidence }]).await;
        }
        rollout.notes(at, vec![Note::WaveFinished { wave: number }]).await;
    }
    rollout.finish(at, RolloutOutcome::Succeeded, Some("2"), None).await;
}

pub(crate) fn check(name: &str, outcome: CheckOutcome, messages: &[&str]) -> CheckResult {
    CheckResult {
        name: name.to_owned(),
        kind: "http".into(),
        subject: format!("http://127.0.0.1:8080/{name}"),
        outcome,
        attempts: if outcome == CheckOutcome::Passed { 1 } else { 3 },
        took: Millis(120),
        messages: messages.iter().map(|text| (*text).to_owned()).collect(),
    }
}

pub(crate) fn suite(checks: Vec<CheckResult>) -> SuiteResult {
    SuiteResult { started: "2026-03-02T11:00:00Z".parse().unwrap(), took: Millis(360), checks }
}

pub(crate) fn good_suite() -> SuiteResult {
    suite(vec![check("healthz", CheckOutcome::Passed, &[]), check("greeting", CheckOutcome::Passed, &[])])
}

pub(crate) fn bad_suite() -> SuiteResult {
    suite(vec![
        check("healthz", CheckOutcome::Passed, &[]),
        check(
            "greeting",
            CheckOutcome::Failed,
            &["The body does not match \"hello\": got \"hullo\".", "Status 500, not 200."],
        ),
        check("orders", CheckOutcome::Skipped, &["It needs greeting, which did not pass."]),
    ])
}

pub(crate) fn wave(wave: u32, of: u32, units: &[&str], direction: Direction) -> Note {
    Note::WaveStarted { wave, of, units: units.iter().map(|unit| (*unit).to_owned()).collect(), direction }
}

pub(crate) fn decided(verdict: Verdict, reason: &str, evidence: Value) -> Note {
    Note::Decided { verdict, reason: reason.to_owned(), evidence }
}

fn weights(old: u32, new: u32) -> Note {
    Note::WeightsSet { weights: vec![("1".into(), old), ("2".into(), new)] }
}

fn task(name: &str, direction: Direction) -> Note {
    Note::TaskStarted { task: name.to_owned(), unit: None, direction }
}

fn task_done(name: &str, took: u64) -> Note {
    Note::TaskFinished { task: name.to_owned(), unit: None, ok: true, reason: None, took: Millis(took) }
}

/// `hello.dev.1`, the first deploy, which goes well.
pub(crate) async fn success(writer: &Writer) {
    let mut rollout = Rollout::start(writer, "hello.dev.1", "2026-03-01T09:00:00Z", (None, "1")).await;
    let direction = rollout.direction();
    rollout.notes(0, vec![Note::Fenced { epoch: 1 }, wave(1, 1, &["1", "2"], direction)]).await;
    rollout.unit("1", "1", 200, 2_400).await;
    rollout.unit("2", "1", 2_500, 4_900).await;
    rollout.notes(5_000, vec![Note::WaveFinished { wave: 1 }, Note::VerifyStarted { direction }]).await;
    rollout.notes(5_400, vec![Note::VerifyFinished { suite: good_suite() }]).await;
    let evidence = json!({ "passed": 2, "failed": 0 });
    rollout.notes(5_400, vec![decided(Verdict::Proceed, "All checks passed.", evidence)]).await;
    rollout.finish(5_500, RolloutOutcome::Succeeded, Some("1"), None).await;
}

/// `hello.dev.2`, whose second wave fails a check, and which goes back.
pub(crate) async fn rolled_back(writer: &Writer) {
    rolled_back_as(writer, "hello.dev.2").await;
}

pub(crate) async fn rolled_back_as(writer: &Writer, id: &str) {
    let mut rollout = Rollout::start(writer, id, "2026-03-02T11:00:00Z", (Some("1"), "2")).await;
    let (forward, back) = (Direction::Deploy, Direction::Rollback);
    rollout.notes(0, vec![Note::Fenced { epoch: 2 }, task("migrate", forward)]).await;
    rollout.notes(1_300, vec![task_done("migrate", 1_300), wave(1, 2, &["1"], forward)]).await;
    rollout.unit("1", "2", 1_400, 3_700).await;
    rollout.notes(3_800, vec![weights(5_000, 5_000), Note::VerifyStarted { direction: forward }]).await;
    rollout.notes(4_200, vec![Note::VerifyFinished { suite: good_suite() }, Note::WaveFinished { wave: 1 }]).await;
    rollout.notes(4_200, vec![decided(Verdict::Proceed, "Wave 1 passed its checks.", json!({ "passed": 2 }))]).await;
    rollout.notes(4_300, vec![wave(2, 2, &["2"], forward)]).await;
    rollout.unit("2", "2", 4_400, 6_900).await;
    rollout.notes(7_000, vec![weights(0, 10_000), Note::VerifyStarted { direction: forward }]).await;
    rollout.notes(7_600, vec![Note::VerifyFinished { suite: bad_suite() }]).await;
    let evidence = json!({ "checks": { "passed": 1, "failed": 1, "skipped": 1 }, "failed": ["greeting"] });
    rollout.notes(7_600, vec![decided(Verdict::Rollback, "The check greeting failed after wave 2.", evidence)]).await;
    rollout.notes(7_700, vec![wave(1, 1, &["1", "2"], back)]).await;
    rollout.unit("1", "1", 7_800, 9_900).await;
    rollout.unit("2", "1", 10_000, 12_000).await;
    rollout.notes(12_100, vec![weights(10_000, 0), Note::WaveFinished { wave: 1 }, task("unmigrate", back)]).await;
    rollout.notes(12_600, vec![task_done("unmigrate", 500), Note::VerifyStarted { direction: back }]).await;
    rollout.notes(13_000, vec![Note::VerifyFinished { suite: good_suite() }]).await;
    rollout.hold(&format!("The check greeting failed in {id}.")).await;
    rollout
        .finish(13_100, RolloutOutcome::RolledBack, Some("1"), Some("The check greeting failed after wave 2."))
        .await;
}

/// `hello.dev.1`, a first deploy that fails before there is anything to go back to.
pub(crate) async fn failed_first(writer: &Writer) {
    let mut rollout = Rollout::start(writer, "hello.dev.1", "2026-03-02T11:50:00Z", (None, "1")).await;
    rollout.notes(0, vec![Note::Fenced { epoch: 1 }, wave(1, 1, &["1"], Direction::Deploy)]).await;
    let (unit, version) = ("1".to_owned(), "1".to_owned());
    rollout.notes(100, vec![Note::UnitStarted { unit: unit.clone(), version: version.clone(), op: "op".into() }]).await;
    let reason = "It was not healthy within 30s: connection refused.".to_owned();
    rollout.notes(30_100, vec![Note::UnitFailed { unit, version, reason, took: Millis(30_000) }]).await;
    let why = "Unit 1 did not become healthy, and no earlier release is known.";
    rollout.finish(30_200, RolloutOutcome::NotRestored, None, Some(why)).await;
}

/// `hello.dev.2`, which is under way.
pub(crate) async fn in_progress(writer: &Writer) -> Rollout<'_> {
    let mut rollout = Rollout::start(writer, "hello.dev.2", "2026-03-02T11:59:48Z", (Some("1"), "2")).await;
    rollout.notes(0, vec![Note::Fenced { epoch: 2 }, wave(1, 2, &["1"], Direction::Deploy)]).await;
    rollout.unit("1", "2", 200, 4_000).await;
    rollout.notes(4_100, vec![Note::WaveFinished { wave: 1 }, wave(2, 2, &["2"], Direction::Deploy)]).await;
    let started = Note::UnitStarted { unit: "2".into(), version: "2".into(), op: "op-2".into() };
    rollout.notes(4_200, vec![started]).await;
    rollout
}

/// `hello.dev.2`, which waits in the middle.
pub(crate) async fn waiting(writer: &Writer) {
    let mut rollout = in_progress(writer).await;
    let reason = "An operator paused the rollout.".to_owned();
    rollout.notes(5_000, vec![Note::Held { reason: reason.clone(), until: None }]).await;
    rollout.wait(&reason, "2026-03-02T18:00:00Z").await;
}

/// A run of the checks on its own.
pub(crate) async fn verification(writer: &Writer, at: &str, suite: SuiteResult) {
    let finished = VerificationFinished { scope: scope(), version: Some("1".into()), rollout: None, suite };
    writer.write(verification_stream(&scope()), &scope(), at.parse().unwrap(), &finished).await;
}
