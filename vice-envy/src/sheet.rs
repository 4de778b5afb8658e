//! The entries of one layer as a flat, sorted sheet. It decides that no key is given twice or is both a value and a
//! table; what a key and a value may look like is the business of `key`, and it knows nothing about files or formats.
//!
//! Most entries of most layers are overridden by a stronger one. Keys therefore lie in one text, and the plain texts of a
//! layer become values only when somebody asks for them.

use std::cell::OnceCell;

use serde_json::Value;

use crate::key::{ENTRIES_MAX, Flaw, ancestors, check_key, check_value};

/// The bits for the place of an entry: more than there can be entries.
const PLACE_BITS: u32 = 24;
const _: () = assert!(ENTRIES_MAX < 1 << PLACE_BITS);
/// The bytes of a key by which entries are sorted first; most keys differ in them.
const HEAD_BYTES: usize = 13;

/// A value and the line that it stands in.
#[derive(Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) value: Value,
    pub(crate) line: Option<u32>,
}

/// A part of a text.
#[derive(Clone, Copy, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// None for what lies beyond the texts that are read.
    pub(crate) fn new(start: usize, end: usize) -> Option<Self> {
        Some(Self { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
    }

    fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// An entry; its value is made from the text of the sheet where it was not given.
#[derive(Clone, Default)]
struct Row {
    key: Span,
    text: Span,
    line: Option<u32>,
    found: OnceCell<Box<Found>>,
}

/// The entries of one layer by dotted key. Values are scalars and lists; tables are flattened. They are gathered in any
/// order and stand sorted once it is finished.
#[derive(Clone, Default)]
pub(crate) struct Sheet {
    keys: String,
    text: String,
    rows: Vec<Row>,
}

impl Sheet {
    /// An empty sheet over a text, for entries that are parts of it.
    pub(crate) fn over(text: &str, entries: usize) -> Self {
        Self {
            keys: String::with_capacity(text.len()),
            text: text.to_owned(),
            rows: Vec::with_capacity(entries.min(ENTRIES_MAX)),
        }
    }

    /// Adds an entry. That a key is given twice is found when the sheet is finished.
    pub(crate) fn add(&mut self, key: &str, value: Value, line: Option<u32>) -> Result<(), Flaw> {
        check_key(key).map_err(|what| Flaw::new(line, what))?;
        check_value(&value, 0).map_err(|what| Flaw::new(line, format!("the value of {key} {what}")))?;
        let too_many = || Flaw::new(line, format!("it has more than {ENTRIES_MAX} entries"));
        let found = OnceCell::from(Box::new(Found { value, line }));
        self.push(&[key], Span::default(), line, found).ok_or_else(too_many)
    }

    /// Adds a text that is a part of the sheet's own; none when there are too many. The parts of the key, which are put
    /// together, have been looked at before.
    pub(crate) fn add_part(&mut self, key: &[&str], text: Span, line: Option<u32>) -> Option<()> {
        self.push(key, text, line, OnceCell::new())
    }

    fn push(&mut self, key: &[&str], text: Span, line: Option<u32>, found: OnceCell<Box<Found>>) -> Option<()> {
        if self.rows.len() >= ENTRIES_MAX {
            return None;
        }
        let start = self.keys.len();
        key.iter().for_each(|part| self.keys.push_str(part));
        let key = Span::new(start, self.keys.len())?;
        self.rows.push(Row { key, text, line, found });
        Some(())
    }

    /// Sorts the entries; refuses a key that is given twice, and one that is both a value and a table.
    pub(crate) fn finish(mut self) -> Result<Self, Flaw> {
        self.sort()?;
        let mut looked = "";
        for row in &self.rows {
            let key = row.key.of(&self.keys);
            let around = ancestors(key).next().unwrap_or_default();
            // Keys of one table mostly stand together, and what is around them is looked for once.
            if around == looked {
                continue;
            }
            looked = around;
            if let Some(parent) = ancestors(key).find(|parent| self.row(parent).is_some()) {
                return Err(Flaw::new(row.line, format!("{parent} is a value and can't also hold {key}")));
            }
        }
        Ok(self)
    }

    fn sort(&mut self) -> Result<(), Flaw> {
        let key = |row: &Row| row.key.of(&self.keys);
        if self.rows.array_windows().all(|[one, two]| key(one) < key(two)) {
            return Ok(());
        }
        let mut order: Vec<u128> = self.rows.iter().zip(0..).map(|(row, place)| head(key(row)) | place).collect();
        order.sort_unstable();
        // Few share so long a beginning. The sort is stable, so that the first of two stays the first.
        let whole = |headed: &u128| self.rows.get(place(*headed)).map_or("", key);
        for alike in order.chunk_by_mut(|one, two| one >> PLACE_BITS == two >> PLACE_BITS).filter(|part| part.len() > 1)
        {
            alike.sort_by(|one, two| whole(one).cmp(whole(two)));
            if let Some([first, second]) = alike.array_windows().find(|[one, two]| whole(one) == whole(two)) {
                return Err(self.twice(place(*first), place(*second)));
            }
        }
        let rows = &mut self.rows;
        self.rows = order.iter().filter_map(|headed| rows.get_mut(place(*headed)).map(std::mem::take)).collect();
        Ok(())
    }

    fn twice(&self, first: usize, second: usize) -> Flaw {
        let line = |place: usize| self.rows.get(place).and_then(|row| row.line);
        let at = line(first).map_or_else(String::new, |line| format!("; the first is at line {line}"));
        let key = self.rows.get(second).map_or("", |row| row.key.of(&self.keys));
        Flaw::new(line(second), format!("the key {key} is given twice{at}"))
    }

    /// The place of a key among all.
    pub(crate) fn row(&self, key: &str) -> Option<usize> {
        self.rows.binary_search_by(|row| row.key.of(&self.keys).cmp(key)).ok()
    }

    /// The entry at a place.
    pub(crate) fn at(&self, row: usize) -> Option<&Found> {
        self.rows.get(row).map(|row| self.found(row))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Found> {
        self.at(self.row(key)?)
    }

    fn found<'s>(&'s self, row: &'s Row) -> &'s Found {
        row.found.get_or_init(|| {
            Box::new(Found { value: Value::String(row.text.of(&self.text).to_owned()), line: row.line })
        })
    }

    /// The keys in their order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|row| row.key.of(&self.keys))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Found)> {
        self.rows.iter().map(|row| (row.key.of(&self.keys), self.found(row)))
    }

    /// Whether another sheet has the same keys with the same values, wherever they stand.
    pub(crate) fn same_values(&self, other: &Self) -> bool {
        let same =
            |((one, first), (two, second)): ((&str, &Found), (&str, &Found))| one == two && first.value == second.value;
        self.rows.len() == other.rows.len() && self.iter().zip(other.iter()).all(same)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}

impl PartialEq for Sheet {
    fn eq(&self, other: &Self) -> bool {
        self.rows.len() == other.rows.len() && self.iter().eq(other.iter())
    }
}

/// The first bytes of a key as a number that is ordered as they are, with room for a place behind them. No key has a zero
/// byte, so that a shorter one comes first.
fn head(key: &str) -> u128 {
    let mut bytes = [0; size_of::<u128>()];
    let length = key.len().min(HEAD_BYTES);
    bytes[..length].copy_from_slice(&key.as_bytes()[..length]);
    u128::from_be_bytes(bytes)
}

/// The place that was put behind a head.
fn place(headed: u128) -> usize {
    usize::try_from(headed & ((1 << PLACE_BITS) - 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nulls_duplicates_and_values_that_are_tables_are_refused() {
        let mut sheet = Sheet::default();
        assert!(sheet.add("a", Value::Null, Some(1)).is_err());
        assert!(sheet.add("a", serde_json::json!([1, null]), Some(1)).is_err());
        sheet.add("a", 1.into(), Some(1)).unwrap();
        let mut again = sheet.clone();
        again.add("a", 2.into(), Some(4)).unwrap();
        let twice = again.finish().err().unwrap();
        assert_eq!((twice.line, twice.what.as_str()), (Some(4), "the key a is given twice; the first is at line 1"));
        sheet.add("a-b", 2.into(), None).unwrap();
        sheet.add("a.b", 2.into(), Some(7)).unwrap();
        assert_eq!(sheet.finish().err().unwrap().line, Some(7));
    }

    proptest! {
        /// Keys of all lengths around that of their heads, many with the same one.
        #[test]
        fn entries_stand_in_the_order_of_their_keys(keys in prop::collection::btree_set("[a-c-]{1,3}|k{14,18}[ab-]{0,2}", 0..40), seed in any::<u64>()) {
            let mut shuffled: Vec<&String> = keys.iter().collect();
            shuffled.sort_by_key(|key| key.bytes().fold(seed, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)));
            let mut sheet = Sheet::default();
            for (key, line) in shuffled.iter().zip(1..) {
                sheet.add(key, key.as_str().into(), Some(line)).unwrap();
            }
            let sheet = sheet.finish().unwrap();
            prop_assert!(sheet.keys().eq(keys.iter().map(String::as_str)));
            for (key, line) in shuffled.iter().zip(1..) {
                let found = sheet.get(key).unwrap();
                prop_assert_eq!((found.value.as_str(), found.line), (Some(key.as_str()), Some(line)));
            }
        }
    }
}
