//! Where the units of a simulated fleet are: their places in the topology and their classes. It owns look-ups by unit
//! number; it knows nothing of durations or limits.

use std::collections::BTreeMap;

use vice_core::payload::simulation::FleetNode;
use vice_core::{Code, Fault, Result};

use vice_pride_engine::{Plan, Topology, UnitNo};

/// The largest fleet: its tables fit into half a gigabyte. Five million servers are simulated; ten times as many are
/// surely a slip.
pub const UNITS_MAX: u32 = 10_000_000;

/// The places and classes of a fleet. Places are nested ranges of unit numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// How many units there are.
    pub units: u32,
    /// The names of the levels, such as `region`, `rack`; the level of the units themselves comes last.
    pub levels: Vec<String>,
    /// The tree without its units, parents before children.
    pub nodes: Vec<FleetNode>,
    /// The classes of environment: name and ranges of units, half open.
    pub classes: Vec<(String, Vec<(u32, u32)>)>,
}

impl Layout {
    /// A fleet of which nothing is known but its size.
    #[must_use]
    pub fn flat(units: u32) -> Self {
        Self { units, levels: vec!["unit".to_owned()], ..Self::default() }
    }

    /// The places and classes that a plan names. Units of one place need not be neighbours; a place then spans the
    /// hull of its units, which only matters to pictures.
    ///
    /// # Errors
    /// `Usage` when the fleet is too large.
    pub fn of_plan(plan: &Plan) -> Result<Self> {
        let units = u32::try_from(plan.units.len()).unwrap_or(u32::MAX);
        check_size(units)?;
        let mut nodes: BTreeMap<&str, FleetNode> = BTreeMap::new();
        let mut order: Vec<&str> = Vec::new();
        let mut classes: BTreeMap<&str, Vec<(u32, u32)>> = BTreeMap::new();
        for (number, unit) in (0..units).zip(&plan.units) {
            for path in unit.place.iter().flat_map(|place| prefixes(place)) {
                let node = nodes.entry(path).or_insert_with(|| {
                    order.push(path);
                    new_node(path, number)
                });
                node.last = node.last.max(number + 1);
            }
            if let Some(class) = &unit.class {
                extend(classes.entry(class).or_default(), number);
            }
        }
        Ok(Self {
            units,
            levels: level_names(&nodes),
            nodes: linked(&order, &nodes),
            classes: classes.into_iter().map(|(name, ranges)| (name.to_owned(), ranges)).collect(),
        })
    }

    /// The places and classes of a topology.
    ///
    /// # Errors
    /// `Usage` when the fleet is too large.
    pub fn of_topology(tree: &Topology) -> Result<Self> {
        check_size(tree.len())?;
        let unit_level = tree.unit_level().unwrap_or("unit").to_owned();
        // The root is the environment itself and has no name; every other node moves up by one.
        let mut levels: Vec<u16> = Vec::new();
        let mut nodes = Vec::new();
        for view in tree.nodes() {
            let above = view.parent.and_then(|parent| levels.get(parent as usize)).copied();
            levels.push(above.map_or(0, |level| level + 1));
            let Some(parent) = view.parent else { continue };
            nodes.push(FleetNode {
                name: view.name.into_owned(),
                level: above.unwrap_or(0),
                parent: parent.checked_sub(1),
                first: view.units.0,
                last: view.units.1,
            });
        }
        let depth = usize::from(nodes.iter().map(|node| node.level + 1).max().unwrap_or(0));
        let name = |level: usize| tree.levels().get(level).cloned().unwrap_or_else(|| format!("level {}", level + 1));
        let levels = (0..depth).map(name).chain([unit_level]).collect();
        Ok(Self { units: tree.len(), levels, nodes, classes: classes_of(tree) })
    }

    /// For each unit the path of its place, in the order of the numbers, as runs of units with the same path.
    #[must_use]
    pub fn paths(&self) -> Vec<(String, u32, u32)> {
        let mut has_child = vec![false; self.nodes.len()];
        for parent in self.nodes.iter().filter_map(|node| node.parent) {
            if let Some(entry) = has_child.get_mut(parent as usize) {
                *entry = true;
            }
        }
        let mut leaves: Vec<usize> = (0..self.nodes.len()).filter(|index| !has_child[*index]).collect();
        leaves.sort_by_key(|index| self.nodes[*index].first);
        let mut runs = Vec::new();
        let mut at = 0;
        for index in leaves {
            let node = &self.nodes[index];
            if node.first < at {
                continue;
            }
            if node.first > at {
                runs.push((String::new(), at, node.first));
            }
            runs.push((self.path(index), node.first, node.last));
            at = node.last;
        }
        if at < self.units {
            runs.push((String::new(), at, self.units));
        }
        runs
    }

    /// The path of a node, such as `eu/dc1`.
    #[must_use]
    pub fn path(&self, node: usize) -> String {
        let mut names = Vec::new();
        let mut next = Some(node);
        // A parent always stands before its child, so this ends.
        while let Some(index) = next {
            names.push(self.nodes[index].name.as_str());
            next = self.nodes[index].parent.map(|parent| parent as usize).filter(|parent| *parent < index);
        }
        names.reverse();
        names.join("/")
    }
}

pub(crate) fn check_size(units: u32) -> Result<()> {
    if units > UNITS_MAX {
        return Err(Fault::new(
            Code::Usage,
            format!("A fleet of {units} units is too large to simulate; {UNITS_MAX} is the limit."),
        )
        .hint("Simulate one region of it."));
    }
    Ok(())
}

fn classes_of(tree: &Topology) -> Vec<(String, Vec<(u32, u32)>)> {
    let mut classes: Vec<(String, Vec<(u32, u32)>)> =
        tree.classes().iter().map(|name| (name.clone(), Vec::new())).collect();
    for unit in 0..tree.len() {
        let class = tree.class_of(UnitNo(unit)).and_then(|class| classes.get_mut(class as usize));
        if let Some((_, ranges)) = class {
            extend(ranges, unit);
        }
    }
    classes
}

fn prefixes(place: &str) -> impl Iterator<Item = &str> {
    let ends = place.match_indices('/').map(|(at, _)| at).chain([place.len()]);
    ends.map(|end| &place[..end]).filter(|path| !path.is_empty())
}

fn new_node(path: &str, first: u32) -> FleetNode {
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    let level = u16::try_from(path.matches('/').count()).unwrap_or(u16::MAX);
    FleetNode { name, level, parent: None, first, last: first + 1 }
}

fn extend(ranges: &mut Vec<(u32, u32)>, number: u32) {
    match ranges.last_mut() {
        Some(range) if range.1 == number => range.1 += 1,
        _ => ranges.push((number, number + 1)),
    }
}

fn level_names(nodes: &BTreeMap<&str, FleetNode>) -> Vec<String> {
    let depth = nodes.values().map(|node| node.level + 1).max().unwrap_or(0);
    (1..=depth).map(|level| format!("level {level}")).chain(["unit".to_owned()]).collect()
}

/// The nodes in the order of their units, parents first, with their parents' numbers.
fn linked(order: &[&str], nodes: &BTreeMap<&str, FleetNode>) -> Vec<FleetNode> {
    let mut paths: Vec<&str> = order.to_vec();
    paths.sort_by_key(|path| (nodes[path].first, nodes[path].level));
    let number: BTreeMap<&str, u32> = (0..).zip(&paths).map(|(index, path)| (*path, index)).collect();
    let link = |path: &&str| {
        let parent = path.rsplit_once('/').and_then(|(parent, _)| number.get(parent)).copied();
        FleetNode { parent, ..nodes[path].clone() }
    };
    paths.iter().map(link).collect()
}
