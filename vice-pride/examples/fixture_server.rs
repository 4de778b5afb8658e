//! A small HTTP service for the tests of the local target. It says which version and process answers, echoes bodies,
//! and misbehaves in every way that its flags ask for.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use vice_core::{Code, Context, Result};

#[derive(Parser, Clone)]
struct Args {
    /// Where to listen on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// What to call itself.
    #[arg(long, default_value = "1")]
    version: String,
    /// Answers the health check with 503.
    #[arg(long)]
    unhealthy: bool,
    /// Ends with status 3 after so long.
    #[arg(long)]
    crash_after_ms: Option<u64>,
    /// Does not end on SIGTERM.
    #[arg(long)]
    ignore_term: bool,
    /// Listens only after so long.
    #[arg(long, default_value_t = 0)]
    slow_start_ms: u64,
    /// Prints this first.
    #[arg(long)]
    say: Option<String>,
    /// Prints the value of the variable TOKEN.
    #[arg(long)]
    leak: bool,
    /// Prints escape sequences and so many MiB without a line end.
    #[arg(long)]
    shout_mib: Option<usize>,
    /// Reads the file that VICE_CONFIG_FILE names, again at SIGHUP and at POST /reload, and tells at /config what it has.
    /// Its GREETING says how it goes: `bad` makes it unhealthy, `deadly` ends it, and `deaf` is not taken up.
    #[arg(long)]
    reload: bool,
    /// Each answer takes so long.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    speak(&args).context(Code::Io, || "Nobody listens.".to_owned())?;
    let _ignored = args.ignore_term.then(|| signal(SignalKind::terminate()));
    if let Some(after) = args.crash_after_ms {
        tokio::spawn(async move {
            sleep(Duration::from_millis(after)).await;
            crash();
        });
    }
    sleep(Duration::from_millis(args.slow_start_ms)).await;
    let config = Arc::new(Mutex::new(String::new()));
    if args.reload {
        load(&config);
        let mut told = signal(SignalKind::hangup()).context(Code::Io, || "No signals.".to_owned())?;
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            while told.recv().await.is_some() {
                load(&config);
            }
        });
    }
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await;
    let listener = listener.context(Code::PortInUse, || format!("bind 127.0.0.1:{}", args.port))?;
    loop {
        let (stream, _) = listener.accept().await.context(Code::Io, || "accept".to_owned())?;
        let (args, config) = (args.clone(), Arc::clone(&config));
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(args.clone(), Arc::clone(&config), request));
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            // A client that goes away is no matter of the service.
            drop(served);
        });
    }
}

#[expect(clippy::exit, clippy::disallowed_methods, reason = "crashing is what this service is for")]
fn crash() -> ! {
    std::process::exit(3)
}

#[expect(clippy::disallowed_methods, reason = "what a service finds in its environment is what is tested")]
fn speak(args: &Args) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    if let Some(text) = &args.say {
        writeln!(out, "{text}")?;
    }
    if args.leak {
        writeln!(out, "token {}", std::env::var("TOKEN").unwrap_or_default())?;
    }
    if let Some(mib) = args.shout_mib {
        write!(out, "\u{1b}[2J\u{1b}]0;title\u{7}")?;
        for _ in 0..mib {
            out.write_all(&vec![b'x'; 1024 * 1024])?;
        }
    }
    out.flush()
}

/// Reads the configuration: the release and the greeting in one text.
#[expect(clippy::disallowed_methods, reason = "what a service finds in its environment is what is tested")]
fn load(config: &Mutex<String>) {
    let text = std::env::var("VICE_CONFIG_FILE").ok().and_then(|path| std::fs::read_to_string(path).ok());
    let found = text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok()).unwrap_or_default();
    let word = |name: &str| found.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    match word("GREETING").as_str() {
        "deadly" => crash(),
        "deaf" => {}
        greeting => {
            *config.lock().unwrap_or_else(PoisonError::into_inner) = format!("{} {greeting}", word("VICE_RELEASE"));
        }
    }
}

async fn answer(
    args: Args,
    config: Arc<Mutex<String>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if args.reload && request.uri().path() == "/reload" {
        load(&config);
    }
    let told = config.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if request.uri().path() == "/config" {
        return Ok(Response::new(Full::from(told)));
    }
    if request.uri().path() == "/health" && (args.unhealthy || told.ends_with(" bad")) {
        let mut response = Response::new(Full::from("not well"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(response);
    }
    sleep(Duration::from_millis(args.delay_ms)).await;
    let who = format!("{} {}", args.version, std::process::id());
    let body = request.into_body().collect().await?.to_bytes();
    let body = if body.is_empty() { Bytes::from(who.clone()) } else { body };
    let mut response = Response::new(Full::from(body));
    if let Ok(value) = who.parse() {
        response.headers_mut().insert("x-who", value);
    }
    Ok(response)
}
