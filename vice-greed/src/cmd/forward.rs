//! `greed forward`: events to a topic of Kafka or a subject of NATS, or as spans to a collector of OpenTelemetry.

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::id::{EnvName, ProjectName};
use vice_core::text::{Tone, count, paint};
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::moment;
use crate::bridge::{self, Forward, Mode, Place};

#[derive(Debug, Args)]
pub(super) struct ForwardArgs {
    /// Where to: kafka://HOST:PORT/TOPIC, nats://HOST:PORT/SUBJECT, or otlp://HOST:PORT, which gets rollouts as spans
    #[arg(long, value_name = "URL")]
    to: String,
    /// How events are written: one document, or attributes as headers
    #[arg(long, value_name = "MODE", default_value = "structured", value_parser = ["structured", "binary"])]
    mode: String,
    /// Only events of this project
    #[arg(short, long, value_name = "NAME")]
    project: Option<ProjectName>,
    /// Only events of this environment
    #[arg(short, long, value_name = "NAME")]
    env: Option<EnvName>,
    /// Only events of this type; * at the end stands for anything; can be given several times
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    kinds: Vec<String>,
    /// Begin here the first time: how long ago (2h, 3d), or a time; else with the first event
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The name under which it is remembered how far this is; one for each place when absent
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// End when everything was sent, instead of waiting for new events
    #[arg(long)]
    once: bool,
}

pub(super) async fn forward(app: &App, args: ForwardArgs) -> Result<Outcome> {
    super::filter::check_kinds(&args.kinds)?;
    let since = args.since.map(|text| moment(&text, app.clock.now())).transpose()?;
    let place = Place::parse(&args.to)?;
    let shown = place.to_string();
    let mode = if args.mode == "binary" { Mode::Binary } else { Mode::Structured };
    let (mut kinds, project, env) = (args.kinds, args.project, args.env);
    let made_for = place.kinds();
    if !made_for.is_empty() {
        if !kinds.is_empty() || mode == Mode::Binary {
            return Err(Fault::new(Code::Usage, format!("{shown} gets spans of rollouts, and nothing else."))
                .hint("Leave --type and --mode out; --project and --env choose among rollouts."));
        }
        kinds = made_for.iter().map(|kind| (*kind).to_owned()).collect();
    }
    let asked = Forward { place, name: args.name, mode, kinds, project, env, since, once: args.once };
    let forwarder = bridge::forward(app, asked).await?;
    let (name, cursor) = (forwarder.name.clone(), forwarder.cursor);
    let text = format!("{} to {shown} as {name}, from event {}.\n", paint(Tone::Good, "Sending"), cursor + 1);
    app.ui.emit(&text, &json!({ "to": shown, "name": name, "from": cursor + 1 }));
    let report = forwarder.run().await?;
    let mut text = format!("{} sent, up to event {}.\n", count(report.sent, "event", "events"), report.cursor);
    if report.withheld > 0 {
        text.push_str(&format!(
            "{} too large; `vice greed log --stream refused/{name}` lists them.\n",
            count(report.withheld, "event was", "events were")
        ));
    }
    let json =
        json!({ "to": shown, "name": name, "sent": report.sent, "withheld": report.withheld, "cursor": report.cursor });
    Ok(Outcome::done(text, json))
}
