//! Puts nodes and units into depth-first order. It checks sizes and depth; names are checked by who reads them.

use std::collections::BTreeMap;

use vice_core::{Code, Fault, Result};

use super::labels::{Column, Painting};
use super::names::Names;
use super::{LEVELS_MAX, NONE, Node, Pairs, Topology, UNITS_MAX};
use crate::unit_set::UnitSet;

/// A tree that is being made. Units of a node have to be given before the nodes below it.
#[derive(Debug, Default)]
pub(super) struct Builder {
    pub(super) names: Names,
    pub(super) levels: Vec<String>,
    pub(super) paintings: Vec<Painting>,
    nodes: Vec<Node>,
    open: Vec<u32>,
    units: u32,
}

impl Builder {
    /// Begins a node below the one that is open.
    pub(super) fn open(&mut self, name: u32, level: Option<&str>) -> Result<u32> {
        self.begin();
        if self.open.len() > LEVELS_MAX {
            let message = format!("The tree has more than {LEVELS_MAX} levels.");
            return Err(Fault::new(Code::ManifestInvalid, message).hint("Does a node contain itself?"));
        }
        let number = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        if number > UNITS_MAX {
            return Err(too_many("nodes"));
        }
        let level = level.map_or(NONE, |level| self.level(level));
        let parent = self.open.last().copied().unwrap_or(NONE);
        self.nodes.push(Node { name, parent, end: 0, level, first: self.units, last: 0, direct: 0, unit_names: 0 });
        self.open.push(number);
        Ok(number)
    }

    /// The root, unless it is there.
    fn begin(&mut self) {
        if self.nodes.is_empty() {
            let root =
                Node { name: NONE, parent: NONE, end: 0, level: NONE, first: 0, last: 0, direct: 0, unit_names: 0 };
            self.nodes.push(root);
            self.open.push(0);
        }
    }

    fn level(&mut self, name: &str) -> u32 {
        let known = self.levels.iter().position(|level| level == name);
        let index = known.unwrap_or_else(|| {
            self.levels.push(name.to_owned());
            self.levels.len() - 1
        });
        u32::try_from(index).unwrap_or(NONE)
    }

    /// Gives the open node `count` units, whose names begin at the symbol `base`. Returns the first unit's number.
    pub(super) fn units(&mut self, base: u32, count: u32) -> Result<u32> {
        self.begin();
        let first = self.units;
        self.units = first.checked_add(count).filter(|units| *units <= UNITS_MAX).ok_or_else(|| too_many("units"))?;
        if let Some(node) = self.open.last().and_then(|node| self.nodes.get_mut(*node as usize)) {
            node.unit_names = if node.direct == 0 { base } else { node.unit_names };
            node.direct += count;
        }
        Ok(first)
    }

    /// Ends the open node.
    pub(super) fn close(&mut self) {
        if let Some(number) = self.open.pop() {
            let end = u32::try_from(self.nodes.len()).unwrap_or(NONE);
            if let Some(node) = self.nodes.get_mut(number as usize) {
                (node.last, node.end) = (self.units, end);
            }
        }
    }

    /// The units of a node so far.
    pub(super) fn range(&self, node: u32) -> (u32, u32) {
        self.nodes.get(node as usize).map_or((0, 0), |node| (node.first, node.last))
    }

    /// The finished tree, without domains and classes. `unique`: no two units have the same name of their own.
    pub(super) fn finish(mut self, unit_level: Option<String>, unique: bool) -> Topology {
        self.begin();
        while !self.open.is_empty() {
            self.close();
        }
        let mut labels: BTreeMap<String, Column> = BTreeMap::new();
        self.paintings.sort_by_key(|painting| painting.depth);
        for painting in &self.paintings {
            if let Some(column) = labels.get_mut(&*painting.key) {
                column.paint(painting);
            } else {
                let mut column = Column::new(self.units);
                column.paint(painting);
                labels.insert(painting.key.to_string(), column);
            }
        }
        Topology {
            names: self.names,
            levels: self.levels,
            unit_level,
            nodes: self.nodes,
            units: self.units,
            unique,
            labels,
            groups: BTreeMap::<String, UnitSet>::new(),
            domains: Vec::new(),
            classes: Column::default(),
            pairs: Pairs::default(),
        }
    }
}

fn too_many(what: &str) -> Fault {
    Fault::new(Code::ManifestInvalid, format!("The topology has more than {UNITS_MAX} {what}."))
        .hint("Is a number too large? A fleet of that size is deployed in parts.")
}
