//! The Kubernetes target against the fake API server.
#![cfg(feature = "kubernetes")]

mod auth;
mod conformance;
mod crashing;
mod deploying;
mod failing;
mod support;
