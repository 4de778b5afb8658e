//! Asking one instance whether it is healthy: one request, or one connection, with a deadline.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use vice_core::Millis;
use vice_core::port::target::HealthProbe;
use vice_core::text::sanitize;

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

async fn get(port: u16, path: &str) -> Result<(), String> {
    let stream = TcpStream::connect(address(port)).await.map_err(|_| "does not accept connections".to_owned())?;
    let broken = |error: hyper::Error| format!("does not speak HTTP as it should ({error})");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::get(path)
        .header("host", format!("127.0.0.1:{port}"))
        .header("user-agent", "vice-health")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| format!("can't be asked for {path:?}: not a path"))?;
    let mut exchange = std::pin::pin!(sender.send_request(request));
    let answered = tokio::select! {
        answer = &mut exchange => answer,
        // It often ends with the answer, which then lies ready.
        _ended = connection => exchange.await,
    };
    let answered = answered.map_err(broken)?;
    let status = answered.status();
    if status.is_success() { Ok(()) } else { Err(format!("answers {} with {status}", sanitize(path))) }
}
