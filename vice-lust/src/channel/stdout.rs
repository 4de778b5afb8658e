//! The terminal of whoever delivers. Where standard output is for machines, the message goes to standard error.

use std::sync::Arc;

use async_trait::async_trait;
use vice_core::port::notifier::Severity;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::{Format, Ui};

use super::{Channel, SendError};
use crate::message::Message;

pub(crate) struct Stdout {
    pub(crate) ui: Arc<dyn Ui>,
}

#[async_trait]
impl Channel for Stdout {
    async fn send(&self, message: &Message) -> Result<String, SendError> {
        if self.ui.format() != Format::Text {
            self.ui.say(message.severity, &text(message, |_, part| part));
            return Ok("shown on standard error".to_owned());
        }
        let value = serde_json::to_value(message).unwrap_or_default();
        if self.ui.emit(&text(message, paint), &value) {
            Ok("shown".to_owned())
        } else {
            Err(SendError::retry("Nobody reads the standard output any more."))
        }
    }
}

fn text(message: &Message, paint: impl Fn(Tone, String) -> String) -> String {
    let tone = match message.severity {
        Severity::Info => Tone::Strong,
        Severity::Success => Tone::Good,
        Severity::Warning => Tone::Warn,
        Severity::Error => Tone::Bad,
    };
    let mut out = paint(tone, sanitize(&message.title));
    for line in message.body.lines() {
        out.push_str("\n  ");
        out.push_str(&sanitize(line));
    }
    out
}
