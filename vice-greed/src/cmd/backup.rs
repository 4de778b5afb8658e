//! `greed backup` and `greed restore`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::database;
use crate::backup::{self, Restored};

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where to: file:///folder or s3://bucket/prefix
    #[arg(value_name = "URL")]
    pub(super) url: String,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// Where from: the place of the backups, or one backup's folder in it
    #[arg(value_name = "URL")]
    url: String,
    /// Put the history into this folder instead of the state folder
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Replace a history without asking
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn backup(app: &App, url: &str) -> Result<Outcome> {
    let database = database(app, "backup")?;
    let vault = backup::vault(url, &app.env)?;
    let taken = backup::take(&database, &*vault, url, app.clock.now()).await?;
    let manifest = &taken.manifest;
    let json = json!({
        "url": url,
        "folder": manifest.folder(),
        "seq": manifest.seq,
        "chain": manifest.chain,
        "events": manifest.events,
        "sha256": manifest.sha256,
        "size": manifest.size,
        "created": manifest.created,
        "verified": true,
        "repeated": taken.repeated,
    });
    let again = if taken.repeated { " It had been there before." } else { "" };
    let text = format!(
        "{} {} events, {} bytes, in {}/{}, brought back and checked.{again}\n",
        paint(Tone::Good, "Backup verified:"),
        manifest.events,
        manifest.size,
        sanitize(url.trim_end_matches('/')),
        manifest.folder(),
    );
    Ok(Outcome::done(text, json))
}

pub(super) async fn restore(app: &App, args: RestoreArgs) -> Result<Outcome> {
    let own = database(app, "restore")?;
    let dir = match args.to {
        Some(dir) => app.env.dir.join(dir),
        None => own.parent().map(PathBuf::from).unwrap_or_default(),
    };
    let vault = backup::vault(&args.url, &app.env)?;
    // Whatever this process has open of the old files is let go before they are moved.
    app.events.close().await?;
    let replace = |seq: u64| confirm(app, args.yes, seq);
    let Restored { manifest, kept } = backup::restore(&dir, &*vault, &args.url, replace).await?;
    let json = json!({
        "url": args.url,
        "to": dir.display().to_string(),
        "seq": manifest.seq,
        "chain": manifest.chain,
        "events": manifest.events,
        "created": manifest.created,
        "kept": kept.as_ref().map(|path| path.display().to_string()),
    });
    let mut text = format!(
        "{} {} events of the backup of {} are the history in {}.\n",
        paint(Tone::Good, "Restored:"),
        manifest.events,
        manifest.created,
        sanitize(&dir.display().to_string()),
    );
    if let Some(kept) = kept {
        text += &format!("The history that was there is kept as {}.\n", sanitize(&kept.display().to_string()));
    }
    Ok(Outcome::done(text, json))
}

fn confirm(app: &App, yes: bool, seq: u64) -> Result<()> {
    if yes {
        return Ok(());
    }
    let question = format!("There is a history up to event {seq}. Type yes to put the backup in its place:");
    if app.ui.ask(&question, "--yes")? == "yes" {
        return Ok(());
    }
    Err(Fault::new(Code::Usage, "Nothing was restored.").hint("Pass --yes to replace the history."))
}
