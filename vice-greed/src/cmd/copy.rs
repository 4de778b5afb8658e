//! `greed copy`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::fold::{self, lease::LeaseState};
use vice_core::port::notifier::Severity;
use vice_core::store::EventStore;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::backup::lock_names;
use crate::backup::Locks;
use crate::copy;
use crate::place::{Opening, StorePlace};

#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// Where the history is: sqlite:FOLDER, jsonl:FOLDER, git:REMOTE, s3://BUCKET/PREFIX, postgres://USER@HOST/DATABASE, nats://HOST/STREAM or https://HOST
    #[arg(value_name = "FROM")]
    from: String,
    /// Where it shall be, written in the same way: an empty place, or one that an earlier run of this command began
    #[arg(value_name = "TO")]
    to: String,
}

pub(super) async fn copy(app: &App, args: CopyArgs) -> Result<Outcome> {
    let (from, to) = (place(app, &args.from)?, place(app, &args.to)?);
    if from == to {
        return Err(Fault::new(Code::Usage, "Both places are the same.").hint("Name another one as the second."));
    }
    let _here = locks(app, &from)?;
    let _there = if state(app, &from) == state(app, &to) { Locks::none() } else { locks(app, &to)? };
    let (source, target) = (open(app, &from)?, open(app, &to)?);
    refuse_leases(&*source).await?;
    let copied = copy::copy(&*source, &*target, &*app.ui).await;
    source.close().await?;
    target.close().await?;
    let copied = copied?;
    let new = copied.head.seq - copied.found;
    let json = json!({
        "from": from.to_string(),
        "to": to.to_string(),
        "events": copied.head.seq,
        "new": new,
        "chain": copied.head.chain,
        "epochs": copied.epochs,
        "compared": true,
    });
    let before = if copied.found > 0 { format!(" {} had been there.", copied.found) } else { String::new() };
    let text = format!(
        "{} {new} events to {}, and compared {} event by event, up to {}.{before}\n  Write store = \"{}\" under [history] in vice.toml to use it.\n",
        paint(Tone::Good, "Copied"),
        sanitize(&to.to_string()),
        copied.head.seq,
        copied.head.chain.short(),
        sanitize(&args.to),
    );
    Ok(Outcome::done(text, json))
}

fn place(app: &App, text: &str) -> Result<StorePlace> {
    StorePlace::parse(text, &app.env.dir)
}

fn open(app: &App, place: &StorePlace) -> Result<Arc<dyn EventStore>> {
    let ui = Arc::clone(&app.ui);
    place.open(&Opening {
        clock: Arc::clone(&app.clock),
        env: Arc::clone(&app.env),
        notices: Arc::new(move |text: &str| ui.say(Severity::Warning, text)),
        state: app.workspace.state.clone(),
    })
}

fn state(app: &App, place: &StorePlace) -> PathBuf {
    place.state(&app.workspace.state)
}

/// Nobody may record in either place meanwhile: whoever drives a rollout here holds a lock of its state folder.
fn locks(app: &App, place: &StorePlace) -> Result<Locks> {
    let state = state(app, place);
    let own = state == app.workspace.state;
    if !own && !state.exists() {
        return Ok(Locks::none());
    }
    Locks::take(&state, if own { lock_names(app) } else { Vec::new() })
}

/// A rollout that another machine drives has no lock here, but a lease in the history that both share.
async fn refuse_leases(source: &dyn EventStore) -> Result<()> {
    if !source.describe().shared {
        return Ok(());
    }
    let mut after = String::new();
    loop {
        let streams = source.streams("lease/", &after, 1000).await?;
        let Some(last) = streams.last() else { return Ok(()) };
        after.clone_from(&last.name);
        for stream in &streams {
            let (state, _) = fold::load::<LeaseState>(source, &stream.name).await?;
            if let Some(held) = state.held {
                let who = sanitize(&held.holder.actor);
                return Err(Fault::new(Code::Locked, format!("A rollout is under way ({}, by {who}).", stream.name))
                    .hint("Wait for it, or end it (`vice status` shows it), and copy then."));
            }
        }
    }
}
