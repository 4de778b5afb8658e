//! Steps over TCP: something accepts the connection, and, where bytes are sent or expected, says something.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{Tried, Try};
use crate::http::explain::io_cause;
use crate::query::Query;
use crate::query::facts::Facts;
use crate::tcp::parse_address;

/// So many bytes of a greeting or an answer are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn attempt(attempt: &Try<'_>, address: &str, send: Option<&str>, mut facts: Facts) -> Tried {
    match connect(attempt, address, send, &mut facts).await {
        Ok(()) => Tried { facts, error: None, late: false },
        Err(why) => Tried::failed(facts, why),
    }
}

async fn connect(attempt: &Try<'_>, address: &str, send: Option<&str>, facts: &mut Facts) -> Result<(), String> {
    let address = attempt.text(address)?;
    let (host, port) = parse_address(&address).map_err(|why| format!("the step {why}"))?;
    let began = Instant::now();
    let connected = timeout_at(attempt.until, TcpStream::connect((host, port))).await;
    let mut stream = connected
        .map_err(|_| format!("no connection within {}", attempt.timeout))?
        .map_err(|error| format!("can't connect: {}", io_cause(&error)))?;
    facts.timing.first = Some(began.elapsed());
    facts.ip = stream.peer_addr().ok().map(|address| address.ip().to_string());
    if let Some(send) = send {
        let text = attempt.text(send)?;
        let sent = timeout_at(attempt.until, stream.write_all(text.as_bytes())).await;
        sent.map_err(|_| format!("nothing could be sent within {}", attempt.timeout))?
            .map_err(|error| format!("nothing could be sent: {}", io_cause(&error)))?;
    }
    let listens = attempt.step.expect.iter().any(|assertion| asks_body(&assertion.query))
        || attempt.step.captures.iter().any(|capture| asks_body(&capture.query));
    if listens {
        read(attempt, &mut stream, facts).await?;
    }
    facts.timing.total = began.elapsed();
    Ok(())
}

const fn asks_body(query: &Query) -> bool {
    matches!(query, Query::Body | Query::Regex(_) | Query::Json(_) | Query::Size | Query::Sha256)
}

/// Reads until the server pauses or ends: a protocol that is not known here has no other end.
async fn read(attempt: &Try<'_>, stream: &mut TcpStream, facts: &mut Facts) -> Result<(), String> {
    /// How long a server may pause within one answer.
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);
    let mut buffer = [0_u8; 4096];
    loop {
        let patience = if facts.body.is_empty() { attempt.until } else { (Instant::now() + PAUSE).min(attempt.until) };
        match timeout_at(patience, stream.read(&mut buffer)).await {
            Err(_) if facts.body.is_empty() => return Err(format!("nothing came within {}", attempt.timeout)),
            Err(_) | Ok(Ok(0)) => return Ok(()),
            Ok(Ok(count)) => facts.body.extend_from_slice(&buffer[..count]),
            Ok(Err(error)) if facts.body.is_empty() => return Err(format!("nothing came: {}", io_cause(&error))),
            Ok(Err(_)) => return Ok(()),
        }
        if facts.body.len() >= ANSWER_BYTES_MAX {
            return Ok(());
        }
    }
}
