//! A webhook: the message as a CloudEvent in structured JSON, by POST.
//!
//! Headers: `Idempotency-Key` is the same for every repeat (and is the CloudEvent's `id`); `X-Vice-Possible-Repeat:
//! true` says that an earlier attempt may have arrived; with a secret, `X-Vice-Signature: v1,t=<unix seconds>,s=<hex>`
//! where `s` is HMAC-SHA256 with the secret over `<unix seconds>.<body>`. A receiver computes `s` over the raw body,
//! compares in constant time, and refuses a `t` that is more than five minutes off. The body is byte for byte the same
//! in every attempt; `t` and `s` are not.

use std::sync::Arc;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use vice_core::event::{Event, Head, Payload};
use vice_core::{Clock, Secret};

use super::http::Post;
use super::{Channel, SendError};
use crate::message::Message;

pub(crate) struct Webhook {
    pub(crate) post: Post,
    pub(crate) url: String,
    pub(crate) secret: Option<Secret>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) repeat: bool,
}

/// The content of the CloudEvent: the message.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Sent(Message);

impl Payload for Sent {
    const KIND: &'static str = "dev.cdeventsx.vice-notification.sent.0.1.0";
    fn subject(&self) -> String {
        self.0.scope().map_or_else(|| self.0.project.to_string(), |scope| scope.to_string())
    }
}

#[async_trait]
impl Channel for Webhook {
    async fn send(&self, message: &Message) -> Result<String, SendError> {
        let body = body(message).map_err(|fault| SendError::permanent(fault.to_string()))?;
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            let value = HeaderValue::from_str(value).map_err(|_| SendError::permanent("A header can't be made."))?;
            headers.insert(HeaderName::from_static(name), value);
            Ok::<(), SendError>(())
        };
        put("content-type", "application/cloudevents+json; charset=utf-8")?;
        put("idempotency-key", &message.key)?;
        if self.repeat {
            put("x-vice-possible-repeat", "true")?;
        }
        if let Some(secret) = &self.secret {
            put("x-vice-signature", &signature(secret, self.clock.now().as_second(), &body)?)?;
        }
        self.post.send(&self.url, headers, body).await
    }
}

fn body(message: &Message) -> vice_core::Result<String> {
    let head = Head {
        id: message.key.clone(),
        time: message.time,
        stream: crate::payload::OUTBOX.to_owned(),
        scope: message.scope(),
        actor: message.actor.clone(),
        chain_id: None,
    };
    Ok(Event::new(head, &Sent(message.clone()))?.to_cloudevent()?.to_string())
}

fn signature(secret: &Secret, at: i64, body: &str) -> Result<String, SendError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes())
        .map_err(|_| SendError::permanent("The signing secret can't be used."))?;
    mac.update(format!("{at}.").as_bytes());
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("v1,t={at},s={hex}"))
}

#[cfg(test)]
mod tests {
    use vice_core::testkit::golden::Corpus;

    use super::*;

    /// Receivers read it by this form.
    #[test]
    fn what_is_sent_has_the_form_that_it_had() {
        Corpus::of(env!("CARGO_MANIFEST_DIR")).hold(&crate::payload::tests::messages().map(Sent));
    }
}
