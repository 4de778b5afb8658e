//! A whole history as it was written once, and what was folded from it then: both are files, and today's code must say the
//! same. `VICE_GOLDEN=write` writes another one beside the old ones when the newest folds no more of what there is.

use std::path::Path;

use futures::executor::block_on;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::types::{holder, release, rollout, scope, why};
use super::{Corpus, own, says};
use crate::Millis;
use crate::event::{Actor, ActorKind, Event, Head, Payload};
use crate::fold::environment::EnvironmentState;
use crate::fold::lease::LeaseState;
use crate::fold::load;
use crate::fold::rollout::RolloutView;
use crate::id::{EnvName, ProjectName, Scope};
use crate::memory::MemoryEventStore;
use crate::payload::environment::{
    Direction, HoldPlaced, HoldReleased, PowerChanged, PowerState, RolloutBegan, RolloutEnded, RolloutOutcome,
    RolloutQueued,
};
use crate::payload::lease::{LeaseAcquired, LeaseReleased};
use crate::payload::rollout::{
    Note, OperatorCommand, RolloutCommanded, RolloutFinished, RolloutStarted, RolloutStepped, RolloutWaiting,
};
use crate::payload::{ReleaseRef, environment_stream, lease_stream, rollout_stream};
use crate::store::{Append, EventStore, EventStoreExt};

fn version(version: &str) -> ReleaseRef {
    ReleaseRef { version: version.into(), ..release() }
}

/// Collects events with ids and times of their own.
#[derive(Default)]
struct Writer(Vec<Event>);

impl Writer {
    fn add<P: Payload>(&mut self, stream: String, payload: &P) {
        let number = i64::try_from(self.0.len()).unwrap();
        let head = Head {
            id: format!("e{number}"),
            time: Timestamp::from_second(1_700_000_000 + number * 60).unwrap(),
            stream,
            scope: Some(scope()),
            actor: Actor {
                id: "ci-7".into(),
                kind: ActorKind::Ci,
                on_behalf_of: Some("ada".into()),
                evidence: "GITHUB_ACTOR".into(),
            },
            chain_id: Some("shop.prod.1".into()),
        };
        self.0.push(Event::new(head, payload).unwrap());
    }

    fn rollout(&mut self, number: u64, to: &str, outcome: RolloutOutcome, running: &str, proven: bool) {
        let (environment, journal, id) =
            (environment_stream(&scope()), rollout_stream(&rollout(number)), rollout(number));
        let (direction, rollout) = (Direction::Deploy, id.clone());
        let lease = lease_stream(&scope());
        let acquired =
            LeaseAcquired { scope: scope(), epoch: number, holder: holder(), purpose: "deploy".into(), takeover: None };
        self.add(lease.clone(), &acquired);
        self.add(environment.clone(), &RolloutBegan { rollout, direction, from: None, to: version(to), reason: why() });
        let (plan_hash, plan) = (crate::Digest::of(b"plan"), json!({ "waves": [] }));
        let started = RolloutStarted {
            rollout: id.clone(),
            direction,
            from: None,
            to: version(to),
            plan_hash,
            planner: 1,
            plan,
            reason: why(),
            config_changes: vec![],
            tasks: Default::default(),
        };
        self.add(journal.clone(), &started);
        let notes = vec![Note::Fenced { epoch: number }, Note::Finished { outcome }];
        let (now, empty) = (Timestamp::UNIX_EPOCH, json!([]));
        let (inputs, effects) = (empty.clone(), empty);
        self.add(journal.clone(), &RolloutStepped { rollout: id.clone(), step: 1, now, inputs, effects, notes });
        self.add(journal.clone(), &RolloutWaiting { rollout: id.clone(), reason: "paused".into(), until: None });
        let command = OperatorCommand::Resume;
        self.add(journal.clone(), &RolloutCommanded { rollout: id.clone(), command, reason: why() });
        let (took, running) = (Millis(1234), Some(version(running)));
        let finished = RolloutFinished {
            rollout: id.clone(),
            outcome,
            to: version(to),
            running: running.clone(),
            reason: why(),
            took,
        };
        self.add(journal, &finished);
        let ended = RolloutEnded { rollout: id, outcome, running, proven, reason: why(), took, split: false };
        self.add(environment, &ended);
        self.add(lease, &LeaseReleased { scope: scope(), epoch: number });
    }
}

/// Good and bad rollouts, one that waits, holds, a stop, a lease that is held.
fn lifecycle() -> Vec<Event> {
    let mut writer = Writer::default();
    writer.rollout(1, "1.0", RolloutOutcome::Succeeded, "1.0", true);
    writer.rollout(2, "1.1", RolloutOutcome::Succeeded, "1.1", true);
    writer.rollout(3, "1.2", RolloutOutcome::RolledBack, "1.1", true);
    let environment = environment_stream(&scope());
    let placed = |version: &str| HoldPlaced {
        scope: scope(),
        version: version.into(),
        reason: "errors".into(),
        rollout: Some(rollout(3)),
    };
    writer.add(environment.clone(), &placed("1.2"));
    writer.add(environment.clone(), &placed("0.9"));
    let released = HoldReleased { scope: scope(), version: "0.9".into(), reason: "fixed".into() };
    writer.add(environment.clone(), &released);
    writer.add(environment.clone(), &PowerChanged { scope: scope(), state: PowerState::Stopped, reason: why() });
    writer.rollout(4, "1.3", RolloutOutcome::NotRestored, "1.3", false);
    let (rollout, waits_for) = (rollout(6), rollout(5));
    let (version, artifact) = (Some("1.5".into()), None);
    let queued = RolloutQueued { rollout, waits_for, version, artifact, replaces: true, reason: None };
    writer.add(environment, &queued);
    let (epoch, purpose, takeover) = (9, "deploy".to_owned(), Some("it did not answer".to_owned()));
    writer.add(lease_stream(&scope()), &LeaseAcquired { scope: scope(), epoch, holder: holder(), purpose, takeover });
    writer.0
}

/// An event from its line, which is a CloudEvent.
fn read(line: &str) -> Event {
    let value: Value = serde_json::from_str(line).unwrap();
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let project = value["viceproject"].as_str().map(|name| ProjectName::new(name).unwrap());
    let env = value["viceenv"].as_str().map(|name| EnvName::new(name).unwrap());
    Event {
        id: text("id"),
        source: text("source"),
        kind: text("type"),
        subject: text("subject"),
        time: text("time").parse().unwrap(),
        stream: text("vicestream"),
        scope: project.zip(env).map(|(project, env)| Scope::new(project, env)),
        actor: Actor {
            id: text("viceactor"),
            kind: serde_json::from_value(value["viceactorkind"].clone()).unwrap(),
            on_behalf_of: value["viceonbehalfof"].as_str().map(str::to_owned),
            evidence: text("viceactorevidence"),
        },
        data: value["data"].to_string(),
    }
}

/// Every state that is folded from these events.
async fn answers(events: Vec<Event>) -> Value {
    let store = MemoryEventStore::default();
    store.append(Append::of(events)).await.unwrap();
    let mut found = serde_json::Map::new();
    for stream in store.all_streams("").await.unwrap() {
        let name = stream.name.as_str();
        let state = match name.split_once('/').map(|(class, _)| class) {
            Some("environment") => json!(load::<EnvironmentState>(&store, name).await.unwrap().0),
            Some("lease") => json!(load::<LeaseState>(&store, name).await.unwrap().0),
            Some("rollout") => json!(load::<RolloutView>(&store, name).await.unwrap().0),
            _ => continue,
        };
        found.insert(stream.name, state);
    }
    Value::Object(found)
}

fn write(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let number = std::fs::read_dir(folder).unwrap().count() / 2 + 1;
    let lines: Vec<String> = lifecycle().iter().map(|event| event.to_cloudevent().unwrap().to_string()).collect();
    std::fs::write(folder.join(format!("{number:03}.jsonl")), lines.join("\n") + "\n").unwrap();
    let answers = block_on(answers(lifecycle()));
    let text = serde_json::to_string_pretty(&answers).unwrap();
    std::fs::write(folder.join(format!("{number:03}.json")), text + "\n").unwrap();
}

#[test]
fn histories_of_earlier_versions_fold_to_the_answers_of_then() {
    let folder = own().folder().join("histories");
    if Corpus::writes() && !folder.exists() {
        write(&folder);
    }
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let stored: Value =
            serde_json::from_str(&std::fs::read_to_string(path.with_extension("json")).unwrap()).unwrap();
        let today = block_on(answers(text.lines().map(read).collect()));
        let streams = stored.as_object().unwrap();
        assert!(streams.len() >= 6, "{}: environment, lease and rollouts", path.display());
        for (stream, answer) in streams {
            assert!(
                says(&today[stream], answer),
                "{}: {stream}\nthen {answer:#}\nnow {:#}",
                path.display(),
                today[stream]
            );
        }
        seen += 1;
    }
    assert!(seen > 0, "there is a corpus");
}
