//! The routes: `POST /events`, `POST /webhooks/PROJECT/NAME`, `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::time::timeout;
use vice_core::event::{Actor, ActorKind, Event};
use vice_core::fault::root_cause;

use super::answer::{Refusal, Stored, document};
use super::cloudevent::{self, is_json};
use super::tally::add;
use super::{BATCH_BYTES_MAX, BATCH_MAX, EVENT_BYTES_MAX, Ingest, REQUESTS_MAX, WEBHOOK_BYTES_MAX, signature, webhook};
use crate::binding::{Style, compose};
use crate::service::bounds::Bounds;
use crate::strict;

/// Who sends, where somebody else has asked for a token already: an extension of the request.
#[derive(Debug, Clone)]
pub struct Sender(pub String);

/// Who sends, and what they may send.
struct Sending<'a> {
    actor: Actor,
    bounds: Option<&'a Bounds>,
}

impl Sending<'_> {
    fn require(&self, event: &Event) -> Result<(), Refusal> {
        let Some(Err(fault)) = self.bounds.map(|bounds| bounds.require_sent(event)) else { return Ok(()) };
        let hint = "An event says by viceproject and viceenv where it belongs.";
        Err(Refusal::new(StatusCode::FORBIDDEN, "token.bound", fault.to_string()).hint(hint))
    }
}

/// How long the history may take to say that it is there.
const READY_TIME: std::time::Duration = std::time::Duration::from_secs(2);

/// Everything, for a listener of our own.
pub fn router(ingest: Arc<Ingest>) -> Router {
    let probes = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&ingest));
    events_router(Arc::clone(&ingest)).merge(webhooks_router(ingest)).merge(probes)
}

/// Where CloudEvents are sent. Whoever mounts it elsewhere decides who may, and says so with a [`Sender`].
pub fn events_router(ingest: Arc<Ingest>) -> Router {
    Router::new().route("/events", post(events)).with_state(ingest)
}

/// Where webhooks are sent. Each shows by its own secret who sent it.
pub fn webhooks_router(ingest: Arc<Ingest>) -> Router {
    Router::new().route("/webhooks/{project}/{name}", post(hook)).with_state(ingest)
}

async fn ready(State(ingest): State<Arc<Ingest>>) -> Response {
    match timeout(READY_TIME, ingest.app.events.head()).await {
        Ok(Ok(_)) => "ready\n".into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the history can't be read\n").into_response(),
    }
}

async fn metrics(State(ingest): State<Arc<Ingest>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, ingest.exposition()).into_response()
}

async fn events(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let work = async {
        let (parts, body) = request.into_parts();
        ingest.believe(&parts.headers)?;
        let sending = Sending {
            actor: actor(&ingest, parts.extensions.get::<Sender>()),
            bounds: parts.extensions.get::<Bounds>(),
        };
        take_events(&ingest, &parts.headers, body, &sending).await
    };
    ingest.answer(work).await
}

async fn hook(
    State(ingest): State<Arc<Ingest>>,
    Path((project, name)): Path<(String, String)>,
    request: Request,
) -> Response {
    let work = async {
        let unknown = || Refusal::new(StatusCode::NOT_FOUND, "name.unknown", "There is no such webhook.");
        let hook = ingest.hooks.get(&(project, name)).ok_or_else(unknown)?;
        let (parts, body) = request.into_parts();
        let body = read_body(&parts.headers, body, WEBHOOK_BYTES_MAX).await?;
        hook.believe(&parts.headers, &body, ingest.app.clock.now())?;
        let text = utf8(body)?;
        strict::check(&text)?;
        let events = webhook::events(hook, &parts.headers, &text, ingest.app.clock.now())?;
        if events.is_empty() {
            return Ok(document(&json!({ "events": 0 })));
        }
        let stored = ingest.store(events).await?;
        Ok(answered(&stored, &json!({ "events": stored.seqs.len(), "repeated": stored.repeated })))
    };
    ingest.answer(work).await
}

fn answered(stored: &Stored, body: &Value) -> Response {
    let status = if stored.repeated { StatusCode::OK } else { StatusCode::CREATED };
    (status, document(body)).into_response()
}

impl Ingest {
    /// What was done, in the text format of Prometheus.
    #[must_use]
    pub fn exposition(&self) -> String {
        self.tally.exposition(REQUESTS_MAX.saturating_sub(self.room.available_permits()))
    }

    /// Does the work of a request where there is room for it, and counts how it went.
    async fn answer(&self, work: impl Future<Output = Result<Response, Refusal>>) -> Response {
        let Ok(_room) = self.room.try_acquire() else {
            add(&self.tally.busy, 1);
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many requests are under way.");
            return refusal.hint("Try again in a second.").into_response();
        };
        match work.await {
            Ok(response) => response,
            Err(refusal) => {
                let counter = if refusal.status.is_server_error() { &self.tally.failed } else { &self.tally.refused };
                counter.fetch_add(1, Ordering::Relaxed);
                refusal.into_response()
            }
        }
    }

    fn believe(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match &self.token {
            Some(token) => signature::bearer(token, headers).map_err(doubted),
            None => Ok(()),
        }
    }
}

pub(super) fn doubted(doubt: &'static str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "sender.unknown", doubt).hint("Both sides need the same secret.")
}

/// The whole body, within its limits of size and time.
async fn read_body(headers: &HeaderMap, body: Body, at_most: usize) -> Result<Bytes, Refusal> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let message = "Bodies are taken as they are, without an encoding.";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "usage", message));
    }
    let large = || {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "usage", format!("The body has more than {at_most} bytes."))
            .hint("Events are facts, not files: name larger things by URL and digest.")
    };
    let said = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|said| said > at_most as u64) {
        return Err(large());
    }
    // How long it may take is the listener's business, which answers whoever is too slow.
    to_bytes(body, at_most).await.map_err(|error| {
        if root_cause(&error).is::<http_body_util::LengthLimitError>() {
            return large();
        }
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "usage",
            "The body broke off or can't be taken apart; it can be sent again.",
        )
    })
}

fn utf8(body: Bytes) -> Result<String, Refusal> {
    String::from_utf8(body.into())
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "usage", "The body is not text in UTF-8."))
}

async fn take_events(
    ingest: &Ingest,
    headers: &HeaderMap,
    body: Body,
    sending: &Sending<'_>,
) -> Result<Response, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let bare = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (now, actor) = (ingest.app.clock.now(), &sending.actor);
    match bare.as_str() {
        "application/cloudevents+json" => {
            let text = utf8(read_body(headers, body, EVENT_BYTES_MAX).await?)?;
            let (event, _) = cloudevent::read(&text, None, actor, now)?;
            one(ingest, event, sending).await
        }
        "application/cloudevents-batch+json" => {
            let text = utf8(read_body(headers, body, BATCH_BYTES_MAX).await?)?;
            strict::check(&text)?;
            let documents = cloudevent::batch(&text, BATCH_MAX)?;
            let read = documents.iter().map(|document| cloudevent::read(document.get(), None, actor, now));
            let events: Vec<Event> = read.map(|read| read.map(|(event, _)| event)).collect::<Result<_, _>>()?;
            if events.is_empty() {
                return Ok(document(&json!({ "seqs": [], "repeated": false })));
            }
            events.iter().try_for_each(|event| sending.require(event))?;
            let stored = ingest.store(events).await?;
            Ok(answered(&stored, &json!({ "seqs": stored.seqs, "repeated": stored.repeated })))
        }
        _ if headers.contains_key("ce-specversion") && is_json(kind) => {
            let text = utf8(read_body(headers, body, EVENT_BYTES_MAX).await?)?;
            strict::check(&text)?;
            let (event, _) = cloudevent::read(&structured(headers, &text)?, None, actor, now)?;
            one(ingest, event, sending).await
        }
        _ => Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "usage", "This content type is not taken.").hint(
            "Send application/cloudevents+json, application/cloudevents-batch+json, or application/json with ce- headers.",
        )),
    }
}

async fn one(ingest: &Ingest, event: Event, sending: &Sending<'_>) -> Result<Response, Refusal> {
    sending.require(&event)?;
    let id = event.id.clone();
    let stored = ingest.store(vec![event]).await?;
    Ok(answered(&stored, &json!({ "id": id, "seq": stored.seqs.first(), "repeated": stored.repeated })))
}

fn actor(ingest: &Ingest, sender: Option<&Sender>) -> Actor {
    let (id, evidence) = match sender {
        Some(Sender(name)) => (name.as_str(), "a token of vice serve"),
        None if ingest.token.is_some() => ("ingest", "the token of the ingest"),
        None => ("ingest", "this machine"),
    };
    Actor { id: id.into(), kind: ActorKind::Bot, on_behalf_of: None, evidence: evidence.into() }
}

/// An event in binary form as a structured document.
fn structured(headers: &HeaderMap, data: &str) -> Result<String, Refusal> {
    let named = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().ok().map(str::to_owned)));
    Ok(compose(named, Style::Encoded, data)?)
}
