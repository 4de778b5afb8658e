//! `greed backup` and `greed restore`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::event::Event;
use vice_core::id::Scope;
use vice_core::payload::lease::{Holder, LeaseAcquired, LeaseReleased};
use vice_core::payload::lease_stream;
use vice_core::port::notifier::Severity;
use vice_core::store::EventStore;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Fault, Result};

use super::{database, moment};
use crate::backup::seal::{Keys, Seals};
use crate::backup::{self, Locks, Restored, Until, segment};
use crate::copy;
use crate::disk::make_private_dir;
use crate::sqlite::{DATABASE, SqliteStore};

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where to: file:///folder or s3://bucket/prefix
    #[arg(value_name = "URL")]
    pub(super) url: String,
    /// Only what came since the last incremental backup to this place: a chain of segments instead of whole copies
    #[arg(short, long)]
    pub(super) incremental: bool,
    /// Encrypt for this public key of age; can be given several times
    #[arg(short, long = "recipient", value_name = "AGE1...", requires = "incremental")]
    pub(super) recipients: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// Where from: the place of the backups, or one backup's folder in it
    #[arg(value_name = "URL")]
    url: String,
    /// Put the history into this folder instead of the state folder
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Only up to this: the number of an event, a time such as 2026-07-14T09:00:00Z, or how long ago (2h, 3d)
    #[arg(long, value_name = "SEQ|TIME")]
    until: Option<String>,
    /// Replace a history without asking
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn backup(app: &App, url: &str) -> Result<Outcome> {
    let vault = backup::vault(url, &app.env)?;
    let (database, _scratch) = in_sqlite(app).await?;
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

/// Adds a segment to an incremental backup.
pub(super) async fn increment(app: &App, args: &BackupArgs) -> Result<Outcome> {
    let url = &args.url;
    let (vault, seals) = (backup::vault(url, &app.env)?, Seals::new(&args.recipients, &app.env)?);
    let scratch = scratch(app, ".backup-")?;
    let added = segment::add(&*app.events, &*vault, url, &seals, scratch.path(), app.clock.now()).await?;
    let new = added.head.seq - added.before;
    let json = json!({
        "url": url,
        "seq": added.head.seq,
        "chain": added.head.chain,
        "events": new,
        "segments": added.segments,
        "size": added.bytes,
        "encrypted": !args.recipients.is_empty(),
        "verified": true,
        "decrypted": added.read_back,
    });
    let how = match (new, added.read_back) {
        (0, _) => "nothing had happened since the last one",
        (_, true) => "brought back and read",
        (_, false) => "brought back and measured; without the private key it can't be read here",
    };
    let text = format!(
        "{} {new} events, {} bytes, up to event {} in {}; {how}.\n",
        paint(Tone::Good, "Backup verified:"),
        added.bytes,
        added.head.seq,
        sanitize(url.trim_end_matches('/')),
    );
    Ok(Outcome::done(text, json))
}

/// The history as a database: its own, or a compared copy in a folder that goes with the second part.
async fn in_sqlite(app: &App) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    if app.events.describe().kind == "sqlite" {
        return Ok((database(app, "backup")?, None));
    }
    let scratch = scratch(app, ".backup-")?;
    let copy = SqliteStore::open(scratch.path(), Arc::clone(&app.clock))?;
    copy::copy(&*app.events, &copy, &*app.ui).await?;
    copy.close().await?;
    Ok((scratch.path().join(DATABASE), Some(scratch)))
}

pub(super) fn scratch(app: &App, prefix: &str) -> Result<tempfile::TempDir> {
    let dir = &app.workspace.state;
    let unwritable = || format!("No temporary folder can be made in {}.", dir.display());
    make_private_dir(dir).context(Code::StateUnwritable, unwritable)?;
    tempfile::Builder::new().prefix(prefix).tempdir_in(dir).context(Code::StateUnwritable, unwritable)
}

/// `--until`: a number is an event, anything else a time.
fn until(app: &App, text: Option<&str>) -> Result<Option<Until>> {
    let Some(text) = text else { return Ok(None) };
    Ok(Some(match text.parse() {
        Ok(seq) => Until::Seq(seq),
        Err(_) => Until::Time(moment(text, app.clock.now())?),
    }))
}

/// A history that is not in files here is never replaced: the backup is copied into it, where it is empty.
async fn restore_elsewhere(app: &App, args: &RestoreArgs) -> Result<Outcome> {
    let vault = backup::vault(&args.url, &app.env)?;
    let keys = Keys::of(&app.env)?;
    let _locks = Locks::take(&app.workspace.state, lock_names(app))?;
    let scratch = scratch(app, ".restore-")?;
    let passing = |scope: &Scope, epoch| pass_through(app, scope, epoch);
    let until = until(app, args.until.as_deref())?;
    let restored = backup::restore(scratch.path(), &*vault, &args.url, &keys, until, |_| Ok(()), &passing).await?;
    let source = SqliteStore::open(scratch.path(), Arc::clone(&app.clock))?;
    copy::copy(&source, &*app.events, &*app.ui).await?;
    source.close().await?;
    Ok(told(&args.url, Path::new(&app.events.describe().location), &restored))
}

pub(super) async fn restore(app: &App, args: RestoreArgs) -> Result<Outcome> {
    if args.to.is_none() && app.events.describe().kind != "sqlite" {
        return restore_elsewhere(app, &args).await;
    }
    let own = app.workspace.state.clone();
    let dir = match &args.to {
        Some(dir) => app.env.dir.join(dir),
        None => database(app, "restore")?.parent().map(PathBuf::from).unwrap_or_default(),
    };
    let vault = backup::vault(&args.url, &app.env)?;
    let keys = Keys::of(&app.env)?;
    let own_dir = args.to.is_none() || own == dir;
    let _locks = Locks::take(&dir, if own_dir { lock_names(app) } else { Vec::new() })?;
    // Whatever this process has open of the old files is let go before they are moved.
    app.events.close().await?;
    let replace = |seq: u64| confirm(app, args.yes, seq);
    let passing = |scope: &Scope, epoch| pass_through(app, scope, epoch);
    let until = until(app, args.until.as_deref())?;
    let restored = backup::restore(&dir, &*vault, &args.url, &keys, until, replace, &passing).await?;
    if let Some(unknown) = &restored.unknown {
        let text = format!("{unknown} The epochs of the history that was there may be used again.");
        app.ui.say(Severity::Warning, &text);
    }
    Ok(told(&args.url, &dir, &restored))
}

/// The names of the locks that rollouts of the known environments take.
pub(super) fn lock_names(app: &App) -> Vec<String> {
    let projects = app.workspace.projects.iter();
    projects.flat_map(|(name, project)| project.manifest.env.keys().map(move |env| format!("{name}.{env}"))).collect()
}

/// A lease that is acquired and given back at once: after it, the next one has a higher epoch.
fn pass_through(app: &App, scope: &Scope, epoch: u64) -> Result<Vec<Event>> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/self/stat");
    let started = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok());
    let acquired = LeaseAcquired {
        scope: scope.clone(),
        epoch,
        holder: Holder {
            actor: app.actor.to_string(),
            host: app.env.host.clone(),
            boot_id: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
            pid: std::process::id(),
            pid_start: started.unwrap_or(0),
            pid_space: String::new(),
        },
        purpose: "restore".to_owned(),
        takeover: None,
    };
    let released = LeaseReleased { scope: scope.clone(), epoch };
    let stream = lease_stream(scope);
    Ok(vec![app.event(stream.clone(), Some(scope), &acquired)?, app.event(stream, Some(scope), &released)?])
}

fn told(url: &str, dir: &Path, restored: &Restored) -> Outcome {
    let Restored { manifest, kept, head, wanted, raised, .. } = restored;
    let json = json!({
        "url": url,
        "to": dir.display().to_string(),
        "seq": manifest.seq,
        "chain": manifest.chain,
        "events": manifest.events,
        "created": manifest.created,
        "kept": kept.as_ref().map(|path| path.display().to_string()),
        "until": wanted,
        "head": head.seq,
        "epochs_raised": raised,
    });
    let mut text = format!(
        "{} {} events of the backup of {} are the history in {}.\n",
        paint(Tone::Good, "Restored:"),
        wanted,
        manifest.created,
        sanitize(&dir.display().to_string()),
    );
    if let Some(kept) = kept {
        text += &format!("The history that was there is kept as {}.\n", sanitize(&kept.display().to_string()));
    }
    if *raised > 0 {
        text += &format!("The leases of {raised} environment(s) go on from the epochs that were reached before.\n");
    }
    Outcome::done(text, json)
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
