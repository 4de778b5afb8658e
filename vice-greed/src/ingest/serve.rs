//! A listener of our own, until this process is asked to end: then no more requests are taken, and those under way are
//! answered, for a bounded time.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use vice_core::app::StopSignal;
use vice_core::{Code, Context as _, Millis, Result};

use super::{Ingest, router};

/// How often it is looked whether to end.
const LOOK: Duration = Duration::from_millis(50);

/// How long requests under way may take after that.
const DRAIN: Millis = Millis::from_secs(10);

async fn asked_to_end(stop: Arc<StopSignal>) {
    while stop.raised().is_none() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Answers on a listener until the process is asked to end.
///
/// # Errors
/// `Io` when the listener fails.
pub async fn serve(ingest: Arc<Ingest>, listener: TcpListener) -> Result<()> {
    let stop = Arc::clone(&ingest.app.stop);
    let served = axum::serve(listener, router(ingest)).with_graceful_shutdown(asked_to_end(Arc::clone(&stop)));
    let served = async { served.await.context(Code::Io, || "The listener failed.".to_owned()) };
    let patience = async {
        asked_to_end(stop).await;
        tokio::time::sleep(DRAIN.as_duration()).await;
        Ok(())
    };
    tokio::select! {
        done = served => done,
        // Whoever has not been answered by now was not acknowledged, and sends again.
        done = patience => done,
    }
}
