//! After a 101 the front end is a pipe: bytes both ways until both sides have ended. The pipe counts as in flight on
//! its upstream, so that a drain waits for it.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::upstream::InFlight;

/// Joins the two upgraded connections until both have ended or `cut` is cancelled.
pub(super) async fn tunnel(
    link: Link,
    upstream: OnUpgrade,
    client: OnUpgrade,
    request: InFlight,
    cut: CancellationToken,
) {
    let pipe = async {
        let ((), upstream, client) = tokio::join!(link.finish(), upstream, client);
        match (upstream, client) {
            (Ok(upstream), Ok(client)) => {
                let ended = copy_bidirectional(&mut TokioIo::new(upstream), &mut TokioIo::new(client)).await;
                tracing::debug!(?ended, "upgraded connection ended");
            }
            (Err(error), _) | (_, Err(error)) => tracing::debug!(%error, "upgrade failed"),
        }
    };
    tokio::select! {
        () = pipe => {}
        () = cut.cancelled() => {}
    }
    drop(request);
}
