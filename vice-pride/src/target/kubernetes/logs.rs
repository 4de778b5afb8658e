//! The output of a unit's pods. It reads only.

use futures::AsyncBufReadExt;
use futures::future::try_join_all;
use futures::io::{AsyncBufRead, AsyncReadExt};
use vice_core::port::target::LogLine;
use vice_core::{Code, Context, Result};

use super::cluster::Cluster;
use super::failing::{escaped, pods};
use super::object::ObjectId;

/// The longest line that is passed on, in bytes; what follows comes as a line of its own.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// The most bytes of the past of one container.
const PAST_BYTES_MAX: usize = 4 * 1024 * 1024;

type Sink<'a> = &'a (dyn Fn(LogLine) -> bool + Send + Sync);

/// A container whose output is told.
pub(super) struct Place {
    unit: &'static str,
    label: String,
    path: String,
}

/// The last lines of every container of these places, then, with `follow`, new ones of the pods that are there now.
pub(super) async fn tell(
    cluster: &Cluster,
    places: &[Place],
    lines: usize,
    follow: bool,
    sink: Sink<'_>,
) -> Result<()> {
    if follow {
        // Ends with the first that has had enough, which is the receiver's doing.
        let each = places.iter().map(|place| async move {
            let path = format!("{}&tailLines={lines}&follow=true", place.path);
            let more = stream(cluster.stream(&path).await?, place, sink).await?;
            Ok::<_, vice_core::Fault>(more)
        });
        return try_join_all(each).await.map(drop);
    }
    for place in places {
        let text = cluster.text(&format!("{}&tailLines={lines}&limitBytes={PAST_BYTES_MAX}", place.path)).await?;
        if !text.lines().all(|line| sink(line_of(place, line))) {
            return Ok(());
        }
    }
    Ok(())
}

/// The containers of the workloads of a unit.
pub(super) async fn places(cluster: &Cluster, unit: &'static str, ids: &[ObjectId]) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for id in ids.iter().filter(|id| id.is_workload()) {
        let Some(path) = cluster.path(id).await? else { continue };
        let Some(live) = cluster.get(&path).await? else { continue };
        for pod in pods(cluster, id, &live).await {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let namespace = pod["metadata"]["namespace"].as_str().unwrap_or(&cluster.namespace);
            for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
                let container = container["name"].as_str().unwrap_or_default();
                let query = format!("container={}", escaped(container));
                let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/log?{query}");
                places.push(Place { unit, label: format!("{name}/{container}"), path });
            }
        }
    }
    Ok(places)
}

fn line_of(place: &Place, line: &str) -> LogLine {
    LogLine { unit: place.unit.to_owned(), text: format!("{} {line}", place.label) }
}

/// Passes lines on until there are no more; false when the receiver has had enough.
async fn stream(mut body: impl AsyncBufRead + Unpin, place: &Place, sink: Sink<'_>) -> Result<bool> {
    loop {
        let mut bytes = Vec::new();
        let read = (&mut body).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).await;
        let count = read.context(Code::Unreachable, || format!("The log of {} broke off.", place.label))?;
        if count == 0 {
            return Ok(true);
        }
        let text = String::from_utf8_lossy(&bytes);
        if !sink(line_of(place, text.trim_end_matches(['\n', '\r']))) {
            return Ok(false);
        }
    }
}
