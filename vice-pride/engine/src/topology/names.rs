//! Names by dense symbols. A run such as `server1 … server40` costs a few bytes and is written on demand; listed names
//! lie in one text. It knows nothing of trees.

use std::borrow::Cow;

use vice_core::{Code, Fault, Result};

/// The longest name of a node or a unit: the longest name of a host.
const NAME_BYTES_MAX: usize = 253;

/// Names in runs; a symbol is a name's number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    runs: Vec<Run>,
    /// The listed names, one after the other, and where each ends.
    text: String,
    ends: Vec<u32>,
    count: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    first: u32,
    kind: RunKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum RunKind {
    /// `prefix` and then a number from `start`, with zeros up to `width` digits.
    Numbered { prefix: String, start: u64, width: usize },
    /// Names in the text, from this index of `ends`.
    Listed { from: u32 },
}

impl Names {
    /// The symbol that the next name will get.
    pub(super) const fn next(&self) -> u32 {
        self.count
    }

    /// Adds one name.
    pub(super) fn list(&mut self, name: &str) -> u32 {
        let symbol = self.count;
        if !matches!(self.runs.last(), Some(Run { kind: RunKind::Listed { .. }, .. })) {
            let from = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
            self.runs.push(Run { first: symbol, kind: RunKind::Listed { from } });
        }
        self.text.push_str(name);
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        self.count += 1;
        symbol
    }

    /// Adds `count` names that end in numbers.
    pub(super) fn number(&mut self, prefix: &str, start: u64, width: usize, count: u32) -> u32 {
        let first = self.count;
        if count > 0 {
            self.runs.push(Run { first, kind: RunKind::Numbered { prefix: prefix.to_owned(), start, width } });
            self.count += count;
        }
        first
    }

    /// The name of a symbol; empty when there is none.
    pub(super) fn name(&self, symbol: u32) -> Cow<'_, str> {
        let Some(run) = self.run(symbol) else { return Cow::Borrowed("") };
        match &run.kind {
            RunKind::Numbered { prefix, start, width } => {
                Cow::Owned(format!("{prefix}{:0width$}", start + u64::from(symbol - run.first)))
            }
            RunKind::Listed { from } => Cow::Borrowed(self.listed(from + (symbol - run.first))),
        }
    }

    fn run(&self, symbol: u32) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.first <= symbol);
        (symbol < self.count).then(|| self.runs.get(after.checked_sub(1)?)).flatten()
    }

    fn listed(&self, index: u32) -> &str {
        let index = index as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.ends.get(index).and_then(|end| self.text.get(start..*end as usize)).unwrap_or("")
    }

    /// The first symbol of `base..base + count` with this name.
    pub(super) fn find(&self, base: u32, count: u32, name: &str) -> Option<u32> {
        let mut symbol = base;
        let end = base.saturating_add(count).min(self.count);
        while symbol < end {
            let after = self.runs.partition_point(|run| run.first <= symbol);
            let run = self.runs.get(after.checked_sub(1)?)?;
            let run_end = self.runs.get(after).map_or(self.count, |next| next.first).min(end);
            if let Some(found) = self.find_in(run, symbol, run_end, name) {
                return Some(found);
            }
            symbol = run_end;
        }
        None
    }

    fn find_in(&self, run: &Run, from: u32, until: u32, name: &str) -> Option<u32> {
        match &run.kind {
            RunKind::Numbered { prefix, start, .. } => {
                let number = name.strip_prefix(prefix.as_str())?.parse::<u64>().ok()?;
                let symbol = u32::try_from(number.checked_sub(*start)?).ok()?.checked_add(run.first)?;
                ((from..until).contains(&symbol) && self.name(symbol) == name).then_some(symbol)
            }
            RunKind::Listed { .. } => (from..until).find(|symbol| self.name(*symbol) == name),
        }
    }

    /// What the names take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * 4 + self.runs.len() * size_of::<Run>()
    }
}

/// Refuses a name that could not be told apart in a selector, a path or a file name.
pub(super) fn check_name(name: &str, what: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts && name.len() <= NAME_BYTES_MAX && name.bytes().all(fine) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(Fault::new(Code::ManifestInvalid, format!("{shown:?} can't be the name of a {what}."))
        .hint("Names have letters, digits, dots, - and _, and start with a letter or digit."))
}

/// Names as they are written: one name, a range `web01..web20`, or `web[01..20]` and `web[01:20]` with what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// One name.
    One(String),
    /// Numbered names, without anything after the number.
    Range { prefix: String, start: u64, width: usize, count: u32 },
}

/// How many names one range may have.
const RANGE_MAX: u64 = super::UNITS_MAX as u64;

/// Reads `a` or `a1..a9`; none when it is a range that makes no sense, with the reason.
pub(super) fn item(text: &str) -> std::result::Result<Item, String> {
    let Some((low, high)) = text.split_once("..") else { return Ok(Item::One(text.to_owned())) };
    let (low_prefix, low_digits) = tail_number(low);
    let (high_prefix, high_digits) = tail_number(high);
    if !(high_prefix == low_prefix || high_prefix.is_empty()) || low_digits.is_empty() || high_digits.is_empty() {
        return Err(format!("{text:?} is not a range; write 1..20 or web01..web20"));
    }
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| format!("{digits} is too large a number"));
    let (start, end) = (number(low_digits)?, number(high_digits)?);
    range(low_prefix, start, end, low_digits)
}

/// A range from its parts; `low_digits` tells how many digits are written.
pub(super) fn range(prefix: &str, start: u64, end: u64, low_digits: &str) -> std::result::Result<Item, String> {
    if end < start {
        return Err(format!("the range goes down, from {start} to {end}"));
    }
    if end - start >= RANGE_MAX {
        return Err(format!("a range has at most {RANGE_MAX} names"));
    }
    let width = if low_digits.len() > 1 && low_digits.starts_with('0') { low_digits.len() } else { 0 };
    let count = u32::try_from(end - start + 1).unwrap_or(u32::MAX);
    Ok(Item::Range { prefix: prefix.to_owned(), start, width, count })
}

/// What comes before the last run of digits, and these digits.
fn tail_number(text: &str) -> (&str, &str) {
    text.split_at(text.trim_end_matches(|letter: char| letter.is_ascii_digit()).len())
}

/// The names of `web[01..20].example` and `web[a:c]`, as in an inventory; a text without brackets is itself.
///
/// # Errors
/// `ManifestInvalid` when a range makes no sense or is too large.
pub fn expand_range(text: &str) -> Result<Vec<String>> {
    let wrong = |why: String| {
        Fault::new(Code::ManifestInvalid, format!("The name {text:?} has a range that can't be read: {why}."))
            .hint("Write web[01:20] or web[01..20]; with steps, web[01:20:2].")
    };
    let mut done = vec![String::new()];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let (inside, after) = after.split_once(']').ok_or_else(|| wrong("a bracket is not closed".to_owned()))?;
        let values = range_values(inside).map_err(wrong)?;
        if done.len().saturating_mul(values.len()) > super::UNITS_MAX as usize {
            return Err(wrong(format!("it has more than {} names", super::UNITS_MAX)));
        }
        done =
            done.iter().flat_map(|start| values.iter().map(move |value| format!("{start}{before}{value}"))).collect();
        rest = after;
    }
    Ok(done.into_iter().map(|start| start + rest).collect())
}

/// `01:20`, `01..20`, `1:20:2` or `a:f`, written out.
fn range_values(inside: &str) -> std::result::Result<Vec<String>, String> {
    let parts: Vec<&str> =
        if inside.contains("..") { inside.split("..").collect() } else { inside.split(':').collect() };
    let (low, high, step) = match parts.as_slice() {
        [low, high] => (*low, *high, 1),
        [low, high, step] => {
            (*low, *high, step.parse::<usize>().ok().filter(|step| *step > 0).ok_or("the step is no number over 0")?)
        }
        _ => return Err(format!("[{inside}] is not a range")),
    };
    if let ([low], [high]) = (low.as_bytes(), high.as_bytes())
        && low.is_ascii_alphabetic()
        && high.is_ascii_alphabetic()
    {
        if high < low {
            return Err("it goes down".to_owned());
        }
        return Ok((*low..=*high).step_by(step).map(|letter| char::from(letter).to_string()).collect());
    }
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<u64>().map_err(|_| format!("{digits:?} is no number that can be counted to")),
        false => Err(format!("{digits:?} is not a number")),
    };
    match range("", number(low)?, number(high)?, low)? {
        Item::Range { start, width, count, .. } => {
            Ok((start..start + u64::from(count)).step_by(step).map(|number| format!("{number:0width$}")).collect())
        }
        Item::One(_) => Err("it is not a range".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_give_their_names_back() {
        let mut names = Names::default();
        let a = names.list("alpha");
        let run = names.number("web", 8, 2, 4);
        let b = names.list("beta");
        assert_eq!((a, run, b, names.next()), (0, 1, 5, 6));
        let all: Vec<_> = (0..6).map(|symbol| names.name(symbol).into_owned()).collect();
        assert_eq!(all, ["alpha", "web08", "web09", "web10", "web11", "beta"]);
        assert_eq!(names.find(0, 6, "web10"), Some(3));
        assert_eq!(names.find(0, 6, "web8"), None, "the zero is part of the name");
        assert_eq!(names.find(1, 2, "web10"), None);
        assert_eq!(names.find(0, 6, "beta"), Some(5));
        assert_eq!(names.name(99), "");
    }

    #[test]
    fn ranges_of_hosts_are_written_out() {
        let names = |text: &str| expand_range(text).unwrap();
        assert_eq!(names("web[08:10].x"), ["web08.x", "web09.x", "web10.x"]);
        assert_eq!(names("db[a:c]"), ["dba", "dbb", "dbc"]);
        assert_eq!(names("r[1:2]h[1..2]"), ["r1h1", "r1h2", "r2h1", "r2h2"]);
        assert_eq!(names("n[1:9:4]"), ["n1", "n5", "n9"]);
        for bad in ["x[1:", "x[3:1]", "x[a:1]", "x[]", "x[1:2:0]", "x[0:99999999999]", "x[0:9999][0:9999]", "x[-1:3]"] {
            assert!(expand_range(bad).is_err(), "{bad}");
        }
    }
}
