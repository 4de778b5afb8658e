//! The `vice` binary. Everything is in the modules; see `dispatch` for the way of a command.

mod actor;
mod args;
mod commands;
mod crash_point;
mod dispatch;
mod fault_report;
mod process_env;
mod runner;
mod ui;
mod wire;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    dispatch::main()
}
