//! The simulator from outside: no constraint is ever broken, every plan ends or says why, the same seed gives the same
//! bytes, and chance agrees with the formulas.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod ends;
mod formulas;
mod modes;
mod oracle;
mod rules;
mod same;
mod support;
