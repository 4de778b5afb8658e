//! The output of instances: files to which they write directly, so that nothing is lost when the agent dies.
//! Reading is bounded, whatever they contain.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use vice_core::text::sanitize;

/// Beyond this size a log is moved aside.
const LOG_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// At most so much of a log's end is looked at for its last lines.
const TAIL_BYTES_MAX: u64 = 1024 * 1024;

/// A longer line is cut, in characters.
const LINE_CHARS_MAX: usize = 4096;

/// So much is read at once while a log is followed.
const CHUNK_BYTES: u64 = 256 * 1024;

/// Opens a log for an instance to write to.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// The size now; 0 when there is none.
pub(super) fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// A line as it may be shown: cut, and with control characters made visible.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches('\r');
    let cut: String = text.chars().take(LINE_CHARS_MAX).collect();
    let mut out = sanitize(&cut);
    if cut.len() < text.len() {
        out.push('…');
    }
    out
}

/// The last lines of what was written from `from` on, and where the file ended.
pub(super) fn tail(path: &Path, from: u64, lines: usize) -> io::Result<(Vec<String>, u64)> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let end = file.metadata()?.len();
    // A file that has become shorter was moved aside meanwhile; all of it is new.
    let from = if from > end { 0 } else { from };
    let start = from.max(end.saturating_sub(TAIL_BYTES_MAX));
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(end - start).read_to_end(&mut bytes)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Ok((Vec::new(), end));
    }
    let mut last: Vec<String> = bytes.rsplit(|byte| *byte == b'\n').take(lines).map(shown).collect();
    last.reverse();
    Ok((last, end))
}

/// Reads a growing log in whole lines.
pub(super) struct Follower {
    position: u64,
    partial: Vec<u8>,
}

impl Follower {
    pub(super) const fn at(position: u64) -> Self {
        Self { position, partial: Vec::new() }
    }

    /// What has come since the last call; begins anew when the log was moved aside.
    pub(super) fn more(&mut self, path: &Path) -> io::Result<Vec<String>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() < self.position {
            *self = Self::at(0);
        }
        file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        self.position += file.take(CHUNK_BYTES).read_to_end(&mut bytes)? as u64;
        let mut lines = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.keep(&rest[..end]);
            lines.push(shown(&std::mem::take(&mut self.partial)));
            rest = &rest[end + 1..];
        }
        self.keep(rest);
        Ok(lines)
    }

    /// Of a line that never ends only what can be shown is kept.
    fn keep(&mut self, bytes: &[u8]) {
        let room = (LINE_CHARS_MAX * 4 + 1).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Moves a log aside when it has become too large: its end is copied to `.1` and the file emptied, because the
/// instance goes on writing to the same file.
pub(super) fn rotate(path: &Path) -> io::Result<bool> {
    let length = size(path);
    if length <= LOG_BYTES_MAX {
        return Ok(false);
    }
    let mut old = File::options().read(true).write(true).open(path)?;
    old.seek(SeekFrom::Start(length - LOG_BYTES_MAX))?;
    let aside = path.with_extension("log.1");
    let mut copy = File::options().write(true).create(true).truncate(true).mode(0o600).open(aside)?;
    io::copy(&mut Read::by_ref(&mut old).take(LOG_BYTES_MAX), &mut copy)?;
    copy.flush()?;
    old.set_len(0)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_bounded_and_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.log");
        std::fs::write(&path, "one\n\u{1b}[31mtwo\r\n").unwrap();
        assert_eq!(tail(&path, 0, 10).unwrap().0, ["one", "\\u{1b}[31mtwo"]);
        assert_eq!(tail(&path, 4, 10).unwrap().0, ["\\u{1b}[31mtwo"]);
        assert_eq!(tail(&path, 0, 1).unwrap().0.len(), 1);
        // A sparse file stands for one endless line.
        File::options().write(true).open(&path).unwrap().set_len(1 << 30).unwrap();
        let (lines, end) = tail(&path, 0, 5).unwrap();
        assert_eq!((lines.len(), end), (1, 1 << 30));
        assert!(lines[0].len() < 100_000, "{}", lines[0].len());
    }

    #[test]
    fn a_follower_gives_whole_lines_and_survives_moving_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.log");
        let mut follower = Follower::at(0);
        assert!(follower.more(&path).unwrap().is_empty());
        std::fs::write(&path, "a\nb").unwrap();
        assert_eq!(follower.more(&path).unwrap(), ["a"]);
        File::options().append(true).open(&path).unwrap().write_all(b"c\n").unwrap();
        assert_eq!(follower.more(&path).unwrap(), ["bc"]);
        std::fs::write(&path, "d\n").unwrap();
        assert_eq!(follower.more(&path).unwrap(), ["d"]);
    }

    #[test]
    fn an_endless_line_is_followed_in_bounded_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.log");
        std::fs::write(&path, vec![b'x'; 3 * 1024 * 1024]).unwrap();
        let mut follower = Follower::at(0);
        for _ in 0..20 {
            assert!(follower.more(&path).unwrap().is_empty());
        }
        assert!(follower.partial.len() <= LINE_CHARS_MAX * 4 + 1);
        File::options().append(true).open(&path).unwrap().write_all(b"\nnext\n").unwrap();
        let lines = follower.more(&path).unwrap();
        assert_eq!((lines.len(), lines[0].chars().count(), lines[1].as_str()), (2, LINE_CHARS_MAX + 1, "next"));
    }

    #[test]
    fn a_large_log_moves_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.log");
        std::fs::write(&path, vec![b'y'; 11 * 1024 * 1024]).unwrap();
        assert!(rotate(&path).unwrap());
        assert!(!rotate(&path).unwrap());
        assert_eq!((size(&path), size(&dir.path().join("1.log.1"))), (0, LOG_BYTES_MAX));
    }
}
