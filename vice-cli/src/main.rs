//! The `vice` binary. Everything is in the modules; see `dispatch` for the way of a command.

mod actor;
mod args;
mod command_line;
mod commands;
mod crash_point;
mod dispatch;
mod echo;
mod fault_report;
mod output_file;
mod process_env;
mod pulse;
mod runner;
mod serve;
mod ui;
mod wire;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    dispatch::main()
}
