//! What graphs and chat commands can call: `report`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::id::EnvName;
use vice_core::port::action::{Action, ActionInfo};
use vice_core::ui::Format;
use vice_core::{Code, Context, Fault, Result};

use crate::cmd::{Asked, Made, find};
use crate::outfile;
use crate::render::terminal::WIDTH_MAX;

/// The actions of gluttony.
#[must_use]
pub fn actions(app: &App) -> Vec<Arc<dyn Action>> {
    vec![Arc::new(Report { app: app.clone() })]
}

struct Report {
    app: App,
}

/// What the action takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    project: Option<String>,
    dashboard: Option<String>,
    env: Option<EnvName>,
    rollout: Option<String>,
    format: Option<String>,
    file: Option<String>,
}

#[async_trait]
impl Action for Report {
    fn describe(&self) -> ActionInfo {
        let text = json!({ "type": "string" });
        ActionInfo {
            name: "report",
            summary: "Reports a project's latest rollout, or shows a dashboard; writes a file if one is named.",
            input: json!({
                "type": "object",
                "properties": {
                    "project": text, "dashboard": text, "env": text, "rollout": text, "file": text,
                    "format": { "enum": ["text", "json", "html", "markdown"] },
                },
                "additionalProperties": false,
            }),
            output: json!({
                "type": "object",
                "properties": { "summary": text, "path": text, "text": text },
                "required": ["summary"],
            }),
        }
    }

    async fn run(&self, input: Value) -> Result<Value> {
        let input: Input = serde_json::from_value(input)
            .context(Code::Usage, || "The input of the action report does not fit.".to_owned())?;
        let format = format(input.format.as_deref(), input.file.as_deref())?;
        let asked = asked(&input)?;
        let root = self.root(&input)?;
        let made = find(&self.app, asked).await?;
        let document = match format {
            Format::Json => format!("{:#}\n", made.json()?),
            Format::Text => plain(&made.text(format, WIDTH_MAX)?),
            other => made.text(other, WIDTH_MAX)?,
        };
        let mut output = json!({ "summary": summary(&made) });
        match &input.file {
            Some(file) => {
                let path = outfile::write(&root, file, &document)?;
                output["path"] = json!(path.to_string_lossy());
            }
            None => output["text"] = json!(document),
        }
        Ok(output)
    }
}

impl Report {
    /// Below which folder a file may be written: the project's, or that of the workspace for a dashboard.
    fn root(&self, input: &Input) -> Result<std::path::PathBuf> {
        match &input.dashboard {
            Some(_) => Ok(self.app.workspace.root.clone()),
            None => Ok(self.app.workspace.project_or_here(input.project.as_deref())?.root.clone()),
        }
    }
}

fn summary(made: &Made) -> String {
    vice_core::text::sanitize(&made.summary())
}

fn asked(input: &Input) -> Result<Asked> {
    let (name, only) = match (&input.project, &input.dashboard) {
        (Some(_), Some(_)) => {
            let message = "The action report takes a project or a dashboard, not both.";
            return Err(Fault::new(Code::Usage, message).hint("Leave one of them out."));
        }
        (project, None) => (project.clone(), false),
        (None, dashboard) => (dashboard.clone(), true),
    };
    Ok(Asked { name, env: input.env.clone(), rollout: input.rollout.clone(), only: Some(only) })
}

/// The named format, or the one that the file's name says, or text.
fn format(named: Option<&str>, file: Option<&str>) -> Result<Format> {
    let ending = file.and_then(|file| file.rsplit_once('.')).map(|(_, ending)| ending);
    let wanted = named.or(match ending {
        Some("html") => Some("html"),
        Some("md") => Some("markdown"),
        Some("json") => Some("json"),
        _ => None,
    });
    let offered = [Format::Text, Format::Json, Format::Html, Format::Markdown];
    let wanted = wanted.unwrap_or("text");
    offered.into_iter().find(|format| format.name() == wanted).ok_or_else(|| {
        Fault::new(Code::Usage, format!("A report has no format {wanted:?}."))
            .hint("It has: text, json, html, markdown.")
    })
}

/// The text without styles. Escape characters from outside are visible text by now, so each that is left starts a style.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split('\u{1b}');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        out.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    out
}
