//! `vice rollback`: back to the last version that was proven.

use clap::Args;
use vice_core::Result;
use vice_core::app::App;
use vice_core::id::EnvName;
use vice_core::payload::environment::Direction;
use vice_core::ui::Outcome;

use super::deploy::{Consent, roll_out};
use super::{ConsentArgs, WantedArgs};
use crate::driver::{Earlier, Want};

/// Arguments of `vice rollback`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice rollback shop\n  vice rollback shop@1.4.1 --env prod --confirm prod")]
pub struct RollbackArgs {
    #[command(flatten)]
    wanted: WantedArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// What `vice envy rollback` asks for.
#[derive(Debug, Clone, Default)]
pub struct Reconfigure {
    /// The project; the one of the working folder when absent.
    pub project: Option<String>,
    /// The environment.
    pub env: Option<EnvName>,
    /// The beginning of the digest of an earlier configuration; the previous one when absent.
    pub digest: Option<String>,
    /// For environments of production class: the environment's name.
    pub confirm: Option<EnvName>,
    /// Only show the plan.
    pub dry_run: bool,
    /// Why.
    pub reason: Option<String>,
}

/// Gives what runs an earlier configuration, by a rollout like any other.
///
/// # Errors
/// `UnknownName` when there is no such configuration; as deploy otherwise.
pub async fn reconfigure(app: &App, wish: Reconfigure) -> Result<Outcome> {
    let Reconfigure { project, env, digest, confirm, dry_run, reason } = wish;
    let config = Some(digest.map_or(Earlier::Previous, Earlier::Digest));
    let want = Want { project, env, version: None, direction: Direction::Deploy, artifact: None, config };
    roll_out(app, &want, &Consent { plan: None, confirm, dry_run, reason }).await
}

/// Rolls back.
///
/// # Errors
/// `UnknownName` when nothing was proven before; as deploy otherwise.
pub async fn run(app: &App, args: RollbackArgs) -> Result<Outcome> {
    roll_out(app, &args.wanted.want(Direction::Rollback, None), &args.consent.into()).await
}
