//! Events out over HTTP: CloudEvents in structured, binary or batch form, or a log record for OpenTelemetry. One POST and what
//! its answer means; queues and repeats belong to whoever sends.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::{Map, Value, json};
use vice_core::app::App;
use vice_core::event::Recorded;
use vice_core::fault::causes;
use vice_core::manifest::EmitMode;
use vice_core::{Fault, Millis, Result, Secret};

use crate::binding::{Style, attributes};
use crate::rules::Trouble;

/// How long one attempt may take.
const TIMEOUT: Millis = Millis::from_secs(10);

/// The longest wait that a receiver can ask for.
const RETRY_AFTER_MAX: Millis = Millis::from_secs(3_600);

/// How much of an answer is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Where an event goes.
pub(crate) struct Target<'a> {
    pub(crate) url: &'a str,
    pub(crate) mode: EmitMode,
    pub(crate) token: Option<&'a Secret>,
}

/// Sends an event; gives what the receiver said.
pub(crate) async fn send(app: &App, target: Target<'_>, recorded: &Recorded, key: &str) -> Result<String, Trouble> {
    let (headers, body) = message(&target, recorded, key)?;
    let shown = crate::rules::shown_url(target.url);
    let request = client(app)?.post(target.url).headers(headers).body(body).timeout(TIMEOUT.as_duration());
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_redirect() => {
            return Err(Trouble::permanent(format!("{shown} redirects: name the final URL.")));
        }
        Err(error) => {
            return Err(Trouble::retry(format!("{shown} can't be reached: {}.", causes(&error.without_url()))));
        }
    };
    judge(&shown, response).await
}

/// The client of this process.
pub(crate) fn client(app: &App) -> Result<reqwest::Client> {
    let make = app.http.downcast_ref::<fn() -> Result<reqwest::Client>>();
    make.ok_or_else(|| Fault::internal("There is no HTTP client."))?()
}

async fn judge(shown: &str, mut response: reqwest::Response) -> Result<String, Trouble> {
    let status = response.status();
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - bytes.len())]),
            // The status is known; a body that breaks off changes nothing.
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let answer = format!("{} {}", status.as_u16(), text.lines().next().unwrap_or_default().trim());
    if status.is_success() {
        return Ok(answer.trim_end().to_owned());
    }
    // Too early, too slow, too much: all others of these stay as they are, however often one asks.
    let passing = matches!(status.as_u16(), 408 | 425 | 429);
    let permanent = status.is_redirection() || (status.is_client_error() && !passing);
    let retry_after = wait.map(|seconds| Millis::from_secs(seconds).min(RETRY_AFTER_MAX));
    Err(Trouble { permanent, retry_after, ..Trouble::retry(format!("{shown} answered {answer}")) })
}

/// Headers and body of the POST.
fn message(target: &Target<'_>, recorded: &Recorded, key: &str) -> Result<(HeaderMap, String), Trouble> {
    let event = &recorded.event;
    let mut headers = HeaderMap::new();
    let mut put = |name: &str, value: &str| {
        let name = HeaderName::try_from(name);
        let value = HeaderValue::from_str(value);
        match (name, value) {
            (Ok(name), Ok(value)) => {
                headers.insert(name, value);
                Ok(())
            }
            _ => Err(Trouble::permanent("The event has an attribute that can't be a header.")),
        }
    };
    put("idempotency-key", key)?;
    if let Some(token) = target.token {
        put("authorization", &format!("Bearer {}", token.reveal()))?;
    }
    let body = match target.mode {
        EmitMode::Structured => {
            put("content-type", "application/cloudevents+json; charset=utf-8")?;
            event.to_cloudevent()?.to_string()
        }
        EmitMode::Batch => {
            put("content-type", "application/cloudevents-batch+json; charset=utf-8")?;
            Value::Array(vec![event.to_cloudevent()?]).to_string()
        }
        EmitMode::Binary => {
            put("content-type", "application/json")?;
            for (name, value) in attributes(event)? {
                put(&format!("ce-{name}"), &Style::Encoded.write(&value))?;
            }
            event.data.clone()
        }
        EmitMode::Otlp => {
            put("content-type", "application/json")?;
            otlp(recorded)?.to_string()
        }
    };
    Ok((headers, body))
}

/// One log record in OTLP's JSON: the type as the event's name, the attributes beside it, the data as the body.
fn otlp(recorded: &Recorded) -> Result<Value, Trouble> {
    let event = &recorded.event;
    let text = |value: &str| json!({ "stringValue": value });
    let named = attributes(event)?.into_iter().map(|(name, value)| (format!("cloudevents.event_{name}"), value));
    let attributes: Vec<Value> = named.map(|(key, value)| json!({ "key": key, "value": text(&value) })).collect();
    let nanoseconds = event.time.as_nanosecond().max(0).to_string();
    let record = json!({
        "timeUnixNano": nanoseconds,
        "observedTimeUnixNano": nanoseconds,
        "severityNumber": 9,
        "severityText": "INFO",
        "eventName": event.kind,
        "body": text(&event.data),
        "attributes": attributes,
    });
    let mut resource = Map::new();
    resource.insert("attributes".to_owned(), json!([{ "key": "service.name", "value": text("vice") }]));
    Ok(json!({ "resourceLogs": [{
        "resource": resource,
        "scopeLogs": [{ "scope": { "name": "vice.greed" }, "logRecords": [record] }],
    }] }))
}
