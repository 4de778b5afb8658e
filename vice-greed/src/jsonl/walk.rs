//! Reading a segment line by line, append by append, and telling a torn end from damage.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use vice_core::Result;

use super::index::At;
use super::line::{self, LINE_MAX, Line};
use crate::disk::unreadable;

/// Whoever takes the lines.
pub(crate) trait Sink {
    /// One line of an append that may not be whole.
    ///
    /// # Errors
    /// What doesn't fit, to stand behind the name of the line.
    fn stage(&mut self, at: At, line: Line<'_>) -> std::result::Result<(), String>;

    /// The append is whole.
    ///
    /// # Errors
    /// As [`Sink::stage`].
    fn commit(&mut self) -> std::result::Result<(), String>;

    /// Whether reading goes on behind a line that doesn't fit; the problem is kept if so.
    fn goes_on(&mut self, problem: String) -> bool;
}

/// Where and how reading a segment ended.
#[derive(Debug)]
pub(crate) struct End {
    /// Behind the last append that is whole.
    pub(crate) whole: u64,
    /// The end of the file, or as far as was to be read.
    pub(crate) length: u64,
    /// What is wrong with what follows the last whole append; `None` when nothing follows.
    pub(crate) broken: Option<Broken>,
}

#[derive(Debug)]
pub(crate) struct Broken {
    /// In a whole sentence without its end.
    pub(crate) what: String,
    /// Whether it can be what a write left that was cut off: nothing that follows makes sense.
    pub(crate) torn: bool,
}

struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<std::io::Take<File>>,
    buffer: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path, from: u64, until: Option<u64>) -> Result<(Self, u64)> {
        let fault = |error| unreadable(error, "The segment", path);
        let mut file = File::open(path).map_err(fault)?;
        let length = file.metadata().map_err(fault)?.len();
        let length = until.map_or(length, |until| until.min(length));
        file.seek(SeekFrom::Start(from)).map_err(fault)?;
        let reader = BufReader::with_capacity(256 * 1024, file.take(length.saturating_sub(from)));
        Ok((Self { path, reader, buffer: Vec::new() }, length))
    }

    /// The next line with its end, if it has one; empty at the end of the file.
    fn next(&mut self) -> Result<&[u8]> {
        self.buffer.clear();
        let limit = LINE_MAX as u64 + 1;
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut self.buffer);
        read.map_err(|error| unreadable(error, "The segment", self.path))?;
        Ok(&self.buffer)
    }
}

/// Reads a segment from `from` (behind a whole append) on, at most to `until`.
///
/// # Errors
/// `Io`; what is wrong with the content is told in the [`End`].
pub(crate) fn walk(path: &Path, segment: u32, from: u64, until: Option<u64>, sink: &mut impl Sink) -> Result<End> {
    let (mut lines, length) = Lines::open(path, from, until)?;
    let (mut at, mut whole, mut pending) = (from, from, false);
    loop {
        let bytes = lines.next()?;
        let (read, ended) = (bytes.len(), bytes.last() == Some(&b'\n'));
        if read == 0 {
            let what = || Broken { what: "ends within an append".to_owned(), torn: true };
            return Ok(End { whole, length, broken: pending.then(what) });
        }
        let found = match ended {
            true => line::read(&bytes[..read - 1]).map_err(str::to_owned),
            false => Err("has no end".to_owned()),
        };
        let place = At { segment, offset: at, len: u32::try_from(read.saturating_sub(1)).unwrap_or(u32::MAX) };
        let understood = found.is_ok();
        let staged = found.and_then(|line| {
            let last = is_last(&line);
            sink.stage(place, line)?;
            if last { sink.commit().map(|()| true) } else { Ok(false) }
        });
        match staged {
            Ok(last) => pending = !last,
            Err(odd) => {
                let what = format!("The line at byte {at} of {} {odd}", path.display());
                // A line with its checksum that doesn't fit was written whole.
                let torn = !understood && nothing_follows(&mut lines)?;
                if torn || !sink.goes_on(what.clone()) {
                    return Ok(End { whole, length, broken: Some(Broken { what, torn }) });
                }
                return walk(path, segment, at + read as u64, until, sink);
            }
        }
        at += read as u64;
        if !pending {
            whole = at;
        }
    }
}

fn is_last(line: &Line<'_>) -> bool {
    match line {
        Line::Head(_) => true,
        Line::Event(event) => !event.more,
        Line::Fence(fence) => !fence.more,
    }
}

/// Whether no line that makes sense is left. A write that was cut off leaves a beginning of itself; a line that
/// makes sense behind one that doesn't is no such thing.
fn nothing_follows(lines: &mut Lines<'_>) -> Result<bool> {
    loop {
        let bytes = lines.next()?;
        if bytes.is_empty() {
            return Ok(true);
        }
        if bytes.last() == Some(&b'\n') && line::read(&bytes[..bytes.len() - 1]).is_ok() {
            return Ok(false);
        }
    }
}
