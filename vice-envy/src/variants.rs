//! The configuration of an environment whose units differ: which layers apply to which of them, what they have alike, and
//! what each part has beside it. How one configuration is made is the business of `stack`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vice_core::id::EnvName;
use vice_core::manifest::{LayerRef, Project};
use vice_core::port::config::{ConfigEntry, UnitFacts, Variant};
use vice_core::template::names;
use vice_core::{Code, Fault, Result};

use crate::Envy;
use crate::layer::LayerPlan;
use crate::site::{Named, Site};
use crate::source::Ask;
use crate::stack::Stack;

/// In how many parts the units of an environment may fall. Each is read by itself, stores included, and stored whole.
const PARTS_MAX: usize = 256;

/// Which units an environment has; given by whoever knows the topology.
pub type UnitsOf = Arc<dyn Fn(&Project, &EnvName) -> Result<Vec<UnitFacts>> + Send + Sync>;

/// What is the same for all and what is not.
pub(crate) struct Parts {
    pub(crate) common: BTreeMap<String, ConfigEntry>,
    /// Empty where all units are alike.
    pub(crate) variants: Vec<Variant>,
}

/// Units that the same layers apply to.
struct Class {
    named: Named,
    layers: Vec<String>,
    units: BTreeSet<String>,
}

/// Whether a layer may apply to some units and not to others.
pub(crate) fn may_differ(project: &Project) -> bool {
    project.manifest.config.layers.iter().any(differs)
}

fn differs(layer: &LayerRef) -> bool {
    let by_place =
        names(layer.written()).is_ok_and(|names| names.iter().any(|name| name == "target" || name == "host"));
    let when = |when: &vice_core::manifest::LayerCondition| {
        when.target.is_some() || when.host.is_some() || !when.label.is_empty()
    };
    by_place || layer.when().is_some_and(when)
}

impl From<&UnitFacts> for Named {
    fn from(facts: &UnitFacts) -> Self {
        Self { target: facts.target.clone(), host: facts.host.clone(), labels: facts.labels.clone(), whole: true }
    }
}

impl Envy {
    /// The units of an environment, where it makes a difference and somebody knows.
    pub(crate) fn units(&self, project: &Project, env: &EnvName) -> Result<Vec<UnitFacts>> {
        match &self.units {
            Some(units) if may_differ(project) => units(project, env),
            _ => Ok(Vec::new()),
        }
    }

    /// The configuration of all units of an environment.
    pub(crate) async fn parts(&self, project: &Arc<Project>, env: &EnvName) -> Result<Parts> {
        let classes = self.classes(project, env)?;
        if classes.len() < 2 {
            let named = classes.into_iter().next().map(|class| class.named).unwrap_or_default();
            let ask = Ask { env: env.clone(), named, at: None };
            let common = self.with_stack_of(project, ask, Stack::entries).await?;
            return Ok(Parts { common, variants: Vec::new() });
        }
        let shared: BTreeSet<String> = classes[0]
            .layers
            .iter()
            .filter(|layer| classes.iter().all(|class| class.layers.contains(layer)))
            .cloned()
            .collect();
        let mut variants = Vec::new();
        for Class { named, layers, units } in classes {
            let ask = Ask { env: env.clone(), named, at: None };
            let entries = self.with_stack_of(project, ask, Stack::entries).await?;
            let own: Vec<&str> = layers.iter().filter(|layer| !shared.contains(*layer)).map(String::as_str).collect();
            let name = if own.is_empty() { "no layer of its own".to_owned() } else { own.join(" + ") };
            variants.push(Variant { name, units, entries, ..Variant::default() });
        }
        variants.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(Parts { common: taken_out(&mut variants), variants })
    }

    fn classes(&self, project: &Project, env: &EnvName) -> Result<Vec<Class>> {
        let mut alike: BTreeMap<UnitFacts, BTreeSet<String>> = BTreeMap::new();
        for unit in self.units(project, env)? {
            let name = unit.name.clone();
            alike.entry(UnitFacts { name: String::new(), ..unit }).or_default().insert(name);
        }
        let mut classes: BTreeMap<Vec<String>, Class> = BTreeMap::new();
        for (facts, units) in alike {
            let named = Named::from(&facts);
            let plan = LayerPlan::new(project, &Site::new(project, env, &self.process, named.clone())?)?;
            if let Some(fault) = plan.faults.into_iter().next() {
                return Err(fault);
            }
            let layers: Vec<String> = plan.specs.into_iter().map(|spec| spec.name).collect();
            let class = classes.entry(layers.clone());
            class.or_insert_with(|| Class { named, layers, units: BTreeSet::new() }).units.extend(units);
        }
        if classes.len() > PARTS_MAX {
            let message =
                format!("The units of {env} fall into {} parts with different configurations.", classes.len());
            return Err(Fault::new(Code::ConfigInvalid, message)
                .hint(format!("At most {PARTS_MAX} are read; let layers differ by a label that fewer values have.")));
        }
        Ok(classes.into_values().collect())
    }

    /// The site of a unit that a recorded configuration was for, as far as there is one left.
    pub(crate) fn site_of(&self, project: &Project, env: &EnvName, of: Option<&BTreeSet<String>>) -> Result<Named> {
        let units = self.units(project, env)?;
        let mut fitting = units.iter().filter(|unit| of.is_none_or(|of| of.contains(&unit.name)));
        Ok(fitting.next().or_else(|| units.first()).map(Named::from).unwrap_or_default())
    }
}

/// Takes out of all parts what they have alike.
fn taken_out(variants: &mut [Variant]) -> BTreeMap<String, ConfigEntry> {
    let Some((first, rest)) = variants.split_first() else { return BTreeMap::new() };
    let same = |key: &String, entry: &ConfigEntry| {
        rest.iter().all(|variant| variant.entries.get(key).is_some_and(|other| other.value == entry.value))
    };
    let common: BTreeMap<String, ConfigEntry> =
        first.entries.iter().filter(|(key, entry)| same(key, entry)).map(|(k, e)| (k.clone(), e.clone())).collect();
    for variant in variants {
        variant.entries.retain(|key, _| !common.contains_key(key));
    }
    common
}
