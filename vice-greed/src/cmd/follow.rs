//! `greed follow`: events from a topic of Kafka or a subject of NATS.

use clap::Args;
use serde_json::json;
use vice_core::Result;
use vice_core::app::App;
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::text::{Tone, count, paint};
use vice_core::ui::Outcome;

use crate::bridge::{self, Begin, Follow, Place};
use crate::ingest::act;

#[derive(Debug, Args)]
pub(super) struct FollowArgs {
    /// Where from: kafka://HOST:PORT/TOPIC or nats://HOST:PORT/SUBJECT
    #[arg(long, value_name = "URL")]
    from: String,
    /// Where to begin the first time: with the oldest message, or with what comes from now on
    #[arg(long, value_name = "PLACE", default_value = "earliest", value_parser = ["earliest", "latest"])]
    begin: String,
    /// The project that the events belong to, whatever they say
    #[arg(short, long, value_name = "NAME", requires = "env")]
    project: Option<ProjectName>,
    /// The environment that the events belong to
    #[arg(short, long, value_name = "NAME", requires = "project")]
    env: Option<EnvName>,
    /// The name under which it is remembered how far this is; one for each place when absent
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// End when everything that is there was taken in, instead of waiting for more
    #[arg(long)]
    once: bool,
    /// Let the rules act on what comes in
    #[arg(long, conflicts_with = "once")]
    rules: bool,
}

pub(super) async fn follow(app: &App, args: FollowArgs) -> Result<Outcome> {
    let place = Place::parse(&args.from)?;
    let shown = place.to_string();
    let begin = if args.begin == "latest" { Begin::Latest } else { Begin::Earliest };
    let scope = args.project.zip(args.env).map(|(project, env)| Scope::new(project, env));
    let follower = bridge::follow(app, Follow { place, name: args.name, begin, scope, once: args.once }).await?;
    let name = follower.name.clone();
    let text = format!("{} {shown} as {name}.\n", paint(Tone::Good, "Taking in"));
    app.ui.emit(&text, &json!({ "from": shown, "name": name }));
    let working = follower.run();
    let report = if args.rules {
        tokio::select! {
            done = working => done?,
            () = act(app) => bridge::FollowReport::default(),
        }
    } else {
        working.await?
    };
    let mut text = format!("{} taken in.\n", count(report.taken, "event", "events"));
    if report.refused > 0 {
        text.push_str(&format!(
            "{} refused; `vice greed log --stream refused/{name}` lists them.\n",
            count(report.refused, "message was", "messages were")
        ));
    }
    let json =
        json!({ "from": shown, "name": name, "taken": report.taken, "refused": report.refused, "gaps": report.missed });
    Ok(Outcome::done(text, json))
}
