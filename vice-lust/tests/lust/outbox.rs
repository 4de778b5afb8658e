//! The promises of the outbox: nothing is lost wherever a process ends, nothing is sent twice while processes live,
//! a repeat carries the same key, failures are tried again with growing pauses and given up in the end.

use std::sync::Arc;

use crate::support::{Answer, Receiver, World, dev};
use vice_core::id::RolloutId;
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::{Direction, HoldPlaced, RolloutOutcome};
use vice_core::payload::rollout::{RolloutFinished, RolloutStarted, RolloutWaiting};
use vice_core::port::notifier::{Notice, Notifier, Severity};
use vice_core::store::EventStore;
use vice_core::{Clock, Digest, Millis};
use vice_lust::payload::{Advanced, Attempted, Dead, Delivered, Failed, Queued};

fn rules(url: &str, on: &str) -> String {
    format!("[channel.ops]\nkind = \"webhook\"\nurl = \"{url}\"\n[[notify]]\non = [{on}]\nto = \"ops\"\n")
}

fn hold(reason: &str) -> HoldPlaced {
    HoldPlaced { scope: dev(), version: "2".into(), reason: reason.into(), rollout: None }
}

fn release(version: &str) -> ReleaseRef {
    ReleaseRef { version: version.into(), artifact: None, source: String::new(), config: None }
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

fn notice(world: &World, key: &str) -> Notice {
    Notice {
        key: key.into(),
        project: world.project(),
        scope: None,
        severity: Severity::Info,
        title: "hi".into(),
        body: String::new(),
        time: world.clock.now(),
        channels: vec![],
    }
}

#[tokio::test]
async fn an_event_becomes_one_message_and_only_one() {
    let mut receiver = Receiver::start([]).await;
    let world = World::new(&rules(&receiver.url, "\"hold\""));
    let id = world.happen("environment/hello/dev", &hold("bad")).await;
    assert_eq!(world.lust().pump().await.unwrap(), 1);
    assert_eq!(world.lust().pump().await.unwrap(), 0);
    let requests = receiver.all();
    assert_eq!(requests.len(), 1);
    let event = requests[0].json();
    assert_eq!(event["data"]["subject"]["content"]["title"], "hello 2 is on hold in dev: bad");
    assert_eq!(event["data"]["subject"]["content"]["cause"]["id"], id);
    assert_eq!(event["id"], requests[0].header("idempotency-key").unwrap());
    assert_eq!(requests[0].header("x-vice-possible-repeat"), None);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_processes_at_once_send_each_message_once() {
    let mut receiver = Receiver::start([]).await;
    let world = World::new(&rules(&receiver.url, "\"hold\""));
    for n in 0..30 {
        world.happen("environment/hello/dev", &hold(&n.to_string())).await;
    }
    let pumps: Vec<_> =
        (0..3).map(|_| world.lust()).map(|lust| tokio::spawn(async move { lust.pump().await })).collect();
    let mut delivered = 0;
    for pump in pumps {
        delivered += pump.await.unwrap().unwrap();
    }
    assert_eq!(delivered, 30);
    let mut keys: Vec<String> =
        receiver.all().iter().map(|r| r.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 30);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 30);
    assert_eq!(world.history::<Queued>().await.len(), 30);
}

#[tokio::test]
async fn a_process_that_ends_after_queueing_loses_nothing() {
    let mut receiver = Receiver::start([Answer::Hang]).await;
    let world = World::new(&rules(&receiver.url, "\"hold\""));
    world.happen("environment/hello/dev", &hold("bad")).await;
    let first = world.lust();
    let sending = tokio::spawn(async move { first.pump().await });
    let sent = receiver.requests.recv().await.unwrap();
    // The process ends while the receiver has the message and has not answered: nobody knows.
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    assert!(world.history::<Delivered>().await.is_empty());
    let second = world.lust();
    assert_eq!(second.pump().await.unwrap(), 0, "the claim is young");
    world.clock.advance(Millis::from_secs(61));
    assert_eq!(second.pump().await.unwrap(), 1);
    let again = receiver.all().remove(0);
    assert_eq!(again.header("idempotency-key"), sent.header("idempotency-key"));
    assert_eq!(again.header("x-vice-possible-repeat"), Some("true"));
    assert_eq!(again.body, sent.body, "a repeat says the same");
    let attempts = world.history::<Attempted>().await;
    assert_eq!(attempts.iter().map(|a| (a.attempt, a.possible_repeat)).collect::<Vec<_>>(), [(1, false), (2, true)]);
}

#[tokio::test]
async fn a_posted_message_survives_the_process_too() {
    let mut receiver = Receiver::start([Answer::Hang]).await;
    let world = World::new(&rules(&receiver.url, "\"message\""));
    let (first, posted) = (world.lust(), notice(&world, "n1"));
    let sending = tokio::spawn(async move { first.notify(posted).await });
    let sent = receiver.requests.recv().await.unwrap();
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    let again = world.lust().notify(notice(&world, "n1")).await.unwrap();
    assert!(!again[0].delivered && again[0].detail.contains("queued already"), "{again:?}");
    world.clock.advance(Millis::from_secs(61));
    assert_eq!(world.lust().pump().await.unwrap(), 1);
    assert_eq!(receiver.all()[0].header("idempotency-key"), sent.header("idempotency-key"));
}

#[tokio::test]
async fn failures_are_tried_again_with_growing_pauses_and_then_given_up() {
    let mut receiver = Receiver::start((0..8).map(|_| Answer::Status(500, ""))).await;
    let world = World::new(&rules(&receiver.url, "\"hold\""));
    world.happen("environment/hello/dev", &hold("bad")).await;
    let lust = world.lust();
    for attempt in 1..=8_u32 {
        assert_eq!(lust.pump().await.unwrap(), 0);
        assert_eq!(receiver.all().len(), 1, "attempt {attempt}");
        world.clock.advance(Millis::from_secs((5 << (attempt - 1)) - 1));
        assert_eq!(lust.pump().await.unwrap(), 0);
        assert_eq!(receiver.all().len(), 0, "attempt {attempt}: too early");
        world.clock.advance(Millis::from_secs(1));
    }
    assert_eq!(world.history::<Failed>().await.len(), 7);
    let dead = world.history::<Dead>().await;
    assert_eq!((dead.len(), dead[0].attempt), (1, 8));
    assert!(dead[0].reason.contains("500"), "{}", dead[0].reason);
    assert_eq!(lust.pump().await.unwrap(), 0);
    assert_eq!(receiver.all().len(), 0);
}

#[tokio::test]
async fn hopeless_answers_are_given_up_at_once_and_passing_ones_are_not() {
    for (status, dead) in [
        (400, true),
        (401, true),
        (404, true),
        (410, true),
        (302, true),
        (408, false),
        (425, false),
        (429, false),
        (503, false),
    ] {
        let receiver = Receiver::start([Answer::Status(status, "")]).await;
        let world = World::new(&rules(&receiver.url, "\"hold\""));
        world.happen("environment/hello/dev", &hold("bad")).await;
        assert_eq!(world.lust().pump().await.unwrap(), 0);
        assert_eq!(world.history::<Dead>().await.len(), usize::from(dead), "{status}");
        assert_eq!(world.history::<Failed>().await.len(), usize::from(!dead), "{status}");
    }
}

#[tokio::test]
async fn a_receiver_can_ask_for_a_longer_pause() {
    let mut receiver = Receiver::start([Answer::Status(429, "Retry-After: 100\r\n")]).await;
    let world = World::new(&rules(&receiver.url, "\"hold\""));
    world.happen("environment/hello/dev", &hold("bad")).await;
    let lust = world.lust();
    assert_eq!(lust.pump().await.unwrap(), 0);
    world.clock.advance(Millis::from_secs(99));
    assert_eq!(lust.pump().await.unwrap(), 0);
    world.clock.advance(Millis::from_secs(1));
    assert_eq!(lust.pump().await.unwrap(), 1);
    assert_eq!(receiver.all().len(), 2);
}

#[tokio::test]
async fn a_redirect_is_not_a_delivery() {
    let mut elsewhere = Receiver::start([]).await;
    let location: &'static str = Box::leak(format!("Location: {}?token=abc\r\n", elsewhere.url).into_boxed_str());
    let receiver = Receiver::start([Answer::Status(307, location)]).await;
    let world = World::new(&rules(&receiver.url, "\"hold\""));
    world.happen("environment/hello/dev", &hold("bad")).await;
    assert_eq!(world.lust().pump().await.unwrap(), 0);
    let dead = world.history::<Dead>().await;
    assert!(dead[0].reason.contains("redirects") && !dead[0].reason.contains("token=abc"), "{}", dead[0].reason);
    drop(elsewhere.all());
}

#[tokio::test]
async fn a_lost_answer_makes_the_next_attempt_a_possible_repeat_and_a_closed_port_does_not() {
    let mut receiver = Receiver::start([Answer::Close]).await;
    let world = World::new(&rules(&receiver.url, "\"hold\""));
    world.happen("environment/hello/dev", &hold("bad")).await;
    let lust = world.lust();
    lust.pump().await.unwrap();
    world.clock.advance(Millis::from_secs(5));
    assert_eq!(lust.pump().await.unwrap(), 1);
    assert_eq!(receiver.all()[1].header("x-vice-possible-repeat"), Some("true"));

    let world = World::new(&rules("http://127.0.0.1:1/in", "\"hold\""));
    world.happen("environment/hello/dev", &hold("bad")).await;
    world.lust().pump().await.unwrap();
    let failed = world.history::<Failed>().await;
    assert!(!failed[0].uncertain && failed[0].reason.contains("can't be reached"), "{}", failed[0].reason);
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
async fn the_cursor_is_stored_now_and_then_when_nothing_is_of_interest() {
    let world = World::new("");
    for n in 0..1_700_u32 {
        let power = vice_core::payload::environment::PowerChanged {
            scope: dev(),
            state: vice_core::payload::environment::PowerState::Started,
            reason: Some(n.to_string()),
        };
        world.happen("environment/hello/dev", &power).await;
    }
    let lust = world.lust();
    lust.pump().await.unwrap();
    lust.pump().await.unwrap();
    assert_eq!(world.history::<Advanced>().await, [Advanced { cursor: 1_000 }]);
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
async fn one_call_sends_a_bounded_number_and_one_bad_receiver_does_not_hold_up_another() {
    let mut good = Receiver::start([]).await;
    let more = format!(
        "[channel.bad]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\n{}",
        rules(&good.url, "\"hold\"").replace("to = \"ops\"", "to = [\"bad\", \"ops\"]")
    );
    let world = World::new(&more);
    for n in 0..120 {
        world.happen("environment/hello/dev", &hold(&n.to_string())).await;
    }
    let lust = world.lust();
    assert_eq!(lust.pump().await.unwrap(), 100, "two hundred messages, half of them to the bad receiver");
    assert_eq!(lust.pump().await.unwrap(), 20);
    let reasons: Vec<_> = good.all().iter().map(|r| r.json()["data"]["subject"]["content"]["title"].clone()).collect();
    let expected: Vec<String> = (0..120).map(|n| format!("hello 2 is on hold in dev: {n}")).collect();
    assert_eq!(reasons, expected, "in order");
}

#[tokio::test]
async fn a_receiver_that_hangs_is_left_after_ten_seconds() {
    let mut receiver = Receiver::start([Answer::Hang]).await;
    let world = World::new(&rules(&receiver.url, "\"message\""));
    let (lust, posted) = (world.lust(), notice(&world, "n1"));
    let sending = tokio::spawn(async move { lust.notify(posted).await });
    receiver.requests.recv().await.unwrap();
    // From here on time passes as soon as there is nothing else to do.
    tokio::time::pause();
    let delivery = sending.await.unwrap().unwrap().remove(0);
    assert!(delivery.detail.contains("did not answer within 10.0s"), "{delivery:?}");
    assert!(world.history::<Failed>().await[0].uncertain);
}

#[tokio::test]
async fn one_call_takes_a_bounded_time() {
    let mut receiver = Receiver::start([]).await;
    let mut world = World::new(&rules(&receiver.url, "\"hold\""));
    for n in 0..50 {
        world.happen("environment/hello/dev", &hold(&n.to_string())).await;
    }
    // Every look at the clock takes a tenth of a second.
    world.clock = Arc::new(vice_core::time::ManualClock::new(world.clock.now(), Millis(100)));
    let lust = world.lust();
    let mut total = 0;
    let mut calls = 0;
    while total < 50 {
        let sent = lust.pump().await.unwrap();
        assert!(calls == 0 || (1..50).contains(&sent), "{sent} in one call");
        total += sent;
        calls += 1;
    }
    assert!(calls > 2, "{calls}");
    assert_eq!(receiver.all().len(), 50);
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
