//! `vice wrath run`, `list` and `lint`: which scenarios are meant, what they are given, and what becomes of the result.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::load;
use vice_core::id::{EnvName, Scope};
use vice_core::manifest::Project;
use vice_core::payload::environment_stream;
use vice_core::port::config::ResolvedConfig;
use vice_core::port::notifier::Severity;
use vice_core::series::Labels;
use vice_core::template::Vars;
use vice_core::text::{Table, Tone, count};
use vice_core::ui::{Format, Outcome};
use vice_core::{Class, Code, Context as _, Fault, Result};

use super::verify;
use crate::play::{self, Player, result::RunResult};
use crate::report::{self, About};
use crate::scenario::library::{self, Wanted};
use crate::scenario::lint::{self, Given};
use crate::scenario::{Action, Scenario, names};
use crate::step::Bench;
use crate::values::{Values, config_name};
use crate::witness;

/// How many scenarios are under way at the same time when nobody says.
const JOBS: usize = 4;

/// Which scenarios are meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ChooseArgs {
    /// Names of scenarios, or files of them (.toml, .hurl); all below wrath/ when absent.
    #[arg(value_name = "NAME|FILE")]
    pub names: Vec<String>,

    /// The project; the one of the working folder when absent.
    #[arg(short, long)]
    pub project: Option<String>,

    /// Only scenarios with this tag; may be repeated.
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,

    /// No scenarios with this tag; may be repeated.
    #[arg(long, value_name = "TAG")]
    pub not_tag: Vec<String>,
}

/// Arguments of `vice wrath run`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  vice wrath run
  vice wrath run checkout --env dev --tag smoke
  vice wrath run wrath/login.hurl --url http://127.0.0.1:8080
  vice wrath run --report junit=report.xml --report html=report.html")]
pub struct RunArgs {
    /// Which scenarios are meant.
    #[command(flatten)]
    pub choose: ChooseArgs,

    /// The environment.
    #[arg(short, long)]
    pub env: Option<EnvName>,

    /// The address to play against ({{env.url}}), instead of that of the environment; nothing is recorded then.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// A variable, as NAME=VALUE; may be repeated. Not for secrets: others can read arguments.
    #[arg(long, value_name = "NAME=VALUE")]
    pub var: Vec<String>,

    /// How many scenarios are under way at the same time.
    #[arg(short, long, value_name = "N", default_value_t = JOBS)]
    pub jobs: usize,

    /// Another report of the same run, as KIND=FILE (junit, html, tap, github, gitlab, json); may be repeated.
    #[arg(long, value_name = "KIND=FILE")]
    pub report: Vec<String>,

    /// A label of the series that are recorded, such as region=eu; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
}

/// Arguments of `vice wrath list`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:
  vice wrath list --tag smoke")]
pub struct ListArgs {
    /// Which scenarios are meant.
    #[command(flatten)]
    pub choose: ChooseArgs,
}

/// Arguments of `vice wrath lint`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:
  vice wrath lint wrath/checkout.toml")]
pub struct LintArgs {
    /// Which scenarios are meant.
    #[command(flatten)]
    pub choose: ChooseArgs,

    /// The environment, whose configuration decides which names exist.
    #[arg(short, long)]
    pub env: Option<EnvName>,

    /// Warnings are errors.
    #[arg(long)]
    pub deny_warnings: bool,
}

/// The project that is meant, if there is one; files can be played without.
fn project(app: &App, choose: &ChooseArgs) -> Result<Option<Arc<Project>>> {
    let only_files = !choose.names.is_empty() && choose.names.iter().all(|name| library::is_scenario(name.as_ref()));
    match app.workspace.project_or_here(choose.project.as_deref()) {
        Ok(project) => Ok(Some(project)),
        Err(_) if only_files && choose.project.is_none() => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn chosen(app: &App, choose: &ChooseArgs, project: Option<&Project>) -> Result<Vec<Scenario>> {
    let root = project.map_or(&app.env.dir, |project| &project.root);
    let wanted = Wanted { names: choose.names.clone(), tags: choose.tag.clone(), not_tags: choose.not_tag.clone() };
    library::choose(root, &app.env.dir, &wanted)
}

/// What a run is given.
pub(crate) struct Scene {
    pub(crate) project: Option<Arc<Project>>,
    /// Where there is a project and the address was not given by hand.
    pub(crate) scope: Option<Scope>,
    pub(crate) env: Option<EnvName>,
    pub(crate) version: Option<String>,
    pub(crate) values: Values,
    pub(crate) config: Option<ResolvedConfig>,
    pub(crate) place: String,
    pub(crate) dir: PathBuf,
}

/// Where and with what scenarios are played.
pub(crate) struct Asked<'a> {
    pub(crate) choose: &'a ChooseArgs,
    pub(crate) env: Option<&'a EnvName>,
    pub(crate) url: Option<&'a str>,
    pub(crate) var: &'a [String],
}

/// Chooses scenarios, gathers what they are given, and refuses what can't be played.
///
/// # Errors
/// As [`library::choose`] and [`lint::names`]; what the configuration and the locator say, where they are needed.
pub(crate) async fn prepare(app: &App, asked: Asked<'_>) -> Result<(Vec<Scenario>, Scene)> {
    let project = project(app, asked.choose)?;
    let scenarios = chosen(app, asked.choose, project.as_deref())?;
    play::refuse_nothing(&scenarios)?;
    if let Some(url) = asked.url {
        crate::http::parse_url(url, false).map_err(|why| {
            Fault::new(Code::Usage, format!("--url {why}.")).hint("Write --url http://127.0.0.1:8080.")
        })?;
    }
    let scene = scene(app, project, &asked, &scenarios).await?;
    let given = Given { names: scene.values.names().map(str::to_owned).collect(), any_config: false };
    scenarios.iter().try_for_each(|scenario| lint::names(scenario, &given))?;
    refuse_secret_arguments(&scenarios, &scene.values)?;
    Ok((scenarios, scene))
}

async fn scene(app: &App, project: Option<Arc<Project>>, asked: &Asked<'_>, scenarios: &[Scenario]) -> Result<Scene> {
    let uses = |name: &str| scenarios.iter().any(|scenario| names::foreign(scenario).iter().any(|used| used == name));
    let mut vars = Vars::new();
    let mut scope = None;
    if let Some(project) = &project {
        let env = project.choose_env(asked.env)?;
        let named = Scope::new(project.name().clone(), env);
        vars.insert("project".to_owned(), named.project.to_string());
        vars.insert("env".to_owned(), named.env.to_string());
        if asked.url.is_none() {
            let (state, _) = load::<EnvironmentState>(app.events.as_ref(), &environment_stream(&named)).await?;
            vars.extend(state.running.map(|placed| ("version".to_owned(), placed.release.version)));
            let fixed = project.env(&named.env)?.url.clone();
            let url = match fixed {
                Some(url) => Some(url),
                None if uses("env.url") => app.locator.url(&named).await?,
                None => None,
            };
            vars.extend(url.map(|url| ("env.url".to_owned(), url)));
        }
        scope = Some(named);
    } else if let Some(env) = asked.env {
        return Err(Fault::new(Code::Usage, format!("There is no project here that has an environment {env}.")));
    }
    vars.extend(asked.url.map(|url| ("env.url".to_owned(), url.to_owned())));
    vars.insert("run.id".to_owned(), app.ids.next(app.clock.now()));
    let config = match (&project, &scope) {
        (Some(project), Some(scope)) => config(app, project, scope, scenarios).await?,
        _ => None,
    };
    let mut values = Values::new(&vars, config.as_ref());
    for pair in asked.var {
        let (name, value) = name_value(pair, "--var")?;
        values.set(name, Value::from(value));
    }
    let place = match (&scope, asked.url) {
        (_, Some(url)) => crate::http::shown_url(url).into_owned(),
        (Some(scope), None) => scope.to_string(),
        (None, None) => "files".to_owned(),
    };
    Ok(Scene {
        env: scope.as_ref().map(|scope| scope.env.clone()),
        scope: scope.filter(|_| asked.url.is_none()),
        version: vars.get("version").cloned(),
        values,
        config,
        place,
        dir: project.as_ref().map_or_else(|| app.env.dir.clone(), |project| project.root.clone()),
        project,
    })
}

/// The configuration: always asked for, because what is secret in it must be masked wherever it comes back.
async fn config(
    app: &App,
    project: &Arc<Project>,
    scope: &Scope,
    scenarios: &[Scenario],
) -> Result<Option<ResolvedConfig>> {
    let fault = match app.config.resolve(project, &scope.env).await {
        Ok(config) => return Ok(Some(config)),
        Err(fault) => fault,
    };
    let needs = |scenario: &Scenario| {
        names::foreign(scenario).iter().any(|name| name.starts_with("config."))
            || scenario.all_steps().any(|step| matches!(step.action, Action::Command { .. }))
    };
    if scenarios.iter().any(needs) {
        return Err(fault);
    }
    let text =
        format!("The configuration can't be read ({fault}); its secrets can't be masked in messages of scenarios.");
    app.ui.say(Severity::Warning, &text);
    Ok(None)
}

fn refuse_secret_arguments(scenarios: &[Scenario], values: &Values) -> Result<()> {
    for step in scenarios.iter().flat_map(Scenario::all_steps) {
        let Action::Command { argv, .. } = &step.action else { continue };
        let used = argv.iter().flat_map(|word| vice_core::template::names(word).unwrap_or_default());
        if let Some(name) = used.into_iter().find(|name| values.is_secret(name)) {
            let key = name.strip_prefix("config.").unwrap_or(&name);
            let variable = vice_core::port::config::variable_name(key);
            return Err(step
                .spot
                .invalid(format!("The step {} would pass the secret {{{{{name}}}}} as an argument.", step.name))
                .hint(format!("The command finds it in its environment as {variable}.")));
        }
    }
    Ok(())
}

/// Takes `NAME=VALUE` apart.
pub(crate) fn name_value<'t>(text: &'t str, flag: &str) -> Result<(&'t str, &'t str)> {
    let proper = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    text.split_once('=')
        .filter(|(name, _)| proper(name))
        .ok_or_else(|| Fault::new(Code::Usage, format!("{flag} takes NAME=VALUE, and got {text:?}.")))
}

/// The labels that somebody gave.
pub(crate) fn labels(pairs: &[String]) -> Result<Labels> {
    let own = ["project", "env", "version", "scenario", "step", "check", "host", "le"];
    let mut labels = Labels::new();
    for pair in pairs {
        let (name, value) = name_value(pair, "--label")?;
        if own.contains(&name) {
            return Err(
                Fault::new(Code::Usage, format!("The label {name} is set by vice.")).hint("Choose another name.")
            );
        }
        labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(labels)
}

/// Plays scenarios.
///
/// # Errors
/// As [`prepare`]; `Io` where a report can't be written; `Interrupted`.
pub(crate) async fn run(app: &App, args: RunArgs) -> Result<Outcome> {
    let format = app.ui.format().among(report::FORMATS)?;
    let extras = args.report.iter().map(|text| report::extra(text)).collect::<Result<Vec<_>>>()?;
    let labels = labels(&args.label)?;
    if args.jobs == 0 || args.jobs > play::JOBS_MAX {
        return Err(Fault::new(Code::Usage, format!("--jobs is a number from 1 to {}.", play::JOBS_MAX)));
    }
    let asked = Asked { choose: &args.choose, env: args.env.as_ref(), url: args.url.as_deref(), var: &args.var };
    let (scenarios, scene) = prepare(app, asked).await?;
    let player = player(app, &scene, args.jobs);
    let played = player.play(&scenarios, &scene.values).await?;
    let about = About { place: scene.place.clone(), version: scene.version.clone() };
    for extra in &extras {
        let path = app.env.dir.join(&extra.file);
        std::fs::write(&path, report::document(extra.format, &about, &played)?)
            .context(Code::Io, || format!("The report {} can't be written.", path.display()))?;
    }
    remember(app, &scene, &played, &labels).await?;
    let (text, json) = match format {
        Format::Json | Format::Ndjson => (String::new(), report::json(&about, &played)),
        _ => (report::document(format, &about, &played)?, report::summary(&about, &played)),
    };
    Ok(Outcome { class: play::class(&played), text, json })
}

/// What plays the scenarios of a scene.
pub(crate) fn player(app: &App, scene: &Scene, jobs: usize) -> Player {
    let mut env = scene.config.as_ref().map(ResolvedConfig::environment).unwrap_or_default();
    for (name, variable) in
        [("project", "VICE_PROJECT"), ("env", "VICE_ENV"), ("version", "VICE_VERSION"), ("env.url", "VICE_URL")]
    {
        let value = scene.values.get(name).map(|value| vice_core::port::command::EnvValue::Plain(value.to_owned()));
        env.extend(value.map(|value| (variable.to_owned(), value)));
    }
    Player {
        bench: Bench {
            clock: Arc::clone(&app.clock),
            runner: Arc::clone(&app.runner),
            clients: Arc::default(),
            dir: scene.dir.clone(),
            env: Arc::new(env),
        },
        ui: Some(Arc::clone(&app.ui)),
        stop: Arc::clone(&app.stop),
        env: scene.env.clone(),
        jobs,
    }
}

/// Records a run in the history and as series, where it was one of an environment.
pub(crate) async fn remember(app: &App, scene: &Scene, run: &RunResult, labels: &Labels) -> Result<()> {
    let Some(scope) = &scene.scope else { return Ok(()) };
    let mut all = labels.clone();
    all.insert("project".to_owned(), scope.project.to_string());
    all.insert("env".to_owned(), scope.env.to_string());
    all.insert("host".to_owned(), app.env.host.clone());
    all.extend(scene.version.clone().map(|version| ("version".to_owned(), version)));
    // Observations are not history: a run that can't be observed is still a run.
    if let Err(fault) = app.series.record(witness::points(run, &all, app.clock.now())).await {
        app.ui.say(Severity::Warning, &format!("The series of the run can't be recorded ({fault})."));
    }
    verify::record(app, scope, scene.version.clone(), &run.suite()).await
}

/// The scenarios that were chosen, without playing them.
///
/// # Errors
/// As [`library::choose`].
pub(crate) fn list(app: &App, args: &ListArgs) -> Result<Outcome> {
    app.ui.format().among(&[])?;
    let project = project(app, &args.choose)?;
    let scenarios = chosen(app, &args.choose, project.as_deref())?;
    let mut table = Table::with_heading(&["scenario", "file", "steps", "rows", "tags", "about"]);
    let mut rows = Vec::new();
    for scenario in &scenarios {
        let steps = scenario.all_steps().count();
        table.row([
            (Tone::Strong, scenario.name.clone()),
            (Tone::Plain, scenario.spot.source.file.clone()),
            (Tone::Plain, steps.to_string()),
            (Tone::Plain, scenario.rows.len().to_string()),
            (Tone::Faint, scenario.tags.join(", ")),
            (Tone::Faint, scenario.about.clone().unwrap_or_default()),
        ]);
        let named = |step: &crate::scenario::Step| {
            json!({
                "name": step.name, "kind": step.action.kind(), "subject": step.action.subject(),
                "file": step.spot.source.file, "line": step.spot.line(),
            })
        };
        rows.push(json!({
            "name": scenario.name, "about": scenario.about, "file": scenario.spot.source.file, "tags": scenario.tags,
            "only": scenario.only, "rows": scenario.rows.len(), "needs": names::foreign(scenario),
            "setup": scenario.setup.iter().map(named).collect::<Vec<_>>(),
            "steps": scenario.steps.iter().map(named).collect::<Vec<_>>(),
            "teardown": scenario.teardown.iter().map(named).collect::<Vec<_>>(),
        }));
    }
    let text = if scenarios.is_empty() { "There are no scenarios below wrath/.\n".to_owned() } else { table.render() };
    Ok(Outcome::done(text, json!({ "scenarios": rows })))
}

/// Says what makes no sense.
///
/// # Errors
/// As [`library::choose`] and [`lint::names`]; what the configuration says where names of it are used.
pub(crate) async fn lint(app: &App, args: &LintArgs) -> Result<Outcome> {
    app.ui.format().among(&[])?;
    let project = project(app, &args.choose)?;
    let scenarios = chosen(app, &args.choose, project.as_deref())?;
    let given = given(app, project.as_ref(), args.env.as_ref(), &scenarios).await?;
    scenarios.iter().try_for_each(|scenario| lint::names(scenario, &given))?;
    let warnings: Vec<lint::Warning> = scenarios.iter().flat_map(lint::warnings).collect();
    let mut text = String::new();
    for one in &warnings {
        text.push_str(&format!("{}:{}: {} {}\n", one.file, one.line, one.message, one.hint));
    }
    let found =
        if warnings.is_empty() { "nothing to say".to_owned() } else { count(warnings.len(), "warning", "warnings") };
    text.push_str(&format!("{}: {found}.\n", count(scenarios.len(), "scenario", "scenarios")));
    let class = if args.deny_warnings && !warnings.is_empty() { Class::Usage } else { Class::Done };
    Ok(Outcome { class, text, json: json!({ "scenarios": scenarios.len(), "warnings": warnings }) })
}

/// The names that a run would provide, as far as that can be told without one.
async fn given(
    app: &App,
    project: Option<&Arc<Project>>,
    env: Option<&EnvName>,
    scenarios: &[Scenario],
) -> Result<Given> {
    let always = ["env.url", "version", "project", "env", "run.id"];
    let mut given = Given { names: always.map(str::to_owned).into(), any_config: true };
    let used = scenarios.iter().any(|scenario| names::foreign(scenario).iter().any(|name| name.starts_with("config.")));
    if let (Some(project), true) = (project, used) {
        let env = project.choose_env(env)?;
        let config = app.config.resolve(project, &env).await?;
        given.names.extend(config.entries.keys().map(|key| config_name(key)));
        given.any_config = false;
    }
    Ok(given)
}
