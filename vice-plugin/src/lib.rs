//! Programs of others behind the ports of vice: `vice-backend-NAME` on `PATH`, one process that reads requests and writes
//! answers, a line of JSON each. Which port it stands behind, it says itself.
//!
//! This crate owns finding, starting, asking and ending such programs. What the calls of a port mean is the business of the
//! crate with that port, so that nothing here knows targets, stores or messages. A plug-in is never trusted with more than
//! its port has to know, and never waited for without end.
#![warn(missing_docs)]

mod find;
mod pins;
mod pipe;
mod port;
mod process;
pub mod suite;
mod wire;

#[cfg(test)]
mod tests;

pub use find::{Found, Place, find, find_all};
pub use pins::{LOCK_FILE, Pins, check_pin, digest, file_name, read_pins, write_pins};
pub use port::Port;
pub use process::{Plugin, Start};
pub use wire::Described;

/// What every plug-in is called as a kind of backend.
pub const PLUGIN: &str = "plug-in";

/// The version of the protocol that is spoken here. Another one is refused.
pub const PROTOCOL: u32 = 1;
