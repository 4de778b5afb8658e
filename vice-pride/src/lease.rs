//! Who may change an environment: one holder at a time, told apart by an epoch that only grows.
//!
//! On one machine a lock file held by the process says whether the holder lives, without timers; the log says who it
//! is and which epoch it has. Every append of the holder carries the epoch, so that a holder who was passed over
//! can't write any more.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::PathBuf;

use vice_core::app::App;
use vice_core::fold::{self, lease::LeaseState};
use vice_core::id::Scope;
use vice_core::payload::lease::{Holder, LeaseAcquired, LeaseReleased};
use vice_core::payload::lease_stream;
use vice_core::store::{Append, Expected, Fence};
use vice_core::time::ago;
use vice_core::{Code, Context, Fault, Result};

/// How often acquiring is tried again when somebody else's append comes between reading and writing.
const TRIES_MAX: u32 = 16;

/// A lease that this process holds. Dropping it without [`Lease::release`] leaves the epoch in force and frees the
/// lock, as a crash does.
#[derive(Debug)]
pub struct Lease {
    scope: Scope,
    epoch: u64,
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
/// `Locked` when a living process holds it, naming it; what the store says.
pub async fn acquire(app: &App, scope: &Scope, purpose: &str) -> Result<Lease> {
    let Some(lock) = lock_file(app, scope)? else { return Err(locked(app, scope).await) };
    let stream = lease_stream(scope);
    for _ in 0..TRIES_MAX {
        let (state, version) = fold::load::<LeaseState>(app.events.as_ref(), &stream).await?;
        let acquired = LeaseAcquired {
            scope: scope.clone(),
            epoch: state.epoch + 1,
            holder: this_process(app),
            purpose: purpose.to_owned(),
            takeover: state.held.map(|held| {
                format!("pid {} on {} ended without giving the lease back", held.holder.pid, held.holder.host)
            }),
        };
        let fence = Fence { scope: scope.to_string(), epoch: acquired.epoch };
        let event = app.event(stream.clone(), Some(scope), &acquired)?;
        let append = Append::of(vec![event]).expect(stream.clone(), Expected::from_version(version)).fenced(fence);
        match app.events.append(append).await {
            Ok(_) => return Ok(Lease { scope: scope.clone(), epoch: acquired.epoch, _lock: lock }),
            Err(fault) if matches!(fault.code(), Code::Conflict | Code::Fenced) => {}
            Err(fault) => return Err(fault),
        }
    }
    Err(Fault::new(Code::Locked, format!("The lease of {scope} is being fought over.")).hint("Try again in a moment."))
}

/// Whether a living process on this machine holds the lease.
///
/// # Errors
/// `StateUnwritable` when the lock file can't be opened.
pub fn is_held(app: &App, scope: &Scope) -> Result<bool> {
    Ok(lock_file(app, scope)?.is_none())
}

fn lock_path(app: &App, name: &str) -> PathBuf {
    app.workspace.state.join("locks").join(name)
}

/// The locked file of a scope, or none when another process has it.
fn lock_file(app: &App, scope: &Scope) -> Result<Option<File>> {
    file_lock(app, &format!("{}.{}.lock", scope.project, scope.env))
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
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.context(Code::StateUnwritable, fail)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Fault::new(Code::StateUnwritable, fail()).because(error)),
    }
}

async fn locked(app: &App, scope: &Scope) -> Fault {
    let fault = Fault::new(Code::Locked, format!("Somebody else is changing {scope}."));
    let state = fold::load::<LeaseState>(app.events.as_ref(), &lease_stream(scope)).await;
    match state.ok().and_then(|(state, _)| state.held.map(|held| (state.epoch, held))) {
        Some((epoch, held)) => fault
            .hint(format!(
                "{} holds it for {:?} since {} (pid {} on {}, epoch {epoch}).",
                held.holder.actor,
                held.purpose,
                ago(held.since, app.clock.now()),
                held.holder.pid,
                held.holder.host,
            ))
            .hint("Wait for it, or stop it: `vice pride pause` and `vice pride abort` are always heard.")
            .detail("holder", held.holder.actor)
            .detail("pid", held.holder.pid)
            .detail("epoch", epoch),
        None => fault.hint("It has just begun. Try again in a moment."),
    }
}

fn this_process(app: &App) -> Holder {
    let pid = std::process::id();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    Holder {
        actor: app.actor.to_string(),
        host: app.env.host.clone(),
        boot_id: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
        pid,
        pid_start: start_ticks(&read("/proc/self/stat")).unwrap_or(0),
    }
}

/// Field 22 of `/proc/PID/stat`: when the process started, in clock ticks since boot. The command name in field 2 may
/// hold spaces and parentheses, so counting starts after its last parenthesis.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_command_name_does_not_shift_the_fields() {
        let fields: Vec<String> = (3..=25).map(|n| n.to_string()).collect();
        let stat = format!("1 (a) b (c) ) {}", fields.join(" "));
        assert_eq!(start_ticks(&stat), Some(22));
    }
}
