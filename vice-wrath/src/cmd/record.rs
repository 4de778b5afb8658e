//! `vice wrath record`: a proxy that writes down what passes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use regex::Regex;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use tokio::time::{Instant, sleep};
use url::Url;
use vice_core::app::App;
use vice_core::port::notifier::Severity;
use vice_core::text::count;
use vice_core::ui::{Outcome, Progress, ProgressState};
use vice_core::{Code, Context, Fault, Millis, Result, Secret};

use super::load::authorities;
use crate::http::parse_url;
use crate::load::{Dial, Protocol, Tls};
use crate::recording::{Mask, MaskRules, Proxy, ProxyOptions, Served};
use crate::upstream::Upstream;

/// The largest limit of bodies, in KiB.
const BODY_KIB_MAX: usize = 64 * 1024;

/// How often it is looked whether to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Arguments of `vice wrath record`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  vice wrath record --listen 127.0.0.1:8000 --to http://127.0.0.1:8080 --out session.jsonl
  vice wrath record --listen 127.0.0.1:8000 --to http://127.0.0.1:8080 --out s.jsonl --mask-text 'csrf=([0-9a-f]+)'
  vice wrath record --listen 0.0.0.0:8443 --cert site.pem --key site.key --to https://shop.test --out shop.jsonl --for 1h")]
pub struct RecordArgs {
    /// Where clients come in.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// The server to pass everything on to.
    #[arg(long, value_name = "URL")]
    pub to: String,

    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// For how long; until Ctrl-C when absent.
    #[arg(long = "for", value_name = "DURATION")]
    pub during: Option<Millis>,

    /// The certificate chain (PEM) to show to clients, who then speak TLS.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,

    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,

    /// Trust the certificate authorities of this PEM file for the server, instead of the machine's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Tell the server the Host that the client named, instead of its own.
    #[arg(long)]
    pub keep_host: bool,

    /// The largest body that is kept, in KiB; of larger ones only the size is.
    #[arg(long, value_name = "KIB", default_value_t = 1024)]
    pub body_max: usize,

    /// Keep no bodies of this media type, such as image/; may be repeated.
    #[arg(long, value_name = "TYPE")]
    pub no_body: Vec<String>,

    /// Mask this header as well; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub mask_header: Vec<String>,

    /// Mask what stands at this JSON Pointer (* for any part), such as /users/*/mail; may be repeated.
    #[arg(long, value_name = "POINTER")]
    pub mask_json: Vec<String>,

    /// Mask what this regular expression finds in bodies of text, HTML and JSON: its first group, or all of it; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub mask_text: Vec<String>,

    /// Mask the value of this variable of the environment wherever it stands in a body; may be repeated.
    #[arg(long, value_name = "VARIABLE")]
    pub mask_env: Vec<String>,

    /// Leave this header, field or parameter as it is although its name sounds secret; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub keep: Vec<String>,

    /// Mask nothing. The file then holds passwords and sessions of whoever was recorded.
    #[arg(long)]
    pub no_mask: bool,
}

/// Records until the time is over or the process is asked to end.
///
/// # Errors
/// `Usage`, `PortInUse`, `Unreachable` when the server's host has no address, `Io` when the file can't be written.
pub(crate) async fn run(app: &App, args: RecordArgs) -> Result<Outcome> {
    app.ui.format().among(&[])?;
    let usage = |why: String| Fault::new(Code::Usage, why).hint("`vice wrath record --help` has examples.");
    let url = parse_url(&args.to, false).map_err(|why| usage(format!("The server {why}.")))?;
    if url.path() != "/" || url.query().is_some() {
        return Err(usage("The server is named by scheme, host and port; paths are those of the clients.".to_owned()));
    }
    if args.body_max > BODY_KIB_MAX {
        return Err(usage(format!(
            "Bodies of {} KiB are too large to keep; {BODY_KIB_MAX} is the most.",
            args.body_max
        )));
    }
    if let Some(pointer) = args.mask_json.iter().find(|pointer| !pointer.starts_with('/')) {
        return Err(usage(format!("{pointer:?} is no JSON Pointer; it has to begin with a slash.")));
    }
    let upstream = upstream(app, &url, args.ca.as_ref(), Protocol::Http1).await?;
    let mask = Mask::new(rules(app, &args).map_err(usage)?)?;
    if !mask.is_on() {
        app.ui.say(Severity::Warning, "Nothing is masked: the recording will hold passwords and sessions.");
    }
    let out = app.env.dir.join(&args.out);
    let proxy = Proxy::start(options(app, &args, &url, out)?, upstream, mask).await?;
    let scheme = if args.cert.is_some() { "https" } else { "http" };
    let address = proxy.address();
    app.ui.say(Severity::Info, &format!("Recording at {scheme}://{address} to {}.", args.out.display()));
    let counter = proxy.counter();
    let served = proxy.run(until_over(app, args.during, counter)).await?;
    Ok(outcome(&args, &served))
}

/// What sends to a server.
pub(super) async fn upstream(app: &App, url: &Url, ca: Option<&PathBuf>, protocol: Protocol) -> Result<Upstream> {
    let roots = ca.map(|file| authorities(&app.env.dir.join(file))).transpose()?.unwrap_or_default();
    let secured = url.scheme() == "https";
    let tls = secured.then(|| Tls::new(url.host_str().unwrap_or_default(), &roots, protocol)).transpose()?;
    Ok(Upstream::new(Dial::new(url, tls).await?, protocol))
}

fn rules(app: &App, args: &RecordArgs) -> std::result::Result<MaskRules, String> {
    let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let pattern = |text: &String| {
        let made = Regex::new(text).ok().filter(|pattern| !pattern.is_match(""));
        made.ok_or_else(|| format!("{text:?} is no regular expression that finds something."))
    };
    let secret = |name: &String| {
        let value = app.env.vars.get(name).filter(|value| !value.is_empty());
        value.map(|value| Secret::new(value.as_str())).ok_or_else(|| format!("The variable {name} is not set."))
    };
    Ok(MaskRules {
        headers: lower(&args.mask_header),
        json: args.mask_json.clone(),
        text: args.mask_text.iter().map(pattern).collect::<std::result::Result<_, _>>()?,
        secrets: args.mask_env.iter().map(secret).collect::<std::result::Result<_, _>>()?,
        keep: lower(&args.keep),
        off: args.no_mask,
    })
}

fn options(app: &App, args: &RecordArgs, url: &Url, out: PathBuf) -> Result<ProxyOptions> {
    let authority = authority(url);
    let host = (!args.keep_host).then(|| HeaderValue::from_str(&authority));
    let host = host.transpose().context(Code::Usage, || "The server's host can't be sent.".to_owned())?;
    let tls = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some(Arc::new(server_tls(&app.env.dir.join(cert), &app.env.dir.join(key))?)),
        _ => None,
    };
    Ok(ProxyOptions {
        listen: args.listen,
        tls,
        to: url.origin().ascii_serialization(),
        host,
        out,
        body_max: args.body_max * 1024,
        without: args.no_body.iter().map(|kind| kind.to_ascii_lowercase()).collect(),
        began: app.clock.now().to_string(),
    })
}

/// Host and port as a `Host` header has them.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn server_tls(cert: &std::path::Path, key: &std::path::Path) -> Result<ServerConfig> {
    let chain = authorities(cert)?;
    let bad = || format!("{} can't be read as a private key.", key.display());
    let key = PrivateKeyDer::from_pem_file(key).context(Code::Io, bad)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.context(Code::Usage, || "Certificate and key do not fit together.".to_owned())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn until_over(app: &App, during: Option<Millis>, counter: impl Fn() -> u64) {
    let begun = Instant::now();
    while app.stop.raised().is_none() && during.is_none_or(|during| begun.elapsed() < during.as_duration()) {
        let text = format!("recording: {}", count(counter(), "request", "requests"));
        let gist = Some("recording".to_owned());
        app.ui.progress(Progress { key: "record".to_owned(), text, state: ProgressState::Running, gist });
        let left = during.map_or(LOOK_EVERY, |during| during.as_duration().saturating_sub(begun.elapsed()));
        sleep(left.clamp(Duration::from_millis(1), LOOK_EVERY)).await;
    }
}

fn outcome(args: &RecordArgs, served: &Served) -> Outcome {
    let file = args.out.display().to_string();
    let mut text = format!("Recorded {} in {file}.\n", count(served.exchanges, "exchange", "exchanges"));
    if served.lost > 0 {
        text.push_str(&format!("{} came too fast to be written.\n", count(served.lost, "exchange", "exchanges")));
    }
    let json = json!({
        "file": file, "exchanges": served.exchanges, "lost": served.lost, "connections": served.connections,
    });
    Outcome::done(text, json)
}
