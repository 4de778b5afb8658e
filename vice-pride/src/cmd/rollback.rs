//! `vice rollback`: back to the last version that was proven.

use clap::Args;
use vice_core::Result;
use vice_core::app::App;
use vice_core::id::EnvName;
use vice_core::payload::environment::Direction;
use vice_core::ui::Outcome;

use super::Wanted;
use super::deploy::{Consent, roll_out};
use crate::driver::Want;

/// Arguments of `vice rollback`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice rollback shop\n  vice rollback shop@1.4.1 --env prod --confirm prod")]
pub struct RollbackArgs {
    /// The project; with a version, that one instead of the last proven
    #[arg(value_name = "PROJECT[@VERSION]")]
    wanted: Option<Wanted>,
    /// The environment
    #[arg(short, long)]
    env: Option<EnvName>,
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

/// Rolls back.
///
/// # Errors
/// `UnknownName` when nothing was proven before; as deploy otherwise.
pub async fn run(app: &App, args: RollbackArgs) -> Result<Outcome> {
    let wanted = args.wanted.unwrap_or(Wanted { project: None, version: None });
    let want = Want {
        project: wanted.project,
        env: args.env,
        version: wanted.version,
        direction: Direction::Rollback,
        artifact: None,
    };
    let consent = Consent { plan: args.plan, confirm: args.confirm, dry_run: args.dry_run };
    roll_out(app, &want, &consent, args.reason).await
}
