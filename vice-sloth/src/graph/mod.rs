//! A graph that makes sense: every step, action, input and output that it names exists, literals have the right
//! types, and there is no cycle. Parsing is pure; nothing here runs anything.

mod build;
pub(crate) mod output;
pub(crate) mod reference;
pub(crate) mod schema;
mod when;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};
use vice_core::Millis;
use vice_core::manifest::{Project, StepSpec};
use vice_core::port::action::Action;

pub(crate) use build::build;
use output::Out;
pub(crate) use when::When;

/// The steps of a graph as they are written.
pub(crate) type Steps = IndexMap<String, StepSpec>;

/// The actions by name.
pub(crate) type Actions = BTreeMap<&'static str, Arc<dyn Action>>;

/// Where a graph comes from.
pub(crate) struct Source<'a> {
    /// The name of the graph.
    pub(crate) graph: &'a str,
    /// The file that errors point at; none for the frozen definition of an earlier run.
    pub(crate) project: Option<&'a Project>,
    /// What actions get for inputs of these names when the step says nothing: `project` and `env`.
    pub(crate) defaults: Map<String, Value>,
}

/// A checked graph.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    /// The steps in the order of the file.
    pub(crate) steps: Vec<Step>,
}

/// A checked step.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The name.
    pub(crate) name: String,
    /// What it does.
    pub(crate) work: Work,
    /// Its inputs, with references.
    pub(crate) with: IndexMap<String, Value>,
    /// The steps before it by index, each with the outputs that flow from it.
    pub(crate) needs: BTreeMap<usize, BTreeSet<String>>,
    /// When it runs.
    pub(crate) when: When,
    /// How often it is tried again after a failure.
    pub(crate) retry: u32,
    /// How long one attempt may take.
    pub(crate) timeout: Millis,
}

/// What a step does.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Runs a command in the project's folder.
    Command {
        /// The arguments, with references.
        argv: Vec<String>,
        /// What it gives.
        out: IndexMap<String, Out>,
    },
    /// Runs an action.
    Action {
        /// Its name.
        name: String,
        /// The schema of its input.
        input: Value,
        /// The schema of its output.
        output: Value,
    },
}

impl Graph {
    /// The index of a step.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.name == name)
    }

    /// The steps in layers: each lies one below the lowest that it needs.
    pub(crate) fn layers(&self) -> Vec<Vec<usize>> {
        let mut layer_of: BTreeMap<usize, usize> = BTreeMap::new();
        // There is no cycle, so each round places at least one step.
        while layer_of.len() < self.steps.len() {
            let before = layer_of.len();
            for (index, step) in self.steps.iter().enumerate().filter(|(_, step)| step.needs.len() <= before) {
                let below: Option<Vec<usize>> = step.needs.keys().map(|need| layer_of.get(need).copied()).collect();
                if let Some(below) = below {
                    layer_of.insert(index, below.into_iter().max().map_or(0, |layer| layer + 1));
                }
            }
            if layer_of.len() == before {
                break;
            }
        }
        let mut layers = vec![Vec::new(); layer_of.values().max().map_or(0, |last| last + 1)];
        for (index, layer) in layer_of {
            layers[layer].push(index);
        }
        layers
    }

    /// Which outputs of a step other steps use.
    pub(crate) fn used_outputs(&self, index: usize) -> BTreeSet<&str> {
        let using = self.steps.iter().filter_map(|step| step.needs.get(&index));
        using.flatten().map(String::as_str).collect()
    }
}

impl Step {
    /// What it does in a few words, for people: the command line or the action's name.
    pub(crate) fn summary(&self) -> String {
        match &self.work {
            Work::Command { argv, .. } => argv.join(" "),
            Work::Action { name, .. } => name.clone(),
        }
    }

    /// Its kind as a word.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.work {
            Work::Command { .. } => "run",
            Work::Action { .. } => "action",
        }
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
