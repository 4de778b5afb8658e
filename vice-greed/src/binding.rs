//! CloudEvents in headers and bodies, as the bindings of HTTP, NATS and Kafka have them: structured, one document with
//! everything; or binary, the attributes as headers beside the data.

use serde_json::{Map, Value};
use vice_core::event::Event;
use vice_core::{Code, Fault, Result};

/// The content type of a structured event.
pub(crate) const STRUCTURED: &str = "application/cloudevents+json";

/// How headers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `ce-`, percent-encoded: HTTP and NATS.
    Encoded,
    /// `ce_`, in UTF-8: Kafka.
    #[cfg(feature = "kafka")]
    Plain,
}

impl Style {
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Encoded => "ce-",
            #[cfg(feature = "kafka")]
            Self::Plain => "ce_",
        }
    }

    /// The value of a header.
    pub(crate) fn write(self, text: &str) -> String {
        match self {
            Self::Encoded => escape(text),
            #[cfg(feature = "kafka")]
            Self::Plain => text.to_owned(),
        }
    }

    /// The text of a header; none where it is not written so.
    pub(crate) fn read(self, text: &str) -> Option<String> {
        match self {
            Self::Encoded => unescape(text),
            #[cfg(feature = "kafka")]
            Self::Plain => Some(text.to_owned()),
        }
    }
}

/// The attributes of a CloudEvent as text, without its data.
pub(crate) fn attributes(event: &Event) -> Result<Vec<(String, String)>> {
    let Value::Object(mut all) = event.to_cloudevent()? else { return Ok(Vec::new()) };
    all.remove("data");
    all.remove("datacontenttype");
    Ok(all.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect())
}

/// An event in binary form as a structured document.
///
/// # Errors
/// `Usage` naming the header that can't be an attribute.
pub(crate) fn compose<'a>(
    headers: impl Iterator<Item = (&'a str, Option<String>)>,
    style: Style,
    data: &str,
) -> Result<String> {
    let mut document = Map::new();
    for (name, value) in headers {
        let Some(attribute) = name.strip_prefix(style.prefix()) else { continue };
        let wrong = || {
            let shown: String = name.chars().take(60).collect();
            Fault::new(Code::Usage, format!("The header {shown} can't be an attribute of a CloudEvent."))
        };
        let value = value.and_then(|value| style.read(&value)).ok_or_else(wrong)?;
        if attribute == "data" || document.insert(attribute.to_owned(), Value::from(value)).is_some() {
            return Err(wrong());
        }
    }
    let mut text = Value::Object(document).to_string();
    text.pop();
    let comma = if text.len() > 1 { "," } else { "" };
    text.push_str(&format!("{comma}\"data\":{data}}}"));
    Ok(text)
}

/// As the HTTP binding of CloudEvents has it: all but printable ASCII, and the space, `"` and `%`, is percent-encoded.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unescape(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'%' {
            let digits = text.get(at + 1..at + 3)?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}
