//! Which checks run, in which order, and whether they make sense. Everything that can be refused is refused here,
//! before anything runs, at its place in `vice.toml`.

mod fields;
mod order;
mod uses;

use std::collections::BTreeSet;

use vice_core::manifest::{CheckSpec, Project};
use vice_core::port::verifier::VerifyRequest;
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result};

use crate::capture::Capture;
use crate::scenario::{Scenario, library, lint};
use crate::values::Values;

pub(crate) use uses::names as names_used;

/// A check that is going to run, or to be skipped because it is not for this environment.
pub(crate) struct Planned {
    /// Its name.
    pub(crate) name: String,
    /// Its kind.
    pub(crate) kind: &'static str,
    /// What it says.
    pub(crate) spec: CheckSpec,
    /// What it captures.
    pub(crate) captures: Vec<Capture>,
    /// The names of the checks that must have passed before.
    pub(crate) needs: Vec<String>,
    /// Whether it is for this environment.
    pub(crate) applies: bool,
    /// What is played, where it is a scenario.
    pub(crate) scenario: Option<Scenario>,
}

impl Planned {
    /// What it looks at, as `vice.toml` says it.
    pub(crate) fn subject_template(&self) -> String {
        match (&self.spec.http, &self.spec.tcp, &self.spec.command) {
            (Some(url), _, _) => url.clone(),
            (_, Some(address), _) => address.clone(),
            (_, _, Some(command)) => command.0.join(" "),
            _ => self.spec.scenario.clone().unwrap_or_default(),
        }
    }
}

/// The checks of one run.
pub(crate) struct Plan {
    /// In the order of `vice.toml`.
    pub(crate) checks: Vec<Planned>,
    /// Indices into `checks`, each after those that it needs.
    pub(crate) order: Vec<usize>,
}

/// A fault at a place below `[check.<name>]`.
pub(crate) fn invalid(project: &Project, check: &str, path: &[&str], message: impl Into<String>) -> Fault {
    let whole: Vec<&str> = ["check", check].iter().chain(path).copied().collect();
    project.invalid(&whole, message)
}

/// Plans a run.
///
/// # Errors
/// `UnknownName` for checks, tags and needs that do not exist; `ManifestInvalid` for fields that make no sense and
/// for circles; `Template` for names that are not known; each at its place.
pub(crate) fn plan(request: &VerifyRequest, values: &Values) -> Result<Plan> {
    let project = request.project.as_ref();
    let mut all = Vec::new();
    for (name, spec) in &project.manifest.check {
        all.push(planned(project, name, spec, request)?);
    }
    order::add_producers(project, &mut all)?;
    let chosen = chosen(request, &all)?;
    let order = order::sort(project, &all)?;
    for check in all.iter().filter(|check| check.applies && chosen.contains(check.name.as_str())) {
        uses::known(project, check, values, &all)?;
        playable(check, values, &all)?;
    }
    let kept: Vec<bool> = all.iter().map(|check| chosen.contains(check.name.as_str())).collect();
    // Positions shift when checks that were not chosen are dropped.
    let position = |index: usize| kept[..index].iter().filter(|kept| **kept).count();
    let order = order.into_iter().filter(|index| kept[*index]).map(position).collect();
    let mut keep = kept.iter();
    all.retain(|_| keep.next().copied().unwrap_or(false));
    Ok(Plan { checks: all, order })
}

fn planned(project: &Project, name: &str, spec: &CheckSpec, request: &VerifyRequest) -> Result<Planned> {
    let kind = spec.kind().map_err(|why| invalid(project, name, &[], format!("The check {name} {why}.")))?;
    fields::check(project, name, kind, spec)?;
    let mut captures = Vec::new();
    for (capture, text) in &spec.capture {
        captures.push(Capture::parse(capture, text).map_err(|why| {
            invalid(project, name, &["capture", capture], format!("The capture {capture:?} of the check {name} {why}."))
        })?);
    }
    let applies = spec.only.is_empty() || spec.only.contains(&request.env);
    let scenario =
        spec.scenario.as_deref().filter(|_| applies).map(|file| scenario(project, name, file)).transpose()?;
    let (name, spec, needs) = (name.to_owned(), spec.clone(), spec.needs.clone());
    Ok(Planned { name, kind, spec, captures, needs, applies, scenario })
}

fn scenario(project: &Project, name: &str, file: &str) -> Result<Scenario> {
    if !library::is_scenario(file.as_ref()) {
        let message = format!("The check {name} names {file:?}, which is not a file of a scenario.");
        return Err(invalid(project, name, &["scenario"], message).hint("Such files end in .toml or .hurl."));
    }
    library::load(&project.root.join(file), file).map_err(|fault| match fault.code() {
        Code::Io => invalid(project, name, &["scenario"], format!("The scenario {file} can't be read."))
            .because(fault.chain().join(": ")),
        _ => fault,
    })
}

/// Refuses a scenario that could not be played: it is given what the run and earlier checks provide.
fn playable(check: &Planned, values: &Values, all: &[Planned]) -> Result<()> {
    let Some(scenario) = &check.scenario else { return Ok(()) };
    let captures = all.iter().flat_map(|other| &other.captures).map(|capture| capture.name.as_str());
    let names = values.names().chain(captures).chain(["run.id"]).map(str::to_owned).collect();
    lint::names(scenario, &lint::Given { names, any_config: false })
}

/// The checks that were asked for, and all that these need.
fn chosen(request: &VerifyRequest, all: &[Planned]) -> Result<BTreeSet<String>> {
    let names = || all.iter().map(|check| check.name.as_str());
    for only in &request.only {
        if !names().any(|name| name == only) {
            return Err(unknown("check", only, &names().collect::<Vec<_>>()));
        }
    }
    let tags: BTreeSet<&str> = all.iter().flat_map(|check| &check.spec.tags).map(String::as_str).collect();
    if let Some(tag) = request.tags.iter().find(|tag| !tags.contains(tag.as_str())) {
        return Err(unknown("tag", tag, &tags.into_iter().collect::<Vec<_>>()));
    }
    let asked = |check: &&Planned| {
        (request.only.is_empty() || request.only.contains(&check.name))
            && (request.tags.is_empty() || check.spec.tags.iter().any(|tag| request.tags.contains(tag)))
    };
    let mut open: Vec<&Planned> = all.iter().filter(asked).collect();
    if open.is_empty() && !all.is_empty() {
        return Err(Fault::new(Code::Usage, "No check has both one of these names and one of these tags.")
            .hint("Leave out --only or --tag."));
    }
    let mut chosen = BTreeSet::new();
    while let Some(check) = open.pop() {
        if chosen.insert(check.name.clone()) {
            open.extend(all.iter().filter(|other| check.needs.contains(&other.name)));
        }
    }
    Ok(chosen)
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Fault {
    let shown: String = name.chars().take(80).collect();
    let fault = Fault::new(Code::UnknownName, format!("There is no {what} {shown:?}."));
    let fault = match nearest(name, known.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {near}?")),
        None => fault,
    };
    if known.is_empty() { fault } else { fault.hint(format!("Known: {}.", known.join(", "))) }
}
