//! Bringing a backup back: fetched and verified beside the history, then put in its place. The old one is kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use vice_core::store::LogHead;
use vice_core::{Code, Context, Fault, Result};

use super::Vault;
use super::epochs::{self, Passing};
use super::manifest::Manifest;
use super::moment::{self, Until};
use super::seal::Keys;
use super::segment::{self, Described};
use super::take::{measured, require_head, verified};
use crate::disk::make_private_dir;
use crate::sqlite::{DATABASE, Place, Structure, fences, require_sound, verify_file};
use crate::witness::Witness;

/// What was brought back.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) manifest: Manifest,
    /// Where the history that was there before lies now.
    pub(crate) kept: Option<PathBuf>,
    /// The end of the history that is there now.
    pub(crate) head: LogHead,
    /// The last event of the backup that was wanted.
    pub(crate) wanted: u64,
    /// How many epochs of the history that was there before go on in this one.
    pub(crate) raised: usize,
    /// Why the epochs of the history that was there before are not known.
    pub(crate) unknown: Option<Fault>,
}

/// Restores the newest backup, or the one whose folder the URL names, into `dir`. `replace` is asked, with the number
/// of the last event that is there, before anything is put in the place of a history. The epochs of that history go on in
/// the restored one, before it is put in place; `passing` makes the events for it.
pub(crate) async fn restore(
    dir: &Path,
    vault: &dyn Vault,
    url: &str,
    keys: &Keys,
    until: Option<Until>,
    replace: impl FnOnce(u64) -> Result<()>,
    passing: &Passing<'_>,
) -> Result<Restored> {
    let source = find(vault, url).await?;
    let place = Place::of(dir);
    make_private_dir(dir).context(Code::StateUnwritable, || format!("{} can't be made.", dir.display()))?;
    let current = current(&place)?;
    if let Some(seq) = current {
        replace(seq)?;
    }
    let scratch = tempfile::Builder::new()
        .prefix(".restore-")
        .tempdir_in(dir)
        .context(Code::StateUnwritable, || format!("No temporary folder can be made in {}.", dir.display()))?;
    let fetched = scratch.path().join(DATABASE);
    let manifest = match source {
        Source::Whole(manifest, name) => {
            fetch(vault, url, &manifest, &name, &fetched).await?;
            manifest
        }
        Source::Segments(newest) => segment::build(vault, url, *newest, keys, scratch.path()).await?,
    };
    require_head(&verified(&fetched).await?, &manifest.head(), url)?;
    let (fetched, cut) = match until {
        None => (fetched, None),
        Some(until) => {
            let dir = scratch.path().join("until");
            let head = moment::cut(scratch.path(), &dir, until, url).await?;
            (dir.join(DATABASE), Some(head))
        }
    };
    // A damaged history may be what the restore is for; its epochs are taken over if they can be.
    let (seen, unknown) = match fences(&place.database) {
        Ok(seen) => (seen, None),
        Err(fault) => (BTreeMap::new(), Some(fault)),
    };
    let seen = if cut.is_some() { highest(seen, fences(&scratch.path().join(DATABASE))?) } else { seen };
    let raised = epochs::raise(fetched.parent().unwrap_or(dir), &seen, passing).await?;
    let head = if raised == 0 && cut.is_none() { manifest.head() } else { sound(&fetched).await? };
    let kept = put_in_place(&place, &fetched, current, &head)
        .context(Code::StateUnwritable, || format!("The history can't be put into {}.", dir.display()))?;
    Witness::replace(&place.witness, &head)?;
    require_head(&verified(&place.database).await?, &head, url)?;
    let wanted = cut.map_or(manifest.seq, |head| head.seq);
    Ok(Restored { manifest, kept, head, wanted, raised, unknown })
}

fn highest(mut one: BTreeMap<String, u64>, other: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    for (scope, epoch) in other {
        let known = one.entry(scope).or_insert(epoch);
        *known = (*known).max(epoch);
    }
    one
}

async fn sound(database: &Path) -> Result<LogHead> {
    let found = verified(database).await?;
    require_sound(&found, "The restored history")?;
    Ok(found.head)
}

/// What a history is made of again.
enum Source {
    /// A manifest, and the name of the database that it is about.
    Whole(Manifest, String),
    /// The newest of several segments.
    Segments(Box<Described>),
}

async fn fetch(vault: &dyn Vault, url: &str, manifest: &Manifest, name: &str, to: &Path) -> Result<()> {
    if !vault.fetch(name, to).await? {
        return Err(
            Fault::new(Code::Backup, format!("{name} is missing in {url}.")).hint("Name another backup's folder.")
        );
    }
    let (digest, size) = measured(to).await?;
    manifest.require_file(digest, size, url)
}

/// The newest of what is there: a whole copy, or segments that go at least as far.
async fn find(vault: &dyn Vault, url: &str) -> Result<Source> {
    let whole = match vault.get("latest.json").await? {
        Some(bytes) => Some(Manifest::parse(&bytes, url)?),
        None => None,
    };
    let segments = segment::latest(vault, url).await?;
    match (whole, segments) {
        (whole, Some(newest)) if whole.as_ref().is_none_or(|whole| whole.seq <= newest.last()) => {
            return Ok(Source::Segments(Box::new(newest)));
        }
        (Some(manifest), _) => {
            let name = format!("{}/history.db", manifest.folder());
            return Ok(Source::Whole(manifest, name));
        }
        (None, _) => {}
    }
    match vault.get("manifest.json").await? {
        Some(bytes) => Ok(Source::Whole(Manifest::parse(&bytes, url)?, "history.db".to_owned())),
        None => Err(Fault::new(Code::Backup, format!("There is no backup in {url}."))
            .hint("Check the URL; `vice greed backup URL` makes one.")),
    }
}

/// The last event of the history that is there; `None` where there is nothing to lose.
fn current(place: &Place) -> Result<Option<u64>> {
    if !place.database.exists() {
        return Ok(None);
    }
    match verify_file(&place.database, None, Structure::Pages) {
        // A damaged history may still hold something, and may be what the restore is for.
        Ok((found, _)) => Ok((found.events > 0 || !found.problems.is_empty()).then_some(found.head.seq)),
        Err(fault) if fault.code() == Code::HistoryNewer => Err(fault),
        Err(_) => Ok(Some(0)),
    }
}

/// Renames: first the old files aside, then the new one into their place. A process that is killed in between leaves
/// the old history under its new name, and says so by having none.
fn put_in_place(place: &Place, fetched: &Path, old: Option<u64>, head: &LogHead) -> std::io::Result<Option<PathBuf>> {
    File::open(fetched)?.sync_all()?;
    let dir = place.database.parent().unwrap_or(&place.database);
    let mut kept = None;
    if place.database.exists() {
        let aside = free_name(dir, old.unwrap_or(head.seq));
        for suffix in ["-wal", "-shm", ""] {
            let (from, to) = (with_suffix(&place.database, suffix), with_suffix(&aside, suffix));
            if from.exists() {
                std::fs::rename(from, to)?;
            }
        }
        kept = old.is_some().then_some(aside);
    }
    std::fs::rename(fetched, &place.database)?;
    File::open(dir)?.sync_all()?;
    Ok(kept)
}

fn free_name(dir: &Path, seq: u64) -> PathBuf {
    let plain = dir.join(format!("history.db.before-restore-{seq}"));
    let numbered = (2..).map(|number| dir.join(format!("history.db.before-restore-{seq}.{number}")));
    std::iter::once(plain.clone()).chain(numbered).find(|path| !path.exists()).unwrap_or(plain)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
