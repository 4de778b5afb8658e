//! A page over HTTP for those who scrape it. It answers GET /metrics and nothing else, so a few lines do; each
//! connection is one request within bounds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use vice_core::{Code, Context, Result};

/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many requests are answered at the same time.
const REQUESTS_MAX: usize = 32;

/// The page as it stands.
pub(crate) type Page = Arc<Mutex<String>>;

/// Binds an address.
///
/// # Errors
/// `PortInUse` or `Usage` where that is not possible.
pub(crate) async fn bind(address: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::AddrInUse { Code::PortInUse } else { Code::Usage };
        vice_core::Fault::new(code, format!("Metrics can't be served at {address:?}."))
            .because(error)
            .hint("Give a free address such as --listen 127.0.0.1:9115.")
    })
}

/// The address that was bound.
///
/// # Errors
/// `Internal` where the system does not know it.
pub(crate) fn address(listener: &TcpListener) -> Result<String> {
    let address = listener.local_addr().context(Code::Internal, || "The address is not known.".to_owned())?;
    Ok(address.to_string())
}

/// Answers until it is dropped.
pub(crate) async fn serve(listener: TcpListener, page: Page) {
    let room = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely; a moment later there may be some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            // Who asks badly gets nothing, and is not worth a word.
            drop(timeout(PATIENCE, answer(stream, &page)).await);
            drop(permit);
        });
    }
}

async fn answer(mut stream: TcpStream, page: &Page) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut buffer = [0_u8; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = stream.read(&mut buffer).await?;
        if count == 0 || head.len() + count > HEAD_BYTES_MAX {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..count]);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    let (status, kind, body) = match (method, path) {
        (b"GET", b"/metrics") => {
            let body = page.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ("200 OK", "text/plain; version=0.0.4; charset=utf-8", body)
        }
        (b"GET", _) => ("404 Not Found", "text/plain", "The metrics are at /metrics.\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", "Only GET is answered.\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
