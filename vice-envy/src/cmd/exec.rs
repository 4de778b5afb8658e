//! `vice envy exec`: a command with the configuration as its environment.

use std::sync::Arc;

use serde_json::json;
use vice_core::manifest::Project;
use vice_core::port::command::{CommandSpec, Ended, Stream};
use vice_core::text::sanitize;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Millis, Result};

use super::Desk;
use crate::source::Ask;

pub(super) async fn run(
    desk: &Desk,
    project: &Arc<Project>,
    ask: Ask,
    command: Vec<String>,
    timeout: Millis,
) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let config = desk.envy.resolve_for(project, ask).await?;
    let ui = Arc::clone(&desk.ui);
    let relay = move |stream: Stream, line: &str| {
        let stream = match stream {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        };
        // Nobody may read any more; the command is then left to end by itself.
        ui.emit(&sanitize(line), &json!({ "type": "line", "stream": stream, "line": line }));
    };
    let shown = sanitize(command.first().map_or("", String::as_str));
    let mut spec = CommandSpec::new(command, desk.process.dir.clone(), timeout);
    spec.env = config.environment();
    spec.masker = config.masker();
    spec.on_line = Some(Arc::new(relay));
    let output = desk.runner.run(spec).await?;
    let took = output.took;
    match output.ended {
        Ended::Exited(0) => Ok(Outcome::done("", json!({ "status": 0, "took_ms": took.0 }))),
        Ended::Exited(status) => {
            Err(Fault::new(Code::TaskFailed, format!("{shown} ended with exit status {status}."))
                .detail("status", status))
        }
        Ended::Signalled(signal) => {
            Err(Fault::new(Code::TaskFailed, format!("{shown} was killed by signal {signal}."))
                .detail("signal", signal))
        }
        Ended::TimedOut => {
            Err(Fault::new(Code::TaskFailed, format!("{shown} did not end within {timeout} and was killed."))
                .hint("Give it more time with --timeout."))
        }
    }
}
