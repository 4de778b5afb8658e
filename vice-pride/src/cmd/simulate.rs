//! `vice pride simulate`: how the project's own plan would go in a modelled world. Asks no target and changes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use serde::Deserialize;
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::rollout::RolloutView;
use vice_core::id::{EnvName, Scope};
use vice_core::manifest::{Chance, CheckSpec, ModelSpec, Project, RolloutSpec};
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::Note;
use vice_core::payload::simulation::{SimulationMode, SimulationReport};
use vice_core::payload::{ReleaseRef, environment_stream, rollout_stream};
use vice_core::port::painter::PictureFormat;
use vice_core::port::target::{Inventory, UnitHealth, UnitState};
use vice_core::suggest::nearest;
use vice_core::ui::{Format, Outcome};
use vice_core::{Code, Context, Fault, Millis, Result};
use vice_pride_engine::judge::Analysis;
use vice_pride_engine::{Course, FleetRequest, PlanRequest, plan, plan_fleet};
use vice_pride_simulator::{
    Counts, Layout, Past, Setting, Study, Title, World, compare, left_out, optimise, posterior, report,
};

use super::ScopeArgs;
use super::metric_change::{self, MetricChange};
use crate::driver::analysis;
use crate::text_file;

/// The latest rollouts that durations are taken from: a year of weekly ones, and quickly read.
const ROLLOUTS_READ_MAX: usize = 50;

/// Fleets with a topology larger than this are run without names, which would only take memory.
const NAMED_MAX: u32 = 20_000;

/// Bytes of a file with a policy.
const POLICY_BYTES_MAX: u64 = 1024 * 1024;

/// Arguments of `vice pride simulate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vice pride simulate shop --env prod\n  vice pride simulate --env prod --runs 1000 --format html -o simulation.html\n  vice pride simulate --env prod --compare env careful.toml\n  vice pride simulate --env prod --optimise --fast"
)]
pub struct SimulateArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// How many runs each story has
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// The seed; the same seed gives the same report, byte for byte
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run this policy instead: a TOML file with the keys of [env.NAME.rollout] and [metric.NAME], or the name of another environment
    #[arg(long, value_name = "FILE|ENV")]
    policy: Option<String>,
    /// Compare two policies on the same random numbers; `env` is the one of the environment
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "policy")]
    compare: Option<Vec<String>>,
    /// Search wave growth and bake time
    #[arg(long)]
    optimise: bool,
    /// The approximation for large fleets
    #[arg(long)]
    fast: bool,
    /// On so many threads; all that there are when absent, and it changes no figure
    #[arg(long)]
    threads: Option<usize>,
    /// When the rollout begins, such as 2026-01-05T09:00:00Z; windows and daily cycles depend on it
    #[arg(long, value_name = "TIME", default_value = "2026-01-05T09:00:00Z")]
    start: jiff::Timestamp,
}

/// Simulates and draws.
///
/// # Errors
/// What making a plan says; `ManifestInvalid` where the model makes no sense for the fleet.
pub async fn run(app: &App, args: SimulateArgs) -> Result<Outcome> {
    let (project, scope) = app.scope(args.scope.project.as_deref(), args.scope.env.as_ref())?;
    let past = past(app, &project, &scope, ROLLOUTS_READ_MAX).await?;
    let report = {
        let (project, scope) = (project.clone(), scope.clone());
        // Arithmetic for seconds must not hold up the runtime's other work, such as the signal handler's.
        let job = move || simulate(&project, &scope, &args, &past);
        tokio::task::spawn_blocking(job).await.map_err(|error| Fault::new(Code::Internal, error.to_string()))??
    };
    let format = app.ui.format();
    format.among(&[Format::Html, Format::Markdown])?;
    let text = app.painter.simulation(&report, PictureFormat::of(format, app.ui.width()))?;
    let json = serde_json::to_value(&report).map_err(|error| Fault::new(Code::Internal, error.to_string()))?;
    Ok(Outcome::done(text, json))
}

fn simulate(project: &Project, scope: &Scope, args: &SimulateArgs, past: &Past) -> Result<SimulationReport> {
    let name = match (&args.policy, &args.compare) {
        (Some(policy), _) => policy.clone(),
        (None, Some(pair)) => pair[0].clone(),
        (None, None) => "env".to_owned(),
    };
    let policy = Policy::named(project, scope, &name)?;
    let first = Prepared::new(project, scope, &policy)?;
    let model = project.env(&scope.env)?.model.clone().unwrap_or_default();
    let world =
        World::new(&model, first.layout.clone(), past).map_err(|fault| at_model(fault, project, scope, &model))?;
    let second = match &args.compare {
        Some(pair) => Some((&pair[1], Prepared::new(project, scope, &Policy::named(project, scope, &pair[1])?)?)),
        None => None,
    };
    let study = |course| Study {
        setting: Setting { world: &world, course, start: args.start, seed: args.seed },
        runs: args.runs,
        threads: args.threads.unwrap_or_else(threads),
        mode: if args.fast { SimulationMode::Fast } else { SimulationMode::Exact },
    };
    let title =
        Title { project: project.name().clone(), env: scope.env.clone(), policy: Some(words(&name, &policy.rollout)) };
    let one = study(&first.course);
    let mut report = report(&one, &title);
    if !policy.metrics.is_empty() && first.course.plan().analysis.is_none() {
        report.warnings.push("The policy's [metric.NAME] changes nothing: no metric judges this plan.".to_owned());
    }
    // Of no units there is nothing to compare or to search.
    if first.layout.units == 0 {
        return Ok(report);
    }
    if let Some((other, second)) = &second {
        report.compare = Some(compare((&name, &one), (other, &study(&second.course))));
    }
    if args.optimise {
        report.pareto = Some(optimise(&one)?);
        let left = left_out(&first.course);
        report.warnings.extend(left.map(|left| {
            format!("The search runs in the fast mode and leaves out what this plan has: {left}. Simulate what it finds with --policy, which keeps them.")
        }));
    }
    Ok(report)
}

fn at_model(fault: Fault, project: &Project, scope: &Scope, model: &ModelSpec) -> Fault {
    if *model == ModelSpec::default() || fault.code() != Code::ManifestInvalid {
        return fault;
    }
    fault.at(project.place(&["env", scope.env.as_str(), "model"], ""))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A policy in a few words.
fn words(name: &str, spec: &RolloutSpec) -> String {
    let mut text = spec.strategy.word().to_owned();
    if let Some(growth) = spec.wave_growth {
        text.push_str(&format!(" x{growth}"));
    }
    if let Some(bake) = spec.bake {
        text.push_str(&format!(", bake {bake}"));
    }
    if name == "env" { text } else { format!("{name}: {text}") }
}

/// How a rollout goes, and what is changed of the metrics that judge it.
struct Policy {
    rollout: RolloutSpec,
    metrics: BTreeMap<String, MetricChange>,
}

impl Policy {
    fn of_env(rollout: &RolloutSpec) -> Self {
        Self { rollout: rollout.clone(), metrics: BTreeMap::new() }
    }

    /// The policy that a word means: the environment's own, another environment's, or the one in a file.
    fn named(project: &Project, scope: &Scope, word: &str) -> Result<Self> {
        if word == "env" {
            return Ok(Self::of_env(&project.env(&scope.env)?.rollout));
        }
        let named = word.parse::<EnvName>().ok().and_then(|name| project.manifest.env.get(&name));
        if let Some(env) = named {
            return Ok(Self::of_env(&env.rollout));
        }
        let path = project.root.join(word);
        let path = if Path::new(word).is_file() { Path::new(word) } else { path.as_path() };
        let policy = || format!("The policy {word} could not be read.");
        // A word that names nothing is a mistake of the command line.
        let text = text_file::read(path, word, POLICY_BYTES_MAX).context(Code::Usage, policy).map_err(|fault| {
            fault.hint("Name a TOML file with the keys of [env.NAME.rollout], or an environment of the project.")
        })?;
        Self::parsed(&text)
            .map_err(|error| Fault::new(Code::ManifestInvalid, format!("The policy {word} does not parse: {error}")))
    }

    fn parsed(text: &str) -> Result<Self, toml::de::Error> {
        let mut table = toml::from_str::<toml::Table>(text)?;
        let metrics = metric_change::take(&mut table)?;
        // From the text where that is possible: then an error shows its place.
        let rollout = match metrics.is_empty() {
            true => RolloutSpec::deserialize(toml::Deserializer::parse(text)?)?,
            false => table.try_into()?,
        };
        Ok(Self { rollout, metrics })
    }

    /// Lays the changes of metrics over an analysis.
    fn applied_to(&self, project: &Project, env: &EnvName, mut analysis: Analysis) -> Result<Analysis> {
        let defined = crate::metric::specs(project, env, false);
        for (name, change) in &self.metrics {
            let known = || defined.iter().map(|(name, _)| name.as_str());
            if !known().any(|other| other == name) {
                let fault =
                    Fault::new(Code::Usage, format!("The policy has [metric.{name}], and {env} no such metric."));
                return Err(match nearest(name, known()) {
                    Some(near) => fault.hint(format!("Did you mean {near:?}?")),
                    None => fault.hint("A policy changes how a metric of the project judges; it defines none."),
                });
            }
            analysis.metrics.iter_mut().filter(|metric| metric.name == *name).for_each(|metric| change.apply(metric));
        }
        metric_change::sensible(analysis, "The policy")
    }
}

/// A plan, ready, with the fleet that it is for.
struct Prepared {
    course: Course,
    layout: Layout,
}

impl Prepared {
    fn new(project: &Project, scope: &Scope, policy: &Policy) -> Result<Self> {
        let rollout = &policy.rollout;
        let spec = project.env(&scope.env)?;
        let mut project = project.clone();
        if let Some(env) = project.manifest.env.get_mut(&scope.env) {
            env.rollout = rollout.clone();
        }
        let analysis = analysis(&project, &scope.env)?;
        let analysis = analysis.map(|analysis| policy.applied_to(&project, &scope.env, analysis)).transpose()?;
        let tasks = project.manifest.task.iter().map(|(name, task)| (name.as_str(), task)).collect();
        let applies = |check: &CheckSpec| check.only.is_empty() || check.only.contains(&scope.env);
        let has_checks = project.manifest.check.values().any(applies);
        let topology = crate::topology::load(&project, &scope.env)?;
        let here = |fault: Fault| fault.at(project.place(&["env", scope.env.as_str(), "rollout"], ""));
        if let Some(topology) = topology.as_ref().filter(|tree| tree.len() > NAMED_MAX) {
            let (from, to) = (release("now"), release("next"));
            let request = FleetRequest { from, to, topology, rollout, tasks, has_checks, analysis };
            let plan = plan_fleet(&request).map_err(here)?;
            return Ok(Self { course: Course::unnamed(plan, topology.len())?, layout: Layout::of_topology(topology)? });
        }
        let units: Vec<String> = match &topology {
            Some(tree) => (0..tree.len()).map(|unit| tree.unit_name(vice_pride_engine::UnitNo(unit))).collect(),
            None => (1..=spec.instances.unwrap_or(1)).map(|number| number.to_string()).collect(),
        };
        let inventory = inventory(&units);
        let request = PlanRequest {
            direction: Direction::Deploy,
            from: Some(release("now")),
            to: release("next"),
            units,
            topology: topology.as_ref(),
            inventory: &inventory,
            rollout,
            tasks,
            has_checks,
            analysis,
        };
        let plan = plan(&request).map_err(here)?;
        let layout = match &topology {
            Some(tree) if tree.len() as usize == plan.units.len() => Layout::of_topology(tree)?,
            _ => Layout::of_plan(&plan)?,
        };
        Ok(Self { course: Course::new(plan)?, layout })
    }
}

fn release(version: &str) -> ReleaseRef {
    ReleaseRef { version: version.to_owned(), artifact: None, source: String::new(), config: None, recipe: None }
}

/// Every unit runs what is there now and is healthy.
fn inventory(units: &[String]) -> Inventory {
    let unit = |name: &String| UnitState {
        name: name.clone(),
        release: Some(release("now")),
        health: UnitHealth::Healthy,
        since: None,
        restarts: 0,
        url: None,
        facts: BTreeMap::new(),
    };
    Inventory { units: units.iter().map(unit).collect(), url: None, metrics: None, epoch: 0 }
}

/// What past rollouts of the environment say, and for rare things those of all projects.
pub(super) async fn past(app: &App, project: &Project, scope: &Scope, rollouts_max: usize) -> Result<Past> {
    let mut own = Counts::default();
    let mut others = Vec::new();
    let mut rollouts = Vec::new();
    for other in app.workspace.projects.values() {
        let mut counts = Counts::default();
        for env in other.manifest.env.keys() {
            let scope_there = Scope::new(other.name().clone(), env.clone());
            let stream = environment_stream(&scope_there);
            let state = fold::load::<EnvironmentState>(app.events.as_ref(), &stream).await?.0;
            for past in state.past.iter().filter(|past| past.direction == Direction::Deploy) {
                let Some(outcome) = past.outcome else { continue };
                counts.tries += 1;
                counts.failed += u64::from(matches!(outcome, RolloutOutcome::RolledBack | RolloutOutcome::NotRestored));
            }
            if scope_there == *scope {
                rollouts.extend(state.past.iter().map(|past| past.rollout.clone()));
            }
        }
        if other.name() == project.name() { own = counts } else { others.push(counts) }
    }
    let mut changes: Vec<Millis> = Vec::new();
    let mut tries = Counts::default();
    rollouts.truncate(rollouts_max);
    for rollout in &rollouts {
        let view = fold::load::<RolloutView>(app.events.as_ref(), &rollout_stream(rollout)).await?.0;
        for moment in &view.timeline {
            match &moment.note {
                Note::UnitFinished { took, .. } => {
                    changes.push(*took);
                    tries.tries += 1;
                }
                Note::UnitFailed { .. } => {
                    tries.tries += 1;
                    tries.failed += 1;
                }
                _ => {}
            }
        }
    }
    let chance = |value: Option<f64>| value.and_then(|value| Chance::new(value).ok());
    let known = !rollouts.is_empty();
    Ok(Past {
        changes,
        fails: if tries.tries > 0 { chance(posterior(tries, &[])) } else { None },
        bad_release: if known { chance(posterior(own, &others)) } else { None },
        note: format!(
            "{} and {} changes of units",
            vice_core::text::count(rollouts.len() as u64, "rollout", "rollouts"),
            tries.tries
        ),
    })
}
