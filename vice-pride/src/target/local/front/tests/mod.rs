//! The front end over real sockets on ports that the kernel chooses.

mod failing;
mod passing;
mod rolling;
mod streaming;
mod support;
