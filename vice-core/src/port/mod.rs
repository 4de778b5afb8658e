//! The ports by which the seven meet. Traits are small, every method is required, and a backend says what it can do
//! before it is asked to.

pub mod action;
pub mod command;
pub mod config;
pub mod locator;
pub mod metric;
pub mod notifier;
pub mod painter;
pub mod target;
pub mod verifier;
