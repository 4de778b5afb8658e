//! What a sender is told, and how events are stored.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vice_core::event::{Actor, Event, Head, Payload};
use vice_core::store::Append;
use vice_core::{Class, Code, Digest, Fault, Result};

use super::Ingest;
use super::tally::add;

/// So much of what was refused is kept as evidence, in bytes.
const EVIDENCE_BYTES_MAX: usize = 64 * 1024;

/// The stream of the evidence.
pub(crate) const CONFLICTS: &str = "inbox/conflicts";

/// A refusal.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: String::new() }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let status = match (fault.code(), fault.class()) {
            (Code::Conflict, _) => StatusCode::CONFLICT,
            (_, Class::Usage) => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let hint = fault.hints().join(" ");
        // What went wrong inside is for the log of this side.
        let message = if status.is_server_error() {
            tracing::warn!("an event was not stored: {fault}");
            "The event could not be stored.".to_owned()
        } else {
            fault.chain().join(" ")
        };
        Self { status, code: fault.code().as_str(), message, hint }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message, "hint": self.hint } });
        let mut headers = HeaderMap::new();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        (self.status, headers, document(&body)).into_response()
    }
}

/// A document in JSON.
pub(super) fn document(value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (kind, format!("{value}\n")).into_response()
}

/// Somebody sent another event under an id that is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Conflicted {
    pub(super) source: String,
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) subject: String,
    /// Who sent it.
    pub(super) sender: String,
    /// The digest of its data.
    pub(super) digest: Digest,
    /// The data, or its beginning.
    pub(super) data: String,
    /// Whether the data is whole.
    pub(super) whole: bool,
}

impl Payload for Conflicted {
    const KIND: &'static str = "dev.cdeventsx.vice-ingest.conflicted.0.1.0";
    fn subject(&self) -> String {
        self.id.clone()
    }
}

/// What became of events.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) seqs: Vec<u64>,
    pub(super) repeated: bool,
}

impl Ingest {
    /// Stores events, all or none; returns after they are durable.
    pub(super) async fn store(&self, events: Vec<Event>) -> Result<Stored, Refusal> {
        let now = self.app.clock.now();
        for event in &events {
            event.check()?;
            super::cloudevent::check_time(event, now)?;
        }
        let count = events.len();
        let appended = match self.app.events.append(Append::of(events.clone())).await {
            Ok(appended) => appended,
            Err(fault) if fault.code() == Code::Conflict => {
                add(&self.tally.conflicts, 1);
                self.keep_evidence(&events, &fault).await?;
                return Err(
                    Refusal::from(fault).hint("An id names one event for ever; what was sent is kept as evidence.")
                );
            }
            Err(fault) => return Err(fault.into()),
        };
        add(&self.tally.new, (count - appended.duplicates) as u64);
        add(&self.tally.repeated, appended.duplicates as u64);
        Ok(Stored { seqs: appended.seqs, repeated: appended.duplicates == count })
    }

    /// Keeps what was sent under an id that is taken. Nothing of the append itself is stored, or what was caught could come
    /// in beside the mark that tells it.
    async fn keep_evidence(&self, events: &[Event], fault: &Fault) -> Result<()> {
        let said = fault.to_string();
        let named = |event: &&Event| said.contains(&format!("{:?}", event.id.chars().take(80).collect::<String>()));
        let Some(event) = events.iter().find(named).or_else(|| events.first()) else { return Ok(()) };
        let evidence = self.evidence(event)?;
        self.app.events.append(Append::of(vec![evidence])).await.map(drop)
    }

    fn evidence(&self, event: &Event) -> Result<Event> {
        let end = (0..=EVIDENCE_BYTES_MAX.min(event.data.len())).rev().find(|end| event.data.is_char_boundary(*end));
        let end = end.unwrap_or(0);
        let conflicted = Conflicted {
            source: event.source.clone(),
            id: event.id.clone(),
            kind: event.kind.clone(),
            subject: event.subject.clone(),
            sender: event.actor.id.clone(),
            digest: Digest::of(event.data.as_bytes()),
            data: event.data[..end].to_owned(),
            whole: end == event.data.len(),
        };
        let now = self.app.clock.now();
        let head = Head {
            id: self.app.ids.next(now),
            time: now,
            stream: CONFLICTS.to_owned(),
            scope: event.scope.clone(),
            actor: Actor::system("ingest"),
            chain_id: None,
        };
        Event::new(head, &conflicted)
    }
}
