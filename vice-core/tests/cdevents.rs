//! Every event that vice emits validates against the CDEvents schemas (specification 0.5.1, Apache-2.0, beside this
//! file): the standard ones against their own, all others against the one for custom events.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use vice_core::Millis;
use vice_core::digest::Digest;
use vice_core::event::{Actor, Event, Head, Payload};
use vice_core::id::{EnvName, ProjectName, RolloutId, Scope};
use vice_core::payload::ReleaseRef;
use vice_core::payload::cdevents::{
    EnvironmentRef, IncidentDetected, IncidentResolved, ServiceDeployed, ServiceRef, ServiceRemoved, ServiceRolledBack,
    ServiceUpgraded, TestSuiteRunFinished, package_url,
};
use vice_core::payload::config::ConfigRecorded;
use vice_core::payload::environment::{
    Direction, HoldPlaced, HoldReleased, PowerChanged, PowerState, RolloutBegan, RolloutDropped, RolloutEnded,
    RolloutOutcome, RolloutQueued,
};
use vice_core::payload::lease::{Holder, LeaseAcquired, LeaseReleased};
use vice_core::payload::rollout::{
    OperatorCommand, RolloutCommanded, RolloutFinished, RolloutPredicted, RolloutStarted, RolloutStepped,
    RolloutWaiting,
};
use vice_core::payload::simulation::{Forecast, Quantiles, SimulationMode};
use vice_core::payload::verification::{SuiteResult, VerificationFinished};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cdevents")
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is wrong with a value by a schema; the schemas of links are found beside it.
fn problems(name: &str, value: &Value) -> Vec<String> {
    let mut registry = jsonschema::Registry::new();
    for entry in std::fs::read_dir(folder().join("schemas/links")).unwrap() {
        let schema = read(&entry.unwrap().path());
        let id = schema["$id"].as_str().expect("a link schema has an id").to_owned();
        registry = registry.add(id, schema).unwrap();
    }
    let registry = registry.prepare().unwrap();
    let schema = read(&folder().join(format!("schemas/{name}.json")));
    let validator = jsonschema::options().with_registry(&registry).build(&schema).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn scope() -> Scope {
    Scope::new(ProjectName::new("shop").unwrap(), EnvName::new("dev").unwrap())
}

fn event<P: Payload>(payload: &P) -> Event {
    let head = Head {
        id: "0190d1a5-0000-7000-8000-000000000001".into(),
        time: Timestamp::from_second(1_700_000_000).unwrap(),
        stream: "test".into(),
        scope: Some(scope()),
        actor: Actor::system("test"),
        chain_id: Some("shop.dev.1".into()),
    };
    Event::new(head, payload).unwrap()
}

#[track_caller]
fn valid<P: Payload>(schema: &str, payload: &P) {
    let event = event(payload);
    event.check().unwrap();
    let data: Value = serde_json::from_str(&event.data).unwrap();
    let problems = problems(schema, &data);
    assert!(problems.is_empty(), "{}: {problems:#?}\n{data:#}", P::KIND);
    let kind = data["context"]["type"].as_str().unwrap();
    assert_eq!(kind, event.kind, "the CloudEvents type is the CDEvents type");
}

#[test]
fn the_validator_can_fail() {
    let mut data: Value =
        serde_json::from_str(&event(&ServiceRemoved { environment: environment(), service: "shop".into() }).data)
            .unwrap();
    assert!(problems("serviceremoved", &data).is_empty());
    data["subject"]["content"]["surprise"] = json!(1);
    assert!(!problems("serviceremoved", &data).is_empty());
    data["context"]["type"] = json!("dev.cdeventsx.vice.nodash.0.1.0");
    assert!(!problems("custom", &data).is_empty());
}

#[test]
fn the_examples_of_the_specification_validate() {
    for (example, schema) in [
        ("service_deployed", "servicedeployed"),
        ("service_upgraded", "serviceupgraded"),
        ("service_rolledback", "servicerolledback"),
        ("service_removed", "serviceremoved"),
        ("testsuiterun_finished", "testsuiterunfinished"),
        ("incident_detected", "incidentdetected"),
        ("incident_reported", "incidentreported"),
        ("incident_resolved", "incidentresolved"),
    ] {
        let value = read(&folder().join(format!("conformance/{example}.json")));
        assert_eq!(problems(schema, &value), Vec::<String>::new(), "{example}");
    }
}

fn environment() -> EnvironmentRef {
    EnvironmentRef { id: "dev".into() }
}

fn release() -> ReleaseRef {
    ReleaseRef {
        version: "1.0+build 7".into(),
        artifact: Some(Digest::of(b"x")),
        source: "dist".into(),
        config: Some("hmac-sha256:00".into()),
        recipe: Some(Digest::of(b"y")),
    }
}

#[test]
fn standard_events_keep_their_strict_content() {
    let (artifact_id, service, rollout) = (package_url("shop", &release()), "shop".to_owned(), "shop.dev.1".to_owned());
    let environment = environment();
    let (a, s, r, e) = (artifact_id.clone(), service.clone(), rollout.clone(), environment.clone());
    valid("servicedeployed", &ServiceDeployed { environment: e, artifact_id: a, service: s, rollout: r });
    let (a, s, r, e) = (artifact_id.clone(), service.clone(), rollout.clone(), environment.clone());
    valid("serviceupgraded", &ServiceUpgraded { environment: e, artifact_id: a, service: s, rollout: r });
    let (s, e) = (service.clone(), environment.clone());
    valid("servicerolledback", &ServiceRolledBack { environment: e, artifact_id, service: s, rollout });
    valid("serviceremoved", &ServiceRemoved { environment: environment.clone(), service });
    for outcome in ["success", "failure", "error"] {
        let run = TestSuiteRunFinished {
            environment: environment.clone(),
            outcome: outcome.into(),
            severity: None,
            reason: Some("because".into()),
            run: "r".into(),
        };
        valid("testsuiterunfinished", &run);
    }
}

#[test]
fn incidents_keep_their_strict_content() {
    let description = "\"buy\" of shop in dev does not pass: status: expected 200, got 503".to_owned();
    let (incident, service) = ("shop.dev.buy.1".to_owned(), ServiceRef { id: "shop".into() });
    let (d, s, i) = (description.clone(), service.clone(), incident.clone());
    valid(
        "incidentdetected",
        &IncidentDetected { description: d, environment: environment(), service: s, incident: i },
    );
    let resolved = IncidentResolved { description, environment: environment(), service, incident };
    valid("incidentresolved", &resolved);
    // The two are told apart by their schemas too.
    let data: Value = serde_json::from_str(&event(&resolved).data).unwrap();
    assert!(!problems("incidentdetected", &data).is_empty());
}

#[test]
fn queued_rollouts_follow_the_rules_of_custom_events() {
    let rollout = RolloutId { scope: scope(), number: 1 };
    let (waits_for, version) = (RolloutId { scope: scope(), number: 2 }, Some("2".into()));
    let queued =
        RolloutQueued { rollout: rollout.clone(), waits_for, version, artifact: None, replaces: true, reason: None };
    valid("custom", &queued);
    valid("custom", &RolloutDropped { rollout, reason: "a newer one".into() });
}

#[test]
fn custom_events_follow_the_rules_of_custom_events() {
    let rollout = RolloutId { scope: scope(), number: 1 };
    let holder = Holder {
        actor: "ada".into(),
        host: "box".into(),
        boot_id: "b".into(),
        pid: 1,
        pid_start: 2,
        pid_space: String::new(),
    };
    valid("custom", &LeaseAcquired { scope: scope(), epoch: 1, holder, purpose: "deploy".into(), takeover: None });
    valid("custom", &LeaseReleased { scope: scope(), epoch: 1 });
    valid(
        "custom",
        &ConfigRecorded {
            scope: scope(),
            digest: "d".into(),
            entries: std::collections::BTreeMap::default(),
            digests: std::collections::BTreeMap::default(),
            variants: Vec::new(),
        },
    );
    valid("custom", &PowerChanged { scope: scope(), state: PowerState::Stopped, reason: None });
    valid("custom", &HoldPlaced { scope: scope(), version: "2".into(), reason: "bad".into(), rollout: None });
    valid("custom", &HoldReleased { scope: scope(), version: "2".into(), reason: "fixed".into() });
    let (direction, outcome, took) = (Direction::Deploy, RolloutOutcome::Succeeded, Millis(5));
    let (from, to) = (None, release());
    valid(
        "custom",
        &RolloutBegan { rollout: rollout.clone(), direction, from: from.clone(), to: to.clone(), reason: None },
    );
    let running = Some(release());
    valid(
        "custom",
        &RolloutEnded {
            rollout: rollout.clone(),
            outcome,
            running: running.clone(),
            proven: true,
            reason: None,
            took,
            split: true,
        },
    );
    valid("custom", &RolloutFinished { rollout, outcome, to, running, reason: None, took });
}

#[test]
fn the_events_of_a_rollout_follow_the_rules_of_custom_events() {
    let rollout = RolloutId { scope: scope(), number: 1 };
    let (direction, took) = (Direction::Deploy, Millis(5));
    let started = RolloutStarted {
        rollout: rollout.clone(),
        direction,
        from: None,
        to: release(),
        plan_hash: Digest::ZERO,
        planner: 1,
        plan: json!({}),
        reason: None,
        config_changes: vec![],
        tasks: Default::default(),
    };
    valid("custom", &started);
    let stepped = RolloutStepped {
        rollout: rollout.clone(),
        step: 1,
        now: Timestamp::UNIX_EPOCH,
        inputs: json!([]),
        effects: json!([]),
        notes: vec![],
    };
    valid("custom", &stepped);
    let forecast = Forecast {
        seed: 7,
        runs: 1_000,
        mode: SimulationMode::Exact,
        assumed: 2,
        total_ms: Quantiles::default(),
        unfinished: None,
        false_rollback: None,
        waves: Vec::new(),
    };
    valid("custom", &RolloutPredicted { rollout: rollout.clone(), forecast });
    valid("custom", &RolloutWaiting { rollout: rollout.clone(), reason: "paused".into(), until: None });
    valid("custom", &RolloutCommanded { rollout, command: OperatorCommand::Pause, reason: None });
    let suite = SuiteResult { started: Timestamp::UNIX_EPOCH, took, checks: vec![] };
    valid("custom", &VerificationFinished { scope: scope(), version: None, rollout: None, suite });
}
