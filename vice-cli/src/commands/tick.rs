//! `vice tick`: goes on with whatever waits. Meant for cron and scheduled CI jobs; doing nothing is its usual result.

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::text::count;
use vice_core::ui::Outcome;
use vice_core::{Millis, Result};

/// How long observations are kept.
const SERIES_KEPT: Millis = Millis(30 * 24 * 3600 * 1000);

/// Arguments of `vice tick`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  */5 * * * * vice -C /srv/shop tick --quiet")]
pub(crate) struct TickArgs {}

/// Takes up rollouts, delivers notifications, and forgets old observations.
pub(crate) async fn run(app: &App, _: TickArgs) -> Result<Outcome> {
    let rollouts = vice_pride::cmd::tick(app).await?;
    let ruled = vice_greed::rules::pump(app).await?;
    let delivered = app.notifier.pump().await?;
    let now = app.clock.now();
    let before = now.checked_sub(jiff::SignedDuration::from_millis(SERIES_KEPT.as_i64())).unwrap_or(now);
    let expired = app.series.expire(before).await?;
    let mut text = String::new();
    for (id, state) in &rollouts {
        text.push_str(&format!("{id}: {state}\n"));
    }
    if rollouts.is_empty() {
        text.push_str("No rollout waits.\n");
    }
    if ruled.fired + ruled.done + ruled.waiting + ruled.dead > 0 {
        text.push_str(&format!(
            "Rules: {} fired, {} done, {} waiting, {} given up.\n",
            ruled.fired, ruled.done, ruled.waiting, ruled.dead
        ));
    }
    text.push_str(&format!(
        "{} delivered, {} forgotten.\n",
        count(delivered, "notification", "notifications"),
        count(expired, "old observation", "old observations")
    ));
    let listed: Vec<_> = rollouts.iter().map(|(id, state)| json!({ "rollout": id, "state": state })).collect();
    Ok(Outcome::done(
        text,
        json!({
            "rollouts": listed,
            "rules": { "fired": ruled.fired, "done": ruled.done, "waiting": ruled.waiting, "dead": ruled.dead },
            "delivered": delivered,
            "expired": expired,
        }),
    ))
}
