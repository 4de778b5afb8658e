//! The envelope of everything that is remembered: CloudEvents 1.0, whose `data` is a CDEvent where vice made it.
//!
//! A [`Payload`] is the typed content of one event type. Standard CDEvents keep their strict content and put what
//! vice knows beyond it into `customData`; everything else is `dev.cdeventsx.vice-<subject>.<predicate>.<version>`.
//! Foreign events are kept verbatim.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::fault::{Code, Context, Fault, Result};
use crate::id::Scope;

/// The CDEvents specification that emitted events follow.
pub const CDEVENTS_VERSION: &str = "0.5.1";

/// The `source` of every event that vice itself makes.
pub const SOURCE: &str = "/vice";

/// The largest `data` of one event, in bytes. Events are facts, not files; larger things go to the artifact or
/// blob stores and are named by digest.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;

/// Who did something, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// A stable name, such as a login.
    pub id: String,
    /// What kind of actor it is.
    pub kind: ActorKind,
    /// For bots and CI jobs: for whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// How the identity is known, such as `login name` or `GITHUB_ACTOR`.
    pub evidence: String,
}

/// What kind of actor did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person at a terminal.
    Person,
    /// A CI job.
    Ci,
    /// A chat bot or another program.
    Bot,
    /// vice itself, going on with something earlier.
    System,
}

impl Actor {
    /// vice itself.
    #[must_use]
    pub fn system(what: &str) -> Self {
        Self { id: format!("vice/{what}"), kind: ActorKind::System, on_behalf_of: None, evidence: "internal".into() }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.on_behalf_of {
            Some(person) => write!(f, "{person} (through {})", self.id),
            None => f.write_str(&self.id),
        }
    }
}

/// An event before it has a place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Unique within `source`.
    pub id: String,
    /// Who made it: a URI reference.
    pub source: String,
    /// The CloudEvents `type`.
    pub kind: String,
    /// The CloudEvents `subject`: what it is about.
    pub subject: String,
    /// When it happened.
    pub time: Timestamp,
    /// The stream it belongs to, such as `rollout/shop.dev.3`.
    pub stream: String,
    /// The project and environment, where it has one.
    pub scope: Option<Scope>,
    /// Who caused it.
    pub actor: Actor,
    /// One JSON document, exactly as it will be stored.
    pub data: String,
}

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The position in the whole log, from 1, without gaps.
    pub seq: u64,
    /// The position in its stream, from 1, without gaps.
    pub version: u64,
    /// The chain hash up to and including this event.
    pub chain: Digest,
    /// The event.
    pub event: Event,
}

/// The typed content of one event type.
pub trait Payload: Serialize + DeserializeOwned {
    /// The CloudEvents `type`, which is also the CDEvents `context.type`.
    const KIND: &'static str;

    /// What it is about: the CDEvents `subject.id`.
    fn subject(&self) -> String;

    /// What vice knows beyond a standard CDEvent's strict content.
    fn custom_data(&self) -> Option<Value> {
        None
    }

    /// The content as it is today, from what an earlier version of the type held: `None` for a version that never was.
    /// What is stored stays as it is; it is brought up to date each time that it is read.
    #[must_use]
    fn upcast(version: &str, content: Value) -> Option<Value> {
        // No type of vice has had another version yet.
        let _ = (version, content);
        None
    }
}

/// The types that vice makes. Those of others may come in any version and decide nothing.
const OWN: &str = "dev.cdeventsx.vice-";

/// A type without its version, and the version: the last three of its parts.
#[must_use]
pub fn split_kind(kind: &str) -> Option<(&str, &str)> {
    let (at, _) = kind.rmatch_indices('.').nth(2)?;
    Some((&kind[..at], &kind[at + 1..]))
}

/// A version as numbers, for comparing.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

#[derive(Deserialize)]
struct CdEvent<T> {
    subject: CdSubject<T>,
}

#[derive(Deserialize)]
struct CdSubject<T> {
    content: T,
}

/// So many texts of an event can tie a version to it; a larger document is no description of a change.
const TEXTS_MAX: usize = 200;

/// What an event names: its subject, and the texts of its document (the parsed [`Event::data`]) in the CDEvents subject and
/// the custom data, about 200 at most.
#[must_use]
pub fn texts(subject: &str, data: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::from([subject.to_owned()]);
    texts_in(&data["subject"], &mut found);
    texts_in(&data["customData"], &mut found);
    found
}

fn texts_in(value: &Value, found: &mut BTreeSet<String>) {
    if found.len() >= TEXTS_MAX {
        return;
    }
    match value {
        Value::String(text) => drop(found.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| texts_in(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| texts_in(field, found)),
        _ => {}
    }
}

impl Event {
    /// Wraps a payload as a CDEvent in a CloudEvent.
    ///
    /// # Errors
    /// [`Code::Internal`] when the payload does not serialise, which is a bug.
    pub fn new<P: Payload>(head: Head, payload: &P) -> Result<Self> {
        let subject = payload.subject();
        let content = serde_json::to_value(payload)
            .context(Code::Internal, || format!("An event of type {} does not serialise.", P::KIND))?;
        let mut data = json!({
            "context": {
                "specversion": CDEVENTS_VERSION,
                "id": head.id,
                "source": SOURCE,
                "type": P::KIND,
                "timestamp": head.time.to_string(),
            },
            "subject": { "id": subject, "source": SOURCE, "content": content },
        });
        if let Some(chain) = &head.chain_id {
            data["context"]["chainId"] = json!(chain);
        }
        if let Some(custom) = payload.custom_data() {
            data["customData"] = custom;
            data["customDataContentType"] = json!("application/json");
        }
        Ok(Self {
            id: head.id,
            source: SOURCE.to_owned(),
            kind: P::KIND.to_owned(),
            subject,
            time: head.time,
            stream: head.stream,
            scope: head.scope,
            actor: head.actor,
            data: data.to_string(),
        })
    }

    /// The typed content, if this is an event of `P`'s type. An earlier version of the type is brought up to date.
    ///
    /// # Errors
    /// [`Code::Decode`] when the type fits and the content does not; [`Code::HistoryNewer`] when it is of a later version:
    /// what can't be understood must not be passed over by whoever decides.
    pub fn decode<P: Payload>(&self) -> Result<Option<P>> {
        if self.kind != P::KIND {
            return self.decode_other::<P>();
        }
        self.require_data()?;
        let event: CdEvent<P> = serde_json::from_str(&self.data)
            .context(Code::Decode, || format!("Event {} of type {} does not decode.", self.id, self.kind))?;
        Ok(Some(event.subject.content))
    }

    /// Whether the data are there. Those of an event in an archive that is not at hand are not.
    #[must_use]
    pub const fn has_data(&self) -> bool {
        !self.data.is_empty()
    }

    /// Fails when the data are not there: nothing may be concluded from an event without them.
    ///
    /// # Errors
    /// [`Code::HistoryArchived`].
    pub fn require_data(&self) -> Result<()> {
        if self.has_data() {
            return Ok(());
        }
        let message =
            format!("The data of event {} of type {} are in an archive that is not at hand.", self.id, self.kind);
        Err(Fault::new(Code::HistoryArchived, message)
            .hint("`vice greed archive --list` says where they are; bring that file to its place, or the key for it."))
    }

    /// Another type, or another version of this one.
    fn decode_other<P: Payload>(&self) -> Result<Option<P>> {
        let own = self.kind.starts_with(OWN);
        let (Some((theirs, version)), Some((ours, known))) = (split_kind(&self.kind), split_kind(P::KIND)) else {
            return Ok(None);
        };
        if !own || theirs != ours {
            return Ok(None);
        }
        let newer = || {
            Fault::new(
                Code::HistoryNewer,
                format!("Event {} is of type {}, and this vice knows version {known} of it.", self.id, self.kind),
            )
            .hint("A newer vice wrote it. Use that version or a later one; nothing was decided and nothing is lost.")
        };
        let (found, ours) = (numbers(version).ok_or_else(newer)?, numbers(known).ok_or_else(newer)?);
        if found > ours {
            return Err(newer());
        }
        let undecodable = || format!("Event {} of type {} does not decode.", self.id, self.kind);
        self.require_data()?;
        let event: CdEvent<Value> = serde_json::from_str(&self.data).context(Code::Decode, undecodable)?;
        let content = P::upcast(version, event.subject.content)
            .ok_or_else(|| Fault::new(Code::Decode, undecodable()).hint("There never was this version of the type."))?;
        serde_json::from_value(content).map(Some).context(Code::Decode, undecodable)
    }

    /// The event as a CloudEvent in structured JSON. One whose data are not at hand has `vicearchived` instead.
    ///
    /// # Errors
    /// [`Code::Decode`] when the stored data is not JSON.
    pub fn to_cloudevent(&self) -> Result<Value> {
        let unreadable = || format!("The data of event {} is not JSON.", self.id);
        let data: Option<Value> = match self.has_data() {
            true => Some(serde_json::from_str(&self.data).context(Code::Decode, unreadable)?),
            false => None,
        };
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
        put("specversion", json!("1.0"));
        put("id", json!(self.id));
        put("source", json!(self.source));
        put("type", json!(self.kind));
        put("subject", json!(self.subject));
        put("time", json!(self.time.to_string()));
        put("datacontenttype", json!("application/json"));
        put("vicestream", json!(self.stream));
        if let Some(scope) = &self.scope {
            put("viceproject", json!(scope.project));
            put("viceenv", json!(scope.env));
        }
        put("viceactor", json!(self.actor.id));
        put("viceactorkind", json!(self.actor.kind));
        put("viceactorevidence", json!(self.actor.evidence));
        if let Some(person) = &self.actor.on_behalf_of {
            put("viceonbehalfof", json!(person));
        }
        match data {
            Some(data) => put("data", data),
            None => put("vicearchived", json!(true)),
        };
        Ok(Value::Object(out))
    }

    /// Checks the limits that every store relies on.
    ///
    /// # Errors
    /// [`Code::Usage`] naming the limit that is broken.
    pub fn check(&self) -> Result<()> {
        let wrong = if self.data.len() > DATA_BYTES_MAX {
            format!("its data has {} bytes; at most {DATA_BYTES_MAX} are stored", self.data.len())
        } else if [&self.id, &self.source, &self.kind, &self.stream].iter().any(|text| text.is_empty()) {
            "id, source, type and stream must not be empty".to_owned()
        } else if [&self.id, &self.source, &self.kind, &self.stream, &self.subject].iter().any(|text| text.len() > 1024)
        {
            "id, source, type, subject and stream have at most 1024 bytes each".to_owned()
        } else {
            return Ok(());
        };
        let id: String = self.id.chars().take(80).collect();
        Err(Fault::new(Code::Usage, format!("The event {id:?} can't be stored: {wrong}.")))
    }
}

/// What an [`Event`] has besides its payload.
#[derive(Debug, Clone)]
pub struct Head {
    /// Unique id.
    pub id: String,
    /// When.
    pub time: Timestamp,
    /// The stream.
    pub stream: String,
    /// Project and environment, where there is one.
    pub scope: Option<Scope>,
    /// Who.
    pub actor: Actor,
    /// The CDEvents `chainId`: what ties the events of one cause together, such as the rollout.
    pub chain_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Probe {
        n: u32,
    }
    impl Payload for Probe {
        const KIND: &'static str = "dev.cdeventsx.vice-probe.made.0.1.0";
        fn subject(&self) -> String {
            format!("probe-{}", self.n)
        }
    }

    fn head() -> Head {
        Head {
            id: "1".into(),
            time: Timestamp::from_second(1_700_000_000).unwrap(),
            stream: "probe".into(),
            scope: None,
            actor: Actor::system("test"),
            chain_id: Some("c".into()),
        }
    }

    #[test]
    fn payloads_survive_the_envelope() {
        let event = Event::new(head(), &Probe { n: 3 }).unwrap();
        assert_eq!(event.decode::<Probe>().unwrap(), Some(Probe { n: 3 }));
        let cloud = event.to_cloudevent().unwrap();
        assert_eq!(cloud["specversion"], "1.0");
        assert_eq!(cloud["data"]["context"]["type"], Probe::KIND);
        assert_eq!(cloud["data"]["subject"]["id"], "probe-3");
    }

    /// What a type looks like after its second version: a field was split in two.
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Second {
        n: u32,
        unit: String,
    }
    impl Payload for Second {
        const KIND: &'static str = "dev.cdeventsx.vice-probe.made.0.2.0";
        fn subject(&self) -> String {
            "probe".into()
        }
        fn upcast(version: &str, mut content: Value) -> Option<Value> {
            (version == "0.1.0").then(|| {
                content["unit"] = json!("piece");
                content
            })
        }
    }

    #[test]
    fn an_earlier_version_is_brought_up_to_date_and_a_later_one_refused() {
        let first = Event::new(head(), &Probe { n: 3 }).unwrap();
        let second = Event::new(head(), &Second { n: 4, unit: "box".into() }).unwrap();
        assert_eq!(first.decode::<Second>().unwrap(), Some(Second { n: 3, unit: "piece".into() }));
        assert_eq!(second.decode::<Second>().unwrap().map(|second| second.n), Some(4));
        let fault = second.decode::<Probe>().unwrap_err();
        assert_eq!(fault.code(), Code::HistoryNewer, "{fault:?}");
        assert!(second.to_cloudevent().is_ok(), "it can still be looked at");
        let with = |kind: &str| Event { kind: kind.into(), ..first.clone() };
        assert_eq!(with("dev.cdeventsx.vice-probe.made.0.0.9").decode::<Second>().unwrap_err().code(), Code::Decode);
        assert_eq!(with("dev.cdeventsx.vice-probe.broken.0.9.0").decode::<Second>().unwrap(), None);
        assert_eq!(with("com.example.made.0.9.0").decode::<Second>().unwrap(), None);
        assert_eq!(with("made").decode::<Second>().unwrap(), None);
    }

    #[test]
    fn oversize_data_is_refused() {
        let mut event = Event::new(head(), &Probe { n: 3 }).unwrap();
        event.data = format!("\"{}\"", "x".repeat(DATA_BYTES_MAX));
        assert_eq!(event.check().unwrap_err().code(), Code::Usage);
    }
}
