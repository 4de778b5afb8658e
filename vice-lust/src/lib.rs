//! lust notifies: channels, rules over events, templates, and a durable outbox.
//!
//! The outbox is a stream of the one history (`outbox/lust`), its state the fold of that stream: a cursor over the
//! log and the messages that are not delivered yet. What is queued and how far the log was read are one append, so a
//! process that is killed at any point loses nothing; a repeat carries the same idempotency key.
//!
//! This crate never decides anything about a rollout, and nothing waits for it: a receiver that is down delays a
//! message, never a deploy.
#![warn(missing_docs)]

pub mod action;
mod channel;
pub mod cmd;
mod deliver;
mod facts;
mod intake;
mod mask;
pub mod message;
mod notify;
pub mod outbox;
pub mod payload;
mod rules;
mod secrets;
pub mod suite;
mod template;

pub use action::actions;
pub use notify::{Lust, LustParts};
pub use rules::{check, check_programs};
