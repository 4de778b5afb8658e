//! `greed verify`.

use serde_json::json;
use vice_core::app::App;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Class, Result};

pub(super) async fn verify(app: &App) -> Result<Outcome> {
    let found = app.events.verify().await?;
    let sound = found.problems.is_empty();
    let json = json!({
        "sound": sound,
        "events": found.events,
        "seq": found.head.seq,
        "chain": found.head.chain,
        "problems": found.problems,
    });
    if sound {
        let text = match found.events {
            0 => "The history is empty.\n".to_owned(),
            events => format!(
                "{} {events} events, chained and complete up to {}.\n",
                paint(Tone::Good, "The history is sound:"),
                found.head.chain.short()
            ),
        };
        return Ok(Outcome::done(text, json));
    }
    let mut text = format!("{}\n", paint(Tone::Bad, format!("The history is damaged ({} events read):", found.events)));
    for problem in &found.problems {
        text += &format!("  {}\n", sanitize(problem));
    }
    text += "`vice greed restore URL` brings a backup back and keeps this history beside it.\n";
    Ok(Outcome::done(text, json).with_class(Class::Failed))
}
