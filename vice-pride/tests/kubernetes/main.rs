//! The Kubernetes target against the fake API server.
#![cfg(feature = "kubernetes")]
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod adopting;
mod auth;
mod bad_input;
mod conformance;
mod crashing;
mod deploying;
mod failing;
mod fencing;
mod fleet;
mod hostile;
mod images;
mod support;
mod watching;
mod weights;
