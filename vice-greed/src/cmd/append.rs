//! `greed append`: one event from outside.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::event::{DATA_BYTES_MAX, Event};
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::port::notifier::Severity;
use vice_core::store::Append;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Fault, Result};

use crate::ingest::cloudevent;
use crate::strict;

/// The envelope around the data is small; this much is read before the limit on the data itself is looked at.
const INPUT_BYTES_MAX: u64 = 2 * DATA_BYTES_MAX as u64;

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

pub(super) async fn append(app: &App, args: AppendArgs) -> Result<Outcome> {
    let given = args.project.clone().zip(args.env.clone()).map(|(project, env)| Scope::new(project, env));
    let event = match &args.kind {
        Some(kind) => from_flags(app, kind, &args, given)?,
        None => from_document(app, &read_document(app, args.file).await?, given)?,
    };
    event.check()?;
    cloudevent::check_time(&event, app.clock.now())?;
    let id = event.id.clone();
    let appended = app.events.append(Append::of(vec![event])).await?;
    let (seq, repeated) = (appended.seqs.first().copied().unwrap_or(0), appended.duplicates > 0);
    let what = if repeated { "It was there already:" } else { "Recorded:" };
    let text = format!("{} event {seq}, id {}.\n", paint(Tone::Good, what), sanitize(&id));
    Ok(Outcome::done(text, json!({ "seq": seq, "id": id, "repeated": repeated })))
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
        stream: cloudevent::stream(scope.as_ref()),
        scope,
        actor: app.actor.clone(),
        data,
    })
}

fn from_document(app: &App, text: &str, given: Option<Scope>) -> Result<Event> {
    let (event, lost) = cloudevent::read(text, given, &app.actor, app.clock.now())?;
    if !lost.is_empty() {
        app.ui.say(Severity::Warning, &format!("Attributes that are not stored: {}.", lost.join(", ")));
    }
    Ok(event)
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
