//! Spans against a collector that holds every body to the rules of OTLP's JSON.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use vice_core::Result;
use vice_core::app::{App, ProcessEnv};
use vice_core::event::{Actor, Event, Head, Payload};
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::{Note, RolloutFinished, RolloutStepped};
use vice_core::testkit::event_store::scope;

use super::{append, history, run};
use crate::bridge::otlp::spans_of;

/// What a collector got, and what it answers first.
#[derive(Clone, Default)]
struct Collector {
    bodies: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    answers: Arc<Mutex<Vec<u16>>>,
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: String) -> StatusCode {
    if let Some(code) = collector.answers.lock().unwrap().pop() {
        return StatusCode::from_u16(code).unwrap();
    }
    let Ok(body) = serde_json::from_str::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    collector.bodies.lock().unwrap().push((headers, body));
    StatusCode::OK
}

async fn collector() -> (Collector, String) {
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("otlp://{}", listener.local_addr().unwrap());
    let routes = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (collector, place)
}

fn http() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().build().unwrap())
}

fn rollout_event<P: Payload>(payload: &P, second: i64) -> Event {
    let time = jiff::Timestamp::from_second(1_800_000_000 + second).unwrap();
    let (id, stream) = (format!("{}-{second}", P::KIND), "rollout/shop/prod/1".to_owned());
    let head = Head { id, time, stream, scope: Some(scope("shop", "prod")), actor: Actor::system("t"), chain_id: None };
    Event::new(head, payload).unwrap()
}

fn release() -> ReleaseRef {
    serde_json::from_value(json!({ "version": "2" })).unwrap()
}

fn stepped(step: u64, second: i64, notes: Vec<Note>) -> Event {
    let now = jiff::Timestamp::from_second(1_800_000_000 + second).unwrap();
    let rollout = "shop.prod.1".parse().unwrap();
    rollout_event(&RolloutStepped { rollout, step, now, inputs: Value::Null, effects: Value::Null, notes }, second)
}

fn finished(outcome: RolloutOutcome, reason: Option<&str>, second: i64) -> Event {
    let (rollout, reason) = ("shop.prod.1".parse().unwrap(), reason.map(str::to_owned));
    let took = vice_core::Millis(90_000);
    rollout_event(&RolloutFinished { rollout, outcome, to: release(), running: None, reason, took }, second)
}

fn some_rollout() -> Vec<Event> {
    let note = |value: Value| serde_json::from_value::<Note>(value).unwrap();
    let unit = note(json!({ "note": "unit_finished", "unit": "web-1", "version": "2", "took": 1500 }));
    let failed =
        note(json!({ "note": "unit_failed", "unit": "web-2", "version": "2", "reason": "no answer", "took": 250 }));
    let task = note(json!({ "note": "task_finished", "task": "migrate", "ok": false, "reason": "locked", "took": 40 }));
    vec![
        stepped(1, 10, vec![note(json!({ "note": "fenced", "epoch": 1 })), unit]),
        stepped(2, 20, vec![failed, task]),
        finished(RolloutOutcome::RolledBack, Some("web-2 failed"), 30),
    ]
}

/// What the JSON of OTLP asks for: ids in hex of their lengths, times as texts, kinds and codes as numbers, texts in
/// attributes.
fn check(span: &Value) {
    let hex = |key: &str, length: usize| {
        let id = span[key].as_str().unwrap_or_else(|| panic!("{key}: {span}"));
        assert!(id.len() == length && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}: {span}");
        assert!(id.bytes().any(|byte| byte != b'0'));
    };
    hex("traceId", 32);
    hex("spanId", 16);
    if span.get("parentSpanId").is_some() {
        hex("parentSpanId", 16);
    }
    let time = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(time("startTimeUnixNano") <= time("endTimeUnixNano") && time("startTimeUnixNano") > 0);
    assert!(span["kind"] == 1 && !span["name"].as_str().unwrap().is_empty());
    let code = span["status"]["code"].as_u64().unwrap();
    assert!(code == 1 || (code == 2 && span["status"]["message"].is_string()), "{span}");
    let mut keys = BTreeSet::new();
    for attribute in span["attributes"].as_array().unwrap() {
        assert!(keys.insert(attribute["key"].as_str().unwrap()), "a key twice: {span}");
        assert!(attribute["value"]["stringValue"].is_string());
    }
    let known = [
        "traceId",
        "spanId",
        "parentSpanId",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "status",
    ];
    assert!(span.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{span}");
}

fn app(dir: &std::path::Path, vars: &[(&str, &str)]) -> App {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let http = Arc::new(http as fn() -> Result<reqwest::Client>);
    let env = Arc::new(ProcessEnv { vars, dir: dir.to_owned(), ..ProcessEnv::default() });
    App { http, env, ..history(dir, &Arc::default()) }
}

#[tokio::test]
async fn a_rollout_is_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let app = app(dir.path(), &[("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop, authorization=Bearer canary")]);
    let (collector, place) = collector().await;
    append(&app, some_rollout()).await;
    let report = run(&app, &["forward", "--to", &place, "--once"]).await.unwrap();
    assert_eq!(report.json["sent"], 3);
    assert_eq!(run(&app, &["forward", "--to", &place, "--once"]).await.unwrap().json["sent"], 0);
    let bodies = collector.bodies.lock().unwrap().clone();
    let [(headers, body)] = bodies.as_slice() else { panic!("{bodies:?}") };
    assert_eq!(
        (headers["x-tenant"].to_str().unwrap(), headers["content-type"].to_str().unwrap()),
        ("shop", "application/json")
    );
    assert_eq!(headers["authorization"], "Bearer canary");
    let resource = &body["resourceSpans"][0];
    assert_eq!(
        resource["resource"]["attributes"][0],
        json!({ "key": "service.name", "value": { "stringValue": "vice" } })
    );
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    spans.iter().for_each(check);
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["unit web-1", "unit web-2", "task migrate", "rollout shop.prod.1"]);
    let root = &spans[3];
    assert!(root.get("parentSpanId").is_none() && root["status"] == json!({ "code": 2, "message": "web-2 failed" }));
    assert_eq!(root["startTimeUnixNano"], "1799999940000000000");
    assert_eq!(root["endTimeUnixNano"], "1800000030000000000");
    assert!(spans[..3].iter().all(|span| span["parentSpanId"] == root["spanId"] && span["traceId"] == root["traceId"]));
    let ids: BTreeSet<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 4);
    assert_eq!((&spans[0]["status"], &spans[1]["status"]["message"]), (&json!({ "code": 1 }), &json!("no answer")));
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (app, (collector, place)) = (app(dir.path(), &[]), collector().await);
    append(&app, some_rollout()).await;
    *collector.answers.lock().unwrap() = vec![503];
    let fault = run(&app, &["forward", "--to", &place, "--once"]).await.unwrap_err();
    assert_eq!(fault.code(), vice_core::Code::Unreachable, "{fault:?}");
    *collector.answers.lock().unwrap() = vec![415];
    let fault = run(&app, &["forward", "--to", &place, "--once"]).await.unwrap_err();
    assert!(fault.code() == vice_core::Code::Backend && !fault.hints().is_empty(), "{fault:?}");
    assert_eq!(run(&app, &["forward", "--to", &place, "--once"]).await.unwrap().json["sent"], 3);
}

#[test]
fn what_is_no_end_of_anything_makes_no_span_and_histories_do_not_mix() {
    let document = |event: &Event| event.to_cloudevent().unwrap();
    let end = finished(RolloutOutcome::Succeeded, None, 5);
    let [one, two] = ["a", "b"].map(|history| spans_of(&document(&end), history));
    assert_ne!(one[0]["traceId"], two[0]["traceId"]);
    assert_eq!(one, spans_of(&document(&end), "a"), "what is sent twice is the same");
    let mut later = document(&end);
    later["type"] = json!("dev.cdeventsx.vice-rollout.finished.9.0.0");
    assert!(spans_of(&later, "a").is_empty());
    let mut odd = document(&end);
    odd["data"] = json!({ "subject": 1 });
    assert!(spans_of(&odd, "a").is_empty() && spans_of(&Value::Null, "a").is_empty());
}
