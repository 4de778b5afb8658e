//! `vice sloth list` and `vice sloth runs`.

use serde_json::json;
use vice_core::manifest::Project;
use vice_core::text::{Table, Tone};
use vice_core::time::ago;
use vice_core::ui::Outcome;
use vice_core::{App, Result};

use super::show;
use crate::journal::read;
use crate::run;

/// The graphs of one project or of all.
pub(super) async fn graphs(app: &App, project: Option<&str>) -> Result<Outcome> {
    let chosen = project.map(|name| app.workspace.project(name)).transpose()?;
    let mut table = Table::with_heading(&["graph", "project", "steps", "latest run", "state"]);
    let mut values = Vec::new();
    let all =
        app.workspace.projects.values().filter(|one| chosen.as_ref().is_none_or(|chosen| chosen.name() == one.name()));
    for project in all {
        for (name, steps) in &project.manifest.graph {
            let number = read::latest(app, project.name(), name).await?;
            let latest = if number == 0 { None } else { Some(format!("{}.{name}.{number}", project.name())) };
            let problem = problem(app, project, name);
            let state = match &problem {
                None => (Tone::Good, "valid".to_owned()),
                Some(problem) => (Tone::Bad, problem.clone()),
            };
            table.row([
                (Tone::Strong, name.clone()),
                (Tone::Plain, project.name().to_string()),
                (Tone::Plain, steps.len().to_string()),
                (Tone::Plain, latest.clone().unwrap_or_else(|| "-".to_owned())),
                state,
            ]);
            values.push(json!({
                "graph": name,
                "project": project.name(),
                "steps": steps.len(),
                "latest_run": latest,
                "problem": problem,
            }));
        }
    }
    let text = if values.is_empty() { "There are no graphs here.\n".to_owned() } else { table.render() };
    Ok(Outcome::done(text, json!({ "graphs": values })))
}

fn problem(app: &App, project: &Project, name: &str) -> Option<String> {
    let env = run::environment(project, None).ok().flatten();
    run::check(app, project, name, env.as_ref()).err().map(|fault| fault.to_string())
}

/// The latest runs.
pub(super) async fn runs(app: &App, project: Option<&str>, graph: Option<&str>, limit: usize) -> Result<Outcome> {
    let project = project.map(|name| app.workspace.project(name)).transpose()?;
    let found = read::recent(app, project.as_deref().map(Project::name), graph, limit).await?;
    let mut table = Table::with_heading(&["run", "status", "started", "by", "steps"]);
    for view in &found {
        table.row([
            (Tone::Strong, view.run.to_string()),
            show::status(view.status),
            (Tone::Plain, ago(view.started, app.clock.now())),
            (Tone::Plain, view.by.clone()),
            (Tone::Plain, show::counts(view)),
        ]);
    }
    let text = if found.is_empty() { "There are no runs yet.\n".to_owned() } else { table.render() };
    Ok(Outcome::done(text, json!({ "runs": found })))
}
