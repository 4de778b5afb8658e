//! Putting batches into the database: one transaction each, behind the lock of the one row of `head`.
//!
//! A transaction is two round trips. The first takes the lock and asks for everything that the rules need; the second
//! writes and commits. A transaction whose commit was not answered is made again over another connection: an append that
//! went through is recognised by its events, and gets the positions that it has.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};
use vice_core::chain::{Chainer, Header};
use vice_core::event::Event;
use vice_core::store::{Append, Appended, LogHead, Snapshot};
use vice_core::{Code, Digest, Fault, Result};

use super::connect::Target;
use super::{errors, schema};
use crate::decide::{Decision, Facts, Spot, Step, Tally, decide};
use crate::desk::{Answer, Failed, Scribe, Work, Written};
use crate::place::Notices;
use crate::prepared::{Extra, Prepared, fence_sum, snapshot_sum};
use crate::witness::Witness;

/// How often a transaction is tried, with longer pauses in between.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// The writing side of a database.
pub(crate) struct PostgresScribe {
    target: Arc<Target>,
    notices: Notices,
    witness_path: PathBuf,
    runtime: Option<Runtime>,
    session: Option<Session>,
    witness: Option<Witness>,
    chainer: Chainer,
}

/// A connection with its statements.
struct Session {
    client: Client,
    lock: Statement,
    known: Statement,
    versions: Statement,
    fences: Statement,
    insert: Statement,
    streams: Statement,
    raise: Statement,
    advance: Statement,
    snapshot: Statement,
}

const LOCK: &str = "SELECT seq, chain FROM head FOR UPDATE";
const KNOWN: &str =
    "SELECT e.source, e.id, e.seq, e.version, e.stream, e.kind, e.subject, e.project, e.env, e.body_hash
    FROM unnest($1::text[], $2::text[]) AS wanted(source, id)
    JOIN events e ON e.source = wanted.source COLLATE \"C\" AND e.id = wanted.id COLLATE \"C\"";
const VERSIONS: &str = "SELECT wanted.name, (SELECT max(version) FROM events WHERE stream = wanted.name COLLATE \"C\")
    FROM unnest($1::text[]) AS wanted(name)";
const FENCES: &str = "SELECT scope, epoch, sum FROM fences WHERE scope = ANY($1)";
const INSERT: &str = "INSERT INTO events(seq, stream, version, time, kind, source, id, subject, project, env, actor,
    body_hash, chain, data) SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[],
    $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[], $13::bytea[], $14::text[])";
const STREAMS: &str = "INSERT INTO streams(name) SELECT unnest($1::text[])";
const RAISE: &str = "INSERT INTO fences(scope, epoch, sum) VALUES ($1, $2, $3)
    ON CONFLICT (scope) DO UPDATE SET epoch = excluded.epoch, sum = excluded.sum";
const ADVANCE: &str = "WITH told AS (SELECT pg_notify($3, $1::bigint::text)) UPDATE head SET seq = $1, chain = $2
    FROM told";
const SNAPSHOT: &str = "INSERT INTO snapshots(fold, stream, fold_version, version, state, sum)
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (fold, stream) DO UPDATE SET fold_version = excluded.fold_version,
    version = excluded.version, state = excluded.state, sum = excluded.sum";

impl Session {
    async fn open(client: Client) -> Result<Self, Error> {
        let prepare = |sql: &'static str| client.prepare(sql);
        let (lock, known, versions, fences, insert) =
            tokio::try_join!(prepare(LOCK), prepare(KNOWN), prepare(VERSIONS), prepare(FENCES), prepare(INSERT))?;
        let (streams, raise, advance, snapshot) =
            tokio::try_join!(prepare(STREAMS), prepare(RAISE), prepare(ADVANCE), prepare(SNAPSHOT))?;
        Ok(Self { client, lock, known, versions, fences, insert, streams, raise, advance, snapshot })
    }

    /// Takes the lock and asks for what the works need; all of it is sent at once.
    async fn begin(&self, works: &[Work]) -> Result<Known, Error> {
        let wanted = Wanted::of(works);
        let (client, fences) = (&self.client, &wanted.fences);
        let names: [&(dyn ToSql + Sync); 2] = [&wanted.sources, &wanted.ids];
        let streams: [&(dyn ToSql + Sync); 1] = [&wanted.streams];
        // In this order: what is asked behind the lock sees what the holder before has written.
        let (_, head, known, versions, epochs) = tokio::try_join!(
            biased;
            client.batch_execute("BEGIN"),
            client.query_one(&self.lock, &[]),
            client.query(&self.known, &names),
            client.query(&self.versions, &streams),
            async { if fences.is_empty() { Ok(Vec::new()) } else { client.query(&self.fences, &[fences]).await } },
        )?;
        Known::read(&head, &known, &versions, &epochs)
    }

    /// Writes and commits; all of it is sent at once.
    async fn commit(&self, batch: &Batch, channel: &str) -> Result<(), Error> {
        let rows = &batch.rows;
        let client = &self.client;
        let seq = number(batch.head.seq);
        let chain = &batch.head.chain.0[..];
        let advance: [&(dyn ToSql + Sync); 3] = [&seq, &chain, &channel];
        tokio::try_join!(
            biased;
            async { if rows.seq.is_empty() { Ok(0) } else { self.insert(rows).await } },
            async {
                if batch.streams.is_empty() { Ok(0) } else { client.execute(&self.streams, &[&batch.streams]).await }
            },
            self.raise_all(&batch.raised),
            self.keep_all(&batch.snapshots),
            async { if rows.seq.is_empty() { Ok(0) } else { client.execute(&self.advance, &advance).await } },
            client.batch_execute("COMMIT"),
        )
        .map(|_| ())
    }

    async fn insert(&self, rows: &Rows) -> Result<u64, Error> {
        let parameters: [&(dyn ToSql + Sync); 14] = [
            &rows.seq,
            &rows.stream,
            &rows.version,
            &rows.time,
            &rows.kind,
            &rows.source,
            &rows.id,
            &rows.subject,
            &rows.project,
            &rows.env,
            &rows.actor,
            &rows.body_hash,
            &rows.chain,
            &rows.data,
        ];
        self.client.execute(&self.insert, &parameters).await
    }

    async fn raise_all(&self, raised: &[(String, u64)]) -> Result<(), Error> {
        futures::future::try_join_all(raised.iter().map(async |(scope, epoch)| {
            let sum = fence_sum(scope, *epoch);
            self.client.execute(&self.raise, &[scope, &number(*epoch), &&sum.0[..]]).await
        }))
        .await
        .map(|_| ())
    }

    async fn keep_all(&self, snapshots: &[(String, String, Snapshot)]) -> Result<(), Error> {
        futures::future::try_join_all(snapshots.iter().map(async |(fold, stream, snapshot)| {
            let sum = snapshot_sum(fold, stream, snapshot);
            let (fold_version, version) = (i64::from(snapshot.fold_version), number(snapshot.version));
            let sum = &sum.0[..];
            self.client.execute(&self.snapshot, &[fold, stream, &fold_version, &version, &snapshot.state, &sum]).await
        }))
        .await
        .map(|_| ())
    }
}

/// The database numbers from 1 by 63 bits; a log never gets there.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// What the works of a batch need to know.
#[derive(Default)]
struct Wanted<'a> {
    sources: Vec<&'a str>,
    ids: Vec<&'a str>,
    streams: Vec<&'a str>,
    fences: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    fn of(works: &'a [Work]) -> Self {
        let (mut wanted, mut streams) = (Self::default(), HashSet::new());
        for work in works {
            let Work::Append(Prepared { append, .. }) = work else { continue };
            for event in &append.events {
                wanted.sources.push(&event.source);
                wanted.ids.push(&event.id);
                streams.insert(&*event.stream);
            }
            streams.extend(append.conditions.iter().map(|(stream, _)| &**stream));
            wanted.fences.extend(append.fence.iter().map(|fence| &*fence.scope));
        }
        wanted.streams.extend(streams);
        wanted
    }
}

/// An event that is stored, as far as repeats are told by it.
struct Stored {
    spot: Spot,
    stream: String,
    kind: String,
    subject: String,
    scope: Option<(String, String)>,
    body_hash: Vec<u8>,
}

impl Stored {
    fn says_the_same(&self, event: &Event, extra: &Extra) -> bool {
        let scope = event.scope.as_ref().map(|scope| (scope.project.as_str(), scope.env.as_str()));
        let own = self.scope.as_ref().map(|(project, env)| (&**project, &**env));
        self.stream == event.stream
            && self.kind == event.kind
            && self.subject == event.subject
            && own == scope
            && self.body_hash == extra.body_hash.0
    }
}

/// What the database knows, with what the batch has added so far.
struct Known {
    head: LogHead,
    stored: HashMap<(String, String), Stored>,
    versions: HashMap<String, u64>,
    epochs: HashMap<String, u64>,
    /// A stored epoch that does not fit its checksum.
    damaged: Option<String>,
}

impl Known {
    fn read(head: &Row, known: &[Row], versions: &[Row], epochs: &[Row]) -> Result<Self, Error> {
        let chain: Vec<u8> = head.try_get(1)?;
        let mut all = Self {
            head: LogHead { seq: count(head.try_get(0)?), chain: digest(&chain) },
            stored: HashMap::with_capacity(known.len()),
            versions: HashMap::with_capacity(versions.len()),
            epochs: HashMap::new(),
            damaged: None,
        };
        for row in known {
            let scope = row.try_get::<_, Option<String>>(7)?.zip(row.try_get::<_, Option<String>>(8)?);
            let stored = Stored {
                spot: Spot { seq: count(row.try_get(2)?), version: count(row.try_get(3)?) },
                stream: row.try_get(4)?,
                kind: row.try_get(5)?,
                subject: row.try_get(6)?,
                scope,
                body_hash: row.try_get(9)?,
            };
            all.stored.insert((row.try_get(0)?, row.try_get(1)?), stored);
        }
        for row in versions {
            all.versions.insert(row.try_get(0)?, count(row.try_get::<_, Option<i64>>(1)?.unwrap_or(0)));
        }
        for row in epochs {
            let (scope, epoch, sum): (String, i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if fence_sum(&scope, count(epoch)).0[..] != sum[..] {
                all.damaged = Some(scope.clone());
            }
            all.epochs.insert(scope, count(epoch));
        }
        Ok(all)
    }
}

fn digest(bytes: &[u8]) -> Digest {
    bytes.try_into().map_or(Digest::ZERO, Digest)
}

impl Facts for Known {
    fn find(&mut self, event: &Event, extra: &Extra) -> Result<Option<Spot>> {
        match self.stored.get(&(event.source.clone(), event.id.clone())) {
            None => Ok(None),
            Some(stored) if stored.says_the_same(event, extra) => Ok(Some(stored.spot)),
            Some(_) => Err(Fault::other_content(event)),
        }
    }

    fn version(&mut self, stream: &str) -> u64 {
        self.versions.get(stream).copied().unwrap_or(0)
    }

    fn highest(&mut self, scope: &str) -> u64 {
        self.epochs.get(scope).copied().unwrap_or(0)
    }
}

/// Columns of the events that a batch adds.
#[derive(Default)]
struct Rows {
    seq: Vec<i64>,
    stream: Vec<String>,
    version: Vec<i64>,
    time: Vec<i64>,
    kind: Vec<String>,
    source: Vec<String>,
    id: Vec<String>,
    subject: Vec<String>,
    project: Vec<Option<String>>,
    env: Vec<Option<String>>,
    actor: Vec<String>,
    body_hash: Vec<Vec<u8>>,
    chain: Vec<Vec<u8>>,
    data: Vec<String>,
}

/// What a batch writes, and what it answers.
struct Batch {
    known: Known,
    head: LogHead,
    rows: Rows,
    streams: Vec<String>,
    raised: Vec<(String, u64)>,
    snapshots: Vec<(String, String, Snapshot)>,
    answers: Vec<Answer>,
}

impl Batch {
    fn of(known: Known, works: &[Work], chainer: &mut Chainer) -> Self {
        let head = known.head;
        let mut batch = Self {
            known,
            head,
            rows: Rows::default(),
            streams: Vec::new(),
            raised: Vec::new(),
            snapshots: Vec::new(),
            answers: Vec::with_capacity(works.len()),
        };
        for work in works {
            let answer = match work {
                Work::Append(prepared) => Answer::Append(batch.append(prepared, chainer)),
                Work::Snapshot { fold, stream, snapshot } => {
                    batch.snapshots.push((fold.clone(), stream.clone(), snapshot.clone()));
                    Answer::Done
                }
            };
            batch.answers.push(answer);
        }
        // Within one statement a row can be replaced only once, and the last copy is the one that counts.
        let mut seen = HashSet::new();
        batch.snapshots.reverse();
        batch.snapshots.retain(|(fold, stream, _)| seen.insert((fold.clone(), stream.clone())));
        batch
    }

    const fn writes(&self) -> bool {
        !self.rows.seq.is_empty() || !self.raised.is_empty() || !self.snapshots.is_empty()
    }

    fn append(&mut self, prepared: &Prepared, chainer: &mut Chainer) -> Result<Appended> {
        if let (Some(scope), Some(_)) = (&self.known.damaged, &prepared.append.fence) {
            return Err(Fault::new(Code::HistoryDamaged, format!("The stored epoch of {scope} is damaged."))
                .hint("`vice greed verify` says more; `vice greed restore URL` brings a backup back."));
        }
        let steps = match decide(prepared, &mut self.known)? {
            Decision::Repeat(appended) => return Ok(appended),
            Decision::Write(steps) => steps,
        };
        if let Some(fence) = &prepared.append.fence
            && fence.epoch > self.known.highest(&fence.scope)
        {
            self.known.epochs.insert(fence.scope.clone(), fence.epoch);
            self.raised.push((fence.scope.clone(), fence.epoch));
        }
        let mut tally = Tally::default();
        for ((event, extra), step) in prepared.append.events.iter().zip(&prepared.extras).zip(steps) {
            let spot = Spot { seq: self.head.seq + 1, version: self.known.version(&event.stream) + 1 };
            if step == Step::New {
                self.push(event, extra, spot, chainer);
            }
            tally.note(step, || spot);
        }
        Ok(tally.appended())
    }

    fn push(&mut self, event: &Event, extra: &Extra, spot: Spot, chainer: &mut Chainer) {
        let chain = chainer.link(&self.head.chain, &Header::of(event, spot.seq, spot.version), &extra.body_hash);
        self.head = LogHead { seq: spot.seq, chain };
        self.known.versions.insert(event.stream.clone(), spot.version);
        if spot.version == 1 {
            self.streams.push(event.stream.clone());
        }
        let scope = event.scope.as_ref().map(|scope| (scope.project.to_string(), scope.env.to_string()));
        let stored = Stored {
            spot,
            stream: event.stream.clone(),
            kind: event.kind.clone(),
            subject: event.subject.clone(),
            scope: scope.clone(),
            body_hash: extra.body_hash.0.to_vec(),
        };
        self.known.stored.insert((event.source.clone(), event.id.clone()), stored);
        let rows = &mut self.rows;
        let (project, env) = scope.unzip();
        rows.seq.push(number(spot.seq));
        rows.stream.push(event.stream.clone());
        rows.version.push(number(spot.version));
        rows.time.push(extra.time);
        rows.kind.push(event.kind.clone());
        rows.source.push(event.source.clone());
        rows.id.push(event.id.clone());
        rows.subject.push(event.subject.clone());
        rows.project.push(project);
        rows.env.push(env);
        rows.actor.push(extra.actor.clone());
        rows.body_hash.push(extra.body_hash.0.to_vec());
        rows.chain.push(chain.0.to_vec());
        rows.data.push(event.data.clone());
    }
}

/// PostgreSQL's texts can hold everything but one character. What has it is refused before it is handed in: in a batch it
/// would take the appends of others with it.
pub(crate) fn refuse_nul(append: &Append) -> Result<()> {
    let in_event = |event: &Event| {
        [&event.id, &event.source, &event.kind, &event.stream, &event.subject, &event.data]
            .iter()
            .any(|text| text.contains('\0'))
    };
    if let Some(event) = append.events.iter().find(|event| in_event(event)) {
        let id: String = event.id.chars().take(80).collect();
        return Err(nul(&format!("The event {id:?}")).hint("In JSON write it as \\u0000."));
    }
    let fence = append.fence.iter().map(|fence| &fence.scope);
    let mut names = append.conditions.iter().map(|(stream, _)| stream).chain(fence);
    if names.any(|name| name.contains('\0')) { Err(nul("The name of a stream or scope")) } else { Ok(()) }
}

pub(crate) fn nul(what: &str) -> Fault {
    Fault::new(Code::Usage, format!("{what} can't be stored in PostgreSQL: it has a NUL character."))
}

/// How one try ended.
enum Try {
    Done(Written),
    Failed(Error),
}

impl PostgresScribe {
    pub(crate) fn new(target: Arc<Target>, notices: Notices, witness_path: PathBuf) -> Self {
        Self { target, notices, witness_path, runtime: None, session: None, witness: None, chainer: Chainer::default() }
    }

    fn runtime(&mut self) -> Result<Runtime> {
        match self.runtime.take() {
            Some(runtime) => Ok(runtime),
            None => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| Fault::internal("The runtime of the writer can't be started.").because(error)),
        }
    }

    async fn work(&mut self, works: &[Work]) -> Result<Written, Failed> {
        let mut last = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE * 4_u32.pow(attempt - 1)).await;
            }
            let session = match self.opened().await {
                Ok(session) => session,
                // A server that is away for a moment is waited for; one that never was there is said at once.
                Err(fault) if fault.code() == Code::Unreachable && last.is_some() => {
                    last = Some(fault);
                    continue;
                }
                Err(fault) => return Err(fault.into()),
            };
            let tried = once(&session, works, &mut self.chainer, &self.target.channel()).await;
            match tried {
                Try::Done(mut written) => {
                    self.session = Some(session);
                    if let (Some(head), Some(witness)) = (&written.head, &mut self.witness) {
                        written.last_word = witness.advance(head).err();
                    }
                    return Ok(written);
                }
                Try::Failed(error) => {
                    // Dropping the connection ends its transaction, whatever state it is in.
                    let again = errors::is_transient(&error);
                    last = Some(self.target.fault(error));
                    if !again {
                        break;
                    }
                }
            }
        }
        let fault = last.unwrap_or_else(|| Fault::internal("A transaction was never tried."));
        Err(fault.into())
    }

    /// A session that is ready to write, checked against the witness when it is the first.
    async fn opened(&mut self) -> Result<Session> {
        if let Some(session) = self.session.take()
            && !session.client.is_closed()
        {
            return Ok(session);
        }
        let (client, driver) = self.target.connect().await?;
        tokio::spawn(async move {
            // Whoever waits for an answer gets the error.
            driver.await.ok();
        });
        if let Some(warning) = self.target.prepare(&client, true).await?
            && self.witness.is_none()
        {
            (self.notices)(&warning);
        }
        schema::ensure(&client, &self.target).await?;
        if self.witness.is_none() {
            self.witness = Some(self.checked_witness(&client).await?);
        }
        Session::open(client).await.map_err(|error| self.target.fault(error))
    }

    /// Going on from a log that has lost its end would hide the loss.
    async fn checked_witness(&self, client: &Client) -> Result<Witness> {
        if let Some(dir) = self.witness_path.parent() {
            crate::disk::make_private_dir(dir).map_err(|error| crate::disk::unwritable(error, dir))?;
        }
        let witnessed = Witness::read(&self.witness_path)?;
        if let Some(witnessed) = witnessed.filter(|head| head.seq > 0) {
            let found = client
                .query_opt("SELECT chain FROM events WHERE seq = $1", &[&number(witnessed.seq)])
                .await
                .map_err(|error| self.target.fault(error))?;
            let found = found.map(|row| digest(row.get::<_, &[u8]>(0)));
            if let Some(problem) = super::verify::lost(&witnessed, found) {
                return Err(Fault::new(Code::HistoryDamaged, problem).hint(
                    "Nothing was recorded. `vice greed verify` says more; `vice greed restore URL` brings a backup back.",
                ));
            }
        }
        Witness::open(&self.witness_path)
    }
}

async fn once(session: &Session, works: &[Work], chainer: &mut Chainer, channel: &str) -> Try {
    let known = match session.begin(works).await {
        Ok(known) => known,
        Err(error) => return Try::Failed(error),
    };
    let batch = Batch::of(known, works, chainer);
    let ended = if batch.writes() {
        session.commit(&batch, channel).await
    } else {
        session.client.batch_execute("ROLLBACK").await
    };
    match ended {
        Ok(()) => {
            let head = (!batch.rows.seq.is_empty()).then_some(batch.head);
            Try::Done(Written { answers: batch.answers, head, last_word: None })
        }
        Err(error) => Try::Failed(error),
    }
}

impl Scribe for PostgresScribe {
    fn write(&mut self, works: &[Work]) -> Result<Written, Failed> {
        let runtime = self.runtime()?;
        let done = runtime.block_on(self.work(works));
        self.runtime = Some(runtime);
        done
    }

    fn due_in(&self) -> Option<Duration> {
        self.witness.as_ref().and_then(Witness::due_in)
    }

    fn sync(&mut self) -> Result<()> {
        self.witness.as_mut().map_or(Ok(()), Witness::sync)
    }

    fn release(&mut self) -> Result<()> {
        self.session = None;
        self.runtime = None;
        self.witness.take().map_or(Ok(()), |mut witness| witness.sync())
    }
}
