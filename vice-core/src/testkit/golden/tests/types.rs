//! Every event type of this crate, with every field set.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;

use super::own;
use crate::Millis;
use crate::digest::Digest;
use crate::id::{EnvName, ProjectName, RolloutId, Scope};
use crate::payload::ReleaseRef;
use crate::payload::cdevents::{
    EnvironmentRef, IncidentDetected, IncidentResolved, ServiceDeployed, ServiceRef, ServiceRemoved, ServiceRolledBack,
    ServiceUpgraded, TestSuiteRunFinished,
};
use crate::payload::config::{ConfigRecorded, Origin, RecordedVariant, StoredEntry, StoredValue};
use crate::payload::environment::{
    Direction, HoldPlaced, HoldReleased, PowerChanged, PowerState, RolloutBegan, RolloutDropped, RolloutEnded,
    RolloutOutcome, RolloutQueued,
};
use crate::payload::history::DataArchived;
use crate::payload::lease::{Holder, LeaseAcquired, LeaseReleased};
use crate::payload::recipe::{Recipe, RecipeRecorded};
use crate::payload::rollout::{
    ConfigChange, Finding, Note, OperatorCommand, RolloutCommanded, RolloutFinished, RolloutPredicted, RolloutStarted,
    RolloutStepped, RolloutWaiting, Verdict,
};
use crate::payload::simulation::{Forecast, ForecastWave, Probability, Quantiles, SimulationMode};
use crate::payload::verification::{CheckOutcome, CheckResult, SuiteResult, VerificationFinished};
use crate::port::target::{HealthProbe, Reload, ReloadBy};

const OUTCOMES: [RolloutOutcome; 5] = [
    RolloutOutcome::Succeeded,
    RolloutOutcome::RolledBack,
    RolloutOutcome::Failed,
    RolloutOutcome::NotRestored,
    RolloutOutcome::Aborted,
];

pub(super) fn scope() -> Scope {
    Scope::new(ProjectName::new("shop").unwrap(), EnvName::new("prod").unwrap())
}

pub(super) fn rollout(number: u64) -> RolloutId {
    RolloutId { scope: scope(), number }
}

pub(super) fn release() -> ReleaseRef {
    ReleaseRef {
        version: "1.4.2".into(),
        artifact: Some(Digest::of(b"artifact")),
        source: "dist/shop-1.4.2.tar.gz".into(),
        config: Some("hmac-sha256:00ff".into()),
        recipe: Some(Digest::of(b"recipe")),
    }
}

pub(super) fn why() -> Option<String> {
    Some("because".into())
}

fn suite() -> SuiteResult {
    let check = |outcome| CheckResult {
        name: "smoke".into(),
        kind: "http".into(),
        subject: "http://127.0.0.1:1/healthz".into(),
        outcome,
        attempts: 2,
        took: Millis(12),
        messages: vec!["status: expected 200, got 503".into()],
    };
    let outcomes = [CheckOutcome::Passed, CheckOutcome::Failed, CheckOutcome::Errored, CheckOutcome::Skipped];
    SuiteResult { started: Timestamp::UNIX_EPOCH, took: Millis(40), checks: outcomes.map(check).to_vec() }
}

pub(super) fn holder() -> Holder {
    Holder {
        actor: "ada".into(),
        host: "box".into(),
        boot_id: "b0".into(),
        pid: 17,
        pid_start: 4711,
        pid_space: "pid:[4026531836]".into(),
    }
}

#[track_caller]
fn hold<P: crate::event::Payload>(samples: &[P]) {
    own().hold(samples);
}

#[test]
fn standard_events() {
    let (environment, service) = (EnvironmentRef { id: "prod".into() }, "shop".to_owned());
    macro_rules! service {
        ($type:ident) => {
            hold(&[$type {
                environment: environment.clone(),
                artifact_id: "pkg:generic/shop@1.4.2".into(),
                service: service.clone(),
                rollout: "shop.prod.1".into(),
            }]);
        };
    }
    service!(ServiceDeployed);
    service!(ServiceUpgraded);
    service!(ServiceRolledBack);
    hold(&[ServiceRemoved { environment: environment.clone(), service }]);
    let (outcome, run) = ("failure".to_owned(), "r".to_owned());
    let severity = Some("high".to_owned());
    hold(&[TestSuiteRunFinished { environment: environment.clone(), outcome, severity, reason: why(), run }]);
    let (description, service, incident) = ("down".to_owned(), ServiceRef { id: "shop".into() }, "i".to_owned());
    let (d, e, s, i) = (description.clone(), environment.clone(), service.clone(), incident.clone());
    hold(&[IncidentDetected { description: d, environment: e, service: s, incident: i }]);
    hold(&[IncidentResolved { description, environment, service, incident }]);
}

#[test]
fn environments() {
    let (from, to) = (Some(release()), release());
    let began =
        |direction| RolloutBegan { rollout: rollout(1), direction, from: from.clone(), to: to.clone(), reason: why() };
    hold(&[began(Direction::Deploy), began(Direction::Rollback)]);
    let ended = |outcome| RolloutEnded {
        rollout: rollout(1),
        outcome,
        running: Some(release()),
        proven: true,
        reason: why(),
        took: Millis(5),
        split: true,
    };
    hold(&OUTCOMES.map(ended));
    hold(&[RolloutQueued {
        rollout: rollout(2),
        waits_for: rollout(1),
        version: Some("2".into()),
        artifact: Some("dist/2".into()),
        replaces: true,
        reason: why(),
    }]);
    hold(&[RolloutDropped { rollout: rollout(2), reason: "a newer one".into() }]);
    let (version, reason) = ("2".to_owned(), "bad".to_owned());
    let rollout = Some(rollout(2));
    hold(&[HoldPlaced { scope: scope(), version: version.clone(), reason: reason.clone(), rollout }]);
    hold(&[HoldReleased { scope: scope(), version, reason }]);
    let power = |state| PowerChanged { scope: scope(), state, reason: why() };
    hold(&[PowerState::Started, PowerState::Stopped, PowerState::Restarted].map(power));
}

#[test]
fn leases_and_archives() {
    let (epoch, purpose, takeover) = (3, "deploy".to_owned(), why());
    hold(&[LeaseAcquired { scope: scope(), epoch, holder: holder(), purpose, takeover }]);
    hold(&[LeaseReleased { scope: scope(), epoch }]);
    hold(&[DataArchived {
        place: "s3://archive/shop".into(),
        file: "archive/000000000001-000000000009-00ff.jsonl.age".into(),
        sha256: Digest::of(b"file"),
        size: 512,
        encrypted: true,
        spans: vec![(1, 3), (7, 9)],
        events: 6,
        chain: Digest::of(b"chain"),
        before: Timestamp::UNIX_EPOCH,
    }]);
}

#[test]
fn what_a_release_is_made_of() {
    let entry = |value| StoredEntry { value, origin: Origin { layer: "config/prod.toml".into(), line: Some(3) } };
    let entries: BTreeMap<String, StoredEntry> = [
        ("db.host".to_owned(), entry(StoredValue::Plain(json!("db.example")))),
        ("db.password".to_owned(), entry(StoredValue::Secret("db/password".into()))),
    ]
    .into();
    let digests: BTreeMap<String, String> = [("db.host".to_owned(), "hmac-sha256:01".to_owned())].into();
    let variants = vec![RecordedVariant {
        name: "config/eu.toml".into(),
        units: BTreeSet::from(["web-1".to_owned()]),
        entries: entries.clone(),
        digests: digests.clone(),
    }];
    hold(&[ConfigRecorded { scope: scope(), digest: "hmac-sha256:00".into(), entries, digests, variants }]);
    let reload = |by| Some(Reload { by, confirm: Some("/config".into()) });
    let recipe = |by| RecipeRecorded {
        scope: scope(),
        digest: Digest::of(b"recipe"),
        recipe: Recipe {
            command: vec!["./shop".into(), "--port".into(), "{{port}}".into()],
            objects: vec![Digest::of(b"object")],
            images: BTreeMap::from([("shop:2".to_owned(), format!("sha256:{}", "0".repeat(64)))]),
            health: Some(HealthProbe {
                path: Some("/healthz".into()),
                interval: Millis(500),
                timeout: Millis(1000),
                healthy_after: 2,
                unhealthy_after: 3,
            }),
            ready_timeout: Millis(30_000),
            drain_timeout: Millis(10_000),
            stop_timeout: Millis(5_000),
            reload: reload(by),
        },
    };
    hold(&[recipe(ReloadBy::Http("/reload".into())), recipe(ReloadBy::File)]);
    let verified =
        VerificationFinished { scope: scope(), version: Some("1".into()), rollout: Some(rollout(1)), suite: suite() };
    hold(&[verified]);
}

/// One note of each kind, and the operators' words.
fn notes() -> Vec<Note> {
    let (unit, version, task) = ("web-1".to_owned(), "1.4.2".to_owned(), "migrate".to_owned());
    let (u, v, t) = (|| unit.clone(), || version.clone(), || task.clone());
    let (direction, took, reason, evidence) = (Direction::Deploy, Millis(7), "slow".to_owned(), json!({ "z": 3.5 }));
    let r = || reason.clone();
    vec![
        Note::Fenced { epoch: 4 },
        Note::WaveStarted { wave: 1, of: 2, units: vec![u()], direction },
        Note::WaveFinished { wave: 1 },
        Note::UnitStarted { unit: u(), version: v(), op: "shop.prod.1.1".into() },
        Note::UnitFinished { unit: u(), version: v(), took },
        Note::UnitFailed { unit: u(), version: v(), reason: r(), took },
        Note::TaskStarted { task: t(), unit: Some(u()), direction },
        Note::TaskFinished { task: t(), unit: Some(u()), ok: false, reason: why(), took },
        Note::VerifyStarted { direction },
        Note::VerifyFinished { suite: suite() },
        Note::WeightsSet { weights: vec![(v(), 2_500)] },
        Note::Judged {
            verdict: Verdict::Hold,
            metric: Some("errors".into()),
            reason: r(),
            share: 500,
            evidence: evidence.clone(),
        },
        Note::Decided { verdict: Verdict::Proceed, reason: r(), evidence: evidence.clone() },
        Note::Decided { verdict: Verdict::Rollback, reason: r(), evidence: evidence.clone() },
        Note::Decided { verdict: Verdict::Inconclusive, reason: r(), evidence },
        Note::Held { reason: r(), until: Some(Timestamp::UNIX_EPOCH) },
        Note::Commanded { command: OperatorCommand::Promote, by: "ada".into(), reason: why() },
        Note::Resumed { epoch: 5 },
        Note::Finished { outcome: RolloutOutcome::RolledBack },
    ]
}

#[test]
fn rollouts() {
    let task = json!({
        "command": ["./shop", "migrate"], "run": "before", "per": "rollout", "rollback": "forbid",
        "timeout": "5m", "on_rollback": true
    });
    let change = ConfigChange { key: "db.host".into(), before: Some("a".into()), after: Some("b".into()) };
    hold(&[RolloutStarted {
        rollout: rollout(1),
        direction: Direction::Deploy,
        from: Some(release()),
        to: release(),
        plan_hash: Digest::of(b"plan"),
        planner: 3,
        plan: json!({ "waves": [] }),
        reason: why(),
        config_changes: vec![change],
        tasks: [("migrate".to_owned(), serde_json::from_value(task).unwrap())].into_iter().collect(),
    }]);
    hold(&[RolloutStepped {
        rollout: rollout(1),
        step: 2,
        now: Timestamp::UNIX_EPOCH,
        inputs: json!([{ "tick": null }]),
        effects: json!([{ "fence": 4 }]),
        notes: notes(),
    }]);
    let quantiles = Quantiles { mean: 1.0, p5: 0.5, p25: 0.75, p50: 1.0, p75: 1.25, p90: 1.5, p95: 1.75, p99: 2.0 };
    let forecast = Forecast {
        seed: 7,
        runs: 1_000,
        mode: SimulationMode::Fast,
        assumed: 2,
        total_ms: quantiles,
        unfinished: None,
        false_rollback: Some(Probability { value: 0.5, k: Some(5), n: Some(10), lo: Some(0.25), hi: Some(0.75) }),
        waves: vec![ForecastWave { wave: 1, end_ms: quantiles, p_unfound_after: Some(0.125) }],
    };
    hold(&[RolloutPredicted { rollout: rollout(1), forecast }]);
    hold(&[RolloutWaiting { rollout: rollout(1), reason: "paused".into(), until: Some(Timestamp::UNIX_EPOCH) }]);
    let commands = [
        OperatorCommand::Pause,
        OperatorCommand::Resume,
        OperatorCommand::Abort,
        OperatorCommand::ForceRollback,
        OperatorCommand::Abandon,
        OperatorCommand::Promote,
        OperatorCommand::Resolve { op: 3, found: Finding::Applied },
        OperatorCommand::Resolve { op: 3, found: Finding::NotApplied },
    ];
    hold(&commands.map(|command| RolloutCommanded { rollout: rollout(1), command, reason: why() }));
    let finished = |outcome| RolloutFinished {
        rollout: rollout(1),
        outcome,
        to: release(),
        running: Some(release()),
        reason: why(),
        took: Millis(5),
    };
    hold(&OUTCOMES.map(finished));
}
