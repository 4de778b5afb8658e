//! Which events become messages, on which channels, and what they say.

use std::sync::Arc;

use vice_core::id::RolloutId;
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::{RolloutFinished, RolloutStarted, RolloutWaiting};
use vice_core::port::notifier::Notifier;
use vice_core::store::EventStore;
use vice_core::{Clock, Digest, Millis};

use crate::receiver::Receiver;
use crate::support::{World, dev, hold, notice, rules};

fn release(version: &str) -> ReleaseRef {
    ReleaseRef { version: version.into(), artifact: None, source: String::new(), config: None, recipe: None }
}

fn started(rollout: &RolloutId, direction: Direction) -> RolloutStarted {
    RolloutStarted {
        rollout: rollout.clone(),
        direction,
        from: Some(release("1")),
        to: release("2"),
        plan_hash: Digest::ZERO,
        planner: 1,
        plan: serde_json::json!({}),
        reason: None,
        config_changes: vec![],
        tasks: Default::default(),
    }
}

fn finished(rollout: &RolloutId, outcome: RolloutOutcome, reason: Option<&str>) -> RolloutFinished {
    RolloutFinished {
        rollout: rollout.clone(),
        outcome,
        to: release("2"),
        running: None,
        reason: reason.map(str::to_owned),
        took: Millis(4200),
    }
}

#[tokio::test]
async fn a_rollback_is_told_in_one_line_with_who_and_what_ran_before() {
    let mut receiver = Receiver::start([]).await;
    let world = World::new(&rules(&receiver.url, "\"*\""));
    let rollout = RolloutId { scope: dev(), number: 2 };
    world.happen("rollout/hello/dev/2", &started(&rollout, Direction::Deploy)).await;
    let ended = finished(&rollout, RolloutOutcome::RolledBack, Some("verification failed (greet)"));
    world.happen("rollout/hello/dev/2", &ended).await;
    world.happen("rollout/hello/dev/2", &RolloutWaiting { rollout, reason: "an operator".into(), until: None }).await;
    assert_eq!(world.lust().pump().await.unwrap(), 3);
    let content: Vec<_> = receiver.all().iter().map(|r| r.json()["data"]["subject"]["content"].clone()).collect();
    assert_eq!(content[0]["title"], "hello 2 is being deployed to dev by ann");
    assert_eq!(content[1]["title"], "hello 2 rolled back in dev: verification failed (greet)");
    assert_eq!(content[1]["body"], "rollout: hello.dev.2\nbefore: 1\ntook: 4.2s\nby: ann");
    assert_eq!(content[1]["severity"], "error");
    assert_eq!(content[2]["title"], "hello.dev.2 waits: an operator");
}

#[tokio::test]
async fn no_rule_can_make_messages_about_messages() {
    let mut receiver = Receiver::start([]).await;
    let world = World::new(&rules(&receiver.url, "\"*\", \"dev.*\""));
    world.happen("environment/hello/dev", &hold("bad")).await;
    world.lust().notify(notice(&world, "n1")).await.unwrap();
    for _ in 0..3 {
        world.lust().pump().await.unwrap();
    }
    assert_eq!(receiver.all().len(), 2);
    let length = world.store.head().await.unwrap().seq;
    world.lust().pump().await.unwrap();
    assert_eq!(world.store.head().await.unwrap().seq, length, "a pump with nothing to do writes nothing");
}

#[tokio::test]
async fn raw_types_and_environments_choose_and_the_first_rule_decides_the_text() {
    let mut receiver = Receiver::start([]).await;
    let more = format!(
        "{}env = [\"prod\"]\n[[notify]]\non = [\"dev.cdeventsx.vice-hold.*\"]\nto = [\"ops\"]\ntitle = \"{{{{project}}}}/{{{{version}}}} <{{{{reason}}}}>\"\nbody = \"\"\n[[notify]]\non = \"hold\"\nto = \"ops\"\n",
        rules(&receiver.url, "\"hold\"")
    );
    let world = World::new(&more.replace("on = \"hold\"", "on = [\"hold\"]"));
    world.happen("environment/hello/dev", &hold("a & {{project}}")).await;
    assert_eq!(world.lust().pump().await.unwrap(), 1);
    let content = receiver.all()[0].json()["data"]["subject"]["content"].clone();
    assert_eq!((content["title"].as_str(), content["body"].as_str()), (Some("hello/2 <a & {{project}}>"), Some("")));
}

#[tokio::test]
async fn a_rule_written_later_does_not_tell_old_news() {
    let mut receiver = Receiver::start([]).await;
    let silent = World::new("");
    silent.happen("environment/hello/dev", &hold("old")).await;
    silent.lust().pump().await.unwrap();
    let mut world = World::new(&rules(&receiver.url, "\"hold\""));
    world.store = Arc::clone(&silent.store);
    assert_eq!(world.lust().pump().await.unwrap(), 0);
    world.happen("environment/hello/dev", &hold("new")).await;
    assert_eq!(world.lust().pump().await.unwrap(), 1);
    assert!(receiver.all()[0].body.contains("new"));
}

#[tokio::test]
async fn an_event_that_nobody_can_read_does_not_stop_the_others() {
    use vice_core::store::{Append, Query};
    let mut receiver = Receiver::start([]).await;
    let world = World::new(&rules(&receiver.url, "\"hold\""));
    world.happen("environment/hello/dev", &hold("first")).await;
    let mut broken = world.store.read(&Query::default()).await.unwrap().remove(0).event;
    broken.id = "broken".into();
    broken.data = "{\"subject\":{\"content\":7}}".into();
    world.store.append(Append::of(vec![broken])).await.unwrap();
    world.happen("environment/hello/dev", &hold("last")).await;
    assert_eq!(world.lust().pump().await.unwrap(), 2);
    assert_eq!(receiver.all().len(), 2);
}

#[tokio::test]
async fn every_word_has_its_title() {
    use vice_core::payload::verification::{CheckOutcome, CheckResult, SuiteResult, VerificationFinished};
    let mut receiver = Receiver::start([]).await;
    let world = World::new(&rules(&receiver.url, "\"*\""));
    let mut expected = Vec::new();
    for (number, direction, outcome, title) in [
        (1, Direction::Deploy, RolloutOutcome::Succeeded, "hello 2 deployed to dev"),
        (2, Direction::Rollback, RolloutOutcome::Succeeded, "hello rolled back to 2 in dev"),
        (3, Direction::Deploy, RolloutOutcome::Failed, "hello 2 failed in dev, nothing was changed"),
        (4, Direction::Deploy, RolloutOutcome::NotRestored, "hello 2 failed in dev and could not be undone"),
        (5, Direction::Deploy, RolloutOutcome::Aborted, "hello 2 was ended by an operator in dev"),
    ] {
        let rollout = RolloutId { scope: dev(), number };
        let stream = format!("rollout/hello/dev/{number}");
        world.happen(&stream, &started(&rollout, direction)).await;
        world.happen(&stream, &finished(&rollout, outcome, None)).await;
        expected.push(match direction {
            Direction::Deploy => "hello 2 is being deployed to dev by ann".to_owned(),
            Direction::Rollback => "hello is being rolled back to 2 in dev by ann".to_owned(),
        });
        expected.push(title.to_owned());
    }
    let check = |name: &str, outcome| CheckResult {
        name: name.into(),
        kind: "http".into(),
        subject: String::new(),
        outcome,
        attempts: 1,
        took: Millis(1),
        messages: vec![],
    };
    for (outcome, failed) in [(CheckOutcome::Passed, false), (CheckOutcome::Errored, true)] {
        let checks = vec![check("up", CheckOutcome::Passed), check("greet", outcome)];
        let suite = SuiteResult { started: world.clock.now(), took: Millis(2), checks };
        let verification = VerificationFinished { scope: dev(), version: Some("2".into()), rollout: None, suite };
        world.happen("verification/hello/dev", &verification).await;
        expected.extend(failed.then(|| "hello 2 failed verification in dev (greet)".to_owned()));
    }
    world.lust().pump().await.unwrap();
    let titles: Vec<_> =
        receiver.all().iter().map(|r| r.json()["data"]["subject"]["content"]["title"].clone()).collect();
    assert_eq!(titles, expected);
}
