//! Traffic as a model: which kinds of requests follow each other, and after which pause.
//!
//! It owns the model, learning it from recordings and access logs, walking it, and saying how near the generated mix is
//! to the learned one. It must not send anything.

pub(crate) mod route;
