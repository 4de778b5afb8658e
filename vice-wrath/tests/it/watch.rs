//! Watching: schedules, incidents that open and close once, metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use vice_core::Class;
use vice_core::id::Scope;
use vice_core::payload::cdevents::{IncidentDetected, IncidentResolved};
use vice_core::payload::incident_stream;
use vice_core::store::Query;
use vice_core::ui::Format;

use crate::server::Server;
use crate::stage::Stage;

fn scope() -> Scope {
    Scope::new("hello".parse().unwrap(), "dev".parse().unwrap())
}

/// A server that answers 500 while the switch is on.
async fn switched() -> (Server, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&broken);
    let server = Server::start(move |_, mut conn| {
        let status = if seen.load(Ordering::SeqCst) { "500 Broken" } else { "200 OK" };
        async move { conn.answer(status, "", "").await }
    })
    .await;
    (server, broken)
}

async fn kinds(stage: &Stage) -> Vec<String> {
    let events = stage.setup.app.events.read(&Query::stream(incident_stream(&scope()), 0)).await.unwrap();
    events.iter().map(|recorded| recorded.event.kind.clone()).collect()
}

const WATCH: &[&str] =
    &["watch", "--env", "dev", "--every", "100ms", "--location", "eu", "--failures", "2", "--successes", "1"];

#[tokio::test]
async fn an_incident_opens_once_and_a_later_watcher_closes_it() {
    let (server, broken) = switched().await;
    let stage = Stage::new(&server.url(), Format::Json);
    stage.write("wrath/up.toml", "[[step]]\nname = \"page\"\nhttp = \"/\"\n");
    let outcome = stage.call(&[WATCH, &["--for", "1500ms"]].concat()).await.unwrap();
    assert_eq!((outcome.class, &outcome.json["open"]), (Class::Verification, &Value::from(1)));
    let detected = ["dev.cdeventsx.vice-incident.changed.0.1.0", "dev.cdevents.incident.detected.0.3.0"];
    assert_eq!(kinds(&stage).await, detected);
    assert!(outcome.json["scenarios"][0]["runs"].as_u64().unwrap() >= 3, "{}", outcome.json);
    // From another place the same scenario has incidents of its own.
    let other = [&WATCH[..5], &["--location", "us", "--failures", "100", "--for", "300ms"]].concat();
    assert_eq!(stage.call(&other).await.unwrap().json["open"], 0);
    broken.store(false, Ordering::SeqCst);
    let outcome = stage.call(&[WATCH, &["--for", "800ms"]].concat()).await.unwrap();
    assert_eq!((outcome.class, &outcome.json["open"]), (Class::Done, &Value::from(0)));
    let all = kinds(&stage).await;
    assert_eq!(all.len(), 4, "{all:?}");
    assert_eq!(all[3], "dev.cdevents.incident.resolved.0.3.0");
    let events = stage.setup.app.events.read(&Query::stream(incident_stream(&scope()), 0)).await.unwrap();
    let raised = events[1].event.decode::<IncidentDetected>().unwrap().unwrap();
    assert_eq!(raised.description, "up does not pass from eu: page: status: expected 200, got 500");
    assert!(
        events[3]
            .event
            .decode::<IncidentResolved>()
            .unwrap()
            .unwrap()
            .description
            .starts_with("up passes again, after ")
    );
    let id = |index: usize| serde_json::from_str::<Value>(&events[index].event.data).unwrap()["subject"]["id"].clone();
    assert_eq!(id(1), id(3), "what is resolved is what was detected");
    // The content of the standard event is strict: these fields and no others.
    for index in [1, 3] {
        let data = serde_json::from_str::<Value>(&events[index].event.data).unwrap();
        let content = &data["subject"]["content"];
        let keys: Vec<&str> = content.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["description", "environment", "service"]);
        assert_eq!(content["environment"], serde_json::json!({ "id": "dev" }));
        assert_eq!(content["service"], serde_json::json!({ "id": "hello" }));
    }
}

#[tokio::test]
async fn metrics_are_served() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (server, broken) = switched().await;
    broken.store(false, Ordering::SeqCst);
    let stage = Stage::new(&server.url(), Format::Json);
    stage.write("wrath/up.toml", "[[step]]\nname = \"page\"\nhttp = \"/\"\n");
    let words =
        ["watch", "--env", "dev", "--every", "100ms", "--label", "region=eu", "--listen", "127.0.0.1:0", "--for", "3s"];
    let watching = stage.call(&words);
    let asking = async {
        let address = loop {
            let told = stage.setup.told();
            if let Some(address) = told.split("http://").nth(1).and_then(|rest| rest.split('/').next()) {
                break address.to_owned();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        let ask = async |line: &str| {
            let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
            stream.write_all(format!("{line}\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        loop {
            let page = ask("GET /metrics HTTP/1.1").await;
            assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
            if page.contains("vice_scenario_up{region=\"eu\",scenario=\"up\"} 1") {
                assert!(
                    page.contains("vice_scenario_step_seconds_count{region=\"eu\",scenario=\"up\",step=\"page\"}"),
                    "{page}"
                );
                break;
            }
        }
        assert!(ask("GET / HTTP/1.1").await.starts_with("HTTP/1.1 404"));
        assert!(ask("POST /metrics HTTP/1.1").await.starts_with("HTTP/1.1 405"));
        stage.setup.app.stop.raise(false);
    };
    let (outcome, ()) = tokio::join!(watching, asking);
    assert_eq!(outcome.unwrap().class, Class::Done);
}

#[tokio::test]
async fn nonsense_is_refused() {
    let stage = Stage::new("http://127.0.0.1:9", Format::Text);
    stage.write("wrath/up.toml", "[[step]]\nhttp = \"/\"\n");
    for (words, part) in [
        (&["--every", "1ms"][..], "too short"),
        (&["--jitter", "2"], "not a share"),
        (&["--listen", "nowhere"], "can't be served"),
        (&["--label", "env=x"], "is set by vice"),
    ] {
        let fault = stage.call(&[&["watch", "--env", "dev", "--for", "100ms"], words].concat()).await.unwrap_err();
        assert!(fault.to_string().contains(part), "{words:?}: {fault}");
    }
}
