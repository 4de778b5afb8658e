//! envy manages the configuration and the secrets that are given to a system: layers, where each value comes from,
//! encryption, and what is bound to a rollout. It deploys nothing and keeps no history of its own.
#![warn(missing_docs)]

mod actions;
mod backend;
pub mod cmd;
mod credential;
mod envelope;
mod file;
mod hex;
mod key;
mod keyed;
mod layer;
mod locked;
mod recipients;
mod render;
mod rotate;
mod scratch;
mod seal;
mod sealed;
mod sops;
mod source;
mod stack;

pub use actions::actions;
pub use source::Envy;

#[cfg(test)]
mod tests;
