//! Spans of rollouts for a collector of OpenTelemetry, by OTLP over HTTP in JSON. Nothing has to be remembered between events: a
//! rollout, a unit, a task and a verification say when they end and how long they took, and their ids follow from their names,
//! so that what is sent twice is the same span.

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::event::Payload;
use vice_core::fault::causes;
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::{Note, RolloutFinished, RolloutStepped};
use vice_core::store::Query;
use vice_core::{Code, Digest, Fault, Millis, Result};

use super::{Claim, Message, Outlet, Sent};
use crate::binding::Style;
use crate::{emit, endpoint};

/// How long a collector may take.
const TIMEOUT: Millis = Millis::from_secs(10);

/// The port of a collector that names none.
const PORT: u16 = 4318;

/// How a collector is written.
const FORMS: &str = "Write otlp://HOST:4318; behind it ?tls=off or ?tls=require.";

/// The events that spans are made of.
pub(crate) const KINDS: [&str; 2] = [RolloutStepped::KIND, RolloutFinished::KIND];

/// A collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collector {
    server: String,
    tls: bool,
}

impl std::fmt::Display for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "otlp://{}", self.server)
    }
}

impl Collector {
    /// Reads a URL.
    ///
    /// # Errors
    /// `Usage`, without repeating what may be a secret.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || Fault::new(Code::Usage, "This names no collector of OpenTelemetry.").hint(FORMS);
        let rest = text.strip_prefix("otlp://").ok_or_else(wrong)?;
        let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
        let server = server.trim_end_matches('/');
        let server = endpoint::server(server, PORT).filter(|server| !server.contains('%')).ok_or_else(wrong)?;
        let tls = endpoint::tls(query, !endpoint::is_local(&server)).map_err(|_| wrong())?;
        Ok(Self { server, tls })
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    fn url(&self) -> String {
        format!("{}://{}/v1/traces", if self.tls { "https" } else { "http" }, self.server)
    }
}

/// The way to a collector.
pub(super) struct Traces {
    app: App,
    place: Collector,
    shown: String,
    /// What tells this history from others: rollouts are numbered in each.
    history: Option<String>,
}

impl Traces {
    pub(super) fn new(place: Collector, app: &App) -> Self {
        Self { app: app.clone(), shown: place.to_string(), place, history: None }
    }

    async fn history(&mut self) -> Result<String> {
        if self.history.is_none() {
            let first = self.app.events.read(&Query { limit: 1, ..Query::default() }).await?;
            self.history = first.first().map(|first| first.event.id.clone());
        }
        Ok(self.history.clone().unwrap_or_default())
    }

    async fn post(&self, spans: Vec<Value>) -> Result<()> {
        let body = json!({ "resourceSpans": [{
            "resource": { "attributes": [
                attribute("service.name", "vice"),
                attribute("service.version", env!("CARGO_PKG_VERSION")),
            ] },
            "scopeSpans": [{ "scope": { "name": "vice.rollout" }, "spans": spans }],
        }] });
        let client = emit::client(&self.app)?;
        let request = client.post(self.place.url()).headers(self.headers()?).timeout(TIMEOUT.as_duration());
        let answer = request.body(body.to_string()).send().await.map_err(|error| {
            Fault::new(Code::Unreachable, format!("{} does not answer.", self.shown))
                .because(causes(&error.without_url()))
                .hint("Check that the collector runs, and the network.")
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        // What the protocol says to send again; anything else stays as it is.
        let passes = matches!(status.as_u16(), 429 | 502..=504);
        let code = if passes { Code::Unreachable } else { Code::Backend };
        Err(Fault::new(code, format!("{} answered {}.", self.shown, status.as_u16()))
            .hint("Is /v1/traces of that address OTLP over HTTP, and does it take JSON?"))
    }

    /// With what OTEL_EXPORTER_OTLP_HEADERS says: NAME=VALUE,NAME=VALUE.
    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let given = self.app.env.get("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
        for pair in given.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let named = pair.split_once('=').and_then(|(name, value)| {
                let mut value = HeaderValue::from_str(value.trim()).ok()?;
                value.set_sensitive(true);
                Some((HeaderName::try_from(name.trim()).ok()?, value))
            });
            let (name, value) = named.ok_or_else(|| {
                Fault::new(Code::Usage, "OTEL_EXPORTER_OTLP_HEADERS makes no sense.")
                    .hint("Write NAME=VALUE,NAME=VALUE.")
            })?;
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

#[async_trait]
impl Outlet for Traces {
    fn style(&self) -> Style {
        Style::Encoded
    }

    async fn claim(&mut self, _: &[Message], _: u64) -> Result<Option<Claim>> {
        Ok(None)
    }

    async fn send(&mut self, messages: &[Message], _: Option<&Claim>) -> Result<Sent> {
        let history = self.history().await?;
        let mut spans = Vec::new();
        for message in messages {
            let document: Value = serde_json::from_str(&message.body)
                .map_err(|error| Fault::new(Code::Decode, "An event is not JSON.").because(error))?;
            spans.extend(spans_of(&document, &history));
        }
        if !spans.is_empty() {
            self.post(spans).await?;
        }
        Ok(Sent::All)
    }

    fn settled(&mut self) {}
}

/// The spans that end with an event. One of a later version than is known makes none.
pub(super) fn spans_of(document: &Value, history: &str) -> Vec<Value> {
    let content = &document["data"]["subject"]["content"];
    if let Some(finished) = known::<RolloutFinished>(document, content) {
        let end = document["time"].as_str().and_then(|time| time.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH);
        return vec![rollout(document, &finished, end, history)];
    }
    let Some(stepped) = known::<RolloutStepped>(document, content) else { return Vec::new() };
    let rollout = stepped.rollout.to_string();
    let notes = stepped.notes.iter().enumerate();
    notes.filter_map(|(at, note)| part(note, &rollout, (stepped.step, at), stepped.now, history)).collect()
}

fn known<P: Payload + DeserializeOwned>(document: &Value, content: &Value) -> Option<P> {
    (document["type"] == P::KIND).then(|| P::deserialize(content).ok()).flatten()
}

/// So many bytes of a digest in hex, as ids of traces and spans are.
fn id(text: &str, bytes: usize) -> String {
    Digest::of(text.as_bytes()).to_string().chars().take(2 * bytes).collect()
}

fn trace(history: &str, rollout: &str) -> String {
    id(&format!("{history} {rollout}"), 16)
}

fn root(history: &str, rollout: &str) -> String {
    id(&format!("{history} {rollout} root"), 8)
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// Start and end in nanoseconds, as texts.
fn times(end: Timestamp, took: Millis) -> (String, String) {
    let end = end.as_nanosecond().max(0);
    let start = end.saturating_sub(i128::from(took.0) * 1_000_000).max(0);
    (start.to_string(), end.to_string())
}

fn status(failed: Option<&str>) -> Value {
    match failed {
        None => json!({ "code": 1 }),
        Some(why) => json!({ "code": 2, "message": why }),
    }
}

fn rollout(document: &Value, finished: &RolloutFinished, end: Timestamp, history: &str) -> Value {
    let name = finished.rollout.to_string();
    let (start, end) = times(end, finished.took);
    let outcome = serde_json::to_value(finished.outcome).ok().and_then(|value| value.as_str().map(str::to_owned));
    let mut attributes = vec![
        attribute("vice.rollout", &name),
        attribute("vice.outcome", outcome.as_deref().unwrap_or_default()),
        attribute("vice.version", &finished.to.version),
    ];
    for (key, from) in
        [("service.namespace", "viceproject"), ("deployment.environment.name", "viceenv"), ("vice.actor", "viceactor")]
    {
        attributes.extend(document[from].as_str().map(|value| attribute(key, value)));
    }
    let failed = (finished.outcome != RolloutOutcome::Succeeded)
        .then(|| finished.reason.clone().unwrap_or_else(|| outcome.unwrap_or_default()));
    json!({
        "traceId": trace(history, &name),
        "spanId": root(history, &name),
        "name": format!("rollout {name}"),
        "kind": 1,
        "startTimeUnixNano": start,
        "endTimeUnixNano": end,
        "attributes": attributes,
        "status": status(failed.as_deref()),
    })
}

/// What ended in a step and says how long it took.
fn part(note: &Note, rollout: &str, (step, at): (u64, usize), now: Timestamp, history: &str) -> Option<Value> {
    let (name, took, failed, mut attributes) = match note {
        Note::UnitFinished { unit, version, took } => (
            format!("unit {unit}"),
            *took,
            None,
            vec![attribute("vice.unit", unit), attribute("vice.version", version)],
        ),
        Note::UnitFailed { unit, version, reason, took } => {
            let attributes = vec![attribute("vice.unit", unit), attribute("vice.version", version)];
            (format!("unit {unit}"), *took, Some(reason.clone()), attributes)
        }
        Note::TaskFinished { task, unit, ok, reason, took } => {
            let failed = (!ok).then(|| reason.clone().unwrap_or_default());
            let mut attributes = vec![attribute("vice.task", task)];
            attributes.extend(unit.iter().map(|unit| attribute("vice.unit", unit)));
            (format!("task {task}"), *took, failed, attributes)
        }
        Note::VerifyFinished { suite } => {
            let failed = (!suite.passed()).then(|| "not every check passed".to_owned());
            ("verification".to_owned(), suite.took, failed, Vec::new())
        }
        _ => return None,
    };
    attributes.push(attribute("vice.rollout", rollout));
    let (start, end) = times(now, took);
    let own = format!("{history} {rollout} {step} {at}");
    Some(json!({
        "traceId": trace(history, rollout),
        "spanId": id(&own, 8),
        "parentSpanId": root(history, rollout),
        "name": name,
        "kind": 1,
        "startTimeUnixNano": start,
        "endTimeUnixNano": end,
        "attributes": attributes,
        "status": status(failed.as_deref()),
    }))
}
