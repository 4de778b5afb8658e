//! The local target's agent by itself, so that tests can start it and kill it for real: `fixture_agent agent --dir DIR`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use vice_core::time::SystemClock;
use vice_core::{Code, Context, Result};
use vice_pride::target::local::agent_main;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the agent of a folder.
    Agent {
        /// The folder.
        #[arg(long)]
        dir: PathBuf,
    },
}

fn main() -> Result<()> {
    let Command::Agent { dir } = Args::parse().command;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime
        .context(Code::Io, || "The runtime can't start.".to_owned())?
        .block_on(agent_main(dir, Arc::new(SystemClock)))
}
