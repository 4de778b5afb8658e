//! The command line of gluttony: `vice gluttony report`, `vice gluttony dashboards`, and `vice report`.

mod dashboards;
mod report;

use clap::{Args, Subcommand};
use vice_core::Result;
use vice_core::app::App;
use vice_core::ui::Outcome;

pub use crate::action::actions;
pub(crate) use report::{Asked, Made, find};
pub use report::{ReportArgs, report};

/// Arguments of `vice gluttony`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  vice gluttony report hello\n  vice gluttony report overview\n  vice gluttony dashboards"
)]
pub struct GluttonyArgs {
    #[command(subcommand)]
    command: GluttonyCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum GluttonyCommand {
    /// A report of a project's latest rollout, or a saved dashboard
    Report(ReportArgs),
    /// The dashboards that can be shown
    #[command(after_help = "Example:\n  vice gluttony dashboards")]
    Dashboards,
}

/// Runs `vice gluttony …`.
///
/// # Errors
/// Whatever the command fails with.
pub async fn run(app: &App, args: GluttonyArgs) -> Result<Outcome> {
    match args.command {
        GluttonyCommand::Report(args) => report(app, args).await,
        GluttonyCommand::Dashboards => dashboards::list(app),
    }
}
