//! From the steps of `vice.toml` to a checked [`Graph`]. Each error points at its place and names the nearest word.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde_json::Value;
use vice_core::manifest::StepSpec;
use vice_core::port::config::variable_name;
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Millis, Result};

use super::output::Out;
use super::reference::{self, Reference};
use super::{Actions, Graph, Source, Step, Steps, When, Work, schema};

/// The most steps of a graph.
const STEPS_MAX: usize = 500;

/// The most retries of a step.
const RETRIES_MAX: u32 = 100;

/// How long one attempt may take when the step does not say.
const TIMEOUT: Millis = Millis::from_secs(600);

/// Checks the steps of a graph.
///
/// # Errors
/// `GraphInvalid`, pointing at the place when the source has a file.
pub(crate) fn build(source: &Source<'_>, steps: &Steps, actions: &Actions) -> Result<Graph> {
    if steps.is_empty() || steps.len() > STEPS_MAX {
        let message = format!("The graph {} has {} steps; it needs 1 to {STEPS_MAX}.", source.graph, steps.len());
        return Err(source.fault(&[], message));
    }
    check_name(source.graph, || source.fault(&[], format!("A graph can't be named {:?}.", short(source.graph))))?;
    let draft = steps.iter().map(|(name, spec)| draft(source, name, spec, actions)).collect::<Result<Vec<_>>>()?;
    let mut graph = Graph { steps: draft };
    for index in 0..graph.steps.len() {
        let needs = needs(source, &graph, index, &steps[index])?;
        graph.steps[index].needs = needs;
    }
    for step in &graph.steps {
        check_inputs(source, &graph, step)?;
    }
    match cycle(&graph) {
        None => Ok(graph),
        Some(path) => Err(cyclic(source, &graph, &path)),
    }
}

impl Source<'_> {
    /// A fault about a part of this graph.
    fn fault(&self, path: &[&str], message: impl Into<String>) -> Fault {
        self.point(Fault::new(Code::GraphInvalid, message), path)
    }

    fn point(&self, fault: Fault, path: &[&str]) -> Fault {
        let mut whole = vec!["graph", self.graph];
        whole.extend(path);
        fault.at(self.project.and_then(|project| project.place(&whole, "")))
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Names stand in references, in stream names and on the command line.
fn check_name(name: &str, fault: impl FnOnce() -> Fault) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts && name.len() <= vice_core::id::NAME_BYTES_MAX && name.bytes().all(fine) {
        return Ok(());
    }
    Err(fault().hint("Names have 1 to 63 characters a-z, A-Z, 0-9, - and _, and start with a letter or digit."))
}

/// Says which word was probably meant, or which there are.
fn suggest<'a>(fault: Fault, word: &str, known: impl IntoIterator<Item = &'a str>) -> Fault {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {near}?")),
        None if known.is_empty() => fault.hint("There are none."),
        None => fault.hint(format!("There are: {}.", known.join(", "))),
    }
}

fn draft(source: &Source<'_>, name: &str, spec: &StepSpec, actions: &Actions) -> Result<Step> {
    check_name(name, || source.fault(&[name], format!("A step can't be named {:?}.", short(name))))?;
    if spec.retry > RETRIES_MAX {
        let message = format!("The step {name} has {} retries; at most {RETRIES_MAX} are possible.", spec.retry);
        return Err(source.fault(&[name, "retry"], message));
    }
    let work = match (&spec.run, &spec.action) {
        (Some(command), None) => Work::Command { argv: command.0.clone(), out: outs(source, name, spec)? },
        (None, Some(action)) => action_of(source, name, action, spec, actions)?,
        (None, None) => {
            return Err(source.fault(&[name], format!("The step {name} has nothing to do: give it `run` or `action`.")));
        }
        (Some(_), Some(_)) => {
            let message = format!("The step {name} has both `run` and `action`; give each a step of its own.");
            return Err(source.fault(&[name, "action"], message));
        }
    };
    let when = When::parse(spec.when.as_deref()).map_err(|fault| source.point(fault, &[name, "when"]))?;
    let timeout = spec.timeout.unwrap_or(TIMEOUT);
    let (with, needs) = (spec.with.clone(), BTreeMap::new());
    Ok(Step { name: name.to_owned(), work, with, needs, when, retry: spec.retry, timeout })
}

fn outs(source: &Source<'_>, name: &str, spec: &StepSpec) -> Result<IndexMap<String, Out>> {
    let mut outs = IndexMap::new();
    for (output, text) in &spec.out {
        let path = [name, "out", output.as_str()];
        check_name(output, || source.fault(&path, format!("An output can't be named {:?}.", short(output))))?;
        outs.insert(output.clone(), Out::parse(text).map_err(|fault| source.point(fault, &path))?);
    }
    Ok(outs)
}

fn action_of(source: &Source<'_>, step: &str, action: &str, spec: &StepSpec, actions: &Actions) -> Result<Work> {
    let Some(found) = actions.get(action) else {
        let fault = source.fault(&[step, "action"], format!("There is no action {:?}.", short(action)));
        return Err(suggest(fault, action, actions.keys().copied()));
    };
    let info = found.describe();
    if !spec.out.is_empty() {
        let fault = source.fault(&[step, "out"], format!("The step {step} can't declare outputs: it is an action."));
        return Err(fault.hint(format!("The action {action} gives: {}.", listed(&info.output))));
    }
    Ok(Work::Action { name: action.to_owned(), input: info.input, output: info.output })
}

fn listed(schema: &Value) -> String {
    schema::properties(schema).filter(|names| !names.is_empty()).map_or("nothing".to_owned(), |names| names.join(", "))
}

/// The steps before a step: those that it names, and those whose outputs it uses.
fn needs(
    source: &Source<'_>,
    graph: &Graph,
    index: usize,
    spec: &StepSpec,
) -> Result<BTreeMap<usize, BTreeSet<String>>> {
    let name = graph.steps[index].name.as_str();
    let mut needs: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for need in &spec.needs {
        let Some(found) = graph.index(need) else {
            return Err(unknown_step(source, graph, &[name, "needs"], name, need));
        };
        needs.entry(found).or_default();
    }
    let argv = spec.run.iter().flat_map(|command| &command.0);
    let in_argv = argv.map(|argument| (vec![name, "run"], reference::in_text(argument)));
    let in_with = spec.with.iter().map(|(key, value)| (vec![name, "with", key], reference::in_value(value)));
    let in_when = graph.steps[index].when.reference().cloned().map(|found| (vec![name, "when"], Ok(vec![found])));
    for (path, found) in in_argv.chain(in_with).chain(in_when) {
        for used in found.map_err(|fault| source.point(regraph(&fault), &path))? {
            let from = giver(source, graph, name, &path, &used)?;
            needs.entry(from).or_default().insert(used.output);
        }
    }
    Ok(needs)
}

/// Broken braces are found by the templates of the core; here they are a broken graph.
fn regraph(fault: &Fault) -> Fault {
    let same = Fault::new(Code::GraphInvalid, fault.to_string());
    fault.hints().iter().fold(same, |fault, hint| fault.hint(hint.clone()))
}

fn unknown_step(source: &Source<'_>, graph: &Graph, path: &[&str], name: &str, need: &str) -> Fault {
    let fault = source.fault(path, format!("The step {name} needs a step {:?}, which does not exist.", short(need)));
    suggest(fault, need, graph.steps.iter().map(|step| step.name.as_str()))
}

fn giver(source: &Source<'_>, graph: &Graph, name: &str, path: &[&str], used: &Reference) -> Result<usize> {
    let Some(index) = graph.index(&used.step) else {
        return Err(unknown_step(source, graph, path, name, &used.step));
    };
    let message =
        format!("The step {} has no output {:?}, which the step {name} uses.", used.step, short(&used.output));
    match &graph.steps[index].work {
        Work::Command { out, .. } if !out.contains_key(&used.output) => {
            let fault = suggest(source.fault(path, message), &used.output, out.keys().map(String::as_str));
            let declare =
                format!("Declare it with out = {{ {} = \"stdout\" }} or a file pattern.", short(&used.output));
            Err(fault.hint(declare))
        }
        Work::Action { output, .. } if !schema::gives(output, &used.output) => {
            let known = schema::properties(output).unwrap_or_default();
            Err(suggest(source.fault(path, message), &used.output, known))
        }
        _ => Ok(index),
    }
}

fn check_inputs(source: &Source<'_>, graph: &Graph, step: &Step) -> Result<()> {
    match &step.work {
        Work::Command { .. } => check_variables(source, step),
        Work::Action { name, input, .. } => check_action_input(source, graph, step, name, input),
    }
}

/// The inputs of a command are its variables; those named `VICE_…` say what runs and are not the graph's to set.
fn check_variables(source: &Source<'_>, step: &Step) -> Result<()> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for key in step.with.keys() {
        let path = [step.name.as_str(), "with", key.as_str()];
        let variable = variable_name(key);
        if variable.starts_with("VICE_") || !variable.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let message = format!("The step {} can't set the variable {:?}.", step.name, short(&variable));
            return Err(source.fault(&path, message).hint("Choose another name for the input."));
        }
        if let Some(earlier) = seen.insert(variable.clone(), key) {
            let message = format!("The inputs {earlier} and {key} of the step {} are both {variable}.", step.name);
            return Err(source.fault(&path, message));
        }
    }
    Ok(())
}

fn check_action_input(source: &Source<'_>, graph: &Graph, step: &Step, action: &str, input: &Value) -> Result<()> {
    let name = step.name.as_str();
    for (key, value) in &step.with {
        let path = [name, "with", key.as_str()];
        if !schema::allows(input, key) {
            let message = format!("The action {action} of the step {name} has no input {:?}.", short(key));
            let known = schema::properties(input).unwrap_or_default();
            return Err(suggest(source.fault(&path, message), key, known));
        }
        let literal = reference::in_value(value).is_ok_and(|found| found.is_empty());
        let problem = if literal { schema::misfit(input, key, value) } else { edge_misfit(graph, input, key, value) };
        if let Some(problem) = problem {
            let message = format!("The input {key} of the step {name} does not fit the action {action}.");
            return Err(source.fault(&path, message).because(problem));
        }
    }
    let given = |key: &&str| step.with.contains_key(*key) || source.defaults.contains_key(*key);
    match schema::required(input).into_iter().find(|key| !given(key)) {
        None => Ok(()),
        Some("env") => Err(source
            .fault(&[name], format!("The action {action} of the step {name} needs an environment."))
            .hint("Add --env, or with = { env = \"…\" }.")),
        Some(missing) => Err(source
            .fault(&[name], format!("The action {action} of the step {name} needs the input {missing}."))
            .hint(format!("Add with = {{ {missing} = … }}."))),
    }
}

/// Why what flows along an edge can't fit, as far as the types are known before the run.
fn edge_misfit(graph: &Graph, input: &Value, key: &str, value: &Value) -> Option<String> {
    let wanted = schema::types(input, key)?;
    let string = BTreeSet::from(["string"]);
    let (from, given) = match value {
        Value::String(text) => match reference::whole(text) {
            Some(found) => {
                let giver = &graph.steps[graph.index(&found.step)?];
                let types = match &giver.work {
                    Work::Command { out, .. } => out.get(&found.output)?.json_type().map(|one| BTreeSet::from([one])),
                    Work::Action { output, .. } => schema::types(output, &found.output),
                };
                (format!("{}.{} is", found.step, found.output), types?)
            }
            None => ("text with references in it is".to_owned(), string),
        },
        Value::Array(_) => ("it is".to_owned(), BTreeSet::from(["array"])),
        _ => ("it is".to_owned(), BTreeSet::from(["object"])),
    };
    let words = |types: &BTreeSet<&str>| types.iter().copied().collect::<Vec<_>>().join(" or ");
    (!schema::compatible(&given, &wanted))
        .then(|| format!("{from} {}, and {} is wanted", words(&given), words(&wanted)))
}

/// A cycle as a path whose last step needs the first, if there is one. Each step stands before the one that needs it.
fn cycle(graph: &Graph) -> Option<Vec<usize>> {
    let mut done = BTreeSet::new();
    for start in 0..graph.steps.len() {
        let mut path: Vec<(usize, Vec<usize>)> = Vec::new();
        let open = |index: usize| (index, graph.steps[index].needs.keys().rev().copied().collect::<Vec<_>>());
        if !done.contains(&start) {
            path.push(open(start));
        }
        while let Some((index, rest)) = path.last_mut() {
            let index = *index;
            match rest.pop() {
                None => {
                    done.insert(index);
                    path.pop();
                }
                Some(next) => {
                    if let Some(at) = path.iter().position(|(index, _)| *index == next) {
                        let mut found: Vec<usize> = path[at..].iter().map(|(index, _)| *index).collect();
                        found.reverse();
                        return Some(found);
                    }
                    if !done.contains(&next) {
                        path.push(open(next));
                    }
                }
            }
        }
    }
    None
}

fn cyclic(source: &Source<'_>, graph: &Graph, path: &[usize]) -> Fault {
    // The step that stands first in the file begins the sentence, so that the message does not depend on the search.
    let least = path.iter().enumerate().min_by_key(|(_, index)| **index).map_or(0, |(at, _)| at);
    let mut names: Vec<&str> =
        (0..path.len()).map(|at| graph.steps[path[(least + at) % path.len()]].name.as_str()).collect();
    let first = names[0];
    names.push(first);
    source
        .fault(&[first, "needs"], format!("The graph {} has a cycle: {}.", source.graph, names.join(" → ")))
        .hint("Each step waits for the one before it; take one of them out.")
}
