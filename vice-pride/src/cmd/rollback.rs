//! `vice rollback`: back to the last version that was proven.

use clap::Args;
use vice_core::Result;
use vice_core::app::App;
use vice_core::payload::environment::Direction;
use vice_core::ui::Outcome;

use super::deploy::roll_out;
use super::{ConsentArgs, WantedArgs};

/// Arguments of `vice rollback`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice rollback shop\n  vice rollback shop@1.4.1 --env prod --confirm prod")]
pub struct RollbackArgs {
    #[command(flatten)]
    wanted: WantedArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// Rolls back.
///
/// # Errors
/// `UnknownName` when nothing was proven before; as deploy otherwise.
pub async fn run(app: &App, args: RollbackArgs) -> Result<Outcome> {
    roll_out(app, &args.wanted.want(Direction::Rollback, None), &args.consent.into()).await
}
