//! A broker in memory, which knows a producer's numbers as Kafka does, and can be away, forget and refuse.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vice_core::app::App;
use vice_core::{Code, Digest, Fault, Result};

use super::super::follow::{Follower, follow_through};
use super::super::forward::{Forwarder, forward_through};
use super::super::{
    Begin, Claim, Follow, Forward, Inlet, Message, Mode, Outlet, Place, Places, Portion, Received, Sent,
};
use super::{append, history, in_stream, run, some_events, taken};
use crate::binding::Style;
use crate::cmd::testing::Told;
use crate::tests::mortal::Mortal;

/// What a broker holds.
#[derive(Default)]
struct Log {
    messages: Vec<Received>,
    /// The next number of each producer.
    numbers: BTreeMap<i64, i32>,
    producers: i64,
    /// So often nobody answers, half of the time after it was done.
    away: usize,
    forgets: usize,
    /// The largest message.
    largest: usize,
}

#[derive(Clone)]
pub(super) struct Broker(Arc<Mutex<Log>>);

impl Broker {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Log { largest: usize::MAX, ..Log::default() })))
    }

    fn ids(&self) -> Vec<String> {
        let log = self.0.lock().unwrap();
        let id = |message: &Received| {
            let document: serde_json::Value = serde_json::from_slice(message.body.as_deref().unwrap()).unwrap();
            document["id"].as_str().unwrap().to_owned()
        };
        log.messages.iter().map(id).collect()
    }

    fn put(&self, body: &[u8]) {
        let mut log = self.0.lock().unwrap();
        let place = i64::try_from(log.messages.len()).unwrap();
        log.messages.push(Received {
            part: "0".into(),
            place,
            body: Some(body.to_vec()),
            headers: Vec::new(),
            time: 1_000,
        });
    }
}

fn away() -> Fault {
    Fault::new(Code::Unreachable, "The broker does not answer.")
}

struct Client {
    broker: Broker,
    producer: Option<i64>,
}

#[async_trait]
impl Outlet for Client {
    fn style(&self) -> Style {
        Style::Encoded
    }

    async fn claim(&mut self, _: &[Message], upto: u64) -> Result<Option<Claim>> {
        let mut log = self.broker.0.lock().unwrap();
        let producer = *self.producer.get_or_insert_with(|| {
            log.producers += 1;
            log.producers
        });
        let sequence = log.numbers.get(&producer).copied().unwrap_or(0);
        let selection = Digest::of(b"");
        Ok(Some(Claim { upto, selection, producer, epoch: 0, partitions: 1, sequences: [(0, sequence)].into() }))
    }

    async fn send(&mut self, messages: &[Message], claim: Option<&Claim>) -> Result<Sent> {
        let claim = claim.unwrap();
        let mut log = self.broker.0.lock().unwrap();
        let lost = log.away > 0;
        log.away -= usize::from(lost);
        if lost && log.away.is_multiple_of(2) {
            return Err(away());
        }
        if log.forgets > 0 {
            log.forgets -= 1;
            self.producer = None;
            return Ok(Sent::Forgotten);
        }
        if messages.iter().map(Message::bytes).sum::<usize>() > log.largest {
            return Ok(Sent::TooLarge);
        }
        if log.numbers.get(&claim.producer).copied().unwrap_or(0) == claim.sequences[&0] {
            for message in messages {
                let (place, body) = (i64::try_from(log.messages.len()).unwrap(), message.body.clone().into_bytes());
                log.messages.push(Received { part: "0".into(), place, body: Some(body), headers: Vec::new(), time: 0 });
            }
            *log.numbers.entry(claim.producer).or_default() += i32::try_from(messages.len()).unwrap();
        }
        if lost { Err(away()) } else { Ok(Sent::All) }
    }

    fn settled(&mut self) {}
}

#[async_trait]
impl Inlet for Client {
    fn style(&self) -> Style {
        Style::Encoded
    }

    async fn begin(&mut self, _: Begin) -> Result<Places> {
        Ok([("0".to_owned(), 0)].into())
    }

    async fn next(&mut self, places: &Places) -> Result<Portion> {
        let mut log = self.broker.0.lock().unwrap();
        if log.away > 0 {
            log.away -= 1;
            return Err(away());
        }
        let from = usize::try_from(places["0"]).unwrap();
        let messages: Vec<Received> = log.messages[from..].iter().take(7).cloned().collect();
        let next = places["0"] + i64::try_from(messages.len()).unwrap();
        Ok(Portion { messages, places: [("0".to_owned(), next)].into(), gaps: Vec::new() })
    }

    async fn at_end(&mut self, places: &Places) -> Result<bool> {
        Ok(usize::try_from(places["0"]).unwrap() == self.broker.0.lock().unwrap().messages.len())
    }
}

/// A place of which only the name counts here.
fn place(name: &str) -> Place {
    Place::parse(&format!("otlp://{name}.example")).unwrap()
}

async fn forwarder(app: &App, broker: &Broker, once: bool) -> Forwarder {
    let asked = Forward {
        place: place("out"),
        name: None,
        mode: Mode::Structured,
        kinds: Vec::new(),
        project: None,
        env: None,
        since: None,
        once,
    };
    let client = Client { broker: broker.clone(), producer: None };
    forward_through(app, asked, Box::new(client)).await.unwrap()
}

async fn follower(app: &App, broker: &Broker, once: bool) -> Follower {
    let asked = Follow { place: place("in"), name: None, begin: Begin::Earliest, scope: None, once };
    let client = Client { broker: broker.clone(), producer: None };
    follow_through(app, asked, Box::new(client)).await.unwrap()
}

/// Runs until it is done, or killed at its n-th append.
async fn killed_at<T>(app: &App, n: usize, written: bool, work: impl AsyncFnOnce(App) -> Result<T>) -> bool {
    let (left, died) = (Arc::new(AtomicUsize::new(n)), Arc::new(tokio::sync::Notify::new()));
    let store = Mortal::new(Arc::clone(&app.events), Arc::clone(&left), written, Arc::clone(&died));
    let mortal = App { events: Arc::new(store), ..app.clone() };
    tokio::select! {
        done = work(mortal) => {
            done.unwrap();
            left.load(Ordering::SeqCst) == 0
        }
        () = died.notified() => true,
    }
}

#[tokio::test]
async fn a_kill_at_any_append_sends_each_event_once() {
    for (n, written) in (0..6).flat_map(|n| [(n, false), (n, true)]) {
        let (dir, broker) = (tempfile::tempdir().unwrap(), Broker::new());
        let app = history(dir.path(), &Arc::default());
        for round in 0..4 {
            append(&app, some_events(round * 700, 700)).await;
            killed_at(&app, n, written, async |app: App| forwarder(&app, &broker, true).await.run().await).await;
        }
        forwarder(&app, &broker, true).await.run().await.unwrap();
        let expected: Vec<String> = (0..2800).map(|n| format!("e{n}")).collect();
        assert_eq!(broker.ids(), expected, "killed at {n}, written {written}");
    }
}

#[tokio::test]
async fn a_kill_at_any_append_takes_each_message_once() {
    for (n, written) in (0..6).flat_map(|n| [(n, false), (n, true)]) {
        let (dir, broker) = (tempfile::tempdir().unwrap(), Broker::new());
        let app = history(dir.path(), &Arc::default());
        for round in 0..4 {
            for k in 0..20 {
                let id = round * 20 + k;
                let event = serde_json::json!({"specversion":"1.0","id":format!("e{id}"),"source":"/t","type":"a","data":{"n":id}});
                broker.put(event.to_string().as_bytes());
                broker.put(b"nonsense");
            }
            killed_at(&app, n, written, async |app: App| follower(&app, &broker, true).await.run().await).await;
        }
        follower(&app, &broker, true).await.run().await.unwrap();
        let expected: Vec<(String, u64)> = (0..80).map(|n| (format!("e{n}"), n)).collect();
        assert_eq!(taken(&app).await, expected, "killed at {n}, written {written}");
        let refused = in_stream(&app, &format!("refused/{}", place("in").name())).await;
        assert_eq!(refused.len(), 80, "killed at {n}, written {written}");
        assert_eq!(app.events.verify().await.unwrap().problems, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_waited_for_and_said() {
    let (dir, broker, told) = (tempfile::tempdir().unwrap(), Broker::new(), Arc::new(Told::default()));
    let app = history(dir.path(), &told);
    append(&app, some_events(0, 30)).await;
    broker.0.lock().unwrap().away = 6;
    let working = forwarder(&app, &broker, false).await;
    let stopping = app.clone();
    let work = tokio::spawn(working.run());
    while broker.ids().len() < 30 || broker.0.lock().unwrap().away > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // It answers with the last message; what is said of that follows.
    while told.said.lock().unwrap().len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    stopping.stop.raise(false);
    assert_eq!(work.await.unwrap().unwrap().sent, 30);
    assert_eq!(broker.ids().len(), 30, "what was sent and not acknowledged is there once");
    let said = told.said.lock().unwrap().join("\n");
    assert!(said.contains("events wait.") && said.contains("answers again"), "{said}");
    assert_eq!(said.lines().count(), 2, "it is not said with every attempt: {said}");
}

#[tokio::test]
async fn done_once_it_does_not_wait_for_a_broker() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), Broker::new());
    let app = history(dir.path(), &Arc::default());
    append(&app, some_events(0, 3)).await;
    broker.0.lock().unwrap().away = 1;
    assert_eq!(forwarder(&app, &broker, true).await.run().await.unwrap_err().code(), Code::Unreachable);
    assert_eq!(forwarder(&app, &broker, true).await.run().await.unwrap().sent, 3);
    broker.0.lock().unwrap().away = 1;
    assert_eq!(follower(&app, &broker, true).await.run().await.unwrap_err().code(), Code::Unreachable);
}

#[tokio::test]
async fn a_receiver_that_forgets_or_takes_little_gets_everything_that_fits() {
    let (dir, broker, told) = (tempfile::tempdir().unwrap(), Broker::new(), Arc::new(Told::default()));
    let app = history(dir.path(), &told);
    let mut events = some_events(0, 5);
    events[2].data = serde_json::json!({ "n": 2, "text": "x".repeat(5_000) }).to_string();
    append(&app, events).await;
    (broker.0.lock().unwrap().forgets, broker.0.lock().unwrap().largest) = (2, 2_000);
    let report = forwarder(&app, &broker, true).await.run().await.unwrap();
    assert_eq!((report.sent, report.withheld), (4, 1));
    assert_eq!(broker.ids(), ["e0", "e1", "e3", "e4"]);
    let withheld = in_stream(&app, &format!("refused/{}", place("out").name())).await;
    assert!(withheld[0].event.subject == "e2" && told.said.lock().unwrap()[0].contains("Event 3 is not sent"));
    broker.0.lock().unwrap().forgets = 9;
    append(&app, some_events(10, 1)).await;
    let fault = forwarder(&app, &broker, true).await.run().await.unwrap_err();
    assert!(fault.to_string().contains("forgets again and again"), "{fault:?}");
}

#[tokio::test]
async fn an_id_with_other_content_is_refused_and_holds_nothing_up() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), Broker::new());
    let app = history(dir.path(), &Arc::default());
    let one = |id: &str, n: u64| {
        serde_json::json!({"specversion":"1.0","id":id,"source":"/t","type":"a","data":{"n":n}}).to_string()
    };
    let ahead = r#"{"specversion":"1.0","id":"z","source":"/t","type":"a","time":"2199-01-01T00:00:00Z"}"#;
    let large =
        format!(r#"{{"specversion":"1.0","id":"y","source":"/t","type":"a","data":"{}"}}"#, "x".repeat(2 << 20));
    for body in [&one("a", 1), &one("b", 2), &one("a", 1), &one("a", 3), &one("c", 4), ahead, &large] {
        broker.put(body.as_bytes());
    }
    broker.put(b"\xff\xfe");
    let report = follower(&app, &broker, true).await.run().await.unwrap();
    assert_eq!((report.taken, report.refused), (4, 4), "what is repeated counts as taken");
    assert_eq!(taken(&app).await, [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 4)]);
    let refused = in_stream(&app, &format!("refused/{}", place("in").name())).await;
    let content = |at: usize| {
        let data: serde_json::Value = serde_json::from_str(&refused[at].event.data).unwrap();
        data["subject"]["content"].clone()
    };
    assert!(content(0)["reason"].as_str().unwrap().contains("other content"), "{}", content(0));
    assert!(content(1)["reason"].as_str().unwrap().contains("from the future"), "{}", content(1));
    assert_eq!((content(2)["whole"].as_bool(), content(2)["text"].as_str().unwrap().len()), (Some(false), 64 * 1024));
    assert_eq!((content(3)["base64"].as_str(), content(3)["place"].as_str()), (Some("//4="), Some("0@7")));
}

#[tokio::test]
async fn two_at_once_are_noticed_and_names_are_not_mixed_up() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), Broker::new());
    let app = history(dir.path(), &Arc::default());
    append(&app, some_events(0, 3)).await;
    let (one, two) = (forwarder(&app, &broker, true).await, forwarder(&app, &broker, true).await);
    one.run().await.unwrap();
    assert_eq!(two.run().await.unwrap_err().code(), Code::Locked);
    assert_eq!(broker.ids().len(), 3);
    let out = place("out").to_string();
    for words in [
        vec!["forward", "--to", &out, "--once", "--name", "a/b"],
        vec!["forward", "--to", &out, "--type", "a*b"],
        vec!["forward", "--to", "amqp://x/y"],
        vec!["follow", "--from", &out, "--project", "shop"],
        vec!["forward", "--to", &out, "--mode", "binary"],
        vec!["forward", "--to", &out, "--type", "a"],
    ] {
        let fault = run(&app, &words).await.unwrap_err();
        assert_eq!(fault.code(), Code::Usage, "{words:?} {fault:?}");
    }
    let back = Follow { place: place("out"), name: None, begin: Begin::Earliest, scope: None, once: true };
    let client = Client { broker: broker.clone(), producer: None };
    let fault = follow_through(&app, back, Box::new(client)).await.err().unwrap();
    assert!(fault.to_string().contains("sends its own events"), "{fault:?}");
    assert_eq!(run(&app, &["follow", "--from", &out]).await.unwrap_err().code(), Code::Unsupported);
    let name = place("out").name();
    let fault = run(&app, &["forward", "--to", &place("else").to_string(), "--name", &name]).await.unwrap_err();
    assert!(fault.to_string().contains("sends to"), "{fault:?}");
}
