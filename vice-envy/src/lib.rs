//! envy manages the configuration and the secrets that are given to a system: layers, where each value comes from,
//! encryption, and what is bound to a rollout. It deploys nothing and keeps no history of its own.
#![warn(missing_docs)]

mod actions;
mod backend;
pub mod cmd;
mod file;
mod interpolate;
mod key;
mod keyed;
mod layer;
mod locked;
mod merge;
mod remote;
mod render;
mod site;
mod source;
mod stack;

pub use actions::actions;
pub use source::Envy;

#[cfg(test)]
mod tests;
