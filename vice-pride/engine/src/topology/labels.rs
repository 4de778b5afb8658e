//! Labels and environment classes: one column a key, one number a unit.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use vice_core::manifest::{Conjunction, LabelValue, OneOrMany, Selector, Term};
use vice_core::suggest::nearest;
use vice_core::{Fault, Result};

use super::{NONE, Topology, invalid};
use crate::number::UnitNo;
use crate::unit_set::UnitSet;

/// The label that tells environment classes apart when nothing else is said.
const CLASS_LABEL: &str = "class";

/// The values of one label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Column {
    values: Vec<String>,
    numbers: BTreeMap<String, u32>,
    of_unit: Vec<u32>,
}

/// A label on a range of units: one value, or several in turn.
#[derive(Debug, Clone)]
pub(super) struct Painting {
    pub(super) key: Arc<str>,
    /// How deep the node is that says it; deeper ones win.
    pub(super) depth: usize,
    pub(super) range: (u32, u32),
    /// Dealt out to the units in turn.
    pub(super) values: Arc<[String]>,
}

impl Column {
    pub(super) fn new(units: u32) -> Self {
        Self { of_unit: vec![NONE; units as usize], ..Self::default() }
    }

    fn intern(&mut self, value: &str) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).unwrap_or(NONE);
        self.values.push(value.to_owned());
        self.numbers.insert(value.to_owned(), number);
        number
    }

    pub(super) fn paint(&mut self, painting: &Painting) {
        let numbers: Vec<u32> = painting.values.iter().map(|value| self.intern(value)).collect();
        let (low, high) = (painting.range.0 as usize, painting.range.1 as usize);
        let Some(units) = self.of_unit.get_mut(low..high) else { return };
        match numbers.as_slice() {
            [only] => units.fill(*only),
            all => units.iter_mut().zip(all.iter().cycle()).for_each(|(unit, number)| *unit = *number),
        }
    }

    pub(super) fn set(&mut self, units: &UnitSet, value: &str) {
        let number = self.intern(value);
        for (low, high) in units.ranges() {
            if let Some(units) = self.of_unit.get_mut(*low as usize..*high as usize) {
                units.fill(number);
            }
        }
    }

    pub(super) fn number(&self, unit: UnitNo) -> Option<u32> {
        self.of_unit.get(unit.index()).copied().filter(|number| *number != NONE)
    }

    pub(super) fn value(&self, unit: UnitNo) -> Option<&str> {
        self.values.get(self.number(unit)? as usize).map(String::as_str)
    }

    pub(super) fn values(&self) -> &[String] {
        &self.values
    }

    pub(super) fn numbers(&self) -> &[u32] {
        &self.of_unit
    }

    /// The units whose value is accepted. A unit without the label has none.
    pub(super) fn units(&self, accepts: impl Fn(Option<&str>) -> bool) -> UnitSet {
        let by_number: Vec<bool> = self.values.iter().map(|value| accepts(Some(value))).collect();
        let without = accepts(None);
        let fits = |number: u32| by_number.get(number as usize).copied().unwrap_or(without);
        let mut ranges = Vec::new();
        let mut from = 0_usize;
        for run in self.of_unit.chunk_by(|one, two| one == two) {
            let until = from + run.len();
            if run.first().is_some_and(|number| fits(*number)) {
                ranges.push((u32::try_from(from).unwrap_or(NONE), u32::try_from(until).unwrap_or(NONE)));
            }
            from = until;
        }
        UnitSet::from_ranges(ranges)
    }

    pub(super) fn bytes(&self) -> usize {
        self.of_unit.len() * 4 + self.values.iter().map(|value| value.len() * 2 + 60).sum::<usize>()
    }
}

impl Topology {
    /// Refuses labels that are named like a level or a word of selectors.
    pub(super) fn check_labels(&self) -> Result<()> {
        self.labels.keys().try_for_each(|key| check_key(key, self))
    }

    /// Takes away labels that are named like a level or a word of selectors.
    pub(super) fn drop_taken_labels(&mut self) {
        let taken: Vec<String> = self.labels.keys().filter(|key| check_key(key, self).is_err()).cloned().collect();
        taken.iter().for_each(|key| drop(self.labels.remove(key)));
    }

    /// The labels of `[env.NAME.topology.labels]`, over those of the source: deeper selectors win, then later ones.
    pub(super) fn paint(&mut self, labels: &IndexMap<String, BTreeMap<String, LabelValue>>) -> Result<()> {
        let mut layers = Vec::new();
        for (text, values) in labels {
            let wrong = |why: String| invalid("labels", format!("The labels of {text:?} are for nobody: {why}."));
            let selector = Selector::parse(text).map_err(wrong)?;
            let units = self.select(&selector).map_err(|fault| fault.detail("key", "labels"))?;
            if units.is_empty() {
                return Err(wrong("no unit is selected".to_owned()));
            }
            layers.push((depth(&selector), units, values));
        }
        layers.sort_by_key(|(depth, ..)| *depth);
        for (_, units, values) in layers {
            for (key, value) in values {
                check_key(key, self)?;
                let count = self.units;
                self.labels.entry(key.clone()).or_insert_with(|| Column::new(count)).set(&units, &value.0);
            }
        }
        Ok(())
    }

    /// The environment classes: the values of one label, or the combinations of several.
    pub(super) fn make_classes(&mut self, class_by: Option<&OneOrMany>) -> Result<()> {
        let keys: Vec<&str> = match class_by {
            Some(keys) => keys.0.iter().map(String::as_str).collect(),
            None if self.labels.contains_key(CLASS_LABEL) => vec![CLASS_LABEL],
            None => return Ok(()),
        };
        let columns = keys.iter().map(|key| {
            self.labels.get(*key).ok_or_else(|| {
                let message = format!("`class_by` names the label {key:?}, and no unit has it.");
                hinted(invalid("class_by", message), key, self.labels.keys().map(String::as_str))
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let mut classes = Column::new(self.units);
        let mut known: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        let mut numbers = vec![NONE; columns.len()];
        for unit in 0..self.units as usize {
            for (slot, column) in numbers.iter_mut().zip(&columns) {
                *slot = column.numbers().get(unit).copied().unwrap_or(NONE);
            }
            let class = known.get(&numbers).copied().unwrap_or_else(|| {
                let value = |(number, column): (&u32, &&Column)| {
                    column.values().get(*number as usize).map_or("none", String::as_str).to_owned()
                };
                let name = numbers.iter().zip(&columns).map(value).collect::<Vec<_>>().join("/");
                let class = classes.intern(&name);
                known.insert(numbers.clone(), class);
                class
            });
            classes.of_unit[unit] = class;
        }
        self.classes = classes;
        Ok(())
    }
}

/// Labels share their name space with levels and domains in selectors.
pub(super) fn check_key(key: &str, tree: &Topology) -> Result<()> {
    let taken = tree.levels.iter().any(|level| level == key) || tree.unit_level.as_deref() == Some(key);
    if taken || matches!(key, "group" | super::ENVIRONMENT | "domain") {
        let what = if taken { "a level of the tree" } else { "a word of selectors" };
        return Err(invalid("labels", format!("A label can't be named {key:?}, because that is {what}."))
            .hint("Choose another name for the label."));
    }
    if key.is_empty() || key.contains(|letter: char| letter.is_whitespace() || "=!,|*/".contains(letter)) {
        return Err(invalid("labels", format!("{key:?} can't be the name of a label."))
            .hint("Names of labels have no blanks and none of = ! , | * /."));
    }
    Ok(())
}

/// How specific a selector of labels is: a path by its length, a unit's label more than a path.
fn depth(selector: &Selector) -> usize {
    let terms = selector.alternatives().iter().flat_map(Conjunction::terms);
    let deep = |term: &Term| match term {
        Term::Everything => 0,
        Term::Path(parts) => parts.len(),
        Term::Label { .. } => super::LEVELS_MAX + 1,
    };
    terms.map(deep).max().unwrap_or(0)
}

/// Adds the nearest known word, or all of them.
pub(super) fn hinted<'a>(fault: Fault, word: &str, known: impl Iterator<Item = &'a str> + Clone) -> Fault {
    const SHOWN_MAX: usize = 10;
    if let Some(near) = nearest(word, known.clone()) {
        return fault.hint(format!("Did you mean {near:?}?"));
    }
    let all: Vec<&str> = known.clone().take(SHOWN_MAX).collect();
    let more = known.skip(SHOWN_MAX).count();
    match (all.is_empty(), more) {
        (true, _) => fault,
        (false, 0) => fault.hint(format!("Known here: {}.", all.join(", "))),
        (false, more) => fault.hint(format!("Known here: {} and {more} more.", all.join(", "))),
    }
}
