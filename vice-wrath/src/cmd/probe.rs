//! `vice wrath probe PROJECT`: the checks as traffic at two versions side by side.

use std::sync::Arc;

use serde_json::json;
use vice_core::app::App;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::load;
use vice_core::id::{EnvName, Scope};
use vice_core::manifest::{CheckSpec, Project};
use vice_core::payload::environment_stream;
use vice_core::port::metric::{ProbeArm, ProbeCounts, ProbeReport, ProbeRequest};
use vice_core::port::target::UnitState;
use vice_core::text::{Table, Tone};
use vice_core::ui::Outcome;
use vice_core::{Class, Code, Fault, Millis, Result};

use super::run::labels;
use super::verify;
use crate::probe::check_rate;

/// Arguments of `vice wrath probe`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  vice wrath probe shop --rate 5 --for 2m
  vice wrath probe shop --env prod --check smoke --canary 1.5 --baseline 1.4
  vice wrath probe shop --get /healthz --get '/search?q=tea' --rate 20 --label region=eu")]
pub struct ProbeArgs {
    /// The project; the one of the working folder when absent.
    pub project: Option<String>,

    /// The environment.
    #[arg(short, long)]
    pub env: Option<EnvName>,

    /// Pairs of probes a second, one to each version.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub rate: f64,

    /// For how long, such as 30s or 5m.
    #[arg(long = "for", value_name = "DURATION", default_value = "30s")]
    pub during: Millis,

    /// Only this check, over HTTP or a scenario; may be repeated.
    #[arg(long, value_name = "CHECK")]
    pub check: Vec<String>,

    /// Ask for this path, which has to answer with 200, instead of sending checks; may be repeated.
    #[arg(long, value_name = "PATH", conflicts_with = "check")]
    pub get: Vec<String>,

    /// A label of the series that are recorded, such as region=eu; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,

    /// The new version; the one that does not run everywhere when absent.
    #[arg(long, value_name = "VERSION")]
    pub canary: Option<String>,

    /// The version to compare with; the one that is in force when absent.
    #[arg(long, value_name = "VERSION")]
    pub baseline: Option<String>,
}

/// Sends the probes, records what they found, and says it.
///
/// # Errors
/// `Usage` when not two versions run or no check can be a probe; as [`Prober`](vice_core::port::metric::Prober).
pub(crate) async fn run(app: &App, args: ProbeArgs) -> Result<Outcome> {
    check_rate(args.rate)?;
    let mut labels = labels(&args.label)?;
    labels.insert("host".to_owned(), app.env.host.clone());
    let (project, scope) = app.scope(args.project.as_deref(), args.env.as_ref())?;
    let units = app.locator.units(&scope).await?;
    let (canary, baseline) = versions(app, &scope, &units, &args).await?;
    let config = verify::config(app, &project, &scope).await?;
    let (probed, checks) = match args.get.as_slice() {
        [] => (Arc::clone(&project), args.check),
        paths => with_paths(&project, paths)?,
    };
    let request = ProbeRequest {
        project: probed,
        env: scope.env.clone(),
        canary: arm(&units, canary),
        baseline: arm(&units, baseline),
        rate: args.rate,
        during: args.during,
        checks,
        vars: vars(&project, &scope),
        config,
        labels,
    };
    let (canary, baseline) = (request.canary.version.clone(), request.baseline.version.clone());
    let report = app.prober.probe(request).await?;
    Ok(outcome(&scope, [&canary, &baseline], &report))
}

/// The project with a check for each path, and their names.
fn with_paths(project: &Project, paths: &[String]) -> Result<(Arc<Project>, Vec<String>)> {
    let mut project = project.clone();
    let mut names = Vec::new();
    for path in paths {
        if !path.starts_with('/') || path.parse::<http::Uri>().is_err() || path.contains("{{") {
            return Err(Fault::new(Code::Usage, format!("{path:?} is not a path that can be asked for."))
                .hint("Write for example --get /healthz."));
        }
        let spec = CheckSpec { http: Some(format!("{{{{env.url}}}}{path}")), ..CheckSpec::default() };
        project.manifest.check.insert(path.clone(), spec);
        names.push(path.clone());
    }
    Ok((Arc::new(project), names))
}

fn vars(project: &Project, scope: &Scope) -> vice_core::template::Vars {
    [("project", project.name().to_string()), ("env", scope.env.to_string())]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// The units of a version that can be asked alone.
fn arm(units: &[UnitState], version: String) -> ProbeArm {
    let runs = |unit: &&UnitState| unit.release.as_ref().is_some_and(|release| release.version == version);
    let url = |unit: &UnitState| unit.url.as_ref().map(|url| url.trim_end_matches('/').to_owned());
    let urls = units.iter().filter(runs).filter_map(url).collect();
    ProbeArm { version, urls }
}

/// The two versions to compare: as asked, else the one in force against the one other that runs.
async fn versions(app: &App, scope: &Scope, units: &[UnitState], args: &ProbeArgs) -> Result<(String, String)> {
    let mut run: Vec<&str> = units.iter().filter_map(|unit| Some(unit.release.as_ref()?.version.as_str())).collect();
    run.sort_unstable();
    run.dedup();
    let (state, _) = load::<EnvironmentState>(app.events.as_ref(), &environment_stream(scope)).await?;
    let in_force = state.running.map(|placed| placed.release.version);
    let baseline = args.baseline.clone().or_else(|| in_force.filter(|version| run.contains(&version.as_str())));
    let other = |version: &Option<String>| {
        let mut others = run.iter().filter(|it| version.as_deref() != Some(**it));
        others.next().filter(|_| others.next().is_none()).map(|it| (*it).to_owned())
    };
    let canary = args.canary.clone().or_else(|| other(&baseline));
    let baseline = baseline.or_else(|| other(&canary));
    let said =
        if run.is_empty() { "Nothing runs there.".to_owned() } else { format!("There run: {}.", run.join(", ")) };
    let (Some(canary), Some(baseline)) = (canary, baseline) else {
        return Err(Fault::new(Code::Usage, format!("Probes compare two versions, and {scope} does not run two."))
            .hint(said)
            .hint("Probe while a rollout is under way, or name both with --canary and --baseline."));
    };
    if canary == baseline {
        return Err(Fault::new(Code::Usage, format!("Version {canary} would be compared with itself.")).hint(said));
    }
    Ok((canary, baseline))
}

fn outcome(scope: &Scope, versions: [&str; 2], report: &ProbeReport) -> Outcome {
    let mut table = Table::with_heading(&["version", "", "probes", "bad", "share"]);
    for (version, role, counts) in [(versions[0], "canary", report.canary), (versions[1], "baseline", report.baseline)]
    {
        let tone = if counts.bad == 0 { Tone::Good } else { Tone::Bad };
        table.row([
            (Tone::Strong, version.to_owned()),
            (Tone::Faint, role.to_owned()),
            (Tone::Plain, counts.seen.to_string()),
            (tone, counts.bad.to_string()),
            (Tone::Plain, share(counts)),
        ]);
    }
    let mut text = table.render();
    for reason in &report.reasons {
        text.push_str(&format!("  {reason}\n"));
    }
    let arm =
        |version: &str, counts: ProbeCounts| json!({ "version": version, "seen": counts.seen, "bad": counts.bad });
    let json = json!({
        "scope": scope.to_string(),
        "canary": arm(versions[0], report.canary),
        "baseline": arm(versions[1], report.baseline),
        "reasons": report.reasons,
    });
    // Probes count; what the counts mean is for whoever judges. Only a run that found nothing out is a failure.
    let class = if report.canary.seen == 0 { Class::Failed } else { Class::Done };
    Outcome { class, text, json }
}

fn share(counts: ProbeCounts) -> String {
    if counts.seen == 0 {
        return "-".to_owned();
    }
    format!("{:.2} %", 100.0 * counts.bad as f64 / counts.seen as f64)
}
