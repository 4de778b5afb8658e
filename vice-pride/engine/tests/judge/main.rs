//! The judge by its public face: exactness, error rates, delays, edge cases. Statistical claims have fixed seeds and
//! stated numbers of runs; a frequency may exceed its bound by three standard errors.
#![expect(clippy::print_stdout, reason = "a gate prints what it measured")]

mod compare;
mod edges;
mod gates;
mod strata;
mod support;
mod world;
