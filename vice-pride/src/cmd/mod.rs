//! The command line of pride: arguments, and one file a command.

mod actions;
mod adopt;
mod control;
mod deploy;
mod forecast;
mod history;
mod holds;
mod judge;
mod lock;
mod logs;
mod metric_change;
mod plan;
mod power;
mod prune;
mod replay;
mod resolve;
mod rollback;
mod simulate;
mod status;
mod supersede;
mod tick;
mod why;

use clap::{Args, Subcommand};
use vice_core::app::App;
use vice_core::id::EnvName;
use vice_core::payload::environment::Direction;
use vice_core::ui::{Format, Outcome};
use vice_core::{Fault, Result};

use crate::driver::{Want, check_version};

pub use actions::actions;
pub use adopt::AdoptArgs;
pub use control::{AbandonArgs, AbortArgs, PauseArgs, PromoteArgs, ResumeArgs};
use deploy::Consent;
pub use deploy::{DeployArgs, run as deploy};
pub use history::{HistoryArgs, run as history};
pub use holds::HoldArgs;
pub use judge::JudgeArgs;
pub use lock::LockArgs;
pub use logs::{LogsArgs, run as logs};
pub use plan::{PlanArgs, run as plan};
pub use power::PowerArgs;
pub use prune::PruneArgs;
pub use replay::ReplayArgs;
pub use resolve::ResolveArgs;
pub use rollback::{Reconfigure, RollbackArgs, reconfigure, run as rollback};
pub use simulate::{SimulateArgs, run as simulate};
pub use status::{StatusArgs, run as status};
pub use tick::tick;
pub use why::{WhyArgs, run as why};

/// Arguments of `vice pride`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vice pride deploy shop@1.4.2 --env prod\n  vice pride pause shop --env prod\n  vice pride hold --help"
)]
pub struct PrideArgs {
    #[command(subcommand)]
    command: PrideCommand,
}

#[derive(Debug, Subcommand)]
enum PrideCommand {
    /// Deploy a project
    Deploy(DeployArgs),
    /// Show what a deploy would change
    Plan(PlanArgs),
    /// How a rollout would go: time, exposure, the chance to find a bug early
    Simulate(SimulateArgs),
    /// Go back to the last version that was proven
    Rollback(RollbackArgs),
    /// What runs where
    Status(StatusArgs),
    /// The rollouts so far
    History(HistoryArgs),
    /// What was decided in a rollout, and on which evidence
    Why(WhyArgs),
    /// The output of the instances
    Logs(LogsArgs),
    /// Let a rollout start nothing new until it is resumed
    Pause(PauseArgs),
    /// Go on with a rollout that was paused, interrupted or killed
    Resume(ResumeArgs),
    /// Let the wave pass that is being watched, whatever is still to be proven
    Promote(PromoteArgs),
    /// End a rollout and roll back
    Abort(AbortArgs),
    /// End a rollout where it is, and leave it so
    Abandon(AbandonArgs),
    /// Say what an operation did that nobody could tell
    Resolve(ResolveArgs),
    /// Who may change an environment now: list, steal
    Lock(LockArgs),
    /// Start the instances with what they have
    Start(PowerArgs),
    /// Stop the instances and keep what they have
    Stop(PowerArgs),
    /// Stop the instances and start them again, one after another
    Restart(PowerArgs),
    /// Versions that must not be deployed: list, place, release
    Hold(HoldArgs),
    /// Compare two samples of a metric, and say whether the new release is worse
    Judge(JudgeArgs),
    /// What another policy would have said of rollouts that are over
    Replay(ReplayArgs),
    /// Take over what runs already, so that the first deploy knows what it replaces
    Adopt(AdoptArgs),
    /// Remove artifacts that nothing needs any more
    Prune(PruneArgs),
}

impl PrideArgs {
    /// The formats that the command offers besides text, JSON and NDJSON.
    #[must_use]
    pub const fn formats(&self) -> &'static [Format] {
        match self.command {
            PrideCommand::Simulate(_) => &[Format::Html, Format::Markdown],
            _ => &[],
        }
    }

    /// Whether the command changes something, so that after a first signal it ends at a safe point of its own. Those
    /// that only read can be ended anywhere.
    #[must_use]
    pub const fn is_graceful(&self) -> bool {
        use PrideCommand as C;
        match &self.command {
            C::Plan(_)
            | C::Simulate(_)
            | C::Status(_)
            | C::History(_)
            | C::Why(_)
            | C::Logs(_)
            | C::Judge(_)
            | C::Replay(_) => false,
            C::Hold(args) => args.is_graceful(),
            C::Lock(args) => args.is_graceful(),
            _ => true,
        }
    }
}

/// Runs `vice pride …`.
///
/// # Errors
/// Whatever the command fails with.
pub async fn run(app: &App, args: PrideArgs) -> Result<Outcome> {
    match args.command {
        PrideCommand::Deploy(args) => deploy::run(app, args).await,
        PrideCommand::Plan(args) => plan::run(app, args).await,
        PrideCommand::Simulate(args) => simulate::run(app, args).await,
        PrideCommand::Rollback(args) => rollback::run(app, args).await,
        PrideCommand::Status(args) => status::run(app, args).await,
        PrideCommand::History(args) => history::run(app, args).await,
        PrideCommand::Why(args) => why::run(app, args).await,
        PrideCommand::Logs(args) => logs::run(app, args).await,
        PrideCommand::Pause(args) => control::pause(app, args).await,
        PrideCommand::Resume(args) => control::resume(app, args).await,
        PrideCommand::Promote(args) => control::promote(app, args).await,
        PrideCommand::Abort(args) => control::abort(app, args).await,
        PrideCommand::Abandon(args) => control::abandon(app, args).await,
        PrideCommand::Resolve(args) => resolve::run(app, args).await,
        PrideCommand::Lock(args) => lock::run(app, args).await,
        PrideCommand::Start(args) => power::start(app, args).await,
        PrideCommand::Stop(args) => power::stop(app, args).await,
        PrideCommand::Restart(args) => power::restart(app, args).await,
        PrideCommand::Hold(args) => holds::run(app, args).await,
        PrideCommand::Judge(args) => judge::run(app, args).await,
        PrideCommand::Replay(args) => replay::run(app, args).await,
        PrideCommand::Adopt(args) => adopt::run(app, args).await,
        PrideCommand::Prune(args) => prune::run(app, args).await,
    }
}

/// What a person types for a project: a name, and perhaps a version, as in `shop@1.4.2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The project; the one of the working folder when empty.
    pub project: Option<String>,
    /// The version.
    pub version: Option<String>,
}

impl std::str::FromStr for Wanted {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        let (project, version) = match text.split_once('@') {
            Some((project, version)) => (project, Some(version)),
            None => (text, None),
        };
        if let Some(version) = version {
            check_version(version)?;
        }
        let project = (!project.is_empty()).then(|| project.to_owned());
        Ok(Self { project, version: version.map(str::to_owned) })
    }
}

/// The arguments that say which version of what, and where.
#[derive(Debug, Clone, Args)]
pub struct WantedArgs {
    /// Project and version, as in shop@1.4.2; the project of this folder and its version when absent
    #[arg(value_name = "PROJECT[@VERSION]")]
    wanted: Option<Wanted>,
    /// The environment
    #[arg(short, long)]
    env: Option<EnvName>,
}

impl WantedArgs {
    fn want(self, direction: Direction, artifact: Option<String>) -> Want {
        let wanted = self.wanted.unwrap_or(Wanted { project: None, version: None });
        Want { project: wanted.project, env: self.env, version: wanted.version, direction, artifact, config: None }
    }
}

/// The arguments by which somebody agrees to a rollout.
#[derive(Debug, Clone, Args)]
pub struct ConsentArgs {
    /// Go on only if the plan has this hash
    #[arg(long, value_name = "HASH")]
    plan: Option<String>,
    /// Show the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// For environments of production class: the environment's name in full
    #[arg(long, value_name = "ENV")]
    confirm: Option<EnvName>,
    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,
}

impl From<ConsentArgs> for Consent {
    fn from(args: ConsentArgs) -> Self {
        Self { plan: args.plan, confirm: args.confirm, dry_run: args.dry_run, reason: args.reason }
    }
}

/// The arguments that say which project and environment.
#[derive(Debug, Clone, Args)]
pub struct ScopeArgs {
    /// The project; the one of this folder when absent
    #[arg(value_name = "PROJECT")]
    pub project: Option<String>,
    /// The environment
    #[arg(short, long)]
    pub env: Option<EnvName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_part_of_the_name() {
        let wanted: Wanted = "shop@1.4.2".parse().unwrap();
        assert_eq!((wanted.project.as_deref(), wanted.version.as_deref()), (Some("shop"), Some("1.4.2")));
        let here: Wanted = "@2".parse().unwrap();
        assert_eq!((here.project, here.version.as_deref()), (None, Some("2")));
    }

    #[test]
    fn versions_that_would_be_paths_or_flags_are_refused() {
        for bad in ["", "-x", "../1", "a..b", "/etc", "1;2", "`x`", "$(x)", "1\n2", ".hidden"] {
            assert!(check_version(bad).is_err(), "{bad:?}");
        }
        for good in ["1", "1.4.2", "2026-11-20", "v1.0.0-rc.1+build5", "feature/x"] {
            assert!(check_version(good).is_ok(), "{good:?}");
        }
    }
}
