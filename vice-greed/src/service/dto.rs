//! What goes over the wire between a `vice serve` and whoever uses its history: JSON, converted by hand, so that no domain
//! type is shaped by it. A field is only ever added, with a default.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::event::{Actor, Event, Recorded};
use vice_core::fault::causes;
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::store::{Append, Appended, Expected, Fence, LogHead, Order, Query, Snapshot, StreamHead, Verification};
use vice_core::{Code, Digest, Fault};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventDto {
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    time: Timestamp,
    stream: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<Scope>,
    actor: Actor,
    /// The document exactly as it is stored, as a text.
    data: String,
}

impl From<Event> for EventDto {
    fn from(event: Event) -> Self {
        let Event { id, source, kind, subject, time, stream, scope, actor, data } = event;
        Self { id, source, kind, subject, time, stream, scope, actor, data }
    }
}

impl From<EventDto> for Event {
    fn from(dto: EventDto) -> Self {
        let EventDto { id, source, kind, subject, time, stream, scope, actor, data } = dto;
        Self { id, source, kind, subject, time, stream, scope, actor, data }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecordedDto {
    seq: u64,
    version: u64,
    chain: Digest,
    event: EventDto,
}

impl From<Recorded> for RecordedDto {
    fn from(recorded: Recorded) -> Self {
        let Recorded { seq, version, chain, event } = recorded;
        Self { seq, version, chain, event: event.into() }
    }
}

impl From<RecordedDto> for Recorded {
    fn from(dto: RecordedDto) -> Self {
        Self { seq: dto.seq, version: dto.version, chain: dto.chain, event: dto.event.into() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AppendDto {
    #[serde(default)]
    events: Vec<EventDto>,
    /// Streams and the versions that they must have; 0 for a stream without events.
    #[serde(default)]
    conditions: Vec<(String, u64)>,
    /// A scope and an epoch.
    #[serde(default)]
    fence: Option<(String, u64)>,
}

impl AppendDto {
    /// A copy, because it may have to be sent twice.
    pub(crate) fn of(append: &Append) -> Self {
        let version = |expected: &Expected| match expected {
            Expected::NoStream => 0,
            Expected::Version(version) => *version,
        };
        let conditions = append.conditions.iter().map(|(stream, expected)| (stream.clone(), version(expected)));
        Self {
            events: append.events.iter().cloned().map(EventDto::from).collect(),
            conditions: conditions.collect(),
            fence: append.fence.as_ref().map(|fence| (fence.scope.clone(), fence.epoch)),
        }
    }
}

impl From<AppendDto> for Append {
    fn from(dto: AppendDto) -> Self {
        let conditions = dto.conditions.into_iter();
        Self {
            events: dto.events.into_iter().map(Event::from).collect(),
            conditions: conditions.map(|(stream, version)| (stream, Expected::from_version(version))).collect(),
            fence: dto.fence.map(|(scope, epoch)| Fence { scope, epoch }),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AppendedDto {
    seqs: Vec<u64>,
    versions: Vec<u64>,
    duplicates: usize,
}

impl From<Appended> for AppendedDto {
    fn from(appended: Appended) -> Self {
        Self { seqs: appended.seqs, versions: appended.versions, duplicates: appended.duplicates }
    }
}

impl From<AppendedDto> for Appended {
    fn from(dto: AppendedDto) -> Self {
        Self { seqs: dto.seqs, versions: dto.versions, duplicates: dto.duplicates }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct QueryDto {
    after: u64,
    stream: Option<String>,
    after_version: u64,
    stream_prefix: Option<String>,
    project: Option<ProjectName>,
    env: Option<EnvName>,
    kinds: Vec<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    limit: usize,
    backward: bool,
    bare: bool,
}

impl From<&Query> for QueryDto {
    fn from(query: &Query) -> Self {
        Self {
            after: query.after,
            stream: query.stream.clone(),
            after_version: query.after_version,
            stream_prefix: query.stream_prefix.clone(),
            project: query.project.clone(),
            env: query.env.clone(),
            kinds: query.kinds.clone(),
            since: query.since,
            until: query.until,
            limit: query.limit,
            backward: query.order == Order::Backward,
            bare: query.bare,
        }
    }
}

impl From<QueryDto> for Query {
    fn from(dto: QueryDto) -> Self {
        Self {
            after: dto.after,
            stream: dto.stream,
            after_version: dto.after_version,
            stream_prefix: dto.stream_prefix,
            project: dto.project,
            env: dto.env,
            kinds: dto.kinds,
            since: dto.since,
            until: dto.until,
            limit: dto.limit,
            order: if dto.backward { Order::Backward } else { Order::Forward },
            bare: dto.bare,
        }
    }
}

/// A page; whoever asked goes on when there is more: behind `next`, or else behind its last event.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventsDto {
    pub(crate) events: Vec<RecordedDto>,
    pub(crate) more: bool,
    /// The last event that was looked at, where some were left out that are not theirs who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HeadDto {
    seq: u64,
    chain: Digest,
}

impl From<LogHead> for HeadDto {
    fn from(head: LogHead) -> Self {
        Self { seq: head.seq, chain: head.chain }
    }
}

impl From<HeadDto> for LogHead {
    fn from(dto: HeadDto) -> Self {
        Self { seq: dto.seq, chain: dto.chain }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StreamsDto {
    pub(crate) prefix: String,
    pub(crate) after: String,
    pub(crate) limit: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StreamHeadDto {
    name: String,
    version: u64,
}

impl From<StreamHead> for StreamHeadDto {
    fn from(head: StreamHead) -> Self {
        Self { name: head.name, version: head.version }
    }
}

impl From<StreamHeadDto> for StreamHead {
    fn from(dto: StreamHeadDto) -> Self {
        Self { name: dto.name, version: dto.version }
    }
}

/// Which snapshot, and what it is when it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotDto {
    pub(crate) fold: String,
    pub(crate) stream: String,
    #[serde(default)]
    pub(crate) state: Option<StateDto>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StateDto {
    fold_version: u32,
    version: u64,
    state: String,
}

impl From<Snapshot> for StateDto {
    fn from(snapshot: Snapshot) -> Self {
        Self { fold_version: snapshot.fold_version, version: snapshot.version, state: snapshot.state }
    }
}

impl From<StateDto> for Snapshot {
    fn from(dto: StateDto) -> Self {
        Self { fold_version: dto.fold_version, version: dto.version, state: dto.state }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WaitDto {
    pub(crate) after: u64,
    pub(crate) at_most_ms: u64,
}

/// A sign of life; without a mark the question for the last one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BeatDto {
    pub(crate) scope: String,
    #[serde(default)]
    pub(crate) mark: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VerificationDto {
    events: u64,
    head: HeadDto,
    problems: Vec<String>,
    /// Whether who asked can't read all of it, and so can't compute it anew.
    #[serde(default)]
    pub(crate) bound: bool,
}

impl VerificationDto {
    /// How many events there are, and the last one.
    pub(crate) fn extent(&self) -> (u64, LogHead) {
        (self.events, LogHead { seq: self.head.seq, chain: self.head.chain })
    }

    /// For whoever may not hear of the events of others: whether anything is wrong, and not what.
    pub(crate) fn bound(self) -> Self {
        let told = "The history is damaged; `vice greed verify` where it is kept says what is.".to_owned();
        let problems = self.problems.first().map(|_| told).into_iter().collect();
        Self { problems, bound: true, ..self }
    }
}

impl From<Verification> for VerificationDto {
    fn from(found: Verification) -> Self {
        Self { events: found.events, head: found.head.into(), problems: found.problems, bound: false }
    }
}

impl From<VerificationDto> for Verification {
    fn from(dto: VerificationDto) -> Self {
        Self { events: dto.events, head: dto.head.into(), problems: dto.problems }
    }
}

/// The highest epochs by scope.
pub(crate) type FencesDto = BTreeMap<String, u64>;

/// A fault as it was, so that a command says the same on any machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FaultDto {
    code: String,
    message: String,
    #[serde(default)]
    hints: Vec<String>,
    #[serde(default)]
    because: Option<String>,
}

impl From<&Fault> for FaultDto {
    fn from(fault: &Fault) -> Self {
        let because = std::error::Error::source(fault).map(causes);
        Self {
            code: fault.code().as_str().to_owned(),
            message: fault.to_string(),
            hints: fault.hints().to_vec(),
            because,
        }
    }
}

impl From<FaultDto> for Fault {
    fn from(dto: FaultDto) -> Self {
        // A code of a newer version is an answer that this one can't act upon.
        let code = Code::ALL.iter().find(|code| code.as_str() == dto.code).copied().unwrap_or(Code::Backend);
        let fault = dto.hints.into_iter().fold(Self::new(code, dto.message), Self::hint);
        match dto.because {
            Some(because) => fault.because(because),
            None => fault,
        }
    }
}
