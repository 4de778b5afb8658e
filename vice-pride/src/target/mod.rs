//! Where artifacts run. One folder a backend.

pub mod local;
