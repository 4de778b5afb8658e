//! Names of hosts in addresses.

use core::net::IpAddr;

/// Whether a host is this machine: nobody is in between, so that a connection needs no encryption. An address of version 6
/// may stand in brackets. A name that only begins like this machine's is another one.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A host without the port behind it.
#[must_use]
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an address in brackets are its own.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for here in ["localhost", "127.0.0.1", "127.9.0.1", "[::1]", "::1"] {
            assert!(is_loopback(here), "{here}");
        }
        for there in ["localhost.example", "127.example", "127.0.0.1.example", "[::2]", "10.0.0.1", ""] {
            assert!(!is_loopback(there), "{there}");
        }
    }

    #[test]
    fn a_port_is_no_part_of_a_host() {
        for (text, host) in [("h:8", "h"), ("h", "h"), ("[::1]:8", "[::1]"), ("[::1]", "[::1]"), ("h:x", "h:x")] {
            assert_eq!(without_port(text), host);
        }
    }
}
