//! The history of a `vice serve` elsewhere, asked over HTTP. The server decides; what this machine keeps is a witness of how
//! far it has ever seen that history, so that one which was rewound or exchanged is noticed.
//!
//! An append whose answer was lost is sent once more: its events are recognised by their ids.

mod place;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use vice_core::app::ProcessEnv;
use vice_core::capability::{BackendInfo, Capabilities, Capability};
use vice_core::event::Recorded;
use vice_core::store::{Append, Appended, EventStore, LogHead, Query, Snapshot, StreamHead, Verification};
use vice_core::{Code, Context, Digest, Fault, Millis, Result};

use crate::audit::Audit;
use crate::disk::{make_private_dir, unwritable};
use crate::place::Opening;
use crate::service::dto::{
    AppendDto, AppendedDto, BeatDto, EventsDto, FaultDto, FencesDto, HeadDto, QueryDto, SnapshotDto, StateDto,
    StreamHeadDto, StreamsDto, VerificationDto, WaitDto,
};
use crate::witness::Witness;

pub use place::RemotePlace;

/// How long a connection is waited for, and an answer; one that waits for events takes longer by as much.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);

/// The longest single question for new events.
const WAIT: Millis = Millis::from_secs(20);

/// The largest answer that is read: one event of a mebibyte, escaped, fits several times over.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A history elsewhere.
pub struct RemoteStore {
    place: RemotePlace,
    env: Arc<ProcessEnv>,
    folder: PathBuf,
    client: OnceLock<reqwest::Client>,
    witness: Mutex<Option<Witness>>,
}

impl std::fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteStore").field("place", &self.place).finish_non_exhaustive()
    }
}

impl RemoteStore {
    /// The history at an address. Nothing is asked before the first question.
    ///
    /// # Errors
    /// None yet; the token is looked for when it is needed.
    pub fn open(place: &RemotePlace, opening: &Opening) -> Result<Self> {
        let name = Digest::of(place.to_string().as_bytes()).short();
        let folder = opening.state.join("shared").join(format!("remote-{name}"));
        let env = Arc::clone(&opening.env);
        Ok(Self { place: place.clone(), env, folder, client: OnceLock::new(), witness: Mutex::new(None) })
    }

    fn client(&self) -> Result<&reqwest::Client> {
        if self.client.get().is_none() {
            let made = reqwest::Client::builder()
                .user_agent(concat!("vice/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .context(Code::Internal, || "The HTTP client can't be made.".to_owned())?;
            // When another thread was first, this one is dropped unused.
            drop(self.client.set(made));
        }
        self.client.get().ok_or_else(|| Fault::internal("There is no HTTP client."))
    }

    /// Asks, and gives what was answered or why nothing was.
    async fn ask<T: DeserializeOwned>(&self, name: &str, question: &impl Serialize, longer: Duration) -> Result<T> {
        let body =
            serde_json::to_vec(question).context(Code::Internal, || "A question does not serialise.".to_owned())?;
        let token = place::token(&self.env)?;
        let request = self
            .client()?
            .post(self.place.question(name)?)
            .bearer_auth(token)
            .header("content-type", "application/json")
            .timeout(ANSWER + longer)
            .body(body);
        let mut answer = request.send().await.map_err(|error| self.silent(error))?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.silent(error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(Fault::new(Code::Backend, format!("The answer of {} is too large.", self.place)));
            }
        }
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .context(Code::Decode, || format!("The answer of {} does not make sense.", self.place));
        }
        Err(self.refused(status, &bytes))
    }

    fn silent(&self, error: reqwest::Error) -> Fault {
        Fault::new(Code::Unreachable, format!("{} does not answer.", self.place))
            .because(error.without_url())
            .hint("Check that `vice serve` runs there, and the network.")
    }

    fn refused(&self, status: reqwest::StatusCode, bytes: &[u8]) -> Fault {
        let place = &self.place;
        match status.as_u16() {
            401 => Fault::new(Code::Backend, format!("{place} does not know the token."))
                .hint("Check VICE_HISTORY_TOKEN, or the file that VICE_HISTORY_TOKEN_FILE names."),
            // A token that is bound to projects is told so; one without the permission hears nothing.
            403 => serde_json::from_slice::<FaultDto>(bytes).map_or_else(
                |_| {
                    Fault::new(Code::Backend, format!("{place} does not let this token write."))
                        .hint("Ask whoever runs it for a token with the permission write.")
                },
                Fault::from,
            ),
            404 => Fault::new(Code::Backend, format!("There is no history at {place}."))
                .hint("Check the address in [history] store, and its prefix."),
            502 | 504 => Fault::new(Code::Unreachable, format!("Nothing answers behind {place}."))
                .hint("Check that `vice serve` runs behind that proxy."),
            number => match serde_json::from_slice::<FaultDto>(bytes) {
                Ok(fault) => fault.into(),
                Err(_) => Fault::new(
                    if status.is_server_error() { Code::Unreachable } else { Code::Backend },
                    format!("{place} answered with status {number}."),
                )
                .hint("The log of `vice serve` there says more."),
            },
        }
    }

    fn witness_path(&self) -> PathBuf {
        self.folder.join("history.head")
    }

    /// Notes how far the history was seen.
    fn witnessed(&self, head: &LogHead) -> Result<()> {
        if head.seq == 0 {
            return Ok(());
        }
        let mut slot = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            make_private_dir(&self.folder).map_err(|error| unwritable(error, &self.folder))?;
            *slot = Some(Witness::open(&self.witness_path())?);
        }
        slot.as_mut().map_or(Ok(()), |witness| witness.advance(head))
    }

    /// What can be told of a history of which this token does not show everything: whether it goes on from what was seen.
    fn believed(&self, theirs: &VerificationDto) -> Verification {
        let (events, head) = theirs.extent();
        let problems = self.checked(head).err().map(|fault| fault.chain().join(" ")).into_iter().collect();
        Verification { events, head, problems }
    }

    /// The end, which must not be before, or another one than, what was seen from here.
    fn checked(&self, head: LogHead) -> Result<LogHead> {
        let seen = Witness::read(&self.witness_path())?;
        let rewound =
            seen.is_some_and(|seen| seen.seq > head.seq || (seen.seq == head.seq && seen.chain != head.chain));
        if !rewound {
            self.witnessed(&head)?;
            return Ok(head);
        }
        let before = seen.map_or(0, |seen| seen.seq);
        Err(Fault::new(
            Code::HistoryDamaged,
            format!("The history at {} ends at event {}, and event {before} was seen from here.", self.place, head.seq),
        )
        .hint("It was rewound or exchanged. When that was a restore on purpose, remove the folder below .vice/shared that is named remote-…"))
    }
}

#[async_trait]
impl EventStore for RemoteStore {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "remote", location: self.place.to_string(), shared: true }
    }

    fn capabilities(&self) -> Capabilities {
        use Capability::{Beats, ConditionalAppend, Durable, Query, Snapshots, Subscribe, Verify};
        Capabilities::of([ConditionalAppend, Query, Subscribe, Snapshots, Verify, Durable, Beats])
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        append.events.iter().try_for_each(vice_core::event::Event::check)?;
        let question = AppendDto::of(&append);
        let first = self.ask::<AppendedDto>("append", &question, Duration::ZERO).await;
        let done = match first {
            Err(fault) if fault.code() == Code::Unreachable => {
                tracing::warn!("the answer of the history was lost: {fault}");
                self.ask("append", &question, Duration::ZERO).await
            }
            other => other,
        };
        done.map(Appended::from)
    }

    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        let wanted = query.page();
        let mut rest = query.clone();
        let mut all: Vec<Recorded> = Vec::new();
        loop {
            rest.limit = wanted - all.len();
            let page: EventsDto = self.ask("read", &QueryDto::from(&rest), Duration::ZERO).await?;
            all.extend(page.events.into_iter().map(Recorded::from));
            let last = page.next.or_else(|| all.last().map(|last| last.seq)).unwrap_or(0);
            // Backward, 0 would mean from the end again.
            if !page.more || all.len() >= wanted || last == rest.after || last == 0 {
                all.truncate(wanted);
                return Ok(all);
            }
            rest.after = last;
        }
    }

    async fn head(&self) -> Result<LogHead> {
        let head: HeadDto = self.ask("head", &(), Duration::ZERO).await?;
        self.checked(head.into())
    }

    async fn streams(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<StreamHead>> {
        let question = StreamsDto { prefix: prefix.to_owned(), after: after.to_owned(), limit };
        let found: Vec<StreamHeadDto> = self.ask("streams", &question, Duration::ZERO).await?;
        Ok(found.into_iter().map(StreamHead::from).collect())
    }

    async fn fences(&self) -> Result<BTreeMap<String, u64>> {
        self.ask::<FencesDto>("fences", &(), Duration::ZERO).await
    }

    async fn snapshot(&self, fold: &str, stream: &str) -> Result<Option<Snapshot>> {
        let question = SnapshotDto { fold: fold.to_owned(), stream: stream.to_owned(), state: None };
        let found: Option<StateDto> = self.ask("snapshot", &question, Duration::ZERO).await?;
        Ok(found.map(Snapshot::from))
    }

    async fn put_snapshot(&self, fold: &str, stream: &str, snapshot: Snapshot) -> Result<()> {
        let state = Some(snapshot.into());
        let question = SnapshotDto { fold: fold.to_owned(), stream: stream.to_owned(), state };
        self.ask("put-snapshot", &question, Duration::ZERO).await
    }

    async fn wait(&self, after: u64, at_most: Millis) -> Result<LogHead> {
        let deadline = Instant::now() + at_most.as_duration();
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).min(WAIT.as_duration());
            let at_most_ms = u64::try_from(left.as_millis()).unwrap_or(0);
            let head: HeadDto = self.ask("wait", &WaitDto { after, at_most_ms }, left).await?;
            let head = self.checked(head.into())?;
            if head.seq > after || Instant::now() >= deadline {
                return Ok(head);
            }
            // A server that ends answers at once; whoever waits on must not make it answer without a pause.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn beat(&self, scope: &str, mark: &str) -> Result<()> {
        let question = BeatDto { scope: scope.to_owned(), mark: Some(mark.to_owned()) };
        self.ask("beat", &question, Duration::ZERO).await
    }

    async fn pulse(&self, scope: &str) -> Result<Option<String>> {
        self.ask("pulse", &BeatDto { scope: scope.to_owned(), mark: None }, Duration::ZERO).await
    }

    async fn let_go(&self, _: u64) -> Result<u64> {
        Err(Fault::unsupported("remote", "archiving")
            .hint("Archive on the machine whose `vice serve` keeps the history."))
    }

    async fn verify(&self) -> Result<Verification> {
        // The witness first: the log may have grown since, but not shrunk.
        let (seen, odd) = match Witness::read(&self.witness_path()) {
            Ok(seen) => (seen, None),
            Err(fault) if fault.code() == Code::HistoryDamaged => (None, Some(fault.to_string())),
            Err(fault) => return Err(fault),
        };
        let theirs: VerificationDto = self.ask("verify", &(), Duration::from_secs(600)).await?;
        let mut found = if theirs.bound { self.believed(&theirs) } else { Audit::run(self, seen).await? };
        found.problems.extend(odd);
        found.problems.extend(Verification::from(theirs).problems.into_iter().map(|said| format!("There: {said}")));
        Ok(found)
    }

    async fn close(&self) -> Result<()> {
        let witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner).take();
        witness.map_or(Ok(()), |mut witness| witness.sync())
    }
}
