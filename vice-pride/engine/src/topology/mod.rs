//! Where units stand: a tree of any depth with labels, environment classes, and upgrade domains that cross it.
//!
//! Units have dense numbers in depth-first order, so that everything below a node is one range. It is made from what
//! the manifest says, or from an inventory that somebody else has read: no I/O here. Names are written on demand, so
//! that five million servers cost a few bytes each.

mod build;
mod domains;
mod explicit;
mod generate;
mod labels;
mod names;
mod roster;
mod select;

use std::borrow::Cow;
use std::collections::BTreeMap;

use vice_core::manifest::TopologySpec;
use vice_core::{Code, Fault, Result};

use crate::number::UnitNo;
use crate::unit_set::UnitSet;

use self::labels::Column;
use self::names::Names;

pub use self::domains::DomainSet;
pub use self::names::expand_range;
pub use self::roster::{Roster, RosterGroup, RosterHost};
pub(crate) use self::select::{complement, intersection};

/// How many units a topology may have: ten times the largest fleets that deploy as one. More is surely a slip.
pub const UNITS_MAX: u32 = 10_000_000;

/// How deep a tree may be.
pub const LEVELS_MAX: usize = 16;

/// A node: its number in the tree, from 0 (the root) in depth-first order.
pub type NodeNo = u32;

/// No node, no level.
const NONE: u32 = u32::MAX;

/// The word for the whole environment, where a level could be named.
pub const ENVIRONMENT: &str = "environment";

/// A tree of units. The root is the environment itself and has no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    names: Names,
    levels: Vec<String>,
    /// The level of the units themselves, where it has a name.
    unit_level: Option<String>,
    nodes: Vec<Node>,
    units: u32,
    /// Whether the units' own names are unique, so that they need no path.
    unique: bool,
    labels: BTreeMap<String, Column>,
    groups: BTreeMap<String, UnitSet>,
    domains: Vec<DomainSet>,
    classes: Column,
    pairs: Pairs,
}

/// Units that are there twice: one to try a release out with a share of the traffic, and one that gets it when it is
/// proven.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Those that try a release out.
    pub canaries: UnitSet,
    /// Those that get it afterwards.
    pub stables: UnitSet,
}

/// One node; 32 bytes, because a large fleet has a hundred thousand racks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    name: u32,
    parent: NodeNo,
    /// The first node that is not below it.
    end: NodeNo,
    /// An index into the levels.
    level: u32,
    first: u32,
    last: u32,
    /// So many of its units are directly in it; they come first.
    direct: u32,
    /// The symbol of the first of these.
    unit_names: u32,
}

/// A node as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView<'a> {
    /// Its number.
    pub number: NodeNo,
    /// Its name; empty for the root.
    pub name: Cow<'a, str>,
    /// Its level, such as `rack`; none where levels have no names, and for the root.
    pub level: Option<&'a str>,
    /// Its parent; none for the root.
    pub parent: Option<NodeNo>,
    /// Its units, half-open.
    pub units: (u32, u32),
}

impl Topology {
    /// Makes the tree that the manifest says. `roster` is the inventory, where `spec.inventory` names one; what
    /// `spec.file` names has to be put in its place before.
    ///
    /// # Errors
    /// `ManifestInvalid` with the key in the detail `key`: a cycle, a name that is there twice, an unknown parent, a
    /// domain without members, too many units.
    pub fn new(spec: &TopologySpec, roster: Option<&Roster>) -> Result<Self> {
        let mut tree = match source(spec, roster)? {
            Source::Fleet(lines) => generate::fleet(lines)?,
            Source::Tree(branch) => explicit::tree(branch, &spec.levels)?,
            Source::Nodes => explicit::nodes(&spec.nodes, &spec.levels)?,
            Source::Roster(roster) => roster::tree(roster, spec)?,
        };
        // What a variable of an inventory is named is not this project's choice: where it is a word of its own, it gives way.
        match roster {
            Some(_) => tree.drop_taken_labels(),
            None => tree.check_labels()?,
        }
        tree.paint(&spec.labels)?;
        tree.make_domains(&spec.domain)?;
        tree.make_classes(spec.class_by.as_ref())?;
        Ok(tree)
    }

    /// Units without any structure: what an environment without a topology is.
    #[must_use]
    pub fn flat(names: &[String]) -> Self {
        let mut build = build::Builder::default();
        let base = build.names.next();
        for name in names {
            build.names.list(name);
        }
        // More units than can be numbered are cut off here and refused by the planner, which counts them.
        build.units(base, u32::try_from(names.len()).unwrap_or(UNITS_MAX).min(UNITS_MAX)).unwrap_or_default();
        build.finish(None, true)
    }

    /// The same tree with units that are there twice.
    #[must_use]
    pub fn paired(self, pairs: Pairs) -> Self {
        Self { pairs, ..self }
    }

    /// The units that are there twice.
    #[must_use]
    pub const fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    /// How many units there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.units
    }

    /// Whether there is no unit.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.units == 0
    }

    /// The names of the levels from the root, without that of the units.
    #[must_use]
    pub fn levels(&self) -> &[String] {
        &self.levels
    }

    /// The name of the units' own level, such as `server`, where it has one.
    #[must_use]
    pub fn unit_level(&self) -> Option<&str> {
        self.unit_level.as_deref()
    }

    /// The nodes in depth-first order; the first is the root.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        (0..).map_while(|number| self.node(number))
    }

    /// One node.
    #[must_use]
    pub fn node(&self, number: NodeNo) -> Option<NodeView<'_>> {
        let node = self.nodes.get(number as usize)?;
        Some(NodeView {
            number,
            name: self.names.name(node.name),
            level: self.levels.get(node.level as usize).map(String::as_str),
            parent: (node.parent != NONE).then_some(node.parent),
            units: (node.first, node.last),
        })
    }

    /// The lowest node that a unit is in.
    #[must_use]
    pub fn node_of(&self, unit: UnitNo) -> Option<NodeNo> {
        let after = self.nodes.partition_point(|node| node.first <= unit.0);
        let node = after.checked_sub(1).filter(|_| unit.0 < self.units)?;
        u32::try_from(node).ok()
    }

    /// The name of a unit: its own where that is unique, otherwise its path with dots, such as `eu.dc1.rack3.server7`.
    #[must_use]
    pub fn unit_name(&self, unit: UnitNo) -> String {
        let Some(node) = self.node_of(unit) else { return String::new() };
        let own = self.own_name(node, unit);
        match (self.unique, self.path(node, ".")) {
            (false, Some(path)) => format!("{path}.{own}"),
            _ => own.into_owned(),
        }
    }

    fn own_name(&self, node: NodeNo, unit: UnitNo) -> Cow<'_, str> {
        let node = &self.nodes[node as usize];
        self.names.name(node.unit_names.saturating_add(unit.0 - node.first))
    }

    /// Where a unit stands, such as `eu/dc1/rack3`; none when the tree has no levels there.
    #[must_use]
    pub fn place(&self, unit: UnitNo) -> Option<String> {
        self.node_path(self.node_of(unit)?)
    }

    /// The path of a node, such as `eu/dc1/rack3`; none for the root.
    #[must_use]
    pub fn node_path(&self, node: NodeNo) -> Option<String> {
        self.path(node, "/")
    }

    fn path(&self, node: NodeNo, between: &str) -> Option<String> {
        let mut names = Vec::new();
        let mut at = node;
        while at != 0
            && let Some(node) = self.nodes.get(at as usize)
        {
            names.push(self.names.name(node.name));
            at = node.parent;
        }
        names.reverse();
        (!names.is_empty()).then(|| names.join(between))
    }

    /// The value of a unit's label, inherited or its own.
    #[must_use]
    pub fn label(&self, unit: UnitNo, key: &str) -> Option<&str> {
        self.labels.get(key)?.value(unit)
    }

    /// The keys of all labels.
    pub fn label_keys(&self) -> impl Iterator<Item = &str> {
        self.labels.keys().map(String::as_str)
    }

    /// The environment class of a unit, by number into [`Topology::classes`].
    #[must_use]
    pub fn class_of(&self, unit: UnitNo) -> Option<u32> {
        self.classes.number(unit)
    }

    /// The names of the environment classes.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        self.classes.values()
    }

    /// The sets of upgrade domains.
    #[must_use]
    pub fn domains(&self) -> &[DomainSet] {
        &self.domains
    }

    /// The nodes of a level with their units, in order; none when no level has that name.
    #[must_use]
    pub fn level(&self, name: &str) -> Option<Vec<(NodeNo, u32, u32)>> {
        let level = u32::try_from(self.levels.iter().position(|level| level == name)?).ok()?;
        let of_level = self.nodes.iter().zip(0..).filter(|(node, _)| node.level == level);
        Some(of_level.map(|(node, number)| (number, node.first, node.last)).collect())
    }

    /// What the tree takes in memory, in bytes, without the fixed part.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let columns = self.labels.values().chain([&self.classes]).map(Column::bytes).sum::<usize>();
        self.names.bytes() + self.nodes.len() * size_of::<Node>() + columns
    }
}

enum Source<'a> {
    Fleet(&'a [String]),
    Tree(&'a vice_core::manifest::Branch),
    Nodes,
    Roster(&'a Roster),
}

/// The one source that the section names.
fn source<'a>(spec: &'a TopologySpec, roster: Option<&'a Roster>) -> Result<Source<'a>> {
    let given = [
        ("fleet", spec.fleet.is_some()),
        ("tree", spec.tree.is_some()),
        ("nodes", !spec.nodes.is_empty()),
        ("file", spec.file.is_some()),
        ("inventory", spec.inventory.is_some() || roster.is_some()),
    ];
    let names: Vec<&str> = given.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    match (names.as_slice(), &spec.fleet, &spec.tree, roster) {
        (["fleet"], Some(lines), ..) => Ok(Source::Fleet(&lines.0)),
        (["tree"], _, Some(branch), _) => Ok(Source::Tree(branch)),
        (["nodes"], ..) => Ok(Source::Nodes),
        (["inventory"], .., Some(roster)) => Ok(Source::Roster(roster)),
        (["file" | "inventory"], ..) => Err(Fault::internal("The file of the topology was not read before.")),
        ([], ..) => Err(invalid("fleet", "The topology says no units.").hint(
            "Give it one of fleet, tree, nodes, file and inventory, such as: fleet = \"region[eu,us] > rack[2] > server[10]\".",
        )),
        (several, ..) => {
            let message = format!("The topology says its units in {} ways: {}.", several.len(), several.join(", "));
            Err(invalid(several[1], message).hint("Keep one of them."))
        }
    }
}

/// A fault about a key of `[env.NAME.topology]`.
fn invalid(key: &str, message: impl Into<String>) -> Fault {
    Fault::new(Code::ManifestInvalid, message).detail("key", key)
}
