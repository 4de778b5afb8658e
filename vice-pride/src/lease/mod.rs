//! Who may change an environment: one holder at a time, told apart by an epoch that only grows.
//!
//! On one machine a lock file held by the process says whether the holder lives, without timers; where others share the
//! history from elsewhere, a holder leaves signs of life, and one that leaves none is passed over. The log says who it is
//! and which epoch it has. Every append of the holder carries the epoch, so that a holder who was passed over can't write
//! any more, whatever it believes.

mod heart;
mod holder;
mod required;

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use vice_core::app::App;
use vice_core::capability::Capability;
use vice_core::fold::lease::Held;
use vice_core::fold::{self, lease::LeaseState};
use vice_core::id::Scope;
use vice_core::payload::lease::{LeaseAcquired, LeaseReleased};
use vice_core::payload::lease_stream;
use vice_core::store::{Append, EventStoreExt, Expected, Fence, Query};
use vice_core::time::ago;
use vice_core::{Code, Context, Fault, Result};

use heart::Heart;
use holder::{Seen, look_for, this_process};

pub(crate) use required::require_history;

/// How often acquiring is tried again when somebody else's append comes between reading and writing.
const TRIES_MAX: u32 = 16;

/// A lease that this process holds. Dropping it without [`Lease::release`] leaves the epoch in force and frees the
/// lock, as a crash does.
#[derive(Debug)]
pub struct Lease {
    scope: Scope,
    epoch: u64,
    /// The version of the lease's stream with our epoch.
    version: u64,
    heart: Option<Heart>,
    _lock: File,
}

impl Lease {
    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What every append of the holder carries.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence { scope: self.scope.to_string(), epoch: self.epoch }
    }

    /// Fails when another one may soon take over, because nobody hears of this holder any more.
    ///
    /// # Errors
    /// `Unreachable`.
    pub fn check(&self) -> Result<()> {
        self.heart.as_ref().map_or(Ok(()), Heart::check)
    }

    /// Fails when another one has taken over. What it writes is refused in any case; this is to know it sooner.
    ///
    /// # Errors
    /// `Fenced`, with who and why; what the store says.
    pub async fn confirm(&self, app: &App) -> Result<()> {
        let later = app.events.read_all(Query::stream(lease_stream(&self.scope), self.version)).await?;
        for recorded in later {
            if let Some(acquired) = recorded.event.decode::<LeaseAcquired>()? {
                let why = acquired.takeover.unwrap_or_else(|| "no reason was given".to_owned());
                let message = format!("{} has taken {} over: {why}.", acquired.holder.actor, self.scope);
                return Err(Fault::new(Code::Fenced, message));
            }
        }
        Ok(())
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// What the store says; the lock is free in any case.
    pub async fn release(self, app: &App) -> Result<()> {
        let released = LeaseReleased { scope: self.scope.clone(), epoch: self.epoch };
        let event = app.event(lease_stream(&self.scope), Some(&self.scope), &released)?;
        app.events.append(Append::of(vec![event]).fenced(self.fence())).await?;
        Ok(())
    }
}

/// Acquires the lease of a scope, for a purpose such as `deploy 2`.
///
/// # Errors
/// `Usage` when the environment is shared and its history is not; `Locked` when a living process holds it, naming it;
/// what the store says.
pub async fn acquire(app: &App, scope: &Scope, purpose: &str) -> Result<Lease> {
    require_history(app, scope).await?;
    let Some(lock) = lock_file(app, scope)? else { return Err(refusal(app, scope).await) };
    for _ in 0..TRIES_MAX {
        let (state, version) = fold::load::<LeaseState>(app.events.as_ref(), &lease_stream(scope)).await?;
        let takeover = match &state.held {
            Some(held) => match gone(app, scope, held, state.epoch).await? {
                Some(why) => Some(why),
                None => return Err(refusal(app, scope).await),
            },
            None => None,
        };
        if let Some(epoch) = take(app, scope, (state.epoch, version), purpose, takeover).await? {
            let heart = match app.events.capabilities().has(Capability::Beats) {
                true => Some(Heart::start(app, scope, epoch, this_sign(app)).await),
                false => None,
            };
            return Ok(Lease { scope: scope.clone(), epoch, version: version + 1, heart, _lock: lock });
        }
    }
    Err(Fault::new(Code::Locked, format!("The lease of {scope} is being fought over.")).hint("Try again in a moment."))
}

/// Fails when the lease of a scope has a higher epoch by now.
///
/// # Errors
/// `Fenced`; what the store says.
pub(crate) async fn is_ours(app: &App, scope: &Scope, epoch: u64) -> Result<()> {
    let (state, _) = fold::load::<LeaseState>(app.events.as_ref(), &lease_stream(scope)).await?;
    if state.epoch > epoch {
        return Err(Fault::new(Code::Fenced, format!("Another process has taken {scope} over.")));
    }
    Ok(())
}

/// What tells the signs of life of this process from those of every other.
fn this_sign(app: &App) -> String {
    let own = this_process(app);
    format!("{}/{}/{}", own.boot_id, own.pid, own.pid_start)
}

/// Takes the next epoch, if nobody else has since; gives it.
async fn take(
    app: &App,
    scope: &Scope,
    (epoch, version): (u64, u64),
    purpose: &str,
    takeover: Option<String>,
) -> Result<Option<u64>> {
    let (stream, epoch) = (lease_stream(scope), epoch + 1);
    let acquired =
        LeaseAcquired { scope: scope.clone(), epoch, holder: this_process(app), purpose: purpose.to_owned(), takeover };
    let fence = Fence { scope: scope.to_string(), epoch };
    let event = app.event(stream.clone(), Some(scope), &acquired)?;
    let append = Append::of(vec![event]).expect(stream, Expected::from_version(version)).fenced(fence);
    match app.events.append(append).await {
        Ok(_) => Ok(Some(epoch)),
        Err(fault) if matches!(fault.code(), Code::Conflict | Code::Fenced) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Why a holder can be passed over; none when it lives. The lock of this folder is ours already.
async fn gone(app: &App, scope: &Scope, held: &Held, epoch: u64) -> Result<Option<String>> {
    let (pid, host) = (held.holder.pid, &held.holder.host);
    let ended = format!("pid {pid} on {host} ended without giving the lease back");
    match look_for(&held.holder, &this_process(app)) {
        Seen::Own | Seen::Ended => Ok(Some(ended)),
        // In a history that only this folder has, the free lock says it.
        _ if !app.events.describe().shared => Ok(Some(ended)),
        Seen::Lives => Ok(None),
        Seen::Elsewhere if !app.events.capabilities().has(Capability::Beats) => Ok(None),
        Seen::Elsewhere => {
            let silent = heart::ttl(&app.env).as_secs_f64();
            let lives = heart::beats(app, scope, epoch).await?;
            Ok((!lives).then(|| format!("pid {pid} on {host} gave no sign of life for {silent:.0} s")))
        }
    }
}

/// Takes a lease from whoever has it, living or not, and gives it back at once: the earlier holder can write no more.
/// Gives the epoch.
///
/// # Errors
/// `UnknownName` when nobody holds it; what the store says.
pub(crate) async fn steal(app: &App, scope: &Scope, reason: &str) -> Result<(u64, Held)> {
    require_history(app, scope).await?;
    for _ in 0..TRIES_MAX {
        let (state, version) = fold::load::<LeaseState>(app.events.as_ref(), &lease_stream(scope)).await?;
        let Some(held) = state.held else {
            return Err(Fault::new(Code::UnknownName, format!("Nobody holds the lease of {scope}."))
                .hint("`vice pride lock ls` lists those that are held."));
        };
        let why = format!("{} took it from {}: {reason}", app.actor, held.holder.actor);
        if let Some(epoch) = take(app, scope, (state.epoch, version), "steal the lease", Some(why)).await? {
            // A holder that stands still in this very folder keeps its lock for as long as it stands; whoever goes on has
            // another file. It was passed over before, so that it can write no more.
            forget_lock(app, &lock_name(scope));
            let released = LeaseReleased { scope: scope.clone(), epoch };
            let event = app.event(lease_stream(scope), Some(scope), &released)?;
            let fence = Fence { scope: scope.to_string(), epoch };
            app.events.append(Append::of(vec![event]).fenced(fence)).await?;
            return Ok((epoch, held));
        }
    }
    Err(Fault::new(Code::Locked, format!("The lease of {scope} is being fought over.")).hint("Try again in a moment."))
}

/// Whether a living process holds the lease. A holder on another machine is waited for until it gives a sign of life, or
/// has given none for so long that it is passed over.
///
/// # Errors
/// `StateUnwritable` when the lock file can't be opened; what the store says.
pub async fn is_held(app: &App, scope: &Scope) -> Result<bool> {
    let Some(lock) = lock_file(app, scope)? else { return Ok(true) };
    drop(lock);
    if !app.events.describe().shared {
        return Ok(false);
    }
    let (state, _) = fold::load::<LeaseState>(app.events.as_ref(), &lease_stream(scope)).await?;
    match &state.held {
        Some(held) => Ok(gone(app, scope, held, state.epoch).await?.is_none()),
        None => Ok(false),
    }
}

/// What can be said of a holder at once, for people.
pub(crate) fn standing(app: &App, scope: &Scope, held: &Held) -> Result<&'static str> {
    let locked = lock_file(app, scope)?.is_none();
    Ok(match look_for(&held.holder, &this_process(app)) {
        Seen::Own | Seen::Lives => "lives",
        Seen::Elsewhere if locked => "lives",
        Seen::Elsewhere => "is elsewhere",
        Seen::Ended => "ended",
    })
}

fn lock_path(app: &App, name: &str) -> PathBuf {
    app.workspace.state.join("locks").join(name)
}

fn lock_name(scope: &Scope) -> String {
    format!("{}.{}.lock", scope.project, scope.env)
}

/// The locked file of a scope, or none when another process has it.
fn lock_file(app: &App, scope: &Scope) -> Result<Option<File>> {
    file_lock(app, &lock_name(scope))
}

/// Removes the file of a lock that nobody will want any more.
pub(crate) fn forget_lock(app: &App, name: &str) {
    drop(std::fs::remove_file(lock_path(app, name)));
}

/// A locked file of this name, or none when another process has it.
pub(crate) fn file_lock(app: &App, name: &str) -> Result<Option<File>> {
    let path = lock_path(app, name);
    let fail = || format!("The lock file {} can't be opened.", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).context(Code::StateUnwritable, fail)?;
    }
    for _ in 0..TRIES_MAX {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.context(Code::StateUnwritable, fail)?;
        match file.try_lock() {
            // Somebody may have removed it between the two; then it is the lock of nothing.
            Ok(()) if is_at(&file, &path) => return Ok(Some(file)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(Fault::new(Code::StateUnwritable, fail()).because(error)),
        }
    }
    Ok(None)
}

/// Whether a file is the one that is found at a path.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    file.metadata().is_ok_and(|one| std::fs::metadata(path).is_ok_and(|other| same(&one, &other)))
}

/// Why the lease can't be had now: who holds it, for what, and since when.
pub(crate) async fn refusal(app: &App, scope: &Scope) -> Fault {
    let fault = Fault::new(Code::Locked, format!("Somebody else is changing {scope}."));
    let state = fold::load::<LeaseState>(app.events.as_ref(), &lease_stream(scope)).await;
    let Some((epoch, held)) = state.ok().and_then(|(state, _)| state.held.map(|held| (state.epoch, held))) else {
        return fault.hint("It has just begun. Try again in a moment.");
    };
    let (project, env) = (&scope.project, &scope.env);
    let fault = fault
        .hint(format!(
            "{} holds it for {:?} since {} (pid {} on {}, epoch {epoch}).",
            held.holder.actor,
            held.purpose,
            ago(held.since, app.clock.now()),
            held.holder.pid,
            held.holder.host,
        ))
        .hint("Wait for it, or stop it: `vice pride pause` and `vice pride abort` are always heard.")
        .hint(format!("If it hangs: vice pride lock steal {project} --env {env} --reason WHY."));
    fault
        .detail("holder", held.holder.actor)
        .detail("host", held.holder.host)
        .detail("pid", held.holder.pid)
        .detail("purpose", held.purpose)
        .detail("since", held.since.to_string())
        .detail("epoch", epoch)
}
