//! Where artifacts run. One folder a backend.

pub mod hosts;
pub mod local;
mod routed;
#[cfg(feature = "ssh")]
pub mod ssh;

pub use routed::RoutedTarget;
