//! Everything that lust promises, against fakes of the ports and bare sockets; mail against the lab's server.
#![expect(clippy::unwrap_used, reason = "a test that meets an error it did not expect has failed")]
#![expect(clippy::disallowed_methods, reason = "tests find the lab by its variables")]

mod channels;
mod commands;
mod crash;
#[cfg(feature = "email")]
mod email;
mod outbox;
mod plugin;
mod receiver;
mod rules;
mod support;
