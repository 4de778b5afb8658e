//! What other systems say, as CDEvents. What has no CDEvent becomes a custom one; what is not known at all is kept as it
//! came, under a type of its sender. The content of an event follows from the body alone, so that a repeat is a repeat.

mod alertmanager;
mod argocd;
mod github;
mod gitlab;

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};
use vice_core::Digest;
use vice_core::event::{Actor, ActorKind, CDEVENTS_VERSION, Event};
use vice_core::manifest::WebhookKind;

use super::answer::Refusal;
use super::routes::doubted;
use super::{Hook, cloudevent, signature};

/// A body up to this size goes along whole, for rules to look into.
const WHOLE_BYTES_MAX: usize = 512 * 1024;

/// What an event of a webhook is.
struct Mapped {
    id: String,
    source: String,
    kind: String,
    subject: String,
    time: Option<Timestamp>,
    /// The CDEvent's content; none for what is kept as it came.
    content: Option<Value>,
}

/// A body with what its headers say.
struct Call<'a> {
    headers: &'a HeaderMap,
    body: Value,
    text: &'a str,
}

impl Call<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
    }

    /// A text in the body, by JSON pointer.
    fn text(&self, pointer: &str) -> Option<&str> {
        self.body.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A number or a text in the body, as text.
    fn id(&self, pointer: &str) -> Option<String> {
        match self.body.pointer(pointer)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn time(&self, pointer: &str) -> Option<Timestamp> {
        moment(self.body.pointer(pointer)?)
    }

    /// A name for the body, where the sender gives none.
    fn digest(&self) -> String {
        Digest::of(self.text.as_bytes()).to_string()
    }
}

/// RFC 3339, `2026-07-14 09:00:00 UTC`, or seconds since 1970.
fn moment(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(seconds) => Timestamp::from_second(seconds.as_i64()?).ok(),
        Value::String(text) => {
            let plain = text.strip_suffix(" UTC").map(|text| format!("{}Z", text.replacen(' ', "T", 1)));
            plain.as_deref().unwrap_or(text).parse().ok()
        }
        _ => None,
    }
}

impl Hook {
    /// Believes a sender, or says why not.
    pub(super) fn believe(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let believed = match self.kind {
            WebhookKind::Github => signature::github(&self.secret, headers, body),
            WebhookKind::Gitlab => signature::gitlab(&self.secret, headers),
            WebhookKind::Argocd | WebhookKind::Alertmanager => signature::bearer(&self.secret, headers),
            WebhookKind::Generic => signature::generic(&self.secret, headers, body, now),
        };
        believed.map_err(doubted)
    }

    fn actor(&self) -> Actor {
        Actor {
            id: format!("webhook/{}", self.name),
            kind: ActorKind::Bot,
            on_behalf_of: None,
            evidence: "the secret of the webhook".to_owned(),
        }
    }

    /// The event, in the stream of this webhook.
    fn event(&self, mapped: Mapped, call: &Call<'_>, part: Option<&Value>, now: Timestamp) -> Event {
        let Mapped { id, source, kind, subject, time, content } = mapped;
        let whole = call.text.len() <= WHOLE_BYTES_MAX;
        let sent = || match part {
            Some(part) => part.clone(),
            None if whole => call.body.clone(),
            None => json!({ "omitted": "the body is too large", "sha256": call.digest() }),
        };
        let data = match (content, time) {
            (Some(content), Some(time)) => json!({
                "context": {
                    "specversion": CDEVENTS_VERSION,
                    "id": id,
                    "source": source,
                    "type": kind,
                    "timestamp": time.to_string(),
                },
                "subject": { "id": subject, "source": source, "content": content },
                "customData": sent(),
                "customDataContentType": "application/json",
            })
            .to_string(),
            _ if part.is_none() && whole => call.text.to_owned(),
            _ => sent().to_string(),
        };
        Event {
            id,
            source,
            kind,
            subject,
            time: time.unwrap_or(now),
            stream: format!("webhook/{}/{}", self.project, self.name),
            scope: self.scope.clone(),
            actor: self.actor(),
            data,
        }
    }

    /// A mark that this body came under this name. Where the name is not signed, it keeps a caught body from coming again
    /// under another one.
    fn receipt(&self, call: &Call<'_>, name: &str, now: Timestamp) -> Event {
        Event {
            id: call.digest(),
            source: format!("/vice/ingest/{}/{}", self.project, self.name),
            kind: "dev.cdeventsx.vice-webhook.received.0.1.0".to_owned(),
            subject: self.name.clone(),
            time: now,
            stream: format!("receipts/{}/{}", self.project, self.name),
            scope: None,
            actor: self.actor(),
            data: json!({ "name": name }).to_string(),
        }
    }
}

/// The events that a call stands for; none for what only asks whether somebody is there.
pub(super) fn events(hook: &Hook, headers: &HeaderMap, text: &str, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    let body: Value = serde_json::from_str(text).map_err(|_| wrong("The body is not JSON."))?;
    if !body.is_object() {
        return Err(wrong("The body is not an object."));
    }
    let call = Call { headers, body, text };
    match hook.kind {
        WebhookKind::Github => {
            let Some((mapped, name)) = github::map(&call)? else { return Ok(Vec::new()) };
            Ok(vec![hook.event(mapped, &call, None, now), hook.receipt(&call, &name, now)])
        }
        WebhookKind::Gitlab => Ok(vec![hook.event(gitlab::map(&call)?, &call, None, now)]),
        WebhookKind::Argocd => Ok(vec![hook.event(argocd::map(&call)?, &call, None, now)]),
        WebhookKind::Alertmanager => {
            let alerts = alertmanager::map(&call)?;
            Ok(alerts.into_iter().map(|(mapped, alert)| hook.event(mapped, &call, Some(alert), now)).collect())
        }
        WebhookKind::Generic => generic(hook, &call, now).map(|event| vec![event]),
    }
}

fn wrong(message: &str) -> Refusal {
    Refusal::new(axum::http::StatusCode::BAD_REQUEST, "usage", message)
}

fn missing(what: &str) -> Refusal {
    wrong(&format!("The body has no {what}."))
}

/// A CloudEvent as it is, or any object as an event of its own.
fn generic(hook: &Hook, call: &Call<'_>, now: Timestamp) -> Result<Event, Refusal> {
    if call.body.get("specversion").is_some() {
        let (mut event, _) = cloudevent::read(call.text, hook.scope.clone(), &hook.actor(), now)?;
        // Whoever shares the secret of this webhook speaks for it, not for other projects.
        event.scope.clone_from(&hook.scope);
        event.stream = format!("webhook/{}/{}", hook.project, hook.name);
        return Ok(event);
    }
    let mapped = Mapped {
        // The signature covers the body and no header, so that the body is the name.
        id: call.digest(),
        source: format!("/webhooks/{}/{}", hook.project, hook.name),
        kind: call.text("/type").unwrap_or("webhook.received").to_owned(),
        subject: call.text("/subject").unwrap_or(&hook.name).to_owned(),
        time: None,
        content: None,
    };
    Ok(hook.event(mapped, call, None, now))
}
