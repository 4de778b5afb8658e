//! Asking one instance whether it is healthy: one request, or one connection, with a deadline.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use vice_core::Millis;
use vice_core::port::target::HealthProbe;
use vice_core::text::sanitize;

/// So much of an answer is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where an instance listens.
pub(super) const fn address(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Asks once. The error is one phrase for people.
pub(super) async fn ask(port: u16, probe: &HealthProbe) -> Result<(), String> {
    let asked = async {
        match &probe.path {
            Some(path) => get(port, path).await,
            None => connect(port).await.map(drop),
        }
    };
    match timeout(probe.timeout.as_duration(), asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("gave no answer within {}", probe.timeout)),
    }
}

/// Whether something listens there.
pub(super) async fn listens(port: u16, within: Millis) -> bool {
    timeout(within.as_duration(), connect(port)).await.is_ok_and(|connected| connected.is_ok())
}

async fn connect(port: u16) -> Result<TcpStream, String> {
    TcpStream::connect(address(port)).await.map_err(|error| format!("does not accept connections ({error})"))
}

/// A good answer to getting a path; its text is not waited for.
async fn get(port: u16, path: &str) -> Result<(), String> {
    exchange(port, path, None, false).await.map(drop)
}

/// Gets a path, or posts a document to it; gives the text of a good answer.
pub(super) async fn request(port: u16, path: &str, document: Option<Vec<u8>>) -> Result<String, String> {
    exchange(port, path, document, true).await
}

async fn exchange(port: u16, path: &str, document: Option<Vec<u8>>, reads: bool) -> Result<String, String> {
    let stream = TcpStream::connect(address(port)).await.map_err(|_| "does not accept connections".to_owned())?;
    let broken = |error: hyper::Error| format!("does not speak HTTP as it should ({error})");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let method = if document.is_some() { "POST" } else { "GET" };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", format!("127.0.0.1:{port}"))
        .header("user-agent", "vice-health")
        .header("content-type", "application/json")
        .header("connection", "close")
        .body(Full::new(Bytes::from(document.unwrap_or_default())))
        .map_err(|_| format!("can't be asked for {path:?}: not a path"))?;
    let mut exchange = std::pin::pin!(async {
        let answered = sender.send_request(request).await.map_err(broken)?;
        let status = answered.status();
        if !status.is_success() {
            return Err(format!("answers {} with {status}", sanitize(path)));
        }
        if !reads {
            return Ok(String::new());
        }
        let text = Limited::new(answered.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok(text.map(|text| String::from_utf8_lossy(&text.to_bytes()).into_owned()).unwrap_or_default())
    });
    tokio::select! {
        answer = &mut exchange => answer,
        // It often ends with the answer, which then lies ready.
        _ended = connection => exchange.await,
    }
}
