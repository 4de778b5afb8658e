//! Reports over histories in memory: what they say, how they look, and what they do with hostile texts.
#![expect(clippy::disallowed_methods, reason = "the tests read VICE_LAB_CHROMIUM and start the browser themselves")]
#![expect(clippy::unwrap_used, reason = "what the tests build must be there; a panic says where it is not")]

mod chromium;
mod command;
mod dashboards;
mod dom;
mod golden;
mod hostile;
mod scrubber;
mod simulation;
mod story;
mod study;
mod world;
