//! Reading recordings, up to where they make sense; HAR files too.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;
use vice_core::{Code, Context, Fault, Result};

use super::exchange::{Closing, Exchange, Opening};
use super::{file, har};

/// The longest line, in bytes: two bodies at their largest limit, and room.
const LINE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The most exchanges of one recording that are worked with at once.
const EXCHANGES_MAX: usize = 2_000_000;

/// The largest recording, in bytes: it is held in memory.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// How a recording ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Properly; so many exchanges more were seen and not written.
    Closed(u64),
    /// Between two lines, without a last one: the recorder was killed, or still runs.
    Open,
    /// In the middle of something.
    Cut {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl Ending {
    /// What a reader should know, if anything.
    pub(crate) fn warning(&self) -> Option<String> {
        match self {
            Self::Closed(0) => None,
            Self::Closed(lost) => {
                Some(format!("The recording lacks {lost} exchanges that came too fast to be written."))
            }
            Self::Open => Some("The recording has no end: its recorder was killed, or still runs.".to_owned()),
            Self::Cut { line, why } => {
                Some(format!("The recording is read up to line {line}, which is damaged: {why}."))
            }
        }
    }
}

/// A recording in memory.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    pub(crate) opening: Opening,
    /// In the order in which they began.
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) ending: Ending,
}

/// Reads a recording, or a HAR file.
///
/// # Errors
/// `Io` when the file can't be read, `Decode` when it is neither, or its first line is damaged.
pub(crate) fn read(path: &Path) -> Result<Recording> {
    let name = path.display();
    let unreadable = || format!("The recording {name} can't be read.");
    let opened = File::open(path).context(Code::Io, unreadable)?;
    let size = opened.metadata().context(Code::Io, unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(Fault::new(Code::Decode, format!("The recording {name} is larger than 4 GiB."))
            .hint("Split it by lines; the first line has to stand at the beginning of each part."));
    }
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("har")) {
        let text = std::fs::read(path).context(Code::Io, unreadable)?;
        return har::from_har(&text).map_err(|why| not_one(path, &why));
    }
    let mut recording = lines(BufReader::new(opened)).map_err(|why| not_one(path, &why))?;
    recording.exchanges.sort_by_key(|exchange| exchange.at_us);
    Ok(recording)
}

fn not_one(path: &Path, why: &str) -> Fault {
    Fault::new(Code::Decode, format!("{} is not a recording: {why}.", path.display()))
        .hint("`vice wrath record` makes recordings; HAR files are read when their names end in .har.")
}

/// Reads line by line up to the end or to damage. Only the first line must be good.
fn lines(mut input: impl BufRead) -> Result<Recording, String> {
    let mut line = String::new();
    let first = next_line(&mut input, &mut line)?;
    if !first {
        return Err("it is empty".to_owned());
    }
    file::check(line.trim_end()).map_err(|why| format!("its first line is damaged, {why}"))?;
    let opening: Opening = serde_json::from_str(&line).map_err(|_| "its first line is another one".to_owned())?;
    if opening.vice_recording != 1 {
        return Err(format!("its format {} is newer than this program", opening.vice_recording));
    }
    let mut exchanges = Vec::new();
    let mut ending = Ending::Open;
    for number in 2.. {
        let taken = match next_line(&mut input, &mut line) {
            Ok(false) => break,
            Ok(true) => take(&line),
            Err(why) => Err(why),
        };
        match taken {
            Ok(Taken::Exchange(exchange)) => exchanges.push(*exchange),
            Ok(Taken::Closing(closing)) => {
                ending = Ending::Closed(closing.lost);
                break;
            }
            Err(why) => {
                ending = Ending::Cut { line: number, why };
                break;
            }
        }
        if exchanges.len() >= EXCHANGES_MAX {
            return Err(format!("it has more than {EXCHANGES_MAX} exchanges"));
        }
    }
    Ok(Recording { opening, exchanges, ending })
}

/// The next line with its end; false at the end of the file.
fn next_line(input: &mut impl BufRead, line: &mut String) -> Result<bool, String> {
    let mut bytes = std::mem::take(line).into_bytes();
    bytes.clear();
    let read = input.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
    let count = read.map_err(|error| format!("it can't be read ({error})"))?;
    if count as u64 == LINE_BYTES_MAX {
        return Err("it is too long".to_owned());
    }
    *line = String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    Ok(count > 0)
}

enum Taken {
    Exchange(Box<Exchange>),
    Closing(Closing),
}

fn take(line: &str) -> Result<Taken, String> {
    let text = line.trim_end();
    file::check(text)?;
    let value: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON ({error})"))?;
    if value.get("request").is_some() {
        let exchange = serde_json::from_value(value).map_err(|error| format!("it is not an exchange ({error})"))?;
        return Ok(Taken::Exchange(Box::new(exchange)));
    }
    serde_json::from_value(value).map(Taken::Closing).map_err(|_| "it is neither an exchange nor an end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::exchange::Asked;

    fn whole() -> String {
        let opening = Opening { vice_recording: 1, began: "x".into(), to: "http://a".into(), masked: true };
        let exchange = |at_us| Exchange {
            conn: 1,
            at_us,
            took_us: 5,
            request: Asked {
                method: "GET".into(),
                target: "/ü".into(),
                version: String::new(),
                headers: vec![],
                body: None,
            },
            answer: None,
            upgraded: None,
            error: None,
        };
        let mut text = file::seal(&opening).unwrap();
        for at in [10, 20, 30] {
            text.push_str(&file::seal(&exchange(at)).unwrap());
        }
        text + &file::seal(&Closing { exchanges: 3, lost: 0 }).unwrap()
    }

    #[test]
    fn a_recording_that_is_cut_anywhere_is_read_up_to_there() {
        let text = whole();
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        for cut in ends[0]..text.len() {
            let recording = lines(&text.as_bytes()[..cut]).unwrap();
            let complete = ends.iter().filter(|end| **end <= cut).count() - 1;
            // A line whose only loss is its end is whole.
            let unended = ends.contains(&(cut + 1));
            assert_eq!(recording.exchanges.len(), (complete + usize::from(unended)).min(3), "{cut}");
            match recording.ending {
                Ending::Closed(0) => assert!(cut + 1 >= text.len()),
                Ending::Open => assert!(ends.contains(&cut) || unended, "{cut}"),
                Ending::Cut { line, .. } => assert_eq!(line, complete + 2),
                Ending::Closed(_) => panic!("nothing was lost"),
            }
        }
        assert!(lines(&text.as_bytes()[..ends[0] - 3]).is_err());
    }

    #[test]
    fn bits_that_flip_are_damage() {
        let text = whole();
        let at = text.match_indices('\n').nth(1).unwrap().0 + 20;
        let mut bytes = text.into_bytes();
        bytes[at] ^= 1;
        let recording = lines(bytes.as_slice()).unwrap();
        assert_eq!(recording.exchanges.len(), 1);
        assert!(recording.ending.warning().unwrap().contains("line 3"), "{:?}", recording.ending);
    }
}
