//! Keys. This module decides what a key may look like and what a value may be; it knows nothing about files or formats.

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

/// Refuses values that are no scalars or lists of them, or are nested too deep.
pub(crate) fn check_value(value: &Value, depth: usize) -> Result<(), String> {
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
    fn lines_count_from_one() {
        let lines = Lines::of("a\nb\n\nc");
        assert_eq!([0, 1, 2, 4, 5, 99].map(|at| lines.at(at).unwrap()), [1, 1, 2, 3, 4, 4]);
    }
}
