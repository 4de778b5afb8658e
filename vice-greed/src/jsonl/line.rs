//! One line of a segment, format 1 (2 when the segment has let go of data that were archived): JSON whose first member is the checksum of the rest of the line.
//!
//! | line | members after `crc` |
//! | --- | --- |
//! | head of a segment | `segment` (format), `record`, `mark` |
//! | event | `seq`, `version`, `time`, `stream`, `source`, `id`, `type`, `subject`, `project`, `env`, `actor`, `body`, `chain`, `more`, `data` or `text` |
//! | fence | `fence` (scope), `epoch`, `more` |
//!
//! `crc` is the CRC-32 (IEEE) of everything between the comma after it and the end of the line, as eight lower-case
//! hexadecimal digits. `more` says that the append goes on in the next line; an append counts when its last line is there.
//! `time` is in nanoseconds since 1970. `data` is the event's document as it was given; one that has line breaks or spaces
//! around it can't stand in a line as it is, and is the string `text` instead, and so is `null`. An event with neither has let
//! go of its document; `body` is still the hash of it.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vice_core::event::{Actor, Event, Recorded};
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::{Digest, Fault, Result};

use crate::decide::Spot;
use crate::prepared::Extra;

/// The number of the layout above.
pub(crate) const FORMAT: u32 = 1;

/// The number of a segment that has let go of data: an earlier vice would take it for damaged.
pub(crate) const ARCHIVED: u32 = 2;

/// The longest line: a mebibyte of data whose every byte is written as six, and the rest.
pub(crate) const LINE_MAX: usize = 8 * 1024 * 1024;

const PREFIX: &[u8] = b"{\"crc\":\"";
/// Prefix, eight digits, quote and comma.
const SUMMED_FROM: usize = PREFIX.len() + 10;

/// The first line of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) segment: u32,
    /// The number of the segment's first record.
    pub(crate) record: u64,
    /// The mark of everything before.
    pub(crate) mark: Digest,
}

/// A scope's epoch was raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FenceLine {
    pub(crate) fence: String,
    pub(crate) epoch: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) more: bool,
}

/// An event.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventLine<'a> {
    pub(crate) seq: u64,
    pub(crate) version: u64,
    pub(crate) time: i64,
    #[serde(borrow)]
    pub(crate) stream: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) source: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) subject: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) env: Option<Cow<'a, str>>,
    pub(crate) actor: Cow<'a, Actor>,
    pub(crate) body: Digest,
    pub(crate) chain: Digest,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) more: bool,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<Cow<'a, str>>,
}

/// A line that was understood.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    Head(Head),
    Event(Box<EventLine<'a>>),
    Fence(FenceLine),
}

impl<'a> EventLine<'a> {
    pub(crate) fn of(event: &'a Event, extra: &Extra, spot: Spot, chain: Digest, more: bool) -> Self {
        let data = inline(&event.data);
        Self {
            seq: spot.seq,
            version: spot.version,
            time: extra.time,
            stream: (&event.stream).into(),
            source: (&event.source).into(),
            id: (&event.id).into(),
            kind: (&event.kind).into(),
            subject: (&event.subject).into(),
            project: event.scope.as_ref().map(|scope| scope.project.as_str().into()),
            env: event.scope.as_ref().map(|scope| scope.env.as_str().into()),
            actor: Cow::Borrowed(&event.actor),
            body: extra.body_hash,
            chain,
            more,
            data,
            text: data.is_none().then(|| (&event.data).into()),
        }
    }

    /// Whether the document is there; it may be empty.
    pub(crate) const fn has_data(&self) -> bool {
        self.data.is_some() || self.text.is_some()
    }

    pub(crate) fn data(&self) -> &str {
        self.data.map_or_else(|| self.text.as_deref().unwrap_or(""), RawValue::get)
    }

    pub(crate) fn recorded(self) -> Result<Recorded> {
        let data = self.data().to_owned();
        let scope = match (self.project, self.env) {
            (Some(project), Some(env)) => Some(Scope::new(ProjectName::new(&*project)?, EnvName::new(&*env)?)),
            _ => None,
        };
        let event = Event {
            id: self.id.into_owned(),
            source: self.source.into_owned(),
            kind: self.kind.into_owned(),
            subject: self.subject.into_owned(),
            time: Timestamp::from_nanosecond(self.time.into()).unwrap_or(Timestamp::UNIX_EPOCH),
            stream: self.stream.into_owned(),
            scope,
            actor: self.actor.into_owned(),
            data,
        };
        Ok(Recorded { seq: self.seq, version: self.version, chain: self.chain, event })
    }
}

/// The document, where it can stand in a line as it is.
fn inline(data: &str) -> Option<&RawValue> {
    // A null would be read as an absent document.
    if data.contains(['\n', '\r']) || data == "null" {
        return None;
    }
    serde_json::from_str::<&RawValue>(data).ok().filter(|raw| raw.get().len() == data.len())
}

/// Writes a line, with its end.
///
/// # Errors
/// `Internal` when it does not serialise, which is a bug.
pub(crate) fn write(out: &mut Vec<u8>, line: &impl Serialize) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(PREFIX);
    out.extend_from_slice(b"00000000\"");
    let comma = out.len();
    serde_json::to_writer(&mut *out, line)
        .map_err(|error| Fault::internal("A line of the history does not serialise.").because(error))?;
    // The brace that opens the object is where the comma belongs.
    out[comma] = b',';
    let sum = format!("{:08x}", crc32fast::hash(&out[start + SUMMED_FROM..]));
    out[start + PREFIX.len()..start + PREFIX.len() + 8].copy_from_slice(sum.as_bytes());
    out.push(b'\n');
    Ok(())
}

/// Why a line is none.
pub(crate) type Odd = &'static str;

/// Reads a line, without its end.
///
/// # Errors
/// What is wrong with it, to stand behind the name of a line.
pub(crate) fn read(bytes: &[u8]) -> std::result::Result<Line<'_>, Odd> {
    let summed = bytes.get(SUMMED_FROM..).ok_or("is too short")?;
    let sum = &bytes[PREFIX.len()..PREFIX.len() + 8];
    if !bytes.starts_with(PREFIX) || &bytes[SUMMED_FROM - 2..SUMMED_FROM] != b"\"," {
        return Err("does not begin with a checksum");
    }
    if format!("{:08x}", crc32fast::hash(summed)).as_bytes() != sum {
        return Err("does not fit its checksum");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    let odd = |_| "is no line of a history";
    if summed.starts_with(b"\"seq\":") {
        serde_json::from_str(text).map(|line| Line::Event(Box::new(line))).map_err(odd)
    } else if summed.starts_with(b"\"fence\":") {
        serde_json::from_str(text).map(Line::Fence).map_err(odd)
    } else {
        serde_json::from_str(text).map(Line::Head).map_err(odd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vice_core::testkit::event_store::event;

    fn written(event: &Event) -> Vec<u8> {
        let extra = Extra { body_hash: Digest::of(event.data.as_bytes()), time: 7, actor: String::new() };
        let line = EventLine::of(event, &extra, Spot { seq: 1, version: 1 }, Digest::ZERO, false);
        let mut out = Vec::new();
        write(&mut out, &line).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "a line has one end");
        out
    }

    #[test]
    fn documents_of_any_form_come_back_as_they_were() {
        let documents = [
            "{}",
            "null",
            " {\"a\" : 1}",
            "{\n \"a\": 1}",
            "[1.50,\"\\u0000\"] ",
            "not json",
            "",
            "\"\u{2028}\"",
            "1e400",
        ];
        for data in documents {
            let event = Event { data: data.into(), ..event("a", "s/1") };
            let line = written(&event);
            let Line::Event(back) = read(&line[..line.len() - 1]).unwrap() else { panic!("not an event: {data:?}") };
            assert_eq!(back.recorded().unwrap().event.data, data);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_line_is_seen() {
        let line = written(&event("a", "s/1"));
        for at in 0..(line.len() - 1) * 8 {
            let mut flipped = line[..line.len() - 1].to_vec();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(read(&flipped).is_err(), "bit {at} was flipped and not seen");
        }
    }

    #[test]
    fn short_and_foreign_lines_are_refused() {
        for bytes in
            [&b""[..], b"{", b"{\"crc\":\"", b"{\"crc\":\"00000000\",", b"{\"id\":\"something else entirely\"}"]
        {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }
}
