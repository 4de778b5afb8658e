//! Keys, and the entries of one layer as a flat sheet. This module decides what a key may look like and what a value
//! may be; it knows nothing about files or formats.

use serde_json::Value;
use vice_core::{Code, Fault};

/// The deepest nesting of tables and lists that is read.
pub(crate) const DEPTH_MAX: usize = 64;
/// The longest dotted key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 256;
/// The most entries of one layer.
pub(crate) const ENTRIES_MAX: usize = 200_000;

/// Why a layer is refused. The text names keys and lines and never a value: the file may hold secrets, or may not be
/// a configuration at all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) line: Option<u32>,
    pub(crate) what: String,
}

impl Flaw {
    pub(crate) fn new(line: Option<u32>, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }

    pub(crate) fn in_layer(self, layer: &str) -> Fault {
        let at = self.line.map_or_else(String::new, |line| format!(" at line {line}"));
        let fault = Fault::new(Code::ConfigInvalid, format!("The layer {layer} is refused{at}: {}.", self.what))
            .detail("layer", layer);
        match self.line {
            Some(line) => fault.detail("line", line),
            None => fault,
        }
    }
}

/// A value and the line that it stands in.
#[derive(Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) value: Value,
    pub(crate) line: Option<u32>,
}

/// The entries of one layer by dotted key. Values are scalars and lists; tables are flattened. They are gathered in any
/// order and stand sorted once it is finished.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Sheet {
    rows: Vec<(String, Found)>,
    unsorted: bool,
}

impl Sheet {
    /// Adds an entry. That a key is given twice is found when the sheet is finished.
    pub(crate) fn add(&mut self, key: String, value: Value, line: Option<u32>) -> Result<(), Flaw> {
        check_key(&key).map_err(|what| Flaw::new(line, what))?;
        check_value(&value, 0).map_err(|what| Flaw::new(line, format!("the value of {key} {what}")))?;
        if self.rows.len() >= ENTRIES_MAX {
            return Err(Flaw::new(line, format!("it has more than {ENTRIES_MAX} entries")));
        }
        self.unsorted |= self.rows.last().is_some_and(|(last, _)| *last >= key);
        self.rows.push((key, Found { value, line }));
        Ok(())
    }

    /// Sorts the entries; refuses a key that is given twice, and one that is both a value and a table.
    pub(crate) fn finish(mut self) -> Result<Self, Flaw> {
        if self.unsorted {
            // Stable, so that the first of two stays the first.
            self.rows.sort_by(|(one, _), (two, _)| one.cmp(two));
            self.unsorted = false;
            if let Some([(key, first), (_, second)]) = self.rows.array_windows().find(|[(one, _), (two, _)]| one == two)
            {
                let at = first.line.map_or_else(String::new, |line| format!("; the first is at line {line}"));
                return Err(Flaw::new(second.line, format!("the key {key} is given twice{at}")));
            }
        }
        let mut looked = "";
        for (key, found) in &self.rows {
            let around = ancestors(key).next().unwrap_or_default();
            // Keys of one table mostly stand together, and what is around them is looked for once.
            if around == looked {
                continue;
            }
            looked = around;
            if let Some(parent) = ancestors(key).find(|parent| self.get(parent).is_some()) {
                return Err(Flaw::new(found.line, format!("{parent} is a value and can't also hold {key}")));
            }
        }
        Ok(self)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Found> {
        let row = self.rows.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
        self.rows.get(row).map(|(_, found)| found)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Found)> {
        self.rows.iter().map(|(key, found)| (key.as_str(), found))
    }

    /// Whether another sheet has the same keys with the same values, wherever they stand.
    pub(crate) fn same_values(&self, other: &Self) -> bool {
        let values =
            |sheet: &Self| sheet.rows.iter().map(|(key, found)| (key.clone(), found.value.clone())).collect::<Vec<_>>();
        values(self) == values(other)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}

/// The keys of the tables around a key, innermost first.
pub(crate) fn ancestors(key: &str) -> impl Iterator<Item = &str> {
    key.rmatch_indices('.').map(|(at, _)| &key[..at])
}

/// A key below a prefix.
pub(crate) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        return key.to_owned();
    }
    let mut joined = String::with_capacity(prefix.len() + 1 + key.len());
    for part in [prefix, ".", key] {
        joined.push_str(part);
    }
    joined
}

/// Refuses keys outside the rules. The text does not repeat the key: a broken line may be a value.
pub(crate) fn check_key(key: &str) -> Result<(), String> {
    if key.len() > KEY_BYTES_MAX {
        return Err(format!("a key has more than {KEY_BYTES_MAX} bytes"));
    }
    // In one pass: large layers have many.
    let (mut parts, mut before, mut gap) = (1, b'.', false);
    for byte in key.bytes() {
        match byte {
            b'.' => {
                parts += 1;
                gap |= before == b'.';
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => {}
            _ => return Err("a key has other characters than A-Z, a-z, 0-9, _, - and .".to_owned()),
        }
        before = byte;
    }
    if gap || before == b'.' {
        return Err("a key is empty or has an empty part between its dots".to_owned());
    }
    if parts > DEPTH_MAX {
        return Err(format!("a key has more than {DEPTH_MAX} parts"));
    }
    Ok(())
}

fn check_value(value: &Value, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("is nested deeper than {DEPTH_MAX} levels"));
    }
    match value {
        Value::Null if depth == 0 => Err("is empty (null); write \"\" or take the key out".to_owned()),
        Value::Null => Err("has an empty (null) item".to_owned()),
        Value::Array(items) => items.iter().try_for_each(|item| check_value(item, depth + 1)),
        Value::Object(fields) => fields.values().try_for_each(|field| check_value(field, depth + 1)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Line numbers of byte offsets.
pub(crate) struct Lines {
    ends: Vec<usize>,
}

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        Self { ends: text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect() }
    }

    /// The line of an offset, from 1.
    pub(crate) fn at(&self, offset: usize) -> Option<u32> {
        u32::try_from(self.ends.partition_point(|end| *end < offset) + 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_outside_the_rules_are_refused_without_repeating_them() {
        for bad in ["", "a b", ".a", "a..b", "a.", "é", "a=b", &"x".repeat(257), &vec!["a"; 65].join(".")] {
            let why = check_key(bad).unwrap_err();
            assert!(bad.len() < 2 || !why.contains(bad), "{why}");
        }
        check_key("a.b-c_D.9").unwrap();
    }

    #[test]
    fn nulls_duplicates_and_values_that_are_tables_are_refused() {
        let mut sheet = Sheet::default();
        assert!(sheet.add("a".into(), Value::Null, Some(1)).is_err());
        assert!(sheet.add("a".into(), serde_json::json!([1, null]), Some(1)).is_err());
        sheet.add("a".into(), 1.into(), Some(1)).unwrap();
        let mut again = sheet.clone();
        again.add("a".into(), 2.into(), Some(4)).unwrap();
        let twice = again.finish().err().unwrap();
        assert_eq!((twice.line, twice.what.as_str()), (Some(4), "the key a is given twice; the first is at line 1"));
        sheet.add("a-b".into(), 2.into(), None).unwrap();
        sheet.add("a.b".into(), 2.into(), Some(7)).unwrap();
        assert_eq!(sheet.finish().err().unwrap().line, Some(7));
    }

    #[test]
    fn lines_count_from_one() {
        let lines = Lines::of("a\nb\n\nc");
        assert_eq!([0, 1, 2, 4, 5, 99].map(|at| lines.at(at).unwrap()), [1, 1, 2, 3, 4, 4]);
    }
}
