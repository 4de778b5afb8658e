//! `vice foo` runs `vice-foo` from PATH when no built-in command has that name.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use clap::CommandFactory;
use vice_core::app::ProcessEnv;
use vice_core::suggest::nearest;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use crate::args::Cli;

/// Becomes the external command; returns only when it can't.
#[expect(
    clippy::disallowed_methods,
    reason = "the process is replaced by the external command, which gets the user's terminal and environment"
)]
pub(crate) fn run(env: &ProcessEnv, words: &[String]) -> Result<Outcome> {
    let Some((name, arguments)) = words.split_first() else {
        return Err(Fault::new(Code::Usage, "Which command?"));
    };
    let Some(program) = find(env, name) else { return Err(unknown(name)) };
    vice_plugin::check_pin(env, &program)?;
    let error = std::process::Command::new(&program).args(arguments).current_dir(&env.dir).exec();
    Err(Fault::new(Code::Usage, format!("{} can't be started.", program.display())).because(error))
}

fn find(env: &ProcessEnv, name: &str) -> Option<PathBuf> {
    // A name with a slash would reach outside of PATH.
    if name.contains('/') || name.starts_with('-') {
        return None;
    }
    let file = format!("vice-{name}");
    std::env::split_paths(env.get("PATH")?).map(|dir| dir.join(&file)).find(|path| path.is_file())
}

fn unknown(name: &str) -> Fault {
    let shown: String = name.chars().take(60).collect();
    let command = Cli::command();
    let names: Vec<&str> =
        command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(clap::Command::get_name).collect();
    let fault = Fault::new(Code::Usage, format!("There is no command {shown:?}, and no vice-{shown} on PATH."));
    match nearest(name, names.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean `vice {near}`?")),
        None => fault.hint("`vice --help` lists the commands."),
    }
}
