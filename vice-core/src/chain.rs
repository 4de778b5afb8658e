//! The hash chain over the history, format 1: what makes a changed, exchanged or removed event visible.
//!
//! `chain(n) = SHA-256(chain(n-1) ‖ header(n) ‖ body_hash(n))`, `chain(0)` is 32 zero bytes, and
//! `body_hash = SHA-256(data)`. The chain covers the body only by its hash, so that bodies can be dropped one day and
//! the rest still verifies.
//!
//! The header is these fields in this order. Integers are big-endian; a text is its length in bytes as `u32` and then
//! the bytes; an optional part is one byte, 0 or 1, and then the part. No two headers have the same bytes.
//!
//! | field | form |
//! | --- | --- |
//! | sequence number, stream version | `u64` each |
//! | time, nanoseconds since 1970 | `i128` |
//! | stream, source, id, kind, subject | text each |
//! | scope | optional: project text, environment text |
//! | actor | id text; kind `u8` (1 person, 2 CI, 3 bot, 4 system); evidence text; optional on-behalf-of text |
//!
//! Another layout would be another format with another number; this one never changes.

use jiff::Timestamp;

use crate::digest::Digest;
use crate::event::{Actor, ActorKind, Event};

/// The number of the layout above.
pub const FORMAT: u32 = 1;

/// What the chain covers of one event besides its body, borrowed from wherever it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// The position in the log.
    pub seq: u64,
    /// The position in the stream.
    pub version: u64,
    /// When it happened.
    pub time: Timestamp,
    /// The stream.
    pub stream: &'a str,
    /// The CloudEvents `source`.
    pub source: &'a str,
    /// The CloudEvents `id`.
    pub id: &'a str,
    /// The CloudEvents `type`.
    pub kind: &'a str,
    /// The CloudEvents `subject`.
    pub subject: &'a str,
    /// Project and environment.
    pub scope: Option<(&'a str, &'a str)>,
    /// Who caused it.
    pub actor: &'a Actor,
}

impl<'a> Header<'a> {
    /// The header of an event at its place.
    #[must_use]
    pub fn of(event: &'a Event, seq: u64, version: u64) -> Self {
        Self {
            seq,
            version,
            time: event.time,
            stream: &event.stream,
            source: &event.source,
            id: &event.id,
            kind: &event.kind,
            subject: &event.subject,
            scope: event.scope.as_ref().map(|scope| (scope.project.as_str(), scope.env.as_str())),
            actor: &event.actor,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.time.as_nanosecond().to_be_bytes());
        for part in [self.stream, self.source, self.id, self.kind, self.subject] {
            text(out, part);
        }
        out.push(u8::from(self.scope.is_some()));
        if let Some((project, env)) = self.scope {
            text(out, project);
            text(out, env);
        }
        text(out, &self.actor.id);
        out.push(actor_kind(self.actor.kind));
        text(out, &self.actor.evidence);
        out.push(u8::from(self.actor.on_behalf_of.is_some()));
        if let Some(person) = &self.actor.on_behalf_of {
            text(out, person);
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    // Texts of events are limited to 1024 bytes and those of actors come from names, so the cast never saturates.
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

const fn actor_kind(kind: ActorKind) -> u8 {
    match kind {
        ActorKind::Person => 1,
        ActorKind::Ci => 2,
        ActorKind::Bot => 3,
        ActorKind::System => 4,
    }
}

/// Computes the chain event by event; keeps its buffer, because verifying does this hundreds of thousands of times a second.
#[derive(Debug, Clone, Default)]
pub struct Chainer {
    buffer: Vec<u8>,
}

impl Chainer {
    /// The chain hash of the event with this header and body hash, after `previous`.
    #[must_use]
    pub fn link(&mut self, previous: &Digest, header: &Header<'_>, body_hash: &Digest) -> Digest {
        self.buffer.clear();
        self.buffer.extend_from_slice(&previous.0);
        header.write(&mut self.buffer);
        self.buffer.extend_from_slice(&body_hash.0);
        Digest::of(&self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            id: "1".into(),
            source: "/vice".into(),
            kind: "dev.test.made".into(),
            subject: "probe".into(),
            time: Timestamp::from_second(1_700_000_000).unwrap(),
            stream: "probe/1".into(),
            scope: None,
            actor: Actor::system("test"),
            data: "{}".into(),
        }
    }

    fn link(event: &Event, seq: u64, version: u64) -> Digest {
        Chainer::default().link(&Digest::ZERO, &Header::of(event, seq, version), &Digest::of(event.data.as_bytes()))
    }

    #[test]
    fn the_layout_is_pinned() {
        // Computed once by hand from the table above with another program; a change breaks every stored history.
        assert_eq!(
            link(&event(), 1, 1).to_string(),
            "4a4a69f311d6385977c0249851b573831fd090d4761f8b8390a52a166d522963"
        );
    }

    #[test]
    fn every_field_counts() {
        let base = link(&event(), 1, 1);
        assert_ne!(link(&event(), 2, 1), base);
        assert_ne!(link(&event(), 1, 2), base);
        let changes: [fn(&mut Event); 10] = [
            |event| event.id.push('x'),
            |event| event.source.push('x'),
            |event| event.kind.push('x'),
            |event| event.subject.push('x'),
            |event| event.stream.push('x'),
            |event| event.time = Timestamp::from_nanosecond(event.time.as_nanosecond() + 1).unwrap(),
            |event| event.actor.evidence.push('x'),
            |event| event.actor.on_behalf_of = Some(String::new()),
            |event| event.actor.kind = ActorKind::Person,
            |event| event.data.push(' '),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut changed = event();
            change(&mut changed);
            assert_ne!(link(&changed, 1, 1), base, "change {index} left the chain as it was");
        }
    }
}
