//! Making a backup: a consistent copy, stored, brought back, verified; only then it counts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use vice_core::store::{LogHead, Verification};
use vice_core::{Code, Context, Fault, Result};

use super::Vault;
use super::manifest::{FORMAT, Manifest, folder, measure};
use crate::sqlite::{self, Place, Structure, busy_timeout, require_sound, verify_file};

/// A backup that was verified.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) manifest: Manifest,
    /// Whether the same end of the log had been backed up before.
    pub(crate) repeated: bool,
}

/// Backs the history up.
pub(crate) async fn take(database: &Path, vault: &dyn Vault, url: &str, now: Timestamp) -> Result<Taken> {
    let scratch = scratch(database)?;
    let copy = scratch.path().join("copy.db");
    let found = copy_of(database.to_owned(), copy.clone()).await?;
    let head = found.head;
    let name = format!("{}/history.db", folder(&head));
    let fresh = vault.put_new_file(&name, &copy).await?;

    let back = scratch.path().join("back.db");
    if !vault.fetch(&name, &back).await? {
        return Err(Fault::new(Code::Backup, format!("{name} was stored in {url}, and is not there.")));
    }
    let (stored, local) = (measured(&back).await?, measured(&copy).await?);
    // What was there before was made from the same log by another run; it need not have the same bytes.
    if fresh && stored != local {
        return Err(Fault::new(Code::Backup, format!("What came back from {url} is not what was stored there."))
            .hint("Check that storage before you trust it."));
    }
    require_head(&verified(&back).await?, &head, url)?;

    let manifest = Manifest {
        format: FORMAT,
        history_format: sqlite::format_of(&back)?,
        seq: head.seq,
        chain: head.chain,
        events: found.events,
        sha256: stored.0,
        size: stored.1,
        created: now,
    };
    let manifest = publish(vault, manifest, url).await?;
    Ok(Taken { manifest, repeated: !fresh })
}

/// Writes the manifest beside the copy, then the pointer to it.
async fn publish(vault: &dyn Vault, manifest: Manifest, url: &str) -> Result<Manifest> {
    let name = format!("{}/manifest.json", manifest.folder());
    let mut manifest = manifest;
    if !vault.put_new(&name, manifest.to_bytes()?).await? {
        let bytes = vault.get(&name).await?.unwrap_or_default();
        let known = Manifest::parse(&bytes, url)?;
        known.require_file(manifest.sha256, manifest.size, url)?;
        manifest = known;
    }
    let latest = match vault.get("latest.json").await? {
        Some(bytes) => Some(Manifest::parse(&bytes, url)?),
        None => None,
    };
    // A slower run must not point back to an older copy.
    if latest.is_none_or(|latest| latest.seq <= manifest.seq) {
        vault.put("latest.json", manifest.to_bytes()?).await?;
    }
    Ok(manifest)
}

/// A temporary folder on the history's own disk, where there is space for it.
fn scratch(database: &Path) -> Result<tempfile::TempDir> {
    let dir = database.parent().unwrap_or(database);
    tempfile::Builder::new()
        .prefix(".backup-")
        .tempdir_in(dir)
        .context(Code::StateUnwritable, || format!("No temporary folder can be made in {}.", dir.display()))
}

/// Copies the database as it is at one moment, and checks the copy against the witness.
async fn copy_of(database: PathBuf, copy: PathBuf) -> Result<Verification> {
    let done = tokio::task::spawn_blocking(move || {
        let witness = Place::of(database.parent().unwrap_or(&database)).witness;
        // The witness first, for the log may grow while it is copied.
        let witnessed = crate::witness::Witness::read(&witness)?;
        copy_database(&database, &copy)?;
        let (found, at_witness) = verify_file(&copy, witnessed.map(|head| head.seq), Structure::Pages)?;
        require_sound(&found, "The history")?;
        let lost = witnessed.is_some_and(|head| head.seq > 0 && at_witness != Some(head.chain));
        if lost {
            let message = format!("The history ends at event {}, which is not what was witnessed.", found.head.seq);
            return Err(Fault::new(Code::HistoryDamaged, message).hint("`vice greed verify` says more."));
        }
        if found.events == 0 {
            return Err(Fault::new(Code::Backup, "There is no history to back up yet.")
                .hint("Deploy something first, or check in which folder you are."));
        }
        Ok(found)
    });
    done.await.map_err(|error| Fault::internal("Copying the history failed.").because(error))?
}

fn copy_database(database: &Path, copy: &Path) -> Result<()> {
    let copied = || -> rusqlite::Result<bool> {
        if !database.exists() {
            return Ok(true);
        }
        let source = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        busy_timeout(&source)?;
        let mut target = Connection::open(copy)?;
        let backup = Backup::new(&source, &mut target)?;
        // All pages in one step: one read transaction, which holds no writer up.
        for _ in 0..500 {
            match backup.step(-1)? {
                StepResult::Done => return Ok(true),
                StepResult::Busy | StepResult::Locked => std::thread::sleep(Duration::from_millis(20)),
                _ => {}
            }
        }
        Ok(false)
    };
    match copied() {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(Fault::new(Code::Backup, "Another process keeps the history locked.").hint("Try again later."))
        }
        Err(error) => Err(sqlite::reading(error, database)),
    }
}

/// Digest and size of a file, on a thread that may block.
pub(crate) async fn measured(path: &Path) -> Result<(vice_core::Digest, u64)> {
    let path = path.to_owned();
    let done = tokio::task::spawn_blocking(move || measure(&path)).await;
    done.map_err(|error| Fault::internal("Measuring a file failed.").because(error))?
}

/// A file's whole chain, on a thread that may block.
pub(super) async fn verified(path: &Path) -> Result<Verification> {
    let path = path.to_owned();
    let done =
        tokio::task::spawn_blocking(move || verify_file(&path, None, Structure::Indexes).map(|(found, _)| found)).await;
    done.map_err(|error| Fault::internal("Verifying a backup failed.").because(error))?
}

/// What came back must be sound and end where it should.
pub(super) fn require_head(found: &Verification, head: &LogHead, url: &str) -> Result<()> {
    require_sound(found, "The backup")
        .map_err(|fault| Fault::new(Code::Backup, format!("The backup in {url} can't be used.")).because(fault))?;
    if found.head == *head {
        return Ok(());
    }
    let message = format!("The backup in {url} ends at event {}; expected was {}.", found.head.seq, head.seq);
    Err(Fault::new(Code::Backup, message))
}
