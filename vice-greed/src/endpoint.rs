//! What the URLs of brokers and collectors have in common: servers by host and port, and whether the connection is encrypted.

use vice_core::host::{is_loopback, without_port};

/// A host with its port; none where the text names no server.
pub(crate) fn server(text: &str, default_port: u16) -> Option<String> {
    // The colons of an address in brackets are its own.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok()?),
        _ => (text, default_port),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:%".contains(&byte);
    let sound = !host.is_empty() && host.len() <= 255 && port != 0 && host.bytes().all(fits);
    sound.then(|| format!("{host}:{port}"))
}

/// Whether a server, with or without its port, is on this machine: connections to it need no encryption.
pub(crate) fn is_local(server: &str) -> bool {
    is_loopback(without_port(server))
}

/// Whether the connection is encrypted, where a query such as `tls=off` may say so.
///
/// # Errors
/// The name of a parameter that means nothing, cut short.
pub(crate) fn tls(query: &str, otherwise: bool) -> Result<bool, String> {
    query.split('&').filter(|pair| !pair.is_empty()).try_fold(otherwise, |_, pair| match pair {
        "tls=off" => Ok(false),
        "tls=require" => Ok(true),
        _ => Err(pair.split('=').next().unwrap_or_default().chars().take(40).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_port() {
        for (text, read) in [("h", "h:7"), ("h:8", "h:8"), ("[::1]", "[::1]:7"), ("[::1]:8", "[::1]:8")] {
            assert_eq!(server(text, 7).as_deref(), Some(read));
        }
        for text in ["", ":8", "h:0", "h:x", "h:99999", "a b", "u@h", &"x".repeat(256)] {
            assert_eq!(server(text, 7), None, "{text}");
        }
    }

    #[test]
    fn only_this_machine_goes_without_encryption() {
        for here in ["localhost", "localhost:4222", "127.0.0.1", "127.9.0.1:80", "[::1]", "[::1]:80"] {
            assert!(is_local(here), "{here}");
        }
        for there in ["localhost.example:80", "127.example", "127.0.0.1.example:80", "[::2]:80", "10.0.0.1"] {
            assert!(!is_local(there), "{there}");
        }
    }

    #[test]
    fn a_query_says_whether_to_encrypt() {
        assert_eq!(
            [tls("", true), tls("tls=off", true), tls("tls=off&tls=require", false)],
            [Ok(true), Ok(false), Ok(true)]
        );
        assert_eq!(tls("acks=canary", true), Err("acks".to_owned()));
    }
}
