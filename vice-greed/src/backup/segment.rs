//! Incremental backups: a chain of segments, each with the events behind the one before it. Under the place of the backups
//! lie `segments/<from>-<to>-<chain>.jsonl` (`.age` behind it when it is encrypted), a manifest beside each that names the
//! one before, and `segments/latest`, which names the newest manifest. Only that pointer ever changes.
//!
//! A segment begins where the one before it ended, by number and chain hash, so that none can be left out, exchanged or
//! brought into another order. Each file is measured by its manifest, each manifest by a digest in itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::store::{Append, EventStore, Fence, LogHead, Query};
use vice_core::time::SystemClock;
use vice_core::{Code, Context, Digest, Fault, Result};

use super::Vault;
use super::manifest;
use super::seal::{Keys, Seals};
use super::take::measured;
use crate::audit::Links;
use crate::service::dto::RecordedDto;
use crate::sqlite::SqliteStore;

const FORMAT: u32 = 1;

/// The pointer to the newest manifest.
const LATEST: &str = "segments/latest";

/// About so many bytes go into one segment, which is in memory while it is encrypted; a longer backup has several.
const SEGMENT_BYTES: usize = 32 * 1024 * 1024;

/// The most segments of a chain that are looked through: one a minute for two years.
const SEGMENTS_MAX: usize = 1_000_000;

/// Events that are read at a time.
const PAGE: usize = 500;

/// One end of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    seq: u64,
    chain: Digest,
}

impl From<LogHead> for End {
    fn from(head: LogHead) -> Self {
        Self { seq: head.seq, chain: head.chain }
    }
}

impl From<End> for LogHead {
    fn from(end: End) -> Self {
        Self { seq: end.seq, chain: end.chain }
    }
}

/// What is known about a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Described {
    format: u32,
    name: String,
    /// The manifest of the segment before; none for the first.
    previous: Option<String>,
    from: End,
    to: End,
    /// The digest and the size of the file as it is stored.
    sha256: Digest,
    size: u64,
    encrypted: bool,
    /// The epochs when it was made: they are not events.
    fences: BTreeMap<String, u64>,
    created: Timestamp,
}

/// What an incremental backup did.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) head: LogHead,
    /// Events that were there already, and those that were added.
    pub(crate) before: u64,
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
    /// Whether what came back was decrypted and read; without a key it was only measured.
    pub(crate) read_back: bool,
}

fn broken(url: &str, what: impl std::fmt::Display) -> Fault {
    Fault::new(Code::Backup, format!("The backup in {url} can't be used: {what}."))
        .hint("Keep the other backups, and check that storage.")
}

impl Described {
    fn manifest_name(&self) -> String {
        format!("{}.manifest", self.name)
    }

    /// One line of JSON and its digest: no bit of it can change unnoticed.
    fn to_bytes(&self) -> Result<Vec<u8>> {
        let json =
            serde_json::to_string(self).context(Code::Internal, || "A manifest does not serialise.".to_owned())?;
        Ok(format!("{json}\n{}\n", Digest::of(json.as_bytes())).into_bytes())
    }

    fn parse(bytes: &[u8], url: &str, name: &str) -> Result<Self> {
        let odd = || broken(url, format_args!("{name} is not what was stored there"));
        let text = std::str::from_utf8(bytes).map_err(|_| odd())?;
        let (json, sum) = text.split_once('\n').ok_or_else(odd)?;
        if sum != format!("{}\n", Digest::of(json.as_bytes())) {
            return Err(odd());
        }
        let found: Self = serde_json::from_str(json).map_err(|error| odd().because(error))?;
        if found.format > FORMAT {
            return Err(Fault::new(Code::HistoryNewer, format!("The backup in {url} has a newer format."))
                .hint("A newer vice made it. Use that version or a later one."));
        }
        if found.manifest_name() == name { Ok(found) } else { Err(odd()) }
    }
}

/// The manifest with a name.
async fn described(vault: &dyn Vault, url: &str, name: &str) -> Result<Described> {
    let bytes = vault.get(name).await?.ok_or_else(|| broken(url, format_args!("{name} is missing")))?;
    Described::parse(&bytes, url, name)
}

/// The newest segment; none where no incremental backup was made.
pub(super) async fn latest(vault: &dyn Vault, url: &str) -> Result<Option<Described>> {
    let Some(bytes) = vault.get(LATEST).await? else { return Ok(None) };
    let name = String::from_utf8(bytes).map_err(|_| broken(url, "the name of the newest segment is none"))?;
    described(vault, url, name.trim_end()).await.map(Some)
}

/// Every segment, oldest first. Each must begin where the one before it ends.
async fn chain(vault: &dyn Vault, url: &str, newest: Described) -> Result<Vec<Described>> {
    let mut all = vec![newest];
    while let Some(previous) = all.last().and_then(|last| last.previous.clone()) {
        if all.len() >= SEGMENTS_MAX {
            return Err(broken(url, "its segments have no end"));
        }
        let found = described(vault, url, &previous).await?;
        if all.last().is_some_and(|last| last.from != found.to) {
            return Err(broken(url, format_args!("{previous} does not end where the next one begins")));
        }
        all.push(found);
    }
    all.reverse();
    match all.first() {
        Some(first) if first.from.seq == 0 && first.from.chain == Digest::ZERO => Ok(all),
        _ => Err(broken(url, "its first segment is missing")),
    }
}

/// Adds what the history has beyond the newest segment.
pub(crate) async fn add(
    store: &dyn EventStore,
    vault: &dyn Vault,
    url: &str,
    seals: &Seals,
    scratch: &Path,
    now: Timestamp,
) -> Result<Added> {
    let found = store.verify().await?;
    if let Some(problem) = found.problems.first() {
        return Err(Fault::new(Code::HistoryDamaged, format!("The history is damaged: {problem}"))
            .hint("`vice greed verify` says more. What was backed up before is untouched."));
    }
    if found.events == 0 {
        return Err(Fault::new(Code::Backup, "There is no history to back up yet.")
            .hint("Deploy something first, or check in which folder you are."));
    }
    let mut last = latest(vault, url).await?;
    let start = match &last {
        Some(last) => continued(store, url, last.to.into()).await?,
        None => LogHead { seq: 0, chain: Digest::ZERO },
    };
    let fences = store.fences().await?;
    let (mut at, mut segments, mut bytes, mut read_back) = (start, 0, 0, true);
    while at.seq < found.head.seq {
        let (text, to) = cut(store, at, found.head.seq).await?;
        let name = format!("segments/{}-{}-{}.jsonl{}", at.seq + 1, to.seq, to.chain.short(), seals.suffix());
        let file = scratch.join("segment");
        std::fs::write(&file, seals.seal(&text)?).map_err(|error| crate::disk::unwritable(error, &file))?;
        let (sha256, size) = measured(&file).await?;
        let made = Described {
            format: FORMAT,
            name,
            previous: last.as_ref().map(Described::manifest_name),
            from: at.into(),
            to: to.into(),
            sha256,
            size,
            encrypted: seals.is_used(),
            fences: fences.clone(),
            created: now,
        };
        let (made, read) = store_segment(vault, url, seals, made, &file, scratch).await?;
        (at, segments, bytes, read_back) = (to, segments + 1, bytes + made.size, read_back && read);
        last = Some(made);
    }
    Ok(Added { head: at, before: start.seq, segments, bytes, read_back })
}

/// The end of what was backed up, which the history must have as well.
async fn continued(store: &dyn EventStore, url: &str, end: LogHead) -> Result<LogHead> {
    let query = Query { after: end.seq.saturating_sub(1), limit: 1, ..Query::default() };
    let same = store.read(&query).await?.first().is_some_and(|event| event.seq == end.seq && event.chain == end.chain);
    if same {
        return Ok(end);
    }
    Err(Fault::new(
        Code::Conflict,
        format!("The backup in {url} ends at event {}, which is not of this history.", end.seq),
    )
    .hint("It is the backup of another history, or this one was restored to before it. Back up to another place."))
}

/// The lines of a segment, and where it ends.
async fn cut(store: &dyn EventStore, from: LogHead, until: u64) -> Result<(Vec<u8>, LogHead)> {
    let (mut text, mut links) = (Vec::new(), Links::from(from));
    while links.head().seq < until && text.len() < SEGMENT_BYTES {
        let left = usize::try_from(until - links.head().seq).unwrap_or(PAGE);
        let query = Query { after: links.head().seq, limit: left.min(PAGE), ..Query::default() };
        let page = store.read(&query).await?;
        if page.is_empty() {
            return Err(Fault::new(Code::HistoryDamaged, "The history ends before its end."));
        }
        for recorded in page {
            if let Err(odd) = links.add(&recorded) {
                recorded.event.require_data()?;
                return Err(Fault::new(Code::HistoryDamaged, odd));
            }
            serde_json::to_writer(&mut text, &RecordedDto::from(recorded))
                .context(Code::Internal, || "An event does not serialise.".to_owned())?;
            text.push(b'\n');
        }
    }
    Ok((text, links.head()))
}

/// Stores a segment, brings it back and reads it; only then its manifest and the pointer to it are written. Gives whether
/// it could be read, for which there must be a key.
async fn store_segment(
    vault: &dyn Vault,
    url: &str,
    seals: &Seals,
    made: Described,
    file: &Path,
    scratch: &Path,
) -> Result<(Described, bool)> {
    if !vault.put_new_file(&made.name, file).await? {
        // A run that was cut off left it; no manifest speaks of it, so what it holds is not known.
        let taken = vault.get(&made.manifest_name()).await?.is_some();
        if taken || !same_there(vault, &made, scratch).await? {
            return Err(Fault::new(Code::Conflict, format!("{} is in {url} already.", made.name)).hint(
                "Another backup is under way, or one was cut off; back up to another place, or remove that file.",
            ));
        }
    }
    let readable = !made.encrypted || seals.keys().can_open();
    fetch(vault, url, &made, seals.keys(), readable, scratch).await?;
    if !vault.put_new(&made.manifest_name(), made.to_bytes()?).await? {
        return Err(Fault::new(Code::Conflict, format!("Another backup to {url} was first.")).hint("Back up again."));
    }
    vault.put(LATEST, format!("{}\n", made.manifest_name()).into_bytes()).await?;
    Ok((made, readable))
}

async fn same_there(vault: &dyn Vault, made: &Described, scratch: &Path) -> Result<bool> {
    let back = scratch.join("there");
    let there = vault.fetch(&made.name, &back).await? && measured(&back).await? == (made.sha256, made.size);
    std::fs::remove_file(&back).ok();
    Ok(there)
}

/// Brings a segment back, measures it, and reads it where there is a key.
async fn fetch(
    vault: &dyn Vault,
    url: &str,
    segment: &Described,
    keys: &Keys,
    read: bool,
    scratch: &Path,
) -> Result<Vec<RecordedDto>> {
    let file = scratch.join("back");
    if !vault.fetch(&segment.name, &file).await? {
        return Err(broken(url, format_args!("{} is missing", segment.name)));
    }
    let odd = || broken(url, format_args!("{} is not what was stored there", segment.name));
    let same = measured(&file).await? == (segment.sha256, segment.size);
    let sealed = std::fs::read(&file).map_err(|error| crate::disk::unreadable(error, "A segment", &file))?;
    std::fs::remove_file(&file).ok();
    if !same {
        return Err(odd());
    }
    if !read {
        return Ok(Vec::new());
    }
    let text = if segment.encrypted { keys.open(&sealed, url)? } else { sealed };
    let mut links = Links::from(LogHead::from(segment.from));
    let mut events = Vec::new();
    for line in BufReader::new(&text[..]).lines() {
        let line = line.map_err(|error| odd().because(error))?;
        let event: RecordedDto = serde_json::from_str(&line).map_err(|error| odd().because(error))?;
        let recorded = event.into();
        links.add(&recorded).map_err(|problem| odd().because(problem))?;
        events.push(recorded.into());
    }
    if links.head() == LogHead::from(segment.to) { Ok(events) } else { Err(odd()) }
}

/// Builds the history of all segments in the folder `to`, and gives the manifest of the whole.
pub(super) async fn build(
    vault: &dyn Vault,
    url: &str,
    newest: Described,
    keys: &Keys,
    to: &Path,
) -> Result<manifest::Manifest> {
    let (end, created, fences) = (LogHead::from(newest.to), newest.created, newest.fences.clone());
    let target = SqliteStore::open(to, Arc::new(SystemClock))?;
    for segment in chain(vault, url, newest).await? {
        let events = fetch(vault, url, &segment, keys, true, to).await?;
        let events: Vec<_> = events.into_iter().map(|dto| vice_core::event::Recorded::from(dto).event).collect();
        for page in events.chunks(PAGE) {
            target.append(Append::of(page.to_vec())).await?;
        }
        if target.head().await? != LogHead::from(segment.to) {
            return Err(broken(url, format_args!("{} does not give the history that it was made of", segment.name)));
        }
    }
    for (scope, epoch) in fences {
        target.append(Append::of(Vec::new()).fenced(Fence { scope, epoch })).await?;
    }
    target.close().await?;
    let database = to.join(crate::sqlite::DATABASE);
    super::epochs::whole(&database)?;
    let (sha256, size) = measured(&database).await?;
    Ok(manifest::Manifest {
        format: manifest::FORMAT,
        history_format: crate::sqlite::PLAIN,
        seq: end.seq,
        chain: end.chain,
        events: end.seq,
        sha256,
        size,
        created,
    })
}

impl Described {
    /// The last event of the segment.
    pub(super) const fn last(&self) -> u64 {
        self.to.seq
    }
}
