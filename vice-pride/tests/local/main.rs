//! The local target for real: an agent process, instances and a front end, killed and overloaded as it happens.

mod conformance;
mod failing;
mod killing;
mod outliving;
mod rolling;
mod secrets;
mod support;
