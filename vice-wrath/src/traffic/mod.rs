//! Traffic as a model: which kinds of requests follow each other, and after which pause.
//!
//! It owns the model, learning it from recordings and access logs, walking it, and saying how near the generated mix is
//! to the learned one. It must not send anything.

mod fit;
mod learn;
mod log;
mod model;
mod persona;
pub(crate) mod route;
mod statistics;
mod walk;

pub(crate) use fit::{ChiSquare, Fit, KindFit, fit};
pub(crate) use learn::learn;
pub(crate) use log::{Visit, of_recording, read};
pub(crate) use model::Model;
pub(crate) use persona::Sorting;
pub(crate) use walk::{Sessions, SharedSessions};
