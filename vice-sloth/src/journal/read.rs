//! Finding runs in the history.

use vice_core::app::App;
use vice_core::event::Payload as _;
use vice_core::id::ProjectName;
use vice_core::store::{EventStoreExt as _, Order, Query};
use vice_core::{Code, Fault, Result};

use super::payload::{RunId, RunStarted};
use super::view::RunView;

/// One run.
///
/// # Errors
/// `UnknownName` when it does not exist; what the store says.
pub(crate) async fn run(app: &App, id: &RunId) -> Result<RunView> {
    let events = app.events.read_all(Query::stream(id.stream(), 0)).await?;
    if events.is_empty() {
        return Err(
            Fault::new(Code::UnknownName, format!("There is no run {id}.")).hint("`vice sloth runs` lists them.")
        );
    }
    RunView::fold(&events)
}

/// The number of the latest run of a graph; 0 when there is none.
///
/// # Errors
/// What the store says.
pub(crate) async fn latest(app: &App, project: &ProjectName, graph: &str) -> Result<u64> {
    let streams = app.events.all_streams(&format!("run/{project}/{graph}/")).await?;
    let ids = streams.iter().filter_map(|stream| RunId::of_stream(&stream.name));
    Ok(ids.map(|id| id.number).max().unwrap_or(0))
}

/// The latest runs, newest first.
///
/// # Errors
/// What the store says.
pub(crate) async fn recent(
    app: &App,
    project: Option<&ProjectName>,
    graph: Option<&str>,
    limit: usize,
) -> Result<Vec<RunView>> {
    let prefix = project.map_or_else(|| "run/".to_owned(), |project| format!("run/{project}/"));
    let mut query = Query {
        stream_prefix: Some(prefix),
        kinds: vec![RunStarted::KIND.to_owned()],
        order: Order::Backward,
        ..Query::default()
    };
    let mut found = Vec::new();
    loop {
        let page = app.events.read(&query).await?;
        let full = page.len() == query.page();
        for started in &page {
            query.after = started.seq;
            let Some(id) = RunId::of_stream(&started.event.stream) else { continue };
            if graph.is_none_or(|graph| id.graph == graph) && found.len() < limit {
                found.push(run(app, &id).await?);
            }
        }
        if !full || found.len() >= limit {
            return Ok(found);
        }
    }
}
