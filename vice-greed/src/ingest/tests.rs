//! The ingest as senders see it: what is taken, what is refused and how, what webhooks become, and what a kill leaves.

mod golden;
mod kill;
mod webhooks;

use std::sync::Arc;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vice_core::Millis;
use vice_core::app::{App, ProcessEnv};
use vice_core::event::Event;
use vice_core::manifest::Project;
use vice_core::store::Query;
use vice_core::time::ManualClock;

use super::{Ingest, router};
use crate::cmd::testing::{NOW, Told, app_with};

const SECRET: &str = "a secret of at least sixteen bytes";

const PROJECT: &str = r#"
name = "shop"
[env.prod]
[webhook.gh]
kind = "github"
secret = "env:HOOK"
env = "prod"
[webhook.gl]
kind = "gitlab"
secret = "env:HOOK"
[webhook.argo]
kind = "argocd"
secret = "env:HOOK"
[webhook.alerts]
kind = "alertmanager"
secret = "env:HOOK"
[webhook.own]
kind = "generic"
secret = "env:HOOK"
"#;

struct Bench {
    app: App,
    url: String,
    client: Client,
    _dir: tempfile::TempDir,
}

fn client() -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().build().unwrap()
}

async fn bench(token: bool) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW.parse().unwrap(), Millis::ZERO));
    let project = Project::parse("/p".into(), "vice.toml".into(), PROJECT).unwrap();
    let mut app = app_with(dir.path(), Arc::new(Told::default()), clock, vec![project]);
    let vars = [("HOOK", SECRET), ("TOKEN", SECRET)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    app.env = Arc::new(ProcessEnv { vars: vars.into(), ..ProcessEnv::default() });
    let ingest = Ingest::new(app.clone(), token.then_some("env:TOKEN")).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router(ingest)).await });
    Bench { app, url, client: client(), _dir: dir }
}

impl Bench {
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> (StatusCode, Value) {
        let mut request = self.client.post(format!("{}{path}", self.url)).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn structured(&self, event: &Value) -> (StatusCode, Value) {
        self.post("/events", &[("content-type", "application/cloudevents+json")], event.to_string()).await
    }

    async fn stored(&self, prefix: &str) -> Vec<Event> {
        let query = Query { stream_prefix: Some(prefix.to_owned()), ..Query::default() };
        self.app.events.read(&query).await.unwrap().into_iter().map(|recorded| recorded.event).collect()
    }
}

fn cloud(id: &str) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/test", "type": "com.example.made", "data": { "n": 1 } })
}

#[tokio::test]
async fn the_three_forms_of_cloudevents_are_taken_once() {
    let bench = bench(false).await;
    assert_eq!(bench.structured(&cloud("1")).await.0, StatusCode::CREATED);
    let (status, said) = bench.structured(&cloud("1")).await;
    assert_eq!((status, said["repeated"].as_bool()), (StatusCode::OK, Some(true)));
    let binary = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "2"),
        ("ce-source", "/test"),
        ("ce-type", "com.example.made"),
        ("ce-subject", "h%C3%A4user%20%25"),
    ];
    assert_eq!(bench.post("/events", &binary, r#"{"n": 2}"#).await.0, StatusCode::CREATED);
    let batch = json!([cloud("1"), cloud("3"), cloud("4")]).to_string();
    let (status, said) = bench.post("/events", &[("content-type", "application/cloudevents-batch+json")], batch).await;
    assert_eq!((status, said["seqs"].as_array().map(Vec::len)), (StatusCode::CREATED, Some(3)));
    let stored = bench.stored("inbox").await;
    let ids: Vec<&str> = stored.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["1", "2", "3", "4"]);
    assert_eq!((stored[1].subject.as_str(), stored[1].data.as_str()), ("häuser %", r#"{"n": 2}"#));
    let metrics = bench.client.get(format!("{}/metrics", bench.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("vice_ingest_events_total{result=\"new\"} 4"), "{metrics}");
    assert!(metrics.contains("vice_ingest_events_total{result=\"repeated\"} 2"), "{metrics}");
    for path in ["/livez", "/readyz"] {
        assert_eq!(bench.client.get(format!("{}{path}", bench.url)).send().await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn another_event_under_a_taken_id_is_refused_and_kept_as_evidence() {
    let bench = bench(false).await;
    bench.structured(&cloud("1")).await;
    let mut other = cloud("1");
    other["data"] = json!({ "n": 2 });
    let (status, said) = bench.structured(&other).await;
    assert_eq!(status, StatusCode::CONFLICT, "{said}");
    let stored = bench.stored("inbox").await;
    assert_eq!(stored.len(), 2);
    let evidence: super::answer::Conflicted = stored[1].decode().unwrap().unwrap();
    assert_eq!((evidence.id.as_str(), evidence.data.as_str(), evidence.whole), ("1", r#"{"n":2}"#, true));
}

#[tokio::test]
async fn bad_input_is_answered_with_what_is_wrong() {
    let bench = bench(false).await;
    let structured = [("content-type", "application/cloudevents+json")];
    let future =
        json!({ "specversion": "1.0", "id": "f", "source": "/t", "type": "t", "time": "2030-01-01T00:00:00Z" });
    let deep = format!(
        r#"{{"specversion":"1.0","id":"d","source":"/t","type":"t","data":{}1{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    let twice = r#"{"specversion":"1.0","id":"a","id":"b","source":"/t","type":"t"}"#;
    let large =
        format!(r#"{{"specversion":"1.0","id":"l","source":"/t","type":"t","data":"{}"}}"#, "x".repeat(1_100_000));
    let cases: Vec<(Vec<u8>, StatusCode, &str)> = vec![
        (b"{\"specversion\": \"1.0\", \"id\": \"\xff\"}".to_vec(), StatusCode::BAD_REQUEST, "UTF-8"),
        (deep.into_bytes(), StatusCode::BAD_REQUEST, "nested"),
        (twice.into(), StatusCode::BAD_REQUEST, "occurs twice"),
        (future.to_string().into_bytes(), StatusCode::BAD_REQUEST, "future"),
        (large.into_bytes(), StatusCode::BAD_REQUEST, "at most"),
        (b"[]".to_vec(), StatusCode::BAD_REQUEST, "not a CloudEvent"),
        (b"{".to_vec(), StatusCode::BAD_REQUEST, "JSON"),
        (br#"{"specversion":"0.3","id":"x","source":"/t","type":"t"}"#.to_vec(), StatusCode::BAD_REQUEST, "CloudEvent"),
        (vec![b' '; 2_200_000], StatusCode::PAYLOAD_TOO_LARGE, "bytes"),
    ];
    for (body, status, part) in cases {
        let shown: String = String::from_utf8_lossy(&body).chars().take(60).collect();
        let (found, said) = bench.post("/events", &structured, body).await;
        assert_eq!(found, status, "{shown}: {said}");
        assert!(said["error"].to_string().contains(part), "{shown}: {said}");
    }
    let (status, _) = bench.post("/events", &[("content-type", "text/plain")], "x").await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let many = Value::Array((0..1_001).map(|n| cloud(&n.to_string())).collect()).to_string();
    let (status, _) = bench.post("/events", &[("content-type", "application/cloudevents-batch+json")], many).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(bench.app.events.head().await.unwrap().seq, 0, "nothing of it was stored");
}

#[tokio::test]
async fn without_the_token_nothing_is_taken() {
    let bench = bench(true).await;
    assert_eq!(bench.structured(&cloud("1")).await.0, StatusCode::UNAUTHORIZED);
    let body = cloud("1").to_string();
    let kind = ("content-type", "application/cloudevents+json");
    let wrong = bench.post("/events", &[kind, ("authorization", "Bearer wrong")], body.clone()).await;
    assert_eq!(wrong.0, StatusCode::UNAUTHORIZED);
    let right = format!("Bearer {SECRET}");
    assert_eq!(bench.post("/events", &[kind, ("authorization", &right)], body).await.0, StatusCode::CREATED);
    let open = Ingest::new(bench.app.clone(), None).await.unwrap();
    assert!(open.require_token("0.0.0.0:1".parse().unwrap()).is_err());
    assert!(open.require_token("127.0.0.1:1".parse().unwrap()).is_ok());
}
