//! A listener of our own, until this process is asked to end: then no more requests are taken, and those under way are
//! answered, for a bounded time.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use vice_core::Millis;
use vice_core::app::StopSignal;

use super::{Ingest, router};
use crate::listener::{self, Patience};

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
pub async fn serve(ingest: Arc<Ingest>, listener: TcpListener) {
    let stop = Arc::clone(&ingest.app.stop);
    let ended = asked_to_end(Arc::clone(&stop));
    let served = listener::serve(listener, router(ingest), Patience::default(), Arc::default(), ended);
    let patience = async {
        asked_to_end(stop).await;
        tokio::time::sleep(DRAIN.as_duration()).await;
    };
    tokio::select! {
        () = served => {}
        // Whoever has not been answered by now was not acknowledged, and sends again.
        () = patience => {}
    }
}
