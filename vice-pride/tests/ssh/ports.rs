//! Ports for services on the lab's hosts, which share this machine; the tests of the binary use this file too.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// A port that nobody has now, on any of the lab's addresses. Below those that the system gives to connections, so that none takes it
/// while the service that it is for is stopped.
pub(crate) fn free_port() -> u16 {
    // Each process looks from another port on, and each call from the one after the last.
    static LOOKED_AT: AtomicU32 = AtomicU32::new(0);
    let ports = (0..10_000).map(|_| {
        let turn = LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        20_000 + (std::process::id().wrapping_mul(37).wrapping_add(turn) % 10_000) as u16
    });
    ports.into_iter().find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).expect("a free port")
}
