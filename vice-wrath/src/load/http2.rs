//! HTTP/2: few connections, each with many requests at a time. hyper does the framing.

use std::future::Future;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;

use super::dial::Dial;
use super::http1::Answered;
use super::tally::Failure;

/// Requests that share one connection.
pub(super) const STREAMS_PER_CONNECTION: usize = 100;

/// Runs the tasks of a connection on the thread that made it.
#[derive(Clone, Copy)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here
where
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// One connection that is made when it is needed, and again when it has ended.
#[derive(Default)]
pub(super) struct Shared {
    sender: Mutex<Option<Sender>>,
}

impl Shared {
    /// Sends one request and reads its answer. The flag says whether a connection was made for it.
    pub(super) async fn exchange(
        &self,
        dial: &Dial,
        request: &http::Request<Bytes>,
        connected: &mut bool,
    ) -> Result<Answered, Failure> {
        let mut sender = self.sender(dial, connected).await?;
        sender.ready().await.map_err(|_| Failure::Broken)?;
        let request = request.clone().map(Full::new);
        let response = sender.send_request(request).await.map_err(|_| Failure::Broken)?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure::Broken)?;
            bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok(Answered { status, bytes, keep: true })
    }

    async fn sender(&self, dial: &Dial, connected: &mut bool) -> Result<Sender, Failure> {
        let mut place = self.sender.lock().await;
        if let Some(sender) = place.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        *place = None;
        let stream = dial.connect().await?;
        let mut builder = http2::Builder::new(Here);
        builder.initial_stream_window_size(1 << 20).initial_connection_window_size(16 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Malformed)?;
        tokio::task::spawn_local(async move {
            // Whoever waits for an answer learns of the end by that.
            drop(connection.await);
        });
        *connected = true;
        *place = Some(sender.clone());
        Ok(sender)
    }
}
