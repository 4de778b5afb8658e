//! Where artifacts run. One folder a backend.

#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod local;
mod routed;

pub use routed::RoutedTarget;
