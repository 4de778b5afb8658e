//! Which project is meant by the name of a graph.

use std::sync::Arc;

use vice_core::manifest::Project;
use vice_core::suggest::nearest;
use vice_core::{App, Code, Fault, Result};

/// The named project; else the one of the working folder if it has the graph; else the only one that has it.
///
/// # Errors
/// `UnknownName` with the nearest graph; `Usage` when several projects have it.
pub(super) fn project(app: &App, graph: &str, named: Option<&str>) -> Result<Arc<Project>> {
    let workspace = &app.workspace;
    let has = |project: &Arc<Project>| project.manifest.graph.contains_key(graph);
    if let Some(name) = named {
        let project = workspace.project(name)?;
        return if has(&project) { Ok(project) } else { Err(unknown(graph, std::slice::from_ref(&project))) };
    }
    let here = workspace.here.as_ref().and_then(|name| workspace.projects.get(name));
    if let Some(project) = here.filter(|project| has(project)) {
        return Ok(Arc::clone(project));
    }
    let having: Vec<&Arc<Project>> = workspace.projects.values().filter(|project| has(project)).collect();
    match having.as_slice() {
        [only] => Ok(Arc::clone(only)),
        [] => Err(unknown(graph, &workspace.projects.values().cloned().collect::<Vec<_>>())),
        several => {
            let names: Vec<&str> = several.iter().map(|project| project.name().as_str()).collect();
            Err(Fault::new(Code::Usage, format!("More than one project has a graph {graph}."))
                .hint(format!("Add --project with one of: {}.", names.join(", "))))
        }
    }
}

fn unknown(graph: &str, projects: &[Arc<Project>]) -> Fault {
    let shown: String = graph.chars().take(80).collect();
    let fault = Fault::new(Code::UnknownName, format!("There is no graph {shown:?} here."));
    let known: Vec<&str> =
        projects.iter().flat_map(|project| project.manifest.graph.keys().map(String::as_str)).collect();
    match nearest(graph, known.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {near}?")),
        None if known.is_empty() => fault.hint("Add a section such as [graph.release] to vice.toml."),
        None => fault.hint(format!("Known graphs: {}.", known.join(", "))),
    }
}
