//! Where artifacts run. One folder a backend.

pub mod local;
mod routed;

pub use routed::RoutedTarget;
