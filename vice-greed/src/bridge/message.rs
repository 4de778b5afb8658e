//! A message of a broker, and the CloudEvent in it.

use vice_core::event::Recorded;
use vice_core::{Code, Fault, Result};

use crate::binding::{self, STRUCTURED, Style};
use crate::ingest::cloudevent::is_json;
use crate::strict;

/// How an event is written into a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One JSON document with everything.
    Structured,
    /// The attributes as headers, the data as the body.
    Binary,
}

/// A message that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// What has the same key stays in order: the environment, or the stream of what belongs to none.
    pub(crate) key: String,
    /// What no other message has: source and id of the event.
    pub(crate) id: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
}

impl Message {
    /// The message of an event.
    ///
    /// # Errors
    /// `Decode` for an event whose data is not JSON.
    pub(crate) fn of(recorded: &Recorded, mode: Mode, style: Style) -> Result<Self> {
        let event = &recorded.event;
        let key = event
            .scope
            .as_ref()
            .map_or_else(|| event.stream.clone(), |scope| format!("{}/{}", scope.project, scope.env));
        let mut headers = Vec::new();
        let body = match mode {
            Mode::Structured => {
                headers.push(("content-type".to_owned(), format!("{STRUCTURED}; charset=UTF-8")));
                let mut document = event.to_cloudevent()?;
                document["partitionkey"] = key.clone().into();
                document.to_string()
            }
            Mode::Binary => {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
                let mut attributes = binding::attributes(event)?;
                attributes.push(("partitionkey".to_owned(), key.clone()));
                let named = attributes.iter();
                headers.extend(named.map(|(name, value)| (format!("{}{name}", style.prefix()), style.write(value))));
                event.data.clone()
            }
        };
        let id = format!("{} {}", event.source, event.id);
        Ok(Self { key, id, headers, body, time: event.time.as_millisecond() })
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        self.key.len() + self.body.len() + headers + 32
    }
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// The part of the source, and the place in it.
    pub(crate) part: String,
    pub(crate) place: i64,
    /// None for a mark that something was removed.
    pub(crate) body: Option<Vec<u8>>,
    /// By name, in small letters where case says nothing.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// When it was sent, in milliseconds since 1970.
    pub(crate) time: i64,
}

impl Received {
    /// The place for people.
    pub(crate) fn shown(&self) -> String {
        if self.part.is_empty() { self.place.to_string() } else { format!("{}@{}", self.part, self.place) }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(&found.1).ok()
    }

    /// The CloudEvent as a structured document.
    ///
    /// # Errors
    /// `Usage` with what is wrong.
    pub(crate) fn document(&self, style: Style) -> Result<String> {
        let kind = self.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let body = self.body.as_deref().unwrap_or_default();
        let text = std::str::from_utf8(body).map_err(|_| not("The message is not text in UTF-8."))?;
        let named = self.header(&format!("{}specversion", style.prefix())).is_some();
        if !named || kind.starts_with(STRUCTURED) {
            if kind.starts_with("application/cloudevents-batch") {
                return Err(not("A message holds one event, not a batch."));
            }
            // Many senders of structured events leave the content type out.
            return if text.trim_start().starts_with('{') {
                Ok(text.to_owned())
            } else {
                Err(not("The message is no CloudEvent."))
            };
        }
        let data = if text.is_empty() { "null" } else { text };
        if !(kind.is_empty() || is_json(&kind)) {
            return Err(not("The data of the CloudEvent is not JSON."));
        }
        strict::check(data)?;
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8(value.clone()).ok()));
        binding::compose(headers, style, data)
    }
}

fn not(message: &str) -> Fault {
    Fault::new(Code::Usage, message)
        .hint("A CloudEvent is one JSON document, or JSON data with its attributes as headers.")
}
