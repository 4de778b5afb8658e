//! `vice serve`: the services of vice in one process, on one listener. Each router is mounted with the permission that it
//! needs; this owns the socket, the tokens, the probes and the way it ends, and knows nothing of what is answered.

mod gate;
mod notify;
mod tokens;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::routing::get;
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use vice_core::app::App;
use vice_core::store::EventStore;
use vice_core::text::{Tone, paint};
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Fault, Result};
use vice_greed::ingest::{Ingest, events_router, webhooks_router};
use vice_greed::listener::{self, Connections, Patience};
use vice_greed::service::{Bounds, History};

use gate::Gate;
use tokens::{Permission, Tokens};

/// How long what is under way may take once the service ends.
const DRAIN: Duration = Duration::from_secs(10);

/// How often it is looked whether the service shall end.
const LOOK: Duration = Duration::from_millis(100);

/// How long the store may take to answer a probe.
const READY: Duration = Duration::from_secs(2);

/// Arguments of `vice serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vice serve --tokens /etc/vice/tokens\n  vice serve --tokens tokens --listen 127.0.0.1:0"
)]
pub(crate) struct ServeArgs {
    /// Where to listen; behind a proxy that speaks TLS when others shall come in
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7420")]
    listen: SocketAddr,
    /// The file with the tokens, for its owner only: lines of NAME send|read|write[:PROJECT,…] TOKEN
    #[arg(long, value_name = "FILE", env = "VICE_SERVE_TOKENS", hide_env = true)]
    tokens: PathBuf,
    /// Listen beyond this machine although nothing here is encrypted: a proxy before it does that
    #[arg(long)]
    behind_tls: bool,
    /// Let the rules act on what comes in
    #[arg(long)]
    rules: bool,
}

/// What the probes and the metrics are asked of.
#[derive(Clone)]
struct Health {
    store: Arc<dyn EventStore>,
    history: History,
    ingest: Arc<Ingest>,
    gate: Gate,
    connections: Arc<Connections>,
    draining: watch::Receiver<bool>,
}

/// Serves until it is told to end.
pub(crate) async fn run(app: &App, args: ServeArgs) -> Result<Outcome> {
    let info = app.events.describe();
    if info.kind == "remote" {
        return Err(Fault::new(Code::Usage, "The history here is that of another `vice serve`.")
            .hint("Serve it where it is kept; [history] store names its place."));
    }
    if !args.listen.ip().is_loopback() && !args.behind_tls {
        return Err(Fault::new(Code::Usage, "Tokens would travel unencrypted beyond this machine.").hint(
            "Listen on 127.0.0.1 behind a proxy that speaks TLS, or say --behind-tls where the network has one.",
        ));
    }
    let gate = Gate::new(Tokens::read(&app.env.dir.join(&args.tokens))?);
    // Whoever can't be served is told now, not with the first question.
    app.events.head().await?;
    let ingest = Ingest::new(app.clone(), None).await?;
    let listener = listen(args.listen).await?;
    let address = listener.local_addr().context(Code::Io, || "The listener has no address.".to_owned())?;
    let (drain, draining) = watch::channel(false);
    let history = History::new(Arc::clone(&app.events), draining.clone());
    let (store, connections) = (Arc::clone(&app.events), Arc::<Connections>::default());
    let health = Health { store, history, ingest, gate, connections, draining: draining.clone() };
    announce(app, &health, &address.to_string());
    notify::tell(&app.env, "READY=1");
    let counted = Arc::clone(&health.connections);
    let serving = listener::serve(listener, routes(&health), Patience::default(), counted, ended(draining));
    let mut serving = tokio::spawn(serving);
    let done = tokio::select! {
        done = &mut serving => Some(done),
        () = told(app) => None,
        () = vice_greed::ingest::act(app), if args.rules => None,
    };
    notify::tell(&app.env, "STOPPING=1");
    drain.send_replace(true);
    let drained = match done {
        Some(done) => Ok(done),
        None => timeout(DRAIN, &mut serving).await,
    };
    let whole = match drained {
        Ok(done) => {
            done.map_err(|error| Fault::internal("The service broke down.").because(error))?;
            true
        }
        Err(_) => {
            serving.abort();
            false
        }
    };
    Ok(outcome(&health, whole))
}

/// Says where what is.
fn announce(app: &App, health: &Health, address: &str) {
    let (info, webhooks) = (app.events.describe(), health.ingest.paths());
    let mut text = format!("{} {} at {} on http://{address}\n", paint(Tone::Good, "Serving"), info.kind, info.location);
    for path in &webhooks {
        text.push_str(&format!("  http://{address}{path}\n"));
    }
    let json = json!({ "address": address, "kind": info.kind, "location": info.location, "webhooks": webhooks });
    app.ui.emit(&text, &json);
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::AddrInUse { Code::PortInUse } else { Code::Io };
        Fault::new(code, format!("Nobody can listen on {address}."))
            .because(error)
            .hint("Name another place with --listen; port 0 takes one that is free.")
    })
}

fn outcome(health: &Health, whole: bool) -> Outcome {
    let counted = &health.gate.counted;
    let answered = counted.answered.load(Ordering::Relaxed) + counted.failed.load(Ordering::Relaxed);
    let appended = health.history.appended();
    let end = if whole { "Ended" } else { "Ended, and cut off what was still under way" };
    Outcome::done(
        format!("{end} after {answered} answers and {appended} events.\n"),
        json!({ "answered": answered, "appended": appended, "drained": whole }),
    )
}

/// Everything that is served. What another part of vice serves is mounted here, with the permission that it needs.
fn routes(health: &Health) -> Router {
    let gate = &health.gate;
    let metrics = Router::new().route("/metrics", get(metrics)).with_state(health.clone());
    Router::new()
        .merge(gate.protect(health.history.readers(), Permission::Read))
        .merge(gate.protect(health.history.writers(), Permission::Write))
        .merge(gate.protect(metrics, Permission::Read))
        .merge(gate.protect(events_router(Arc::clone(&health.ingest)), Permission::Send))
        .merge(gate.signed(webhooks_router(Arc::clone(&health.ingest))))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready).with_state(health.clone()))
}

async fn told(app: &App) {
    while app.stop.raised().is_none() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn ended(mut draining: watch::Receiver<bool>) {
    // Whoever could say so is gone only when the service is.
    draining.wait_for(|draining| *draining).await.ok();
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if *health.draining.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "ending\n");
    }
    match timeout(READY, health.store.head()).await {
        Ok(Ok(_)) => (StatusCode::OK, "ready\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the history does not answer\n"),
    }
}

async fn metrics(State(health): State<Health>, bound: Option<Extension<Bounds>>) -> (StatusCode, String) {
    if bound.is_some() {
        return (StatusCode::FORBIDDEN, "The token is bound to projects, and these figures are of all.\n".to_owned());
    }
    let counted = &health.gate.counted;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut rows = vec![
        ("vice_answers_total", "counter", "Questions that were answered.", count(&counted.answered)),
        ("vice_failures_total", "counter", "Questions that ended with an error of the server.", count(&counted.failed)),
        ("vice_refusals_total", "counter", "Questions without a token that is good for them.", count(&counted.refused)),
        ("vice_busy_total", "counter", "Questions that found no room.", count(&counted.busy)),
        ("vice_events_appended_total", "counter", "Events that were appended.", health.history.appended()),
        ("vice_connections", "gauge", "Connections that are open.", health.connections.open()),
        ("vice_slow_total", "counter", "Connections whose other side took too long.", health.connections.slow()),
        ("vice_questions", "gauge", "Questions under way.", u64::try_from(health.gate.under_way()).unwrap_or(0)),
    ];
    if let Ok(Ok(head)) = timeout(READY, health.store.head()).await {
        rows.push(("vice_history_events", "gauge", "Events of the history.", head.seq));
    }
    let own = rows
        .iter()
        .map(|(name, kind, help, value)| format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
    (StatusCode::OK, own.chain([health.ingest.exposition()]).collect())
}
