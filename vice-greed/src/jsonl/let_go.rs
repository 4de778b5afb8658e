//! Letting go of data that were archived. Each segment that has some is written anew beside itself, without them, and put
//! in its own place, under the folder's lock. A kill in between leaves some segments as they were and others as they should
//! be; both are whole, and whoever does it again goes on.
//!
//! Lines move when that happens, so every process that has an index must read anew: the file `generation` is replaced
//! before the first segment is, and whoever takes the lock looks at it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use vice_core::event::Payload;
use vice_core::payload::history::DataArchived;
use vice_core::{Fault, Result};

use super::line::{self, ARCHIVED, Head, Line};
use super::log::{Log, damaged};
use crate::disk::{sync_dir, unreadable, unwritable};
use crate::gaps::spans_of;

/// The file whose replacement says that lines have moved.
pub(super) const GENERATION: &str = "generation";

/// Empties what the anchor names; gives how many events had their data still. The lock is held and the index is fresh.
pub(super) fn let_go(log: &mut Log, anchor: u64) -> Result<u64> {
    let found = log.index.line(anchor).map(|at| log.fetch(&[at])).transpose()?.and_then(|mut found| found.pop());
    let (kind, data) = found.map(|found| (found.event.kind, found.event.data)).unzip();
    let spans = spans_of(anchor, kind.as_deref(), &data.unwrap_or_default())?;
    let segments: BTreeSet<u32> = spans
        .iter()
        .flat_map(|(first, last)| (*first..=*last).filter_map(|seq| log.index.line(seq)))
        .map(|at| at.segment)
        .collect();
    let mut gone = 0;
    for segment in segments {
        let path = log.segment_path(segment).ok_or_else(|| Fault::internal("A segment is not known."))?;
        // Behind the last whole append of the last segment may be what a write left that was cut off; it stays behind.
        let whole = (segment == log.segment()).then_some(log.offset);
        let (bytes, emptied) = rewritten(&path, whole, &spans)?;
        if emptied > 0 {
            if gone == 0 {
                put(log.dir(), &log.dir().join(GENERATION), anchor.to_string().as_bytes())?;
            }
            put(log.dir(), &path, &bytes)?;
            gone += emptied;
        }
    }
    if gone > 0 {
        log.forget();
    }
    Ok(gone)
}

/// The content of a segment without the data of these events, and how many had them.
fn rewritten(path: &Path, whole: Option<u64>, spans: &[(u64, u64)]) -> Result<(Vec<u8>, u64)> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(error, "The segment", path))?;
    let end = whole.and_then(|whole| usize::try_from(whole).ok()).unwrap_or(bytes.len()).min(bytes.len());
    let (mut out, mut emptied) = (Vec::with_capacity(end), 0);
    let odd = |odd: &str| damaged(format!("A line of {} {odd}.", path.display()));
    for text in bytes[..end].split_inclusive(|byte| *byte == b'\n') {
        match line::read(text.strip_suffix(b"\n").ok_or_else(|| odd("has no end"))?).map_err(odd)? {
            Line::Head(head) => line::write(&mut out, &Head { segment: ARCHIVED, ..head })?,
            Line::Event(mut event)
                if event.has_data() && covers(spans, event.seq) && event.kind != DataArchived::KIND =>
            {
                (event.data, event.text) = (None, None);
                line::write(&mut out, &*event)?;
                emptied += 1;
            }
            _ => out.extend_from_slice(text),
        }
    }
    Ok((out, emptied))
}

fn covers(spans: &[(u64, u64)], seq: u64) -> bool {
    let behind = spans.partition_point(|(first, _)| *first <= seq);
    behind > 0 && spans[behind - 1].1 >= seq
}

/// Puts a whole new file in the place of another; it is on disk before it has the name.
fn put(dir: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let placed = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map(|_: File| ()).map_err(|error| error.error)?;
        sync_dir(dir)
    };
    placed().map_err(|error| unwritable(error, path))
}
