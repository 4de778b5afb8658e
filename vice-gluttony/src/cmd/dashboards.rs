//! `vice gluttony dashboards`: what can be shown by name.

use std::collections::BTreeMap;

use serde_json::json;
use vice_core::Result;
use vice_core::app::App;
use vice_core::manifest::DashboardSpec;
use vice_core::text::{Table, Tone};
use vice_core::ui::Outcome;

/// The dashboard that always exists: everything about every project, unless one of that name is saved.
pub(crate) const OVERVIEW: &str = "overview";

/// Every dashboard by name, with whether it is saved or built in.
pub(crate) fn known(app: &App) -> BTreeMap<String, (DashboardSpec, bool)> {
    let saved = app.workspace.dashboards.iter().map(|(name, spec)| (name.clone(), (spec.clone(), true)));
    let mut all: BTreeMap<_, _> = saved.collect();
    all.entry(OVERVIEW.to_owned()).or_insert_with(|| {
        let title = Some("Overview".to_owned());
        (DashboardSpec { title, projects: Vec::new(), panels: Vec::new() }, false)
    });
    all
}

pub(crate) fn list(app: &App) -> Result<Outcome> {
    app.ui.format().among(&[])?;
    let mut table = Table::with_heading(&["name", "title", "projects", "panels", ""]);
    let mut values = Vec::new();
    for (name, (spec, saved)) in known(app) {
        let projects: Vec<&str> = spec.projects.iter().map(vice_core::id::ProjectName::as_str).collect();
        let panels = json!(spec.panels);
        let names: Vec<&str> = panels.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
        let or_all = |list: Vec<&str>| if list.is_empty() { "all".to_owned() } else { list.join(", ") };
        let title = spec.title.clone().unwrap_or_default();
        values.push(json!({
            "name": name, "title": title, "projects": projects, "panels": panels, "saved": saved,
        }));
        table.row([
            (Tone::Strong, name),
            (Tone::Plain, title),
            (Tone::Plain, or_all(projects)),
            (Tone::Plain, or_all(names)),
            (Tone::Faint, if saved { "" } else { "built in" }.to_owned()),
        ]);
    }
    let text = format!("{}\nShow one with `vice gluttony report NAME`.\n", table.render());
    Ok(Outcome::done(text, json!({ "dashboards": values })))
}
