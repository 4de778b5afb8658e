//! One object as it changes: read once, then watched from the version that was read. A connection that breaks off is
//! taken up where it was; when the cluster does not remember that far back (410), the object is read again. It knows
//! nothing of what an object means.

use std::time::Duration;

use futures::AsyncBufReadExt;
use futures::io::{AsyncBufRead, AsyncReadExt};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use vice_core::{Code, Context, Fault, Result};

use super::cluster::{Cluster, is_silence};
use super::failing::escaped;

/// How long the server is asked to watch at a time. What ends is begun again.
const WATCH_SECONDS: u32 = 240;
/// How long nothing may come before the connection counts as dead: a watch has a bookmark about every minute.
const QUIET_MAX: Duration = Duration::from_secs(130);
/// The longest line: an object has at most about 1.5 MiB, and two managers' fields about as much.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long is waited before the cluster is asked again, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How often in a row the cluster may fail to answer.
const SILENCES_MAX: u32 = 10;

type Body = Box<dyn AsyncBufRead + Send + Unpin>;

/// An object that is looked at.
pub(super) struct Watch<'a> {
    cluster: &'a Cluster,
    path: &'a str,
    /// Up to where everything is known; the object is read when it is not.
    version: Option<String>,
    body: Option<Body>,
    /// Whether watching is not allowed, so that the object is read again and again instead.
    polls: bool,
    silences: u32,
    pause: Duration,
}

/// What a line of a watch says.
enum Line {
    /// How the object is now; nothing when it is gone.
    Object(Option<Value>),
    /// Nothing happened up to here.
    Bookmark,
    /// The version is too old to go on from.
    Expired,
}

impl<'a> Watch<'a> {
    /// Looks at the object of that path. Asks nothing yet.
    pub(super) const fn new(cluster: &'a Cluster, path: &'a str) -> Self {
        Self { cluster, path, version: None, body: None, polls: false, silences: 0, pause: PAUSE.0 }
    }

    /// How the object is now, first, and then whenever it has changed; nothing when it is gone.
    ///
    /// # Errors
    /// `Unreachable` when the cluster stays silent; what the cluster refuses.
    pub(super) async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            match self.step().await {
                Ok(Some(object)) => {
                    (self.silences, self.pause) = (0, PAUSE.0);
                    return Ok(object);
                }
                Ok(None) => {}
                Err(fault) if is_silence(&fault) && self.silences < SILENCES_MAX => {
                    self.silences += 1;
                    self.body = None;
                    self.rest().await;
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    async fn rest(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    /// One answer of the cluster; nothing when it says nothing of the object.
    async fn step(&mut self) -> Result<Option<Option<Value>>> {
        if self.version.is_none() {
            return self.read().await.map(Some);
        }
        let Some(mut body) = self.opened().await? else { return Ok(None) };
        match line(&mut body).await? {
            None => {
                // The server ends a watch in its own time; one that ends at once must not keep both busy.
                self.rest().await;
                Ok(None)
            }
            Some(text) => {
                self.body = Some(body);
                self.heard(&text)
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Value>> {
        if self.polls && self.pause > PAUSE.0 {
            sleep(self.pause).await;
        }
        let object = self.cluster.get(self.path).await?;
        self.pause = if self.polls { PAUSE.1 } else { PAUSE.0 };
        self.version = object.as_ref().filter(|_| !self.polls).and_then(version_of);
        Ok(object)
    }

    async fn opened(&mut self) -> Result<Option<Body>> {
        if let Some(body) = self.body.take() {
            return Ok(Some(body));
        }
        let (folder, name) = self.path.rsplit_once('/').unwrap_or((self.path, ""));
        let from = self.version.as_deref().unwrap_or_default();
        let url = format!(
            "{folder}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={from}\
             &fieldSelector=metadata.name%3D{}",
            escaped(name)
        );
        match self.cluster.stream(&url).await {
            Ok(body) => Ok(Some(Box::new(body))),
            Err(fault) => match fault.details().get("status").and_then(Value::as_u64) {
                Some(410) => {
                    self.version = None;
                    Ok(None)
                }
                // Whoever may not watch may still look.
                Some(403 | 405) => {
                    (self.version, self.polls, self.pause) = (None, true, PAUSE.1);
                    Ok(None)
                }
                _ => Err(fault),
            },
        }
    }

    fn heard(&mut self, text: &[u8]) -> Result<Option<Option<Value>>> {
        let broken = || Fault::new(Code::Unreachable, "What the API server sends of a watch makes no sense.");
        let value: Value = serde_json::from_slice(text).map_err(|_| broken())?;
        let (said, version) = read_line(&value).ok_or_else(broken)?;
        if let Some(version) = version {
            self.version = Some(version);
        }
        match said {
            Line::Object(object) => Ok(Some(object)),
            Line::Bookmark => Ok(None),
            Line::Expired => {
                (self.version, self.body) = (None, None);
                Ok(None)
            }
        }
    }
}

fn version_of(object: &Value) -> Option<String> {
    object["metadata"]["resourceVersion"].as_str().map(str::to_owned)
}

/// What a line says, with the version that it brings.
fn read_line(value: &Value) -> Option<(Line, Option<String>)> {
    let object = &value["object"];
    Some(match value["type"].as_str()? {
        "ADDED" | "MODIFIED" => (Line::Object(Some(object.clone())), version_of(object)),
        "DELETED" => (Line::Object(None), version_of(object)),
        "BOOKMARK" => (Line::Bookmark, version_of(object)),
        // Whatever went wrong with the watch, the object can be read again.
        "ERROR" => (Line::Expired, None),
        _ => return None,
    })
}

/// The next line; nothing at the end.
async fn line(body: &mut Body) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut bounded = body.take(LINE_BYTES_MAX);
    let read = timeout(QUIET_MAX, bounded.read_until(b'\n', &mut bytes)).await;
    let quiet = |_| Fault::new(Code::Unreachable, "A watch fell silent.");
    let count = read.map_err(quiet)?.context(Code::Unreachable, || "A watch broke off.".to_owned())?;
    // A line without its end is cut off.
    Ok((count > 0 && bytes.ends_with(b"\n")).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_line_brings_the_version_to_go_on_from_but_an_error() {
        let said = |kind: &str| {
            let object = json!({"metadata": {"resourceVersion": "7"}});
            read_line(&json!({"type": kind, "object": object}))
        };
        assert!(matches!(said("MODIFIED"), Some((Line::Object(Some(_)), Some(at))) if at == "7"));
        assert!(matches!(said("DELETED"), Some((Line::Object(None), Some(_)))));
        assert!(matches!(said("BOOKMARK"), Some((Line::Bookmark, Some(_)))));
        assert!(matches!(said("ERROR"), Some((Line::Expired, None))));
        assert!(said("SURPRISE").is_none() && read_line(&json!({})).is_none());
    }
}
