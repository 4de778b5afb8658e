//! Targets that are programs of somebody else: `vice-backend-NAME` on `PATH`, one process that reads requests and writes
//! answers, a line of JSON each. This module owns finding, starting, asking and ending them; what the lines mean is in
//! `wire`. A plug-in is never trusted with more than a target has to know, and never waited for without end.

mod find;
mod process;
mod target;
mod wire;

#[cfg(test)]
mod tests;

pub use find::{Found, Place, find, find_all};
pub use target::PluginTarget;

/// What every plug-in is called as a kind of target.
pub(crate) const PLUGIN: &str = "plug-in";

/// The version of the protocol that is spoken here. Another major version is refused.
pub const PROTOCOL: u32 = 1;
