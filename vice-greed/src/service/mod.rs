//! The history over HTTP, for a `vice serve`: routes and handlers over whatever store stands behind them. Who may use them
//! is decided by whoever mounts them; this knows no token and opens no socket.
//!
//! Every question is a POST with a JSON body to `/v1/history/…`, answered with JSON; a fault is answered with its code.

pub(crate) mod bounds;
pub(crate) mod dto;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use vice_core::capability::Capability;
use vice_core::event::Recorded;
use vice_core::store::{Append, EventStore, PAGE_MAX, Query};
use vice_core::{Class, Code, Fault, Millis, Result};

pub use bounds::Bounds;
use dto::{
    AppendDto, AppendedDto, BeatDto, EventsDto, FaultDto, HeadDto, QueryDto, RecordedDto, SnapshotDto, StateDto,
    StreamHeadDto, StreamsDto, VerificationDto, WaitDto,
};

/// The largest request: an append of a driver has some events of a mebibyte each at most.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Events and bytes of one answer.
const EVENTS_MAX: usize = 500;
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// How long one question may wait for events; whoever wants to wait longer asks again.
const WAIT_MAX: Millis = Millis::from_secs(20);

/// Scopes whose signs of life are kept where the store keeps none, and their size.
const BEATS_MAX: usize = 10_000;
const BEAT_BYTES_MAX: usize = 1024;

/// What the handlers share.
#[derive(Clone)]
pub struct History {
    store: Arc<dyn EventStore>,
    draining: watch::Receiver<bool>,
    beats: Arc<Mutex<BTreeMap<String, String>>>,
    appended: Arc<AtomicU64>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("store", &self.store.describe()).finish_non_exhaustive()
    }
}

impl History {
    /// The history of a store. Whoever waits for events is answered at once when `draining` becomes true.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, draining: watch::Receiver<bool>) -> Self {
        Self { store, draining, beats: Arc::default(), appended: Arc::default() }
    }

    /// How many events have been appended through this service.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    /// The routes that change nothing.
    pub fn readers(&self) -> Router {
        Router::new()
            .route("/v1/history/read", post(read))
            .route("/v1/history/head", post(head))
            .route("/v1/history/streams", post(streams))
            .route("/v1/history/fences", post(fences))
            .route("/v1/history/snapshot", post(snapshot))
            .route("/v1/history/wait", post(wait))
            .route("/v1/history/pulse", post(pulse))
            .route("/v1/history/verify", post(verify))
            .layer(DefaultBodyLimit::max(1024 * 1024))
            .with_state(self.clone())
    }

    /// The routes that write.
    pub fn writers(&self) -> Router {
        Router::new()
            .route("/v1/history/append", post(append))
            .route("/v1/history/put-snapshot", post(put_snapshot))
            .route("/v1/history/beat", post(beat))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.clone())
    }

    fn keeps_beats(&self) -> bool {
        self.store.capabilities().has(Capability::Beats)
    }
}

/// Whom a request is bound to, as whoever mounts these routes says.
type Bound = Option<Extension<Bounds>>;

/// Why something is not done: it does not work, or they may not.
enum Denied {
    Fault(Fault),
    Bound(Fault),
}

impl From<Fault> for Denied {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Holds a question to what they are bound to, if they are.
fn hold<T>(bound: &Bound, rule: impl FnOnce(&Bounds) -> Result<T>) -> Result<Option<T>, Denied> {
    bound.as_ref().map(|Extension(bounds)| rule(bounds)).transpose().map_err(Denied::Bound)
}

/// The answer to a fault: its status by what it means for the caller, its words as they are.
#[must_use]
pub fn refusal(fault: &Fault) -> Response {
    let status = match (fault.code(), fault.class()) {
        (Code::Conflict | Code::Fenced, _) => StatusCode::CONFLICT,
        (Code::Unreachable | Code::StateUnwritable, _) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Class::Usage) => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    json(status, &FaultDto::from(fault))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn respond(result: Result<impl Serialize, impl Into<Denied>>) -> Response {
    match result.map_err(Into::into) {
        Ok(value) => json(StatusCode::OK, &value),
        Err(Denied::Fault(fault)) => refusal(&fault),
        Err(Denied::Bound(fault)) => json(StatusCode::FORBIDDEN, &FaultDto::from(&fault)),
    }
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        Fault::new(Code::Usage, "The question to the history does not make sense.")
            .because(error)
            .hint("docs/serve.md lists the questions; another version of vice may have others.")
    })
}

async fn append(State(history): State<History>, bound: Bound, body: Bytes) -> Response {
    let done = async {
        let append: Append = parse::<AppendDto>(&body)?.into();
        hold(&bound, |bounds| bounds.require_append(&append))?;
        // The writing goes on when whoever asked has gone; a repeat is then recognised.
        let store = Arc::clone(&history.store);
        let done = tokio::spawn(async move { store.append(append).await }).await;
        let appended = done.map_err(|error| Fault::internal("An append broke down.").because(error))??;
        let new = appended.seqs.len().saturating_sub(appended.duplicates);
        history.appended.fetch_add(u64::try_from(new).unwrap_or(0), Ordering::Relaxed);
        Ok::<_, Denied>(AppendedDto::from(appended))
    };
    respond(done.await)
}

async fn read(State(history): State<History>, bound: Bound, body: Bytes) -> Response {
    respond(page(&history, &bound, &body).await)
}

async fn page(history: &History, bound: &Bound, body: &Bytes) -> Result<EventsDto, Denied> {
    let asked: Query = parse::<QueryDto>(body)?.into();
    if hold(bound, |bounds| bounds.require_query(&asked))? == Some(false) {
        return Ok(EventsDto { events: Vec::new(), more: false, next: None });
    }
    let wanted = asked.page();
    let query = match bound {
        None => Query { limit: wanted.min(EVENTS_MAX), ..asked.clone() },
        // How far it was looked must not tell what of others fits the question, so that the store is asked for everything.
        Some(_) => Query {
            limit: EVENTS_MAX,
            after: asked.after,
            order: asked.order,
            bare: asked.bare,
            stream: asked.stream.clone(),
            after_version: asked.after_version,
            project: asked.project.clone(),
            ..Query::default()
        },
    };
    let mut found = history.store.read(&query).await?;
    let full = found.len() == query.limit && (bound.is_some() || wanted > found.len());
    let looked_at = found.last().map(|last| last.seq);
    let mut cut = false;
    if let Some(Extension(bounds)) = bound {
        found.retain(|recorded| bounds.shows(&recorded.event) && asked.matches(recorded));
        cut = found.len() > wanted;
        found.truncate(wanted);
    }
    let mut bytes = 0;
    let fits = |recorded: &Recorded| {
        let before = bytes;
        bytes += recorded.event.data.len() + 1024;
        before < ANSWER_BYTES
    };
    let all = found.len();
    let events: Vec<RecordedDto> = found.into_iter().take_while(fits).map(RecordedDto::from).collect();
    // Where not everything fitted, it goes on behind what did.
    let whole = events.len() == all && !cut;
    let next = looked_at.filter(|_| whole && bound.is_some());
    Ok(EventsDto { events, more: full || !whole, next })
}

async fn head(State(history): State<History>) -> Response {
    respond(history.store.head().await.map(HeadDto::from))
}

async fn streams(State(history): State<History>, bound: Bound, body: Bytes) -> Response {
    let done = async {
        let StreamsDto { prefix, mut after, limit } = parse(&body)?;
        let limit = limit.min(PAGE_MAX);
        // Few of a page may be theirs.
        let page = if bound.is_some() && limit > 0 { PAGE_MAX } else { limit };
        let mut listed = Vec::new();
        // A page that is not full is the last, so that one is filled although others' streams are left out.
        loop {
            let found = history.store.streams(&prefix, &after, page).await?;
            let last = found.len() < page || limit == 0;
            after = found.last().map_or(after, |stream| stream.name.clone());
            listed.extend(
                found
                    .into_iter()
                    .filter(|stream| bound.as_ref().is_none_or(|Extension(bounds)| bounds.has_stream(&stream.name))),
            );
            if last || listed.len() >= limit {
                listed.truncate(limit);
                return Ok::<_, Fault>(listed.into_iter().map(StreamHeadDto::from).collect::<Vec<_>>());
            }
        }
    };
    respond(done.await)
}

async fn fences(State(history): State<History>, bound: Bound) -> Response {
    let found = history.store.fences().await.map(|mut fences| {
        if let Some(Extension(bounds)) = bound {
            fences.retain(|scope, _| bounds.has_scope(scope));
        }
        fences
    });
    respond(found)
}

async fn snapshot(State(history): State<History>, bound: Bound, body: Bytes) -> Response {
    let done = async {
        let SnapshotDto { fold, stream, .. } = parse(&body)?;
        if hold(&bound, |bounds| bounds.require_stream(&stream))? == Some(false) {
            return Ok(None);
        }
        Ok::<_, Denied>(history.store.snapshot(&fold, &stream).await?.map(StateDto::from))
    };
    respond(done.await)
}

async fn put_snapshot(State(history): State<History>, bound: Bound, body: Bytes) -> Response {
    let done = async {
        let SnapshotDto { fold, stream, state } = parse(&body)?;
        hold(&bound, |bounds| bounds.require_own(&stream))?;
        let state = state.ok_or_else(|| Fault::new(Code::Usage, "There is no state to store."))?;
        Ok::<_, Denied>(history.store.put_snapshot(&fold, &stream, state.into()).await?)
    };
    respond(done.await)
}

async fn wait(State(history): State<History>, body: Bytes) -> Response {
    let done = async {
        let WaitDto { after, at_most_ms } = parse(&body)?;
        let at_most = Millis(at_most_ms).min(WAIT_MAX);
        tokio::select! {
            head = history.store.wait(after, at_most) => head.map(HeadDto::from),
            () = drained(history.draining.clone()) => history.store.head().await.map(HeadDto::from),
        }
    };
    respond(done.await)
}

async fn drained(mut draining: watch::Receiver<bool>) {
    // Without a sender nobody will ever say so.
    if draining.wait_for(|draining| *draining).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn beat(State(history): State<History>, bound: Bound, body: Bytes) -> Response {
    let done = async {
        let BeatDto { scope, mark } = parse(&body)?;
        hold(&bound, |bounds| bounds.require_scope(&scope))?;
        let mark = mark.unwrap_or_default();
        if scope.len().max(mark.len()) > BEAT_BYTES_MAX {
            return Err(Fault::new(Code::Usage, "A sign of life has at most 1024 bytes.").into());
        }
        if history.keeps_beats() {
            return Ok(history.store.beat(&scope, &mark).await?);
        }
        let mut beats = history.beats.lock().unwrap_or_else(PoisonError::into_inner);
        if beats.len() >= BEATS_MAX && !beats.contains_key(&scope) {
            return Err(Fault::new(Code::Backend, "Too many leases leave signs of life here.").into());
        }
        beats.insert(scope, mark);
        Ok::<_, Denied>(())
    };
    respond(done.await)
}

async fn pulse(State(history): State<History>, bound: Bound, body: Bytes) -> Response {
    let done = async {
        let BeatDto { scope, .. } = parse(&body)?;
        hold(&bound, |bounds| bounds.require_scope(&scope))?;
        if history.keeps_beats() {
            return Ok(history.store.pulse(&scope).await?);
        }
        Ok::<_, Denied>(history.beats.lock().unwrap_or_else(PoisonError::into_inner).get(&scope).cloned())
    };
    respond(done.await)
}

async fn verify(State(history): State<History>, bound: Bound) -> Response {
    let found = history.store.verify().await.map(VerificationDto::from);
    respond(found.map(|found| if bound.is_some() { found.bound() } else { found }))
}
