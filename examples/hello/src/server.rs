//! The service that both versions share: arguments, configuration, routes. A version brings its number and
//! the sentence it greets with.
//!
//! SIGTERM ends the process at once, as std has no signal handling: whoever stops an instance takes it out of
//! the front end and lets its requests finish first.

#[path = "http.rs"]
mod http;
#[path = "work.rs"]
mod work;

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub use http::Query;
use http::{Request, Response, json_string};
pub use work::Work;

/// A connection costs a thread, so their number is bounded; the next one is told to come back.
const CONNECTIONS_MAX: usize = 2048;

/// What differs between the versions.
pub struct Release {
    pub version: &'static str,
    /// Makes the sentence for `/greet` from the configured greeting and the query.
    pub greet: fn(greeting: &str, query: &Query) -> String,
    /// What `/order` does.
    pub work: Work,
}

/// What the environment says; a secret's value is never kept, only that it is there.
struct Config {
    greeting: String,
    api_token_set: bool,
    /// One order in so many fails; what the release does by itself when nothing is said. A configuration can be bad too.
    order_fails_every: Option<u64>,
}

impl Config {
    fn from_env() -> Self {
        Self {
            greeting: std::env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned()),
            api_token_set: std::env::var_os("API_TOKEN").is_some_and(|token| !token.is_empty()),
            order_fails_every: std::env::var("ORDER_FAILS_EVERY").ok().and_then(|text| text.parse().ok()),
        }
    }
}

struct Service {
    release: Release,
    config: Config,
    orders: AtomicU64,
}

impl Service {
    fn work(&self) -> Work {
        let fails_every = self.config.order_fails_every.unwrap_or(self.release.work.fails_every);
        Work { fails_every, ..self.release.work }
    }

    fn answer(&self, request: &Request) -> Response {
        let get = matches!(request.method.as_str(), "GET" | "HEAD");
        match request.path.as_str() {
            "/healthz" if get => Response::json(200, r#"{"status":"ok"}"#.to_owned()),
            "/version" if get => Response::json(200, format!(r#"{{"version":"{}"}}"#, self.release.version)),
            "/greet" if get => {
                let sentence = (self.release.greet)(&self.config.greeting, &request.query);
                Response::json(200, format!(r#"{{"greeting":{}}}"#, json_string(&sentence)))
            }
            "/order" if get => match self.work().done(self.orders.fetch_add(1, Ordering::Relaxed)) {
                Ok(number) => Response::json(200, format!(r#"{{"order":{number}}}"#)),
                Err(why) => Response::error(500, why),
            },
            "/config" if get => {
                let greeting = json_string(&self.config.greeting);
                let set = self.config.api_token_set;
                Response::json(200, format!(r#"{{"greeting":{greeting},"api_token_set":{set}}}"#))
            }
            "/echo" if request.method == "POST" => {
                Response { status: 200, content_type: "application/octet-stream", body: request.body.clone() }
            }
            "/healthz" | "/version" | "/greet" | "/order" | "/config" | "/echo" => {
                Response::error(405, "This path does not take that method.")
            }
            _ => Response::error(404, "There is nothing at this path."),
        }
    }
}

/// Serves `release` on 127.0.0.1 until the process is stopped.
pub fn run(release: Release) -> ExitCode {
    let Some(port) = port_from(std::env::args().skip(1)) else {
        eprintln!("usage: hello --port N");
        return ExitCode::from(2);
    };
    match listen(port, Service { release, config: Config::from_env(), orders: AtomicU64::new(0) }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello cannot serve on 127.0.0.1:{port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn port_from(mut args: impl Iterator<Item = String>) -> Option<u16> {
    match (args.next()?.as_str(), args.next()?.parse(), args.next()) {
        ("--port", Ok(port), None) => Some(port),
        _ => None,
    }
}

fn listen(port: u16, service: Service) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("hello {} listens on http://{}", service.release.version, listener.local_addr()?);
    let service = Arc::new(service);
    let connections = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        // A client that vanished before it was accepted is no reason to stop serving the others.
        let Ok(stream) = stream else { continue };
        if connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            connections.fetch_sub(1, Ordering::Relaxed);
            http::refuse(stream, &Response::error(503, "Too many connections."));
            continue;
        }
        let (service, taken) = (Arc::clone(&service), Arc::clone(&connections));
        let spawned = std::thread::Builder::new().stack_size(256 * 1024).spawn(move || {
            // A client that hangs up in the middle of a request has nobody left to tell.
            drop(http::serve(stream, |request| service.answer(request)));
            taken.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
