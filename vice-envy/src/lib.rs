//! envy manages the configuration and the secrets that are given to a system: layers, where each value comes from,
//! encryption, and what is bound to a rollout. It deploys nothing and keeps no history of its own.
#![warn(missing_docs)]

mod actions;
mod backend;
mod blame;
pub mod cmd;
mod credential;
mod envelope;
mod export;
mod file;
mod guard;
mod hex;
mod interpolate;
mod key;
mod keyed;
mod layer;
mod locked;
mod merge;
mod output;
mod recipients;
mod remote;
mod render;
mod rotate;
mod rules;
mod scratch;
mod seal;
mod sealed;
mod sheet;
mod site;
mod sops;
mod source;
mod stack;
pub mod suite;
mod template;
mod usage;
mod variants;

pub use actions::actions;
pub use source::Envy;
pub use variants::UnitsOf;

#[cfg(test)]
mod tests;
