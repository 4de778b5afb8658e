//! `vice lust channels`: where messages can go, and which rules send them there.

use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::manifest::{NotifySpec, Project};
use vice_core::text::{Table, Tone};
use vice_core::ui::Outcome;
use vice_core::{App, Result};

use crate::channel::receiver;
use crate::rules;

pub(super) fn channels(app: &App, project: Option<&str>) -> Result<Outcome> {
    let projects: Vec<Arc<Project>> = match project {
        Some(name) => vec![app.workspace.project(name)?],
        None => app.workspace.projects.values().cloned().collect(),
    };
    let mut table = Table::with_heading(&["project", "channel", "kind", "to", "rules"]);
    let mut json = Vec::new();
    for project in &projects {
        rules::check(project)?;
        for (name, spec) in &project.manifest.channel {
            let rules: Vec<String> = using(project, name).map(words).collect();
            table.row([
                (Tone::Strong, project.name().to_string()),
                (Tone::Strong, name.clone()),
                (Tone::Plain, spec.kind().to_owned()),
                (Tone::Plain, receiver(spec)),
                (Tone::Faint, if rules.is_empty() { "none".to_owned() } else { rules.join("; ") }),
            ]);
            json.push(json!({
                "project": project.name(),
                "channel": name,
                "kind": spec.kind(),
                "to": receiver(spec),
                "rules": using(project, name).map(rule).collect::<Vec<Value>>(),
            }));
        }
    }
    let text = if json.is_empty() {
        "No channels are configured; messages are shown on the terminal.\n\
         A channel is a section such as [channel.ops] in vice.toml, a rule one such as [[notify]].\n"
            .to_owned()
    } else {
        table.render()
    };
    Ok(Outcome::done(text, json!({ "channels": json })))
}

fn using<'a>(project: &'a Project, channel: &'a str) -> impl Iterator<Item = &'a NotifySpec> {
    project.manifest.notify.iter().filter(move |rule| rule.to.0.iter().any(|to| to == channel))
}

fn words(rule: &NotifySpec) -> String {
    let on = rule.on.join(", ");
    if rule.env.is_empty() { on } else { format!("{on} in {}", envs(rule).join(", ")) }
}

fn rule(rule: &NotifySpec) -> Value {
    json!({ "on": rule.on, "env": rule.env })
}

fn envs(rule: &NotifySpec) -> Vec<&str> {
    rule.env.iter().map(vice_core::id::EnvName::as_str).collect()
}
