//! `vice pride prune`: artifacts that nothing needs any more.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::id::Scope;
use vice_core::payload::environment_stream;
use vice_core::text::count;
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Digest, Millis, Result};

use crate::artifact::ArtifactStore;
use crate::backend;

/// Arguments of `vice pride prune`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vice pride prune --older-than 7d --yes")]
pub struct PruneArgs {
    /// Only artifacts that were last used longer ago than this
    #[arg(long, default_value = "1d", value_parser = parse)]
    older_than: Millis,
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
}

fn parse(text: &str) -> std::result::Result<Millis, String> {
    text.parse()
}

/// Keeps what runs, what was proven, what a rollout under way needs, and what is on a target.
///
/// # Errors
/// `StateUnwritable`, what the store says, `Unreachable` when a target can't be asked: then nothing is removed.
pub(crate) async fn run(app: &App, args: PruneArgs) -> Result<Outcome> {
    if !args.yes {
        let answer = app.ui.ask("Remove artifacts that nothing needs any more? (yes/no)", "--yes")?;
        if answer != "yes" {
            return Ok(Outcome::done("Nothing was removed.\n", json!({ "removed": [], "bytes": 0 })));
        }
    }
    let mut keep: BTreeSet<Digest> = BTreeSet::new();
    let mut keepers = Vec::new();
    for project in app.workspace.projects.values() {
        for env in project.manifest.env.keys() {
            let scope = Scope::new(project.name().clone(), env.clone());
            let stream = environment_stream(&scope);
            let (state, _) = fold::load::<EnvironmentState>(app.events.as_ref(), &stream).await?;
            let placed = state.running.iter().chain(&state.proven).filter_map(|placed| placed.release.artifact);
            keep.extend(placed);
            keep.extend(state.past.iter().filter(|past| past.outcome.is_none()).filter_map(|past| past.to.artifact));
            let backend = backend::connect(app, project, &scope)?;
            let inventory = backend.target.inventory().await?;
            keepers.extend(backend.keepers);
            keep.extend(inventory.units.iter().filter_map(|unit| unit.release.as_ref()?.artifact));
        }
    }
    let store = ArtifactStore::open(&app.workspace.state.join("artifacts"))?;
    let (now, kept) = (app.clock.now(), keep.clone());
    let pruned = tokio::task::spawn_blocking(move || store.prune(&keep, now, args.older_than))
        .await
        .context(Code::Internal, || "Pruning broke down.".to_owned())??;
    let mut on_hosts = Vec::new();
    for keeper in keepers {
        on_hosts.extend(keeper.prune(&kept, args.older_than).await?);
    }
    let mut text = format!("Removed {} artifacts ({} bytes).\n", pruned.removed.len(), pruned.bytes);
    if !on_hosts.is_empty() {
        let bytes: u64 = on_hosts.iter().map(|removed| removed.bytes).sum();
        text.push_str(&format!(
            "Removed {} from hosts ({bytes} bytes).\n",
            count(on_hosts.len() as u64, "artifact", "artifacts")
        ));
    }
    Ok(Outcome::done(text, json!({ "removed": pruned.removed, "bytes": pruned.bytes, "hosts": on_hosts })))
}
