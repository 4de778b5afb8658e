//! `greed append`: one event from outside.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::RawValue;
use vice_core::app::App;
use vice_core::event::{DATA_BYTES_MAX, Event};
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::port::notifier::Severity;
use vice_core::store::Append;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Fault, Result};

use super::strict;

/// The envelope around the data is small; this much is read before the limit on the data itself is looked at.
const INPUT_BYTES_MAX: u64 = 2 * DATA_BYTES_MAX as u64;

/// Clocks differ, but not by more than this.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug, Args)]
pub(super) struct AppendArgs {
    /// A file with one CloudEvent in JSON; - is standard input, which is also read when nothing else is given
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["kind", "subject", "data", "id"])]
    file: Option<PathBuf>,
    /// The type, instead of a whole CloudEvent
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// What it is about
    #[arg(long, value_name = "TEXT", requires = "kind")]
    subject: Option<String>,
    /// The data, in JSON
    #[arg(long, value_name = "JSON", requires = "kind")]
    data: Option<String>,
    /// A name of your own for the event: repeating the command with it adds nothing
    #[arg(long, value_name = "ID", requires = "kind")]
    id: Option<String>,
    /// The project that it belongs to
    #[arg(short, long, value_name = "NAME")]
    project: Option<ProjectName>,
    /// The environment that it belongs to
    #[arg(short, long, value_name = "NAME", requires = "project")]
    env: Option<EnvName>,
}

/// The attributes of a CloudEvent in structured JSON, each as it was written.
struct Attributes(BTreeMap<String, Box<RawValue>>);

impl Attributes {
    fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map(Self).map_err(|error| not_a_cloudevent().because(error))
    }

    /// Takes an attribute out; null is as good as absent.
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(raw) = self.0.remove(name).filter(|raw| raw.get() != "null") else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|error| {
            Fault::new(Code::Usage, format!("The attribute {name} of the CloudEvent does not make sense."))
                .because(error)
        })
    }

    fn need(&mut self, name: &str) -> Result<String> {
        self.take(name)?.ok_or_else(|| Fault::new(Code::Usage, format!("The CloudEvent has no {name}.")).hint(NEEDED))
    }
}

const NEEDED: &str = "It needs specversion \"1.0\", id, source and type; data is any JSON.";

fn not_a_cloudevent() -> Fault {
    Fault::new(Code::Usage, "This is not a CloudEvent in JSON.").hint(NEEDED)
}

pub(super) async fn append(app: &App, args: AppendArgs) -> Result<Outcome> {
    let given = args.project.clone().zip(args.env.clone()).map(|(project, env)| Scope::new(project, env));
    let event = match &args.kind {
        Some(kind) => from_flags(app, kind, &args, given)?,
        None => from_document(app, &read_document(app, args.file).await?, given)?,
    };
    event.check()?;
    check_time(&event, app.clock.now())?;
    let id = event.id.clone();
    let appended = app.events.append(Append::of(vec![event])).await?;
    let (seq, repeated) = (appended.seqs.first().copied().unwrap_or(0), appended.duplicates > 0);
    let what = if repeated { "It was there already:" } else { "Recorded:" };
    let text = format!("{} event {seq}, id {}.\n", paint(Tone::Good, what), sanitize(&id));
    Ok(Outcome::done(text, json!({ "seq": seq, "id": id, "repeated": repeated })))
}

/// Events from outside have no stream of their own making: they gather by project and environment.
fn stream(scope: Option<&Scope>) -> String {
    scope.map_or_else(|| "inbox".to_owned(), |scope| format!("inbox/{}/{}", scope.project, scope.env))
}

fn from_flags(app: &App, kind: &str, args: &AppendArgs, scope: Option<Scope>) -> Result<Event> {
    let data = args.data.clone().unwrap_or_else(|| "null".to_owned());
    strict::check(&data)?;
    let now = app.clock.now();
    Ok(Event {
        id: args.id.clone().unwrap_or_else(|| app.ids.next(now)),
        source: "/vice/greed/append".to_owned(),
        kind: kind.to_owned(),
        subject: args.subject.clone().unwrap_or_default(),
        time: now,
        stream: stream(scope.as_ref()),
        scope,
        actor: app.actor.clone(),
        data,
    })
}

fn from_document(app: &App, text: &str, given: Option<Scope>) -> Result<Event> {
    strict::check(text)?;
    let mut cloud = Attributes::parse(text)?;
    if cloud.need("specversion")? != "1.0" {
        return Err(not_a_cloudevent());
    }
    require_json(&mut cloud)?;
    let time = match cloud.take::<String>("time")? {
        Some(text) => {
            text.parse().context(Code::Usage, || "The time of the CloudEvent is not in RFC 3339.".to_owned())?
        }
        None => app.clock.now(),
    };
    let (project, env) = (cloud.take::<ProjectName>("viceproject")?, cloud.take::<EnvName>("viceenv")?);
    let scope = given.or_else(|| project.zip(env).map(|(project, env)| Scope::new(project, env)));
    let event = Event {
        id: cloud.need("id")?,
        source: cloud.need("source")?,
        kind: cloud.need("type")?,
        subject: cloud.take("subject")?.unwrap_or_default(),
        time,
        stream: stream(scope.as_ref()),
        scope,
        actor: app.actor.clone(),
        data: cloud.0.remove("data").map_or_else(|| "null".to_owned(), |data| data.get().to_owned()),
    };
    let lost: Vec<String> = cloud.0.keys().map(|key| sanitize(key).chars().take(40).collect()).collect();
    if !lost.is_empty() {
        app.ui.say(Severity::Warning, &format!("Attributes that are not stored: {}.", lost.join(", ")));
    }
    Ok(event)
}

fn require_json(cloud: &mut Attributes) -> Result<()> {
    let kind: Option<String> = cloud.take("datacontenttype")?;
    let is_json = kind.is_none_or(|kind| {
        let kind = kind.split(';').next().unwrap_or("").trim();
        kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
    });
    if is_json && !cloud.0.contains_key("data_base64") {
        return Ok(());
    }
    Err(Fault::new(Code::Usage, "The data of the CloudEvent is not JSON.")
        .hint("Only JSON data is stored; name other things by URL and digest."))
}

fn check_time(event: &Event, now: Timestamp) -> Result<()> {
    let latest = now.checked_add(AHEAD_MAX).unwrap_or(Timestamp::MAX);
    if event.time <= latest {
        return Ok(());
    }
    Err(Fault::new(Code::Usage, format!("The event is from the future: {}.", event.time))
        .hint("At most a day ahead of this machine's clock is accepted; check both clocks."))
}

/// The whole document, from the file or from standard input, never from a terminal.
async fn read_document(app: &App, file: Option<PathBuf>) -> Result<String> {
    let named = file.filter(|file| file.as_os_str() != "-").map(|file| app.env.dir.join(file));
    let read = move || -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let done = match &named {
            Some(path) => {
                std::fs::File::open(path).and_then(|file| file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes))
            }
            None if std::io::stdin().is_terminal() => {
                return Err(Fault::new(Code::NoInput, "There is no event to append.")
                    .hint("Pass --type TYPE, or --file FILE, or pipe a CloudEvent into the command."));
            }
            None => std::io::stdin().take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes),
        };
        let shown = named.map_or_else(|| "Standard input".to_owned(), |path| path.display().to_string());
        done.context(Code::Io, || format!("{shown} can't be read."))?;
        Ok(bytes)
    };
    let done = tokio::task::spawn_blocking(read).await;
    let bytes = done.map_err(|error| Fault::internal("Reading the event failed.").because(error))??;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(Fault::new(Code::Usage, "The event is too large.")
            .hint(format!("The data of an event has at most {DATA_BYTES_MAX} bytes; name larger things by digest.")));
    }
    String::from_utf8(bytes).context(Code::Usage, || "The event is not UTF-8.".to_owned())
}
