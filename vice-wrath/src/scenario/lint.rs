//! What makes no sense in a scenario although it can be read: names that nobody provides (an error, as it could never
//! run), captures that nobody uses, steps that can't be reached, and the like (warnings).

use std::collections::BTreeSet;

use serde::Serialize;
use vice_core::suggest::nearest;
use vice_core::{Fault, Result, template};

use super::names::{provided, templates, used};
use super::{Action, Scenario, Spot, Step};

/// Something that deserves a look.
#[derive(Debug, Serialize)]
pub(crate) struct Warning {
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) file: String,
    pub(crate) line: usize,
}

fn warning(spot: &Spot, message: String, hint: &str) -> Warning {
    Warning { message, hint: hint.to_owned(), file: spot.source.file.clone(), line: spot.line() }
}

/// Names that a run provides: exact ones, and prefixes of those that only a run can know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub(crate) names: BTreeSet<String>,
    /// Where the configuration is not looked at, every name of it may exist.
    pub(crate) any_config: bool,
}

impl Given {
    fn knows(&self, name: &str) -> bool {
        self.names.contains(name) || (self.any_config && name.starts_with("config."))
    }
}

/// Refuses templates that can't be filled whatever happens, at their place, and secrets as arguments of commands.
///
/// # Errors
/// `ManifestInvalid` for the first one.
pub(crate) fn names(scenario: &Scenario, given: &Given) -> Result<()> {
    let own = provided(scenario);
    for (name, value) in &scenario.vars {
        let mut texts = Vec::new();
        crate::values::templates_in(value, &mut texts);
        for text in texts {
            let known = |used: &str| given.knows(used) || (own.contains(used) && used != name);
            check_text(text, &scenario.spot, &known, given, &own)?;
        }
    }
    let mut captured: BTreeSet<&str> = own.clone();
    let all: BTreeSet<&str> =
        scenario.all_steps().flat_map(|step| &step.captures).map(|one| one.name.as_str()).collect();
    captured.retain(|name| !all.contains(name) || scenario.vars.iter().any(|(var, _)| var == name));
    for step in scenario.all_steps() {
        let inner: BTreeSet<&str> = step.captures.iter().map(|capture| capture.name.as_str()).collect();
        let known = |name: &str| given.knows(name) || captured.contains(name) || inner.contains(name);
        for (text, spot) in templates(step) {
            check_text(text, spot, &known, given, &own)?;
        }
        arguments(scenario, step)?;
        captured.extend(inner);
    }
    Ok(())
}

fn check_text(
    text: &str,
    spot: &Spot,
    known: &dyn Fn(&str) -> bool,
    given: &Given,
    own: &BTreeSet<&str>,
) -> Result<()> {
    let names = template::names(text).map_err(|fault| spot.invalid(format!("{fault}")).hint("Write {{name}}."))?;
    match names.into_iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(unknown(spot, &name, given, own)),
    }
}

fn unknown(spot: &Spot, name: &str, given: &Given, own: &BTreeSet<&str>) -> Fault {
    if own.contains(name) {
        return spot
            .invalid(format!("{{{{{name}}}}} is used here before a step captures it."))
            .hint("Move the step that captures it before this one.");
    }
    let fault = spot.invalid(format!("{{{{{name}}}}} is not known here."));
    if matches!(name, "env.url" | "version") {
        return fault.hint("Give the address with --url, or deploy the project first.");
    }
    if name.starts_with("config.") {
        return fault.hint("The configuration has no such key; see `vice envy`.");
    }
    let all: Vec<&str> = given.names.iter().map(String::as_str).chain(own.iter().copied()).collect();
    match nearest(name, all.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {{{{{near}}}}}?")),
        None => fault.hint(format!("Set it under [vars], capture it in an earlier step, or pass --var {name}=VALUE.")),
    }
}

/// Other users of the machine can read the arguments of a process.
fn arguments(scenario: &Scenario, step: &Step) -> Result<()> {
    let Action::Command { argv, .. } = &step.action else { return Ok(()) };
    let secret =
        |name: &String| scenario.all_steps().flat_map(|step| &step.captures).any(|one| one.name == *name && one.secret);
    for word in argv {
        if let Some(name) = template::names(word).unwrap_or_default().iter().find(|name| secret(name)) {
            let variable = crate::command::capture_variable(name);
            return Err(step
                .spot
                .invalid(format!("The step {} would pass the secret {{{{{name}}}}} as an argument.", step.name))
                .hint(format!("The command finds it in its environment as {variable}.")));
        }
    }
    Ok(())
}

/// What deserves a look.
pub(crate) fn warnings(scenario: &Scenario) -> Vec<Warning> {
    let mut all = Vec::new();
    unused_captures(scenario, &mut all);
    unused_vars(scenario, &mut all);
    unreachable(scenario, &mut all);
    for step in scenario.all_steps() {
        if step.expect.is_empty()
            && !matches!(step.action, Action::Tcp { .. } | Action::Tls { .. } | Action::Postgres { .. })
        {
            all.push(warning(&step.spot, format!("The step {} expects nothing.", step.name), "Add expect = { … }."));
        }
        if step.parallel.is_some() && alone(scenario, step) {
            let message = format!("The step {} is in a parallel group of one.", step.name);
            all.push(warning(&step.spot, message, "Neighbours with the same word run at the same time."));
        }
    }
    all
}

fn alone(scenario: &Scenario, step: &Step) -> bool {
    let lists = [&scenario.setup, &scenario.steps, &scenario.teardown];
    let neighbours = lists.into_iter().flat_map(|list| list.windows(2)).any(|two| {
        let here = std::ptr::eq(&raw const two[0], step) || std::ptr::eq(&raw const two[1], step);
        here && two[0].parallel == two[1].parallel
    });
    !neighbours
}

fn unused_captures(scenario: &Scenario, all: &mut Vec<Warning>) {
    let steps: Vec<&Step> = scenario.all_steps().collect();
    for (index, step) in steps.iter().enumerate() {
        // A command finds all captures in its environment.
        let commands = steps[index + 1..].iter().any(|later| matches!(later.action, Action::Command { .. }));
        for capture in &step.captures {
            let later = steps[index + 1..].iter().any(|later| used(later).contains(&capture.name));
            let same = step.expect.iter().any(|one| one.query == crate::query::Query::Variable(capture.name.clone()));
            if !later && !same && !commands {
                let message = format!("Nobody uses the capture {}.", capture.name);
                all.push(warning(&capture.spot, message, "Use it in a later step, or take it out."));
            }
        }
    }
}

fn unused_vars(scenario: &Scenario, all: &mut Vec<Warning>) {
    let mut names: BTreeSet<String> = scenario.all_steps().flat_map(used).collect();
    for (_, value) in &scenario.vars {
        let mut texts = Vec::new();
        crate::values::templates_in(value, &mut texts);
        names.extend(texts.into_iter().flat_map(|text| template::names(text).unwrap_or_default()));
    }
    for (name, _) in scenario.vars.iter().filter(|(name, _)| !names.contains(name)) {
        all.push(warning(&scenario.spot, format!("Nobody uses the variable {name}."), "Take it out of [vars]."));
    }
}

/// A step behind one that can't pass is never played: it demands of one value two things that exclude each other.
fn unreachable(scenario: &Scenario, all: &mut Vec<Warning>) {
    use crate::query::predicate::Op;
    if scenario.keep_going {
        return;
    }
    let mut blocked: Option<&Step> = None;
    for step in scenario.setup.iter().chain(&scenario.steps) {
        if let Some(before) = blocked {
            let message = format!("The step {} is never reached: {} can't pass.", step.name, before.name);
            all.push(warning(&step.spot, message, "Correct what the earlier step expects."));
            continue;
        }
        let equal = |index: usize| match &step.expect[index].predicate {
            predicate if predicate.negated => None,
            predicate => match &predicate.op {
                Op::Equals(value) if step.expect[index].filters.is_empty() => Some((&step.expect[index].query, value)),
                _ => None,
            },
        };
        let count = step.expect.len();
        let contradiction = (0..count).any(|one| {
            (0..one)
                .any(|two| matches!((equal(one), equal(two)), (Some((q1, v1)), Some((q2, v2))) if q1 == q2 && v1 != v2))
        });
        if contradiction {
            let message = format!("The step {} expects two different values of one thing.", step.name);
            all.push(warning(&step.spot, message, "Keep one of them."));
            blocked = Some(step);
        }
    }
}
