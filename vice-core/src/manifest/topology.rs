//! `[env.NAME.topology]`: where an environment's units stand. It owns the shape of the section; the tree itself is made
//! by the engine, and files are read by pride.

use std::collections::BTreeMap;
use std::fmt;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::selector::Selector;
use super::values::OneOrMany;

/// Where the units stand: exactly one of `fleet`, `tree`, `nodes`, `file` and `inventory`, and what is said about them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopologySpec {
    /// A generator, such as `region[2] > dc[eu1,eu2] > rack[20] > server[40]`; several are put side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<OneOrMany>,
    /// Nested tables down to lists of units, such as `tree.eu.dc1 = ["web1", "web2"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Branch>,
    /// Nodes that name their parents, in any order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeSpec>,
    /// A TOML, YAML or JSON file with this same section in it, relative to `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// An Ansible inventory (INI, YAML, or the JSON of `ansible-inventory --list`), relative to `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<String>,
    /// The names of the levels from the root, such as `["region", "dc", "rack"]`. For an inventory they are the host
    /// variables that say where a host stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<String>,
    /// For an inventory without `levels`: the group whose children are the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<String>,
    /// Labels by selector of nodes or units, such as `"eu/dc1" = { service = "web" }`. What is deeper in the tree wins,
    /// then what is written later.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, BTreeMap<String, LabelValue>>,
    /// The label that tells the environment classes apart, or several together; `class` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_by: Option<OneOrMany>,
    /// Sets of upgrade domains by name, such as `domain.power = { label = "feed" }`. They cross the tree.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub domain: BTreeMap<String, DomainSpec>,
}

/// A value of a label: a text, a number or a truth value, kept as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelValue(pub String);

impl From<&str> for LabelValue {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A part of the tree: more tables, or the units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Branch {
    /// Nodes by name, in order.
    Nodes(IndexMap<String, Self>),
    /// Units; `web[01..20]` is twenty of them.
    Units(Vec<String>),
}

/// A node that names its parent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its parent's name, or path where the name is not unique; absent for a node of the top level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Its level, such as `rack`; `levels` counts from the root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Its labels; what is below inherits them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, LabelValue>,
    /// The units directly in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<String>,
}

/// A set of upgrade domains: exactly one of `label`, `count` and `members`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainSpec {
    /// Units with the same value of this label are one domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// So many domains, dealt out in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// With `count`: the level whose nodes are dealt out, each whole; single units when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Domains by name with what belongs to them. No unit may be in two.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub members: IndexMap<String, Selector>,
}

impl Serialize for LabelValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LabelValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelVisitor;
        impl Visitor<'_> for LabelVisitor {
            type Value = LabelValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a label's value: a text, a number, true or false")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<LabelValue, E> {
                Ok(LabelValue(text.to_owned()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<LabelValue, E> {
                Ok(LabelValue(number.to_string()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<LabelValue, E> {
                Ok(LabelValue(number.to_string()))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<LabelValue, E> {
                Ok(LabelValue(number.to_string()))
            }
            fn visit_bool<E: Error>(self, truth: bool) -> Result<LabelValue, E> {
                Ok(LabelValue(truth.to_string()))
            }
        }
        deserializer.deserialize_any(LabelVisitor)
    }
}

impl JsonSchema for LabelValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LabelValue".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

impl Serialize for Branch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nodes(nodes) => nodes.serialize(serializer),
            Self::Units(units) => units.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Branch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BranchVisitor;
        impl<'de> Visitor<'de> for BranchVisitor {
            type Value = Branch;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of nodes, or a list of units such as [\"web1\", \"web2\"]")
            }
            fn visit_str<E: Error>(self, unit: &str) -> Result<Branch, E> {
                Ok(Branch::Units(vec![unit.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Branch, A::Error> {
                let mut units = Vec::new();
                while let Some(unit) = seq.next_element()? {
                    units.push(unit);
                }
                Ok(Branch::Units(units))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Branch, A::Error> {
                let mut nodes = IndexMap::new();
                while let Some((name, branch)) = map.next_entry::<String, Branch>()? {
                    if nodes.insert(name.clone(), branch).is_some() {
                        return Err(A::Error::custom(format!("the node {name:?} is there twice")));
                    }
                }
                Ok(Branch::Nodes(nodes))
            }
        }
        deserializer.deserialize_any(BranchVisitor)
    }
}

impl JsonSchema for Branch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Branch".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let inner = generator.subschema_for::<Self>();
        schemars::json_schema!({
            "anyOf": [
                { "type": "object", "additionalProperties": inner },
                { "type": "array", "items": { "type": "string" } },
                { "type": "string" },
            ],
        })
    }
}
