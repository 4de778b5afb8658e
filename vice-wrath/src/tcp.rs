//! Checks over TCP: something accepts connections there.

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use vice_core::Millis;

use crate::attempt::Attempt;
use crate::http::explain::io_cause;
use crate::plan::Planned;
use crate::values::Values;

/// Host and port of an address such as `db.internal:5432` or `[::1]:80`.
///
/// # Errors
/// Text that continues "The check x …".
pub(crate) fn parse_address(text: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("has the address {text:?}; write host:port, such as 127.0.0.1:5432");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(bare) => bare,
        None if host.contains(':') => return Err(wrong()),
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    if host.is_empty() || host.contains('/') { Err(wrong()) } else { Ok((host, port)) }
}

/// One attempt, given up at `until`.
pub(crate) async fn attempt(check: &Planned, values: &Values, timeout: Millis, until: Instant) -> Attempt {
    let address = match values.text(check.spec.tcp.as_deref().unwrap_or_default()) {
        Ok(address) => address,
        Err(fault) => return Attempt::errored(fault.to_string()),
    };
    let (host, port) = match parse_address(&address) {
        Ok(parts) => parts,
        Err(why) => return Attempt::errored(format!("the check {why}")),
    };
    let started = Instant::now();
    match timeout_at(until, TcpStream::connect((host, port))).await {
        Err(_) => Attempt::errored(format!("no connection within {timeout}")),
        Ok(Err(error)) => Attempt::errored(format!("can't connect: {}", io_cause(&error))),
        Ok(Ok(_)) => {
            let mut attempt = Attempt { latency: Some(started.elapsed()), ..Attempt::default() };
            attempt.assert_latency(check.spec.latency_max);
            attempt
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_address;

    #[test]
    fn addresses_need_a_host_and_a_port() {
        assert_eq!(parse_address("db:5432"), Ok(("db", 5432)));
        assert_eq!(parse_address("[::1]:80"), Ok(("::1", 80)));
        for bad in ["db", ":80", "db:", "db:0", "db:99999", "::1:80", "http://db:80", "tcp://db:80"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
