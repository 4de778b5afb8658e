//! Why a request could not be carried out, in words: what happened, to what, and never the URL, which can hold secrets.

use std::error::Error as StdError;
use std::io;

use reqwest::StatusCode;

/// Why there was no answer.
pub(crate) fn request(error: &reqwest::Error) -> String {
    let cause = cause(error);
    if cause.starts_with("TLS") {
        return cause;
    }
    if error.is_connect() {
        return format!("can't connect: {cause}");
    }
    format!("the request got no answer: {cause}")
}

/// Why the answer broke off.
pub(crate) fn body(error: &reqwest::Error, status: StatusCode, read: usize) -> String {
    format!("the answer (status {status}) broke off after {read} bytes: {}", cause(error))
}

/// The innermost cause, which is the one that names the fact.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &(dyn StdError + 'static) = error;
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(tls) = tls_error(source) {
            return format!("TLS: {tls}");
        }
        innermost = source;
        next = source.source();
    }
    match innermost.downcast_ref::<io::Error>() {
        Some(error) => io_cause(error),
        None if innermost.downcast_ref::<reqwest::Error>().is_some() => "it can't be sent".to_owned(),
        None => innermost.to_string(),
    }
}

/// The TLS error inside, if there is one. I/O errors are wrapped in I/O errors, whose `source` leaves out what they wrap.
fn tls_error<'a>(source: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut at = source;
    while let Some(inside) = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        at = inside;
    }
    at.downcast_ref()
}

/// The words for an I/O error, without the number of the operating system.
pub(crate) fn io_cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "the connection was reset".to_owned(),
        io::ErrorKind::TimedOut => "the connection timed out".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection ended too early".to_owned(),
        _ => error.to_string(),
    }
}
