//! The vocabulary that the seven commands of vice share: ids, time, chance, events and their payloads, the ports by
//! which the crates meet, faults with their exit classes, and the types of `vice.toml`.
//!
//! No I/O, no runtime, no HTTP, no database, no command line. A thing enters here only if one crate implements it and
//! another uses it, or three crates name it.
#![warn(missing_docs)]

pub mod app;
pub mod capability;
pub mod chain;
pub mod delivery;
pub mod digest;
pub mod event;
pub mod fault;
pub mod fold;
pub mod histogram;
pub mod host;
pub mod id;
pub mod manifest;
pub mod memory;
pub mod payload;
pub mod port;
pub mod registry;
pub mod rng;
pub mod secret;
pub mod series;
pub mod store;
pub mod suggest;
pub mod template;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod text;
pub mod time;
pub mod ui;

pub use app::App;
pub use digest::Digest;
pub use fault::{Class, Code, Context, Fault, Place, Result};
pub use secret::Secret;
pub use time::{Clock, Millis};
