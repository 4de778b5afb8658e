//! Samples for a passive judgement: numbers or counts out of a text that somebody has, or out of a range of a Prometheus.
//!
//! A text that could be read in two ways is refused with the choice, because a judgement on the wrong column is worse
//! than none.

use serde::Deserialize;
use serde_json::Value;
use vice_core::{Code, Fault, Result};

/// The most values of one sample.
const VALUES_MAX: usize = 10_000_000;

/// What one version did.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// So many bad ones of so many.
    Counts {
        /// All of them.
        seen: u64,
        /// The bad ones.
        bad: u64,
    },
    /// One number an observation, more is worse.
    Values(Vec<f64>),
}

impl Sample {
    /// How many observations there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Counts { seen, .. } => *seen,
            Self::Values(values) => values.len() as u64,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads a sample: numbers one a line, `bad/total` lines, CSV, or JSON (a list of numbers, `{"bad": …, "total": …}`, or a
/// list of such). Lines that begin with `#` are comments. `name` is what errors call it.
///
/// # Errors
/// `Usage`, with the line and what to do.
pub fn parse_sample(name: &str, text: &str, column: Option<&str>) -> Result<Sample> {
    let text = text.trim_start_matches('\u{feff}');
    let sample = if text.trim_start().starts_with(['[', '{']) { json(name, text)? } else { lines(name, text, column)? };
    match sample {
        Sample::Values(values) if values.len() > VALUES_MAX => {
            Err(wrong(name, format!("has more than {VALUES_MAX} numbers")))
        }
        Sample::Counts { seen, bad } if bad > seen => {
            Err(wrong(name, format!("has {bad} bad ones of {seen} in all; it is bad/total, in this order")))
        }
        sample => Ok(sample),
    }
}

fn wrong(name: &str, what: impl std::fmt::Display) -> Fault {
    Fault::new(Code::Usage, format!("{name} {what}."))
        .hint("A sample is numbers one a line, lines of bad/total, CSV (--column says which), or JSON.")
}

/// Counts as they stand in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counted {
    bad: u64,
    #[serde(alias = "seen")]
    total: u64,
}

fn json(name: &str, text: &str) -> Result<Sample> {
    let value: Value = serde_json::from_str(text).map_err(|error| wrong(name, "is not valid JSON").because(error))?;
    let items = match value {
        Value::Array(items) => items,
        single => vec![single],
    };
    if items.iter().any(Value::is_object) {
        let mut sum = (0_u64, 0_u64);
        for item in items {
            let counted: Counted = serde_json::from_value(item).map_err(|error| {
                wrong(name, "has an entry that is not {\"bad\": number, \"total\": number}").because(error)
            })?;
            sum = (sum.0.saturating_add(counted.total), sum.1.saturating_add(counted.bad));
        }
        return Ok(Sample::Counts { seen: sum.0, bad: sum.1 });
    }
    let numbers: Option<Vec<f64>> = items.iter().map(Value::as_f64).collect();
    numbers.map(Sample::Values).ok_or_else(|| wrong(name, "has an entry that is not a number"))
}

fn lines(name: &str, text: &str, column: Option<&str>) -> Result<Sample> {
    let used = |line: &(usize, &str)| !line.1.is_empty() && !line.1.starts_with('#');
    let lines: Vec<(usize, &str)> =
        text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())).filter(used).collect();
    let Some((_, first)) = lines.first() else { return Ok(Sample::Values(Vec::new())) };
    let is_fraction = |at: usize| lines.get(at).is_some_and(|(_, line)| fraction(line).is_some());
    let begin = usize::from(is_words(first) && is_fraction(1));
    if column.is_none() && is_fraction(begin) {
        return counts(name, &lines[begin..]);
    }
    let separator = [',', ';', '\t'].into_iter().find(|separator| first.contains(*separator));
    if separator.is_some() || column.is_some() || first.parse::<f64>().is_err() {
        return csv(name, &lines, separator.unwrap_or(','), column);
    }
    lines.iter().map(|(at, line)| number(name, *at, line)).collect::<Result<Vec<f64>>>().map(Sample::Values)
}

/// Whether a first line can be a heading. One with a digit may be an observation that is written badly, and one that is
/// left out makes another sample.
fn is_words(text: &str) -> bool {
    text.parse::<f64>().is_err() && !text.contains(|c: char| c.is_ascii_digit())
}

/// The sum of `bad/total` lines.
fn counts(name: &str, lines: &[(usize, &str)]) -> Result<Sample> {
    let mut sum = (0_u64, 0_u64);
    for (at, line) in lines {
        let (bad, total) =
            fraction(line).ok_or_else(|| wrong(name, format!("has no bad/total on line {at}, as before it")))?;
        sum = (sum.0.saturating_add(total), sum.1.saturating_add(bad));
    }
    Ok(Sample::Counts { seen: sum.0, bad: sum.1 })
}

/// `3/100` as (bad, total).
fn fraction(line: &str) -> Option<(u64, u64)> {
    let (bad, total) = line.split_once('/')?;
    Some((bad.trim().parse().ok()?, total.trim().parse().ok()?))
}

fn number(name: &str, line: usize, text: &str) -> Result<f64> {
    let parsed = text.parse::<f64>().ok().filter(|value| value.is_finite());
    parsed.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let not =
            if text.contains('/') { "neither a finite number nor a whole bad/total" } else { "not a finite number" };
        wrong(name, format!("has {shown:?} on line {line}, which is {not}"))
    })
}

/// A text in columns.
struct Sheet<'t> {
    name: &'t str,
    separator: char,
    /// The cells of the first line: names, or the first observation.
    first: Vec<String>,
    /// Where the first line stands.
    first_at: usize,
    /// Whether the first line has names; they are not observations.
    has_names: bool,
    /// Whether it has the names that are looked for, or only looks like names.
    is_certain: bool,
    body: &'t [(usize, &'t str)],
}

impl<'t> Sheet<'t> {
    fn new(name: &'t str, lines: &'t [(usize, &'t str)], separator: char, column: Option<&str>) -> Option<Self> {
        let ((first_at, line), rest) = lines.split_first()?;
        let mut sheet = Self {
            name,
            separator,
            first: Vec::new(),
            first_at: *first_at,
            has_names: true,
            is_certain: true,
            body: rest,
        };
        sheet.first = sheet.cells(line);
        let has = |wanted: &str| wanted.parse::<f64>().is_err() && sheet.place(wanted).is_some();
        sheet.is_certain = column.map_or_else(|| has("value") || (has("bad") && has("total")), has);
        sheet.has_names = sheet.is_certain || (!rest.is_empty() && sheet.first.iter().all(|cell| is_words(cell)));
        sheet.body = if sheet.has_names { rest } else { lines };
        Some(sheet)
    }

    fn cells(&self, line: &str) -> Vec<String> {
        line.split(self.separator).map(|cell| cell.trim().trim_matches('"').to_owned()).collect()
    }

    /// Where the column of that name is.
    fn place(&self, wanted: &str) -> Option<usize> {
        self.first.iter().position(|cell| self.has_names && cell.eq_ignore_ascii_case(wanted))
    }

    /// The columns `bad` and `total`, added up.
    fn counts(&self, bad: usize, total: usize) -> Result<Sample> {
        let mut sum = (0_u64, 0_u64);
        for (at, line) in self.body {
            let cells = self.cells(line);
            let whole = |index: usize| cells.get(index).and_then(|cell| cell.parse::<u64>().ok());
            let (Some(bad), Some(total)) = (whole(bad), whole(total)) else {
                return Err(wrong(self.name, format!("has no whole `bad` and `total` on line {at}")));
            };
            sum = (sum.0.saturating_add(total), sum.1.saturating_add(bad));
        }
        Ok(Sample::Counts { seen: sum.0, bad: sum.1 })
    }

    fn index(&self, column: Option<&str>) -> Result<usize> {
        let by_number = |wanted: &str| wanted.parse::<usize>().ok().and_then(|at| at.checked_sub(1));
        let index = match column {
            Some(wanted) => self.place(wanted).or_else(|| by_number(wanted)).filter(|index| *index < self.first.len()),
            None if self.first.len() == 1 => Some(0),
            None => self.place("value"),
        };
        index.ok_or_else(|| {
            let names = self.first.iter().any(|cell| cell.parse::<f64>().is_err());
            let shown: Vec<&str> = self.first.iter().take(20).map(String::as_str).collect();
            let which = if names { shown.join(", ") } else { format!("1 to {}", shown.len()) };
            wrong(self.name, "does not say which column is meant").hint(format!("Give --column with one of: {which}."))
        })
    }

    /// The numbers of a column. What only looks like a name is one only when numbers come below it.
    fn values(&self, index: usize) -> Result<Sample> {
        let cell = |line: &str| self.cells(line).get(index).cloned().unwrap_or_default();
        let below = self.body.first().is_some_and(|(_, line)| cell(line).parse::<f64>().is_ok());
        let first = (self.first_at, self.first.get(index).map_or("", String::as_str));
        if self.has_names && !self.is_certain && !below {
            return Err(number(self.name, first.0, first.1)
                .err()
                .unwrap_or_else(|| wrong(self.name, "has no numbers")));
        }
        let value = |(at, line): &(usize, &str)| {
            let parsed = number(self.name, *at, &cell(line));
            // The first line, which has digits and is no name that was looked for.
            let doubt = *at == self.first_at;
            parsed.map_err(
                |fault| if doubt { fault.hint("Where it has the names of columns: --column NAME.") } else { fault },
            )
        };
        self.body.iter().map(value).collect::<Result<Vec<f64>>>().map(Sample::Values)
    }
}

fn csv(name: &str, lines: &[(usize, &str)], separator: char, column: Option<&str>) -> Result<Sample> {
    let Some(sheet) = Sheet::new(name, lines, separator, column) else { return Ok(Sample::Values(Vec::new())) };
    if let (None, Some(bad), Some(total)) = (column, sheet.place("bad"), sheet.place("total")) {
        return sheet.counts(bad, total);
    }
    sheet.values(sheet.index(column)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Sample> {
        parse_sample("a.txt", text, None)
    }

    #[test]
    fn every_form_is_read() {
        let values = |values: &[f64]| Sample::Values(values.to_vec());
        let counts = |bad, seen| Sample::Counts { seen, bad };
        let cases = [
            ("1\n2.5\n# note\n\n3e2\n", values(&[1.0, 2.5, 300.0])),
            ("\u{feff}1\r\n2\r\n", values(&[1.0, 2.0])),
            ("3/100\n 1 / 50\n", counts(4, 150)),
            ("[1, 2.5]", values(&[1.0, 2.5])),
            ("{\"bad\": 3, \"total\": 100}", counts(3, 100)),
            ("[{\"bad\": 3, \"total\": 100}, {\"bad\": 0, \"seen\": 7}]", counts(3, 107)),
            ("latency\n1\n2\n", values(&[1.0, 2.0])),
            ("time,value\nx,1\ny,2\n", values(&[1.0, 2.0])),
            ("bad;total\n3;100\n0;50\n", counts(3, 150)),
            ("bad/total\n3/100\n0/50\n", counts(3, 150)),
            ("p99,value\n1,7\n", values(&[7.0])),
            ("", values(&[])),
            ("[]", values(&[])),
        ];
        for (text, sample) in cases {
            assert_eq!(parsed(text).unwrap(), sample, "{text:?}");
        }
        let column = |column| parse_sample("a.csv", "t,ms\n1,5\n2,6\n", Some(column)).unwrap();
        assert_eq!(column("ms"), values(&[5.0, 6.0]));
        assert_eq!(column("1"), values(&[1.0, 2.0]));
        let digits = |column| parse_sample("a.csv", "p50,p99\n1,5\n2,6\n", Some(column));
        assert_eq!(digits("p99").unwrap(), values(&[5.0, 6.0]));
        assert!(digits("2").unwrap_err().hints().join(" ").contains("--column NAME"));
        let labelled = parse_sample("a.csv", "host1,5\nhost2,6\n", Some("2")).unwrap();
        assert_eq!(labelled, values(&[5.0, 6.0]), "the first line is an observation like the others");
    }

    #[test]
    fn what_is_unclear_or_nonsense_is_refused_with_the_line() {
        for (text, said) in [
            ("1\nx\n", "line 2"),
            ("1\nNaN\n", "line 2"),
            ("1\ninf\n", "line 2"),
            ("3/100\n5\n", "line 2"),
            ("100/3\n", "100 bad ones of 3"),
            ("{\"bad\": 9, \"total\": 3}", "9 bad ones of 3"),
            ("{\"bad\": -9, \"total\": 3}", "not {"),
            ("[1, null]", "not a number"),
            ("[1, {\"bad\": 1}]", "not {"),
            ("{", "not valid JSON"),
            ("t,ms\n1,5\n", "which column"),
            ("1,2\n3,4\n", "which column"),
            ("bad,total\n1,x\n", "line 2"),
            ("-1/10\n", "\"-1/10\" on line 1"),
            ("-1/10\n5/100\n", "line 1"),
            ("1.5/10\n5/100\n", "line 1"),
            ("99999999999999999999/999999999999999999999\n5/100\n", "line 1"),
            ("5 ms\n6 ms\n", "line 1"),
            ("5 ms\n6\n", "line 1"),
            ("hello world\n", "line 1"),
            ("hello\nworld\n1\n", "\"hello\" on line 1"),
            ("NaN\n1\n", "line 1"),
            ("latency\nNaN\n", "line 2"),
            ("garbage\n5/100\n6\n", "line 3"),
        ] {
            let fault = parsed(text).unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{text:?}");
            assert!(fault.to_string().contains(said), "{text:?}: {fault}");
        }
        assert!(parse_sample("a", "t,ms\n1,2\n", Some("no")).unwrap_err().hints().join(" ").contains("t, ms"));
        assert!(parse_sample("a", "t,ms\n1\n", Some("ms")).is_err(), "a short line has no number");
    }
}
