//! The promises of the outbox: nothing is lost wherever a process ends, nothing is sent twice while processes live,
//! a repeat carries the same key, failures are tried again with growing pauses and given up in the end.

use std::sync::Arc;

use crate::receiver::{Answer, Receiver};
use crate::support::{World, dev, hold, notice, rules};

use vice_core::port::notifier::Notifier;
use vice_core::{Clock, Millis};
use vice_lust::payload::{Advanced, Attempted, Dead, Delivered, Failed, Queued};

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
async fn a_long_outbox_stays_quick_to_open() {
    use vice_core::store::EventStore;
    let world = World::new("[[notify]]\non = [\"hold\"]\nto = \"stdout\"\n");
    for n in 0..300 {
        world.happen("environment/hello/dev", &hold(&n.to_string())).await;
    }
    let lust = world.lust();
    assert_eq!(lust.pump().await.unwrap() + lust.pump().await.unwrap(), 300);
    assert_eq!(world.lust().pump().await.unwrap(), 0);
    let snapshot = world.store.snapshot("lust-outbox", vice_lust::payload::OUTBOX).await.unwrap().unwrap();
    let bytes = snapshot.state.len();
    assert!(bytes < 20_000, "what is delivered leaves the state, which has {bytes} bytes");
    assert_eq!(world.ui.shown.lock().unwrap().len(), 300);
}
