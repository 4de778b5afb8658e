//! The rules at work beside whatever takes events in.

use vice_core::Millis;
use vice_core::app::App;
use vice_core::port::notifier::Severity;

use crate::rules;

/// How long to wait for new events before the rules look at what is due.
const WAIT: Millis = Millis::from_secs(1);

/// Lets the rules act on what comes in, for ever: trouble with them must not stop the ingest.
pub async fn act(app: &App) {
    let mut said = String::new();
    let mut seen = 0;
    loop {
        match rules::pump(app).await {
            Ok(_) => said.clear(),
            Err(fault) => {
                let why = fault.chain().join(" ");
                if why != said {
                    app.ui.say(Severity::Warning, &format!("The rules can't go on: {why}"));
                    said = why;
                }
            }
        }
        seen = match app.events.wait(seen, WAIT).await {
            Ok(head) => head.seq,
            Err(_) => {
                tokio::time::sleep(WAIT.as_duration()).await;
                seen
            }
        };
    }
}
