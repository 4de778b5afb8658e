//! Trees that are written out: nested tables, or nodes that name their parents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vice_core::manifest::{Branch, LabelValue, NodeSpec};
use vice_core::{Fault, Result};

use super::build::Builder;
use super::labels::{Painting, hinted};
use super::names::{check_name, expand_range};
use super::{Topology, invalid};

/// Nested tables. The levels' names count from the root.
pub(super) fn tree(branch: &Branch, levels: &[String]) -> Result<Topology> {
    check_levels(levels)?;
    let mut writer = Writer::new(levels, "tree");
    match branch {
        Branch::Nodes(nodes) => nodes.iter().try_for_each(|(name, branch)| writer.branch(name, branch, 0))?,
        Branch::Units(units) => drop(writer.units(units, "the environment")?),
    }
    Ok(writer.finish())
}

/// Level names: proper, and each once.
pub(super) fn check_levels(levels: &[String]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for level in levels {
        check_name(level, "level").map_err(|fault| fault.detail("key", "levels"))?;
        if !seen.insert(level) {
            return Err(invalid("levels", format!("The level {level:?} is named twice.")));
        }
    }
    Ok(())
}

/// Writes nodes with listed units.
pub(super) struct Writer<'a> {
    pub(super) build: Builder,
    levels: &'a [String],
    key: &'static str,
    names: BTreeSet<String>,
    unique: bool,
    /// Whether a tree of this kind may have a unit's name twice, in different places.
    depth_max: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(levels: &'a [String], key: &'static str) -> Self {
        Self { build: Builder::default(), levels, key, names: BTreeSet::new(), unique: true, depth_max: 0 }
    }

    fn branch(&mut self, name: &str, branch: &Branch, depth: usize) -> Result<()> {
        self.open(name, None, depth)?;
        match branch {
            Branch::Units(units) => drop(self.units(units, name)?),
            Branch::Nodes(nodes) => {
                nodes.iter().try_for_each(|(name, branch)| self.branch(name, branch, depth + 1))?;
            }
        }
        self.build.close();
        Ok(())
    }

    pub(super) fn open(&mut self, name: &str, level: Option<&str>, depth: usize) -> Result<u32> {
        check_name(name, "node").map_err(|fault| fault.detail("key", self.key))?;
        self.depth_max = self.depth_max.max(depth + 1);
        let symbol = self.build.names.list(name);
        let level = level.or_else(|| self.levels.get(depth).map(String::as_str));
        self.build.open(symbol, level).map_err(|fault| fault.detail("key", self.key))
    }

    /// The units of the open node; their numbers.
    pub(super) fn units(&mut self, texts: &[String], node: &str) -> Result<(u32, u32)> {
        let base = self.build.names.next();
        let mut here = BTreeSet::new();
        for text in texts {
            for name in expand_range(text).map_err(|fault| fault.detail("key", self.key))? {
                check_name(&name, "unit").map_err(|fault| fault.detail("key", self.key))?;
                if !here.insert(name.clone()) {
                    return Err(invalid(self.key, format!("The unit {name:?} is in {node} twice."))
                        .hint("Keep it once, or rename one."));
                }
                self.build.names.list(&name);
                self.unique &= self.names.insert(name);
            }
        }
        let count = self.build.names.next() - base;
        let first = self.build.units(base, count).map_err(|fault| fault.detail("key", self.key))?;
        Ok((first, first + count))
    }

    /// As [`Writer::units`], for names whose ranges are written out already.
    pub(super) fn plain_units(&mut self, names: &[String], node: &str) -> Result<(u32, u32)> {
        // A name without brackets is itself; one with brackets is refused as a name.
        self.units(names, node)
    }

    pub(super) fn finish(self) -> Topology {
        let unit_level = self.levels.get(self.depth_max).cloned();
        self.build.finish(unit_level, self.unique)
    }
}

/// Nodes that name their parents, in any order.
pub(super) fn nodes(specs: &[NodeSpec], levels: &[String]) -> Result<Topology> {
    check_levels(levels)?;
    let parents = parents(specs)?;
    no_cycle(specs, &parents)?;
    let mut children: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (index, parent) in parents.iter().enumerate() {
        children.entry(*parent).or_default().push(index);
    }
    siblings_differ(specs, &children)?;
    let mut writer = Writer::new(levels, "nodes");
    for root in children.get(&None).into_iter().flatten() {
        node(&mut writer, specs, &children, *root, 0)?;
    }
    Ok(writer.finish())
}

fn node(
    writer: &mut Writer<'_>,
    specs: &[NodeSpec],
    children: &BTreeMap<Option<usize>, Vec<usize>>,
    index: usize,
    depth: usize,
) -> Result<()> {
    let spec = &specs[index];
    let number = writer.open(&spec.name, spec.level.as_deref(), depth)?;
    writer.units(&spec.units, &spec.name)?;
    for child in children.get(&Some(index)).into_iter().flatten() {
        node(writer, specs, children, *child, depth + 1)?;
    }
    writer.build.close();
    let range = writer.build.range(number);
    for (key, LabelValue(value)) in &spec.labels {
        let (key, values) = (Arc::from(key.as_str()), Arc::from([value.clone()]));
        writer.build.paintings.push(Painting { key, depth: depth + 1, range, values });
    }
    Ok(())
}

/// The index of each node's parent. A parent is meant by its name where only one node has it, otherwise by its path.
fn parents(specs: &[NodeSpec]) -> Result<Vec<Option<usize>>> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, spec) in specs.iter().enumerate() {
        by_name.entry(&spec.name).or_default().push(index);
    }
    let find = |spec: &NodeSpec| -> Result<Option<usize>> {
        let Some(parent) = &spec.parent else { return Ok(None) };
        let (above, name) =
            parent.rsplit_once('/').map_or((None, parent.as_str()), |(above, name)| (Some(above), name));
        let same = by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let fitting = same.iter().filter(|index| above.is_none_or(|above| ends_with(&specs[**index], above)));
        match fitting.copied().collect::<Vec<_>>().as_slice() {
            [only] => Ok(Some(*only)),
            [] => {
                let message = format!("The node {:?} has the parent {parent:?}, and there is no such node.", spec.name);
                Err(hinted(invalid("nodes", message), parent, by_name.keys().copied()))
            }
            several => {
                let message = format!(
                    "The node {:?} has the parent {parent:?}, and {} nodes have that name.",
                    spec.name,
                    several.len()
                );
                Err(invalid("nodes", message).hint("Name the parent with its own parent, as in eu/dc1."))
            }
        }
    };
    specs.iter().map(find).collect()
}

/// Whether a node's own parent reference ends like the path that was asked for.
fn ends_with(spec: &NodeSpec, above: &str) -> bool {
    spec.parent.as_deref().is_some_and(|parent| {
        parent == above || parent.ends_with(&format!("/{above}")) || above.ends_with(&format!("/{parent}"))
    })
}

fn no_cycle(specs: &[NodeSpec], parents: &[Option<usize>]) -> Result<()> {
    // 0: not looked at; otherwise the number of the walk that has been there.
    let mut walks = vec![0_usize; specs.len()];
    for start in 0..specs.len() {
        let (mut at, walk) = (Some(start), start + 1);
        while let Some(index) = at.filter(|index| walks[*index] == 0) {
            walks[index] = walk;
            at = parents[index];
        }
        if let Some(index) = at.filter(|index| walks[*index] == walk) {
            return Err(cycle(specs, parents, index));
        }
    }
    Ok(())
}

fn cycle(specs: &[NodeSpec], parents: &[Option<usize>], start: usize) -> Fault {
    let mut names = vec![specs[start].name.as_str()];
    let mut at = parents[start];
    while let Some(index) = at.filter(|index| *index != start) {
        names.push(&specs[index].name);
        at = parents[index];
    }
    names.push(&specs[start].name);
    invalid("nodes", format!("The tree goes round in a circle: {}.", names.join(" in ")))
        .hint("Correct one `parent`; a node of the top level has none.")
}

fn siblings_differ(specs: &[NodeSpec], children: &BTreeMap<Option<usize>, Vec<usize>>) -> Result<()> {
    for (parent, indexes) in children {
        let mut seen = BTreeSet::new();
        if let Some(twice) = indexes.iter().find(|index| !seen.insert(&specs[**index].name)) {
            let place = parent.map_or("the top level".to_owned(), |parent| specs[parent].name.clone());
            let message = format!("The node {:?} is in {place} twice.", specs[*twice].name);
            return Err(invalid("nodes", message).hint("Merge the two, or rename one."));
        }
    }
    Ok(())
}
