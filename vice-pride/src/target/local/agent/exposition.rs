//! The front end's counters as text for a Prometheus, on a port of 127.0.0.1 that is off unless asked for.
//!
//! Shows counts by version and nothing else: no addresses, no paths, no configuration. It only reads.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use vice_core::histogram::{LATENCY_BUCKETS, latency_edge_seconds};
use vice_core::id::Scope;
use vice_core::{Code, Context, Fault, Result};

use super::super::front::UpstreamCounts;
use super::super::health::address;
use super::super::process;
use super::Agent;
use super::front_end::FrontEnd;

/// So many scrapers are answered at once; further ones wait.
const CONNECTIONS_MAX: usize = 16;

/// How long a connection may stay. Longer than any scrape, and it keeps nobody out for ever.
const CONNECTION_LASTS: Duration = Duration::from_secs(60);

/// How long to wait after a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// The text format of Prometheus, which every scraper understands.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

struct Listening {
    port: u16,
    /// Ends the listener and its connections.
    _end: DropGuard,
}

/// The exposition, while it is on.
#[derive(Default)]
pub(super) struct Exposition {
    listening: Mutex<Option<Listening>>,
    binding: tokio::sync::Mutex<()>,
}

impl Exposition {
    fn port(&self) -> Option<u16> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|listening| listening.port)
    }

    fn put(&self, listening: Option<Listening>) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = listening;
    }

    /// Where it can be scraped.
    pub(super) fn url(&self) -> Option<String> {
        self.port().map(|port| format!("http://127.0.0.1:{port}/metrics"))
    }

    pub(super) fn close(&self) {
        self.put(None);
    }
}

impl Agent {
    /// Exposes the counters where they are wanted: at that port, for 0 at the one used before or a free one, or nowhere.
    pub(super) async fn expose(&self, wanted: Option<u16>) -> Result<()> {
        let _binding = self.exposition.binding.lock().await;
        let now = self.exposition.port();
        match wanted {
            None => self.exposition.close(),
            Some(0) if now.is_some() => {}
            Some(port) if now == Some(port) => {}
            Some(0) => {
                let before = self.store.read().metrics_port.unwrap_or(0);
                let bound = match bind(before).await {
                    // A port that nobody asked for need not be the same for ever.
                    Err(fault) if before != 0 && fault.code() == Code::PortInUse => bind(0).await?,
                    bound => bound?,
                };
                self.scraped(bound);
            }
            Some(port) => {
                let bound = bind(port).await?;
                self.scraped(bound);
            }
        }
        let port = self.exposition.port();
        if self.store.read().metrics_port == port {
            return Ok(());
        }
        let noted = self.store.update(|state| {
            state.metrics_port = port;
            Ok(())
        });
        noted.await
    }

    fn scraped(&self, (listener, port): (TcpListener, u16)) {
        let end = CancellationToken::new();
        let scope = self.store.read().scope.clone();
        let served = accept(listener, Arc::clone(&self.front), scope, end.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(served));
        tracing::info!(port, "the counters are exposed");
        self.exposition.put(Some(Listening { port, _end: end.drop_guard() }));
    }
}

async fn bind(port: u16) -> Result<(TcpListener, u16)> {
    let failed = || format!("The counters can't be exposed on port {port}.");
    let listener = match TcpListener::bind(address(port)).await {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let fault =
                Fault::new(Code::PortInUse, format!("The counters can't be exposed on port {port}: it is taken."))
                    .because(error);
            return Err(match process::listener(port) {
                Some((name, pid)) => {
                    fault.hint(format!("{name} (pid {pid}) listens there; set another `metrics_port`, or 0."))
                }
                None => fault.hint("Set another `metrics_port`, or 0 for a free one."),
            });
        }
        bound => bound.context(Code::Io, failed)?,
    };
    let port = listener.local_addr().context(Code::Io, failed)?.port();
    Ok((listener, port))
}

async fn accept(listener: TcpListener, front: Arc<FrontEnd>, scope: Option<Scope>, end: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let scope = Arc::new(scope);
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            continue;
        };
        let (front, scope) = (Arc::clone(&front), Arc::clone(&scope));
        let service = service_fn(move |request| {
            let response = answer(&request, &front, scope.as_ref().as_ref());
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let served = async move {
            if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_LASTS, connection).await {
                tracing::debug!(%error, "a scraper broke off");
            }
            drop(permit);
        };
        tokio::spawn(end.clone().run_until_cancelled_owned(served));
    }
}

fn answer(request: &Request<Incoming>, front: &FrontEnd, scope: Option<&Scope>) -> Response<Full<Bytes>> {
    let refused = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "Only GET.\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if request.uri().path() != "/metrics" {
        return refused(StatusCode::NOT_FOUND, "Look at /metrics.\n");
    }
    let counts = front.version_counts();
    let mut response = Response::new(Full::from(exposition(&counts, scope)));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// The whole text. Every version has every series from the beginning, so that no error and no series differ.
fn exposition(counts: &[UpstreamCounts], scope: Option<&Scope>) -> String {
    let labels = |version: &str| {
        let (project, env) = scope.map_or(("", ""), |scope| (scope.project.as_str(), scope.env.as_str()));
        format!("project=\"{}\",env=\"{}\",version=\"{}\"", escaped(project), escaped(env), escaped(version))
    };
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: String| {
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}"));
    };
    let mut plain = |name: &str, kind: &str, help: &str, value: fn(&UpstreamCounts) -> u64| {
        let line = |it: &UpstreamCounts| format!("{name}{{{}}} {}\n", labels(&it.version), value(it));
        family(name, kind, help, counts.iter().map(line).collect());
    };
    plain("vice_front_exposures_total", "counter", "Requests handed to this version first.", |it| it.exposures);
    plain("vice_front_failures_total", "counter", "Exposures that went wrong at this version.", |it| it.failures);
    plain("vice_front_client_failures_total", "counter", "Failures, one a client and window.", |it| it.client_failures);
    plain("vice_front_connect_failures_total", "counter", "Connections that failed.", |it| it.connect_failures);
    plain("vice_front_broken_total", "counter", "Exchanges that broke off or timed out.", |it| it.upstream_errors);
    plain("vice_front_in_flight", "gauge", "Requests that have not ended.", |it| it.in_flight as u64);
    let responses = counts.iter().map(|it| {
        let codes = [
            ("1xx", it.upgrades),
            ("2xx", it.status_2xx),
            ("3xx", it.status_3xx),
            ("4xx", it.status_4xx),
            ("5xx", it.status_5xx),
        ];
        let labels = labels(&it.version);
        let line = |(code, count)| format!("vice_front_responses_total{{{labels},code=\"{code}\"}} {count}\n");
        codes.map(line).concat()
    });
    family("vice_front_responses_total", "counter", "Responses by class of status.", responses.collect());
    let name = "vice_front_duration_seconds";
    let histograms = counts.iter().map(|it| histogram(name, &labels(&it.version), it)).collect();
    family(name, "histogram", "From a request's arrival to its response's head.", histograms);
    out
}

/// One histogram: cumulative, every edge present, the last one infinite.
fn histogram(name: &str, labels: &str, counts: &UpstreamCounts) -> String {
    let mut out = String::new();
    let mut sum = 0_u64;
    for bucket in 0..LATENCY_BUCKETS {
        sum += counts.latency.get(bucket).copied().unwrap_or(0);
        let edge = latency_edge_seconds(bucket);
        let edge = if edge.is_finite() { edge.to_string() } else { "+Inf".to_owned() };
        out.push_str(&format!("{name}_bucket{{{labels},le=\"{edge}\"}} {sum}\n"));
    }
    let seconds = counts.latency_sum_us as f64 / 1e6;
    out.push_str(&format!("{name}_sum{{{labels}}} {seconds}\n{name}_count{{{labels}}} {sum}\n"));
    out
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_series_of_a_version_and_histograms_that_add_up() {
        let mut latency = vec![0; LATENCY_BUCKETS];
        latency[3] = 2;
        latency[LATENCY_BUCKETS - 1] = 1;
        let counts = UpstreamCounts {
            version: "1\"2\\".to_owned(),
            exposures: 4,
            failures: 1,
            latency,
            latency_sum_us: 1_500_000,
            ..UpstreamCounts::default()
        };
        let text = exposition(&[counts], None);
        let labels = r#"project="",env="",version="1\"2\\""#;
        for line in [
            format!("vice_front_exposures_total{{{labels}}} 4"),
            format!("vice_front_responses_total{{{labels},code=\"5xx\"}} 0"),
            format!("vice_front_duration_seconds_bucket{{{labels},le=\"0.000128\"}} 0"),
            format!("vice_front_duration_seconds_bucket{{{labels},le=\"134.217728\"}} 2"),
            format!("vice_front_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 3"),
            format!("vice_front_duration_seconds_sum{{{labels}}} 1.5"),
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
        }
        let types = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!((types, text.ends_with('\n')), (8, true));
    }
}
