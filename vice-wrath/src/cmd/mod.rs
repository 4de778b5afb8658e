//! `vice wrath PROJECT`: runs the checks now, says what was found, and records it.

mod import;
mod list;
mod load;
mod load_checks;
mod load_scenarios;
mod probe;
mod record;
mod recording;
mod replay;
pub(crate) mod report;
mod run;
mod traffic;
mod verify;
mod watch;

use vice_core::app::App;
use vice_core::id::EnvName;
use vice_core::payload::verification::{CheckOutcome, SuiteResult};
use vice_core::ui::{Format, Outcome};
use vice_core::{Class, Millis, Result};

pub use crate::action::actions;
use crate::junit;
pub use import::ImportArgs;
pub use load::{Around, LoadArgs, load as run_load};
pub use probe::ProbeArgs;
pub use record::RecordArgs;
pub use recording::RecordingArgs;
pub use replay::ReplayArgs;
pub use run::{ChooseArgs, LintArgs, ListArgs, RunArgs};
pub use traffic::TrafficArgs;
pub use verify::vars;
pub(crate) use verify::{Asked, verify};
pub use watch::WatchArgs;

/// Runs the checks of a project against what is deployed.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  vice wrath hello
  vice wrath hello --env dev --only smoke
  vice wrath hello --tag slow --format junit -o report.xml
  vice wrath hello --list
  vice wrath run --tag smoke
  vice wrath probe hello --rate 5 --for 1m
  vice wrath load http://127.0.0.1:8080/ --rate 500/s --for 30s")]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct WrathArgs {
    /// What else can be done with checks.
    #[command(subcommand)]
    pub command: Option<WrathCommand>,

    /// The project; the one of the working folder when absent.
    pub project: Option<String>,

    /// The environment.
    #[arg(short, long)]
    pub env: Option<EnvName>,

    /// Only this check and those it needs; may be repeated.
    #[arg(long, value_name = "CHECK")]
    pub only: Vec<String>,

    /// Only checks with this tag and those they need; may be repeated.
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,

    /// Say what the checks do, and run none.
    #[arg(long)]
    pub list: bool,

    /// Give up on all checks after this time, such as 90s [default: 5m, or the environment's verify_timeout].
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<Millis>,
}

/// What else can be done with checks.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum WrathCommand {
    /// Send the checks as traffic to two versions side by side, for the metrics of a rollout
    Probe(ProbeArgs),
    /// Play scenarios, once
    Run(RunArgs),
    /// Say which scenarios there are
    List(ListArgs),
    /// Say what in scenarios makes no sense, without playing them
    Lint(LintArgs),
    /// Make a scenario of a curl command, a HAR file or modules of the blackbox exporter
    Import(ImportArgs),
    /// Play scenarios all the time: keeps state, raises and clears incidents
    Watch(WatchArgs),
    /// Send many requests and say how long they take
    Load(LoadArgs),
    /// Pass requests on to a server and write down what passes
    Record(RecordArgs),
    /// Say what a recording holds, or write it as another file
    Recording(RecordingArgs),
    /// Send a recording again, to one version or to two, and compare
    Replay(ReplayArgs),
    /// Learn a model of traffic from a recording or an access log
    Traffic(TrafficArgs),
}

impl WrathArgs {
    /// Whether the command ends at a safe point of its own after the first signal: what was set up has to be taken down.
    #[must_use]
    pub const fn is_graceful(&self) -> bool {
        use WrathCommand::{Load, Record, Replay, Run, Watch};
        matches!(self.command, Some(Run(_) | Watch(_) | Load(_) | Record(_) | Replay(_)))
    }
}

/// The formats that some of these commands offer beside text, JSON and NDJSON.
pub const FORMATS: &[Format] = crate::report::FORMATS;

/// Runs the command.
///
/// # Errors
/// As the [`Verifier`](vice_core::port::verifier::Verifier) port; `Usage` when there are no checks, `Unreachable`
/// when nothing is deployed.
pub async fn run(app: &App, args: WrathArgs) -> Result<Outcome> {
    match args.command {
        None => checks(app, args).await,
        Some(WrathCommand::Probe(args)) => {
            app.ui.format().among(&[])?;
            probe::run(app, args).await
        }
        Some(WrathCommand::Run(args)) => run::run(app, args).await,
        Some(WrathCommand::List(args)) => run::list(app, &args),
        Some(WrathCommand::Lint(args)) => run::lint(app, &args).await,
        Some(WrathCommand::Import(args)) => import::run(app, &args),
        Some(WrathCommand::Watch(args)) => watch::run(app, args).await,
        Some(WrathCommand::Load(args)) => load::run(app, args).await,
        Some(WrathCommand::Record(args)) => record::run(app, args).await,
        Some(WrathCommand::Recording(args)) => recording::run(app, &args),
        Some(WrathCommand::Replay(args)) => replay::run(app, args).await,
        Some(WrathCommand::Traffic(args)) => traffic::run(app, &args),
    }
}

/// The checks of `vice.toml`.
async fn checks(app: &App, args: WrathArgs) -> Result<Outcome> {
    let (project, scope) = app.scope(args.project.as_deref(), args.env.as_ref())?;
    if args.list {
        app.ui.format().among(&[])?;
        return list::list(&project, &scope, &args.only, &args.tag);
    }
    let format = app.ui.format().among(&[Format::Junit])?;
    let asked = Asked { only: args.only, tags: args.tag, timeout: args.timeout };
    let verified = verify(app, &project, &scope, asked).await?;
    let suite = &verified.suite;
    let text = match format {
        Format::Junit => junit::document(&scope, suite)?,
        _ => report::text(&scope, suite),
    };
    let json = report::json(&scope, verified.version.as_deref(), suite);
    Ok(Outcome { class: class(suite), text, json })
}

/// What a run means for whoever called: a check that failed says something about the system, one that could not be
/// carried out only about the run.
pub(crate) fn class(suite: &SuiteResult) -> Class {
    if suite.count(CheckOutcome::Failed) > 0 {
        Class::Verification
    } else if suite.count(CheckOutcome::Errored) > 0 {
        Class::Failed
    } else {
        Class::Done
    }
}
