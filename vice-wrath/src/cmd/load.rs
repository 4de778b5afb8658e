//! `vice wrath load URL`: sends many requests and says how long they take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use url::Url;
use vice_core::app::{App, StopSignal};
use vice_core::id::EnvName;
use vice_core::ui::{Format, Outcome, Progress, ProgressState, Ui};
use vice_core::{Class, Code, Context, Fault, Millis, Result};

use super::{load_checks, load_scenarios};
use crate::http::parse_url;
use crate::load::{
    self, CONNECTIONS_MAX, Dial, Feed, LoadPlan, Prepared, Process, Profile, Protocol, Shape, THREADS_MAX, Threshold,
    Tls, parse_rate, parse_stage, parse_users,
};
use crate::traffic::{Model, Sessions, SharedSessions};

/// Headers of a recording that are made new.
const OWN: [&str; 7] = ["host", "content-length", "connection", "keep-alive", "transfer-encoding", "te", "upgrade"];

/// How long a run takes when nothing is said.
const FOR_DEFAULT: Millis = Millis::from_secs(10);

/// Arguments of `vice wrath load`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  vice wrath load http://127.0.0.1:8080/ --rate 500/s --for 30s
  vice wrath load https://shop.test/search?q=a --users 50 --for 1m --fail-if 'p99>200ms' --fail-if 'errors>0.1%'
  vice wrath load http://127.0.0.1:8080/ --stage 0..200/s:30s --stage 200/s:2m --poisson --format html -o load.html
  vice wrath load http://127.0.0.1:8080/ --model shop.toml --users 100 --for 5m
  vice wrath load http://127.0.0.1:8080 --scenario wrath/buy.toml=3 --scenario wrath/look.toml --rate 5/s --for 1m")]
pub struct LoadArgs {
    /// The URL to ask, of which with --model or --recording only the host counts; or a project, whose HTTP checks are sent.
    #[arg(value_name = "URL|PROJECT")]
    pub url: String,

    /// Of a project only this check; may be repeated.
    #[arg(long, value_name = "CHECK")]
    pub check: Vec<String>,

    /// The project's environment.
    #[arg(short, long)]
    pub env: Option<EnvName>,

    /// Requests a second, whatever the server does: 500/s, 30/m, or 0..500/s to change evenly.
    #[arg(long, value_name = "RATE", conflicts_with_all = ["users", "stage"])]
    pub rate: Option<String>,

    /// Users who each wait for an answer before asking again: 50, or 0..50.
    #[arg(long, value_name = "N", conflicts_with = "stage")]
    pub users: Option<String>,

    /// A stage of the load and how long it takes, such as 0..500/s:30s or 50:1m; may be repeated.
    #[arg(long, value_name = "LOAD:DURATION")]
    pub stage: Vec<String>,

    /// For how long, such as 30s or 5m [default: 10s].
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "stage")]
    pub during: Option<Millis>,

    /// Let requests come independently of each other, as customers do, instead of evenly.
    #[arg(long, conflicts_with = "users")]
    pub poisson: bool,

    /// How long a user waits between an answer and the next request.
    #[arg(long, value_name = "DURATION", default_value = "0ms")]
    pub pause: Millis,

    /// The method [default: GET, or POST with a body].
    #[arg(short = 'm', long, value_name = "METHOD")]
    pub method: Option<String>,

    /// A header, such as 'Accept: application/json'; may be repeated.
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    pub header: Vec<String>,

    /// The body of each request.
    #[arg(long, value_name = "TEXT")]
    pub body: Option<String>,

    /// Send the sessions of this model (TOML); a rate is then one of sessions.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recording", "method", "body", "status"])]
    pub model: Option<PathBuf>,

    /// Send the requests of this recording; without a load of its own at the times that were recorded.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "body", "status"])]
    pub recording: Option<PathBuf>,

    /// Play this scenario (a name or a file, with =WEIGHT where there are several); a rate is then one of journeys, and
    /// --connections how many may be under way. May be repeated.
    #[arg(long, value_name = "SCENARIO[=WEIGHT]",
        conflicts_with_all = ["model", "recording", "method", "body", "status", "header", "http2", "ca", "check"])]
    pub scenario: Vec<String>,

    /// A variable of the scenarios, as NAME=VALUE; may be repeated. Not for secrets: others can read arguments.
    #[arg(long, value_name = "NAME=VALUE", requires = "scenario")]
    pub var: Vec<String>,

    /// The one status that is good [default: any below 400].
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(100..600))]
    pub status: Option<u16>,

    /// Speak HTTP/2.
    #[arg(long)]
    pub http2: bool,

    /// How many connections there may be at once.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub connections: usize,

    /// How many threads generate.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,

    /// When an answer is given up, counted from when the request was due.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub timeout: Millis,

    /// Trust the certificate authorities of this PEM file instead of the machine's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Fail (exit 5) when the run does not keep this, such as 'p99>200ms', 'errors>1%' or 'rate<450/s'; may be repeated.
    #[arg(long, value_name = "LIMIT")]
    pub fail_if: Vec<String>,

    /// The number that all chance of the run follows from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Runs the load.
///
/// # Errors
/// `Usage` for arguments that make no sense, `Unreachable` when the host has no address, `Interrupted`.
pub(crate) async fn run(app: &App, args: LoadArgs) -> Result<Outcome> {
    let around = Around { ui: app.ui.as_ref(), dir: &app.env.dir, stop: &app.stop };
    if !args.scenario.is_empty() {
        let (url, feed) = load_scenarios::feed(app, &args).await?;
        return load_with(around, args, url, Some(feed)).await;
    }
    if !load_checks::is_project(&args.url) {
        return load(around, args).await;
    }
    if args.model.is_some() || args.recording.is_some() || args.body.is_some() || args.method.is_some() {
        return Err(usage("a model, a recording and a request of one's own need a URL instead of a project"));
    }
    let common = headers(&args.header)?;
    let (url, feed) = load_checks::feed(app, &args, &common).await?;
    load_with(around, args, url, Some(feed)).await
}

/// What a load needs of its surroundings: no project, no history.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The terminal.
    pub ui: &'a dyn Ui,
    /// The working folder.
    pub dir: &'a Path,
    /// Whether to end early.
    pub stop: &'a StopSignal,
}

/// Runs the load outside of the binary, for benchmarks.
///
/// # Errors
/// `Usage` for arguments that make no sense, `Unreachable` when the host has no address.
pub async fn load(app: Around<'_>, args: LoadArgs) -> Result<Outcome> {
    let url = parse_url(&args.url, false).map_err(|why| usage(format!("the target {why}")))?;
    if !args.check.is_empty() || args.env.is_some() {
        return Err(usage("--check and --env are about a project, and the target is a URL"));
    }
    if !args.scenario.is_empty() {
        return Err(usage("scenarios need the rest of vice, which is not here"));
    }
    load_with(app, args, url, None).await
}

async fn load_with(app: Around<'_>, args: LoadArgs, url: Url, feed: Option<Feed>) -> Result<Outcome> {
    let format = app.ui.format().among(&[Format::Html])?;
    let limits = args.fail_if.iter().map(|text| Threshold::parse(text));
    let limits = limits.collect::<std::result::Result<Vec<_>, _>>().map_err(usage)?;
    let plan = Arc::new(plan(app, &args, &url, feed).await?);
    check_limits(&limits, plan.feed.kinds())?;
    let target = crate::http::shown_url(&args.url).into_owned();
    let tell = |state: ProgressState, text: String, gist: Option<String>| {
        app.ui.progress(Progress { key: "load".to_owned(), text, state, gist });
    };
    let report = load::run(&plan, app.stop, |elapsed, seconds| {
        tell(ProgressState::Running, load::live(&plan, elapsed, seconds), Some("load".to_owned()));
    })
    .await?;
    tell(ProgressState::Done, format!("load of {target} is over"), None);
    if report.tally.counts.all() == 0 {
        let fault = Fault::new(Code::Unreachable, "Not a single request was sent.");
        return Err(fault.hint("Make the run longer or the rate higher."));
    }
    let verdicts: Vec<_> = limits.iter().map(|limit| limit.verdict(&report, plan.feed.kinds())).collect();
    let class = if verdicts.iter().any(|verdict| verdict.failed) {
        Class::Verification
    } else if report.tally.counts.answered == 0 {
        Class::Failed
    } else {
        Class::Done
    };
    let text = match format {
        Format::Html => load::page(&plan, &target, &report, &verdicts),
        _ => load::text(&plan, &target, &report, &verdicts),
    };
    Ok(Outcome { class, text, json: load::json(&plan, &target, &report, &verdicts) })
}

fn usage(why: impl Into<String>) -> Fault {
    let why = why.into();
    let mut chars = why.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    Fault::new(Code::Usage, format!("{first}{}.", chars.as_str())).hint("`vice wrath load --help` has examples.")
}

fn check_limits(limits: &[Threshold], kinds: &[String]) -> Result<()> {
    for kind in limits.iter().filter_map(Threshold::kind) {
        if !kinds.iter().any(|known| known == kind) {
            return Err(Fault::new(Code::UnknownName, format!("There is no kind of request {kind:?}."))
                .hint(format!("Known: {}.", kinds.join(", "))));
        }
    }
    Ok(())
}

async fn plan(app: Around<'_>, args: &LoadArgs, url: &Url, given: Option<Feed>) -> Result<LoadPlan> {
    bounds(args)?;
    let protocol = if args.http2 { Protocol::Http2 } else { Protocol::Http1 };
    let recorded = args.recording.as_ref().map(|file| recorded(app, args, url, file)).transpose()?;
    let said = args.rate.is_some() || args.users.is_some() || !args.stage.is_empty();
    let (profile, shape, feed) = match (recorded, &args.model) {
        (Some((feed, times)), _) if !said => {
            let length = args.during.unwrap_or(Millis(times.last().map_or(0, |last| last.as_millis() as u64) + 1));
            let mut profile = Profile::default();
            profile.push(load::Level { from: 0.0, to: 0.0 }, length);
            (profile, Shape::Open(Process::Recorded(times)), feed)
        }
        (recorded, model) => {
            let feed = match (given, recorded, model) {
                (Some(feed), ..) | (None, Some((feed, _)), _) => feed,
                (None, None, Some(file)) => modelled(app, args, url, file)?,
                (None, None, None) => single(args, url)?,
            };
            let (profile, open) = profile(args)?;
            let process = if args.poisson { Process::Poisson } else { Process::Constant };
            (profile, if open { Shape::Open(process) } else { Shape::Closed }, feed)
        }
    };
    let tls = tls(app, args, url, protocol)?;
    Ok(LoadPlan {
        dial: Dial::new(url, tls).await?,
        shape,
        profile,
        feed,
        connections: args.connections,
        threads: args.threads,
        timeout: args.timeout.as_duration(),
        pause: args.pause.as_duration(),
        protocol,
        seed: args.seed,
        stop: Arc::default(),
    })
}

fn bounds(args: &LoadArgs) -> Result<()> {
    if args.threads == 0 || args.threads > THREADS_MAX {
        return Err(usage(format!("{} threads can't be started; there may be 1 to {THREADS_MAX}", args.threads)));
    }
    if args.connections < args.threads || args.connections > CONNECTIONS_MAX {
        return Err(usage(format!(
            "{} connections are not possible; there may be one a thread to {CONNECTIONS_MAX}",
            args.connections
        )));
    }
    if args.timeout == Millis::ZERO {
        return Err(usage("a timeout of nothing lets no answer in"));
    }
    Ok(())
}

/// The stages, and whether they are of an open loop.
fn profile(args: &LoadArgs) -> Result<(Profile, bool)> {
    let mut profile = Profile::default();
    if args.stage.is_empty() {
        let during = args.during.unwrap_or(FOR_DEFAULT);
        if during == Millis::ZERO {
            return Err(usage("a run of no length measures nothing"));
        }
        let (level, open) = match (&args.rate, &args.users) {
            (Some(rate), _) => (parse_rate(rate).map_err(usage)?, true),
            (None, Some(users)) => (parse_users(users).map_err(usage)?, false),
            (None, None) => {
                return Err(usage("how much load there is to be was not said"))
                    .map_err(|fault| fault.hint("Give --rate 500/s, --users 50, or stages."));
            }
        };
        profile.push(level, during);
        return Ok((profile, open));
    }
    let stages = args.stage.iter().map(|text| parse_stage(text));
    let stages = stages.collect::<std::result::Result<Vec<_>, _>>().map_err(usage)?;
    let open = stages[0].0;
    if stages.iter().any(|stage| stage.0 != open) {
        return Err(usage("stages can't be rates and users at once"));
    }
    for (_, level, length) in stages {
        profile.push(level, length);
    }
    Ok((profile, open))
}

/// One request, over and over.
fn single(args: &LoadArgs, url: &Url) -> Result<Feed> {
    let body = args.body.clone().unwrap_or_default();
    let default = if args.body.is_some() { "POST" } else { "GET" };
    let method = args.method.as_deref().unwrap_or(default);
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| usage(format!("{method:?} is not a method")))?;
    let headers = headers_at(&args.header, url)?;
    // Credentials became a header, and a request has no place for a fragment.
    let bare = &url[url::Position::BeforeHost..url::Position::AfterQuery];
    let uri = format!("{}://{bare}", url.scheme());
    let uri: Uri = uri.parse().context(Code::Usage, || "The target is not a URI.".to_owned())?;
    let mut request = Prepared::new(0, &method, &uri, &headers, Bytes::from(body));
    request.expect = args.status;
    Ok(Feed::Cycle { requests: [Arc::new(request)].into(), kinds: [format!("{method} {}", url.path())].into() })
}

/// Sessions of a model.
fn modelled(app: Around<'_>, args: &LoadArgs, url: &Url, file: &Path) -> Result<Feed> {
    let text = std::fs::read_to_string(app.dir.join(file));
    let model = Model::parse(&text.context(Code::Io, || format!("The model {} can't be read.", file.display()))?)?;
    let common = headers_at(&args.header, url)?;
    let sessions = Sessions::new(&model, &url.origin().ascii_serialization(), &common, args.seed)?;
    Ok(Feed::Walk { walk: Arc::new(SharedSessions(Arc::new(sessions))), kinds: model.kind.keys().cloned().collect() })
}

/// The requests of a recording in order, with the times at which they came.
fn recorded(app: Around<'_>, args: &LoadArgs, url: &Url, file: &Path) -> Result<(Feed, Arc<[Duration]>)> {
    let (recording, _) = super::recording::open_to_send(app.ui, app.dir, file)?;
    let origin = url.origin().ascii_serialization();
    let common = headers_at(&args.header, url)?;
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let (mut requests, mut times, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    for exchange in &recording.exchanges {
        let asked = &exchange.request;
        let Some(body) = asked.body.as_ref().map_or(Some(Vec::new()), crate::recording::Body::content) else {
            continue;
        };
        let method = Method::from_bytes(asked.method.as_bytes());
        let (Ok(method), Ok(uri)) = (method, format!("{origin}{}", asked.target).parse::<Uri>()) else { continue };
        let mut headers = common.clone();
        for (name, value) in asked.headers.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        let kind = crate::traffic::route::of(asked);
        let number = *numbers.entry(kind.clone()).or_insert_with(|| {
            kinds.push(kind);
            kinds.len() - 1
        });
        requests.push(Arc::new(Prepared::new(number, &method, &uri, &headers, body.into())));
        times.push(Duration::from_micros(exchange.at_us));
    }
    if requests.is_empty() {
        return Err(usage("the recording holds nothing that can be sent"));
    }
    let first = times[0];
    let times: Vec<Duration> = times.into_iter().map(|time| time.saturating_sub(first)).collect();
    Ok((Feed::Cycle { requests: requests.into(), kinds: kinds.into() }, times.into()))
}

/// The headers that were asked for, and those that every request has.
pub(super) fn headers(asked: &[String]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", HeaderValue::from_static(concat!("vice/", env!("CARGO_PKG_VERSION"))));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    for text in asked {
        let bad = || usage("a header is not written as 'Name: value'");
        let (name, value) = text.split_once(':').ok_or_else(bad)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| bad())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The same with the user of a URL, who becomes a header.
fn headers_at(asked: &[String], url: &Url) -> Result<HeaderMap> {
    let mut headers = headers(asked)?;
    if !url.username().is_empty() && !headers.contains_key("authorization") {
        headers.insert("authorization", basic(url)?);
    }
    Ok(headers)
}

fn basic(url: &Url) -> Result<HeaderValue> {
    use base64::Engine as _;
    let text = format!("{}:{}", url.username(), url.password().unwrap_or_default());
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    HeaderValue::from_str(&format!("Basic {encoded}")).map_err(|_| usage("the user of the target can't be sent"))
}

fn tls(app: Around<'_>, args: &LoadArgs, url: &Url, protocol: Protocol) -> Result<Option<Tls>> {
    if url.scheme() != "https" {
        return Ok(None);
    }
    let roots = match &args.ca {
        None => Vec::new(),
        Some(file) => authorities(&app.dir.join(file))?,
    };
    Tls::new(url.host_str().unwrap_or_default(), &roots, protocol).map(Some)
}

/// The certificates of a PEM file.
pub(super) fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bad = || format!("{} can't be read as certificates.", file.display());
    let found = CertificateDer::pem_file_iter(file).context(Code::Io, bad)?;
    let found = found.collect::<std::result::Result<Vec<_>, _>>().context(Code::Io, bad)?;
    if found.is_empty() {
        return Err(Fault::new(Code::Io, format!("{} has no certificate.", file.display())));
    }
    Ok(found)
}
