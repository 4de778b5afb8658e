//! The way of a command: parse, wire, run, print, exit. The only place where a fault becomes an exit status.

use std::ffi::OsString;
use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use rustix::process::DumpableBehavior;
use tokio::signal::unix::{SignalKind, signal};
use vice_core::app::{App, ProcessEnv, StopSignal};
use vice_core::port::notifier::Severity;
use vice_core::ui::{Format, Outcome, Ui};
use vice_core::{Class, Code, Context, Fault, Result};

use crate::actor::in_ci;
use crate::args::{Cli, Command, Global};
use crate::command_line;
use crate::commands;
use crate::fault_report;
use crate::ui::{Terminal, UiOptions};
use crate::{process_env, wire};

/// Parses, runs and prints; gives the exit status.
pub(crate) fn main() -> ExitCode {
    // Memory may hold secrets; a core dump would write them to disk.
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::debug!(%error, "core dumps can't be switched off");
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let vars = process_env::variables();
    let cli = match command_line::parse(&words, &vars) {
        Ok(cli) => cli,
        Err(error) => {
            let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            return usage(&error, &words, &vars);
        }
    };
    let env = match process_env::read(vars, cli.global.directory.as_ref()) {
        Ok(env) => Arc::new(env),
        Err(fault) => return report(&Terminal::new(options(&cli.global, &ProcessEnv::default())), &fault),
    };
    let terminal = Arc::new(Terminal::new(options(&cli.global, &env)));
    logging(&env, matches!(cli.command, Command::Agent { .. }));
    let result = check_variables(&cli.global, &env, &terminal).and_then(|()| run(cli, &env, &terminal));
    match result.and_then(|outcome| finish(&terminal, &outcome)) {
        Ok(class) => ExitCode::from(class.exit_status()),
        Err(fault) => report(&terminal, &fault),
    }
}

/// Prints the result. One that can't be written is a failure of its own, unless the command says that somebody has to
/// look: that must not hide behind a full disk.
fn finish(terminal: &Terminal, outcome: &Outcome) -> Result<Class> {
    match (terminal.finish(outcome), outcome.class) {
        (Ok(()), class) => Ok(class),
        (Err(fault), class @ (Class::RolledBack | Class::InDoubt | Class::NotRestored)) => {
            report(terminal, &fault);
            Ok(class)
        }
        (Err(fault), _) => Err(fault),
    }
}

/// Logs for whoever looks for a fault in vice go to standard error, when `VICE_LOG` asks for them; the agent's go to
/// its log file in any case.
fn logging(env: &ProcessEnv, agent: bool) {
    let filter = match (env.get("VICE_LOG"), agent) {
        (Some(filter), _) => filter,
        (None, true) => "info",
        (None, false) => return,
    };
    let logger = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    if let Err(error) = logger {
        tracing::debug!(%error, "logging was set up before");
    }
}

fn report(terminal: &Terminal, fault: &Fault) -> ExitCode {
    // Nothing more can be done about a standard output that is closed; the exit status still tells.
    drop(terminal.finish_fault(fault));
    terminal.err(&fault_report::render(fault, terminal.color_err(), terminal.width()));
    ExitCode::from(fault.class().exit_status())
}

/// clap prints its own errors; a machine-readable format, and a command that is missing, need other words.
fn usage(error: &clap::Error, words: &[String], env: &ProcessEnv) -> ExitCode {
    let machine = command_line::machine_format(words, env);
    let harmless = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let instead = machine.is_some() || error.kind() == ErrorKind::MissingSubcommand;
    if instead && !harmless {
        let format = machine.unwrap_or(Format::Text);
        let terminal = Terminal::new(UiOptions { format, ..options_without_flags() });
        return report(&terminal, &command_line::explain(error, words));
    }
    let terminal = Terminal::new(options_without_flags());
    match terminal.finish_help(error) {
        // What does not fit is said on standard error; when that is closed there is nobody left to tell.
        _ if !harmless => ExitCode::from(Class::Usage.exit_status()),
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => report(&terminal, &fault),
    }
}

fn options_without_flags() -> UiOptions {
    UiOptions {
        format: Format::Text,
        output: None,
        quiet: false,
        color: crate::ui::Color::Auto,
        progress: false,
        input: false,
        ci: false,
        no_color: true,
        columns: None,
    }
}

fn options(global: &Global, env: &ProcessEnv) -> UiOptions {
    UiOptions {
        format: global.format.0,
        output: global.output.clone().map(|path| env.dir.join(path)),
        quiet: global.quiet,
        color: global.color,
        progress: !global.no_progress,
        input: !global.no_input,
        ci: in_ci(env),
        no_color: env.get("NO_COLOR").is_some() || env.get("TERM") == Some("dumb"),
        columns: env.get("COLUMNS").and_then(|columns| columns.parse().ok()),
    }
}

/// The variables that vice reads. Others that start with `VICE_` are most likely slips.
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("VICE_FORMAT", "as --format"),
    ("VICE_DIRECTORY", "as -C"),
    ("VICE_QUIET", "as --quiet"),
    ("VICE_COLOR", "as --color"),
    ("VICE_NO_PROGRESS", "as --no-progress"),
    ("VICE_NO_INPUT", "as --no-input"),
    ("VICE_ACTOR", "as --actor"),
    ("VICE_STRICT", "as --strict"),
    ("VICE_CEILING", "the folder above which no vice.toml is looked for"),
    ("VICE_AGE_IDENTITY", "the private key that opens secrets"),
    ("VICE_AGE_IDENTITY_FILE", "the file with that key"),
    ("VICE_CONFIG_POSTGRES", "the URL of the database of postgres: layers"),
    ("VICE_CONFIG_POSTGRES_FILE", "the file with that URL"),
    ("VICE_CONFIG_TIMEOUT", "how long a store of configuration may take to answer, 10s when absent"),
    ("VICE_HISTORY_TOKEN", "the token for a history that a vice serve keeps"),
    ("VICE_HISTORY_TOKEN_FILE", "the file with that token"),
    ("VICE_SERVE_TOKENS", "as --tokens of vice serve"),
    ("VICE_KUBERNETES_ACCOUNT", "the folder of a pod's account, where it is not the usual one"),
    ("VICE_LOG", "what vice logs about itself to standard error, such as debug"),
    ("VICE_TEST_NOW", "for tests: the time"),
    ("VICE_TEST_SEED", "for tests: the seed of chance"),
    ("VICE_TEST_CRASH", "for tests: where to crash"),
    ("VICE_TEST_LEASE_TTL_MS", "for tests: how long a silent holder is waited for"),
];

/// What a task or an instance was told may be seen by a vice that it calls.
const TOLD: &[&str] = &[
    "VICE_PROJECT",
    "VICE_ENV",
    "VICE_VERSION",
    "VICE_PREVIOUS_VERSION",
    "VICE_DIRECTION",
    "VICE_ROLLOUT",
    "VICE_UNIT",
    "VICE_INSTANCE",
    "VICE_NOTICE_KEY",
    "VICE_STEP",
    "VICE_RUN",
    "VICE_GRAPH",
    "VICE_RULE",
    "VICE_EVENT_KEY",
];

fn check_variables(global: &Global, env: &ProcessEnv, terminal: &Terminal) -> Result<()> {
    let known = |name: &str| {
        VARIABLES.iter().any(|(known, _)| *known == name) || TOLD.contains(&name) || name.starts_with("VICE_LAB")
    };
    for name in env.vars.keys().filter(|name| name.starts_with("VICE_") && !known(name)) {
        let message = format!("The variable {name} means nothing to vice.");
        let near = vice_core::suggest::nearest(name, VARIABLES.iter().map(|(known, _)| *known));
        if global.strict {
            let fault = Fault::new(Code::Usage, message);
            return Err(match near {
                Some(near) => fault.hint(format!("Did you mean {near}?")),
                None => fault.hint("Unset it, or leave out --strict."),
            });
        }
        terminal.say(Severity::Warning, &message);
    }
    Ok(())
}

fn run(cli: Cli, env: &Arc<ProcessEnv>, terminal: &Arc<Terminal>) -> Result<Outcome> {
    // A format that is not offered has to be refused before anything is changed.
    cli.global.format.0.among(cli.command.formats())?;
    // These need neither a project nor a history, and should answer at once.
    match cli.command {
        Command::Completions { shell } => commands::offline::completions(shell),
        Command::Man { out } => commands::offline::man(&env.dir.join(out)),
        Command::Schema => commands::offline::schema(),
        Command::Version => Ok(commands::offline::version()),
        Command::Help { topic } => commands::offline::help(&topic),
        Command::External(words) => commands::external::run(env, &words),
        Command::Agent { dir } => agent(dir),
        Command::Init(args) => commands::init::run(env, &args),
        command => with_app(&cli.global, command, env, terminal),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context(Code::Internal, || "The runtime can't be started.".to_owned())
}

fn agent(dir: std::path::PathBuf) -> Result<Outcome> {
    wire::install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context(Code::Internal, || "The runtime can't be started.".to_owned())?;
    runtime.block_on(vice_pride::target::local::agent_main(dir, Arc::new(vice_core::time::SystemClock)))?;
    Ok(Outcome::done("", serde_json::Value::Null))
}

fn with_app(global: &Global, command: Command, env: &Arc<ProcessEnv>, terminal: &Arc<Terminal>) -> Result<Outcome> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let stop = Arc::new(StopSignal::default());
        let wired = match wire::wire(env, terminal, Arc::clone(&stop), global.actor.as_deref()) {
            // A doctor who can't come in says why, and looks at the rest from outside.
            Err(fault) if matches!(command, Command::Doctor(_)) => {
                return Ok(commands::doctor::without_app(env, &fault));
            }
            wired => wired?,
        };
        let graceful = graceful(&command);
        let result = until_signal(&stop, graceful, terminal, dispatch(&wired, command)).await;
        // What was acknowledged is on disk already, so that trouble here must not hide how the command ended.
        let closed = wired.app.events.close().await;
        for fault in [closed, wire::protect(&wired.app.workspace.state)].into_iter().filter_map(Result::err) {
            terminal.say(Severity::Warning, &fault.chain().join(" "));
        }
        result
    });
    // A blocking read of standard input must not keep the process alive.
    runtime.shutdown_background();
    result
}

/// Commands that change something end at a safe point of their own after the first signal; the others end at once.
fn graceful(command: &Command) -> bool {
    match command {
        Command::Pride(args) => args.is_graceful(),
        Command::Envy(args) => args.rollback().is_some(),
        Command::Wrath(args) => args.is_graceful(),
        Command::Deploy(_)
        | Command::Rollback(_)
        | Command::Sloth(_)
        | Command::Tick(_)
        | Command::Greed(_)
        | Command::Serve(_) => true,
        _ => false,
    }
}

async fn until_signal(
    stop: &StopSignal,
    graceful: bool,
    terminal: &Terminal,
    work: Pin<Box<dyn Future<Output = Result<Outcome>> + '_>>,
) -> Result<Outcome> {
    let fail = || "Signals can't be listened for.".to_owned();
    let mut interrupts = signal(SignalKind::interrupt()).context(Code::Internal, fail)?;
    let mut terminates = signal(SignalKind::terminate()).context(Code::Internal, fail)?;
    let mut work = work;
    loop {
        let interrupt = tokio::select! {
            result = &mut work => return result,
            _ = interrupts.recv() => true,
            _ = terminates.recv() => false,
            () = terminal.keep_alive() => continue,
        };
        let again = stop.raised().is_some();
        stop.raise(interrupt);
        if again || !graceful {
            let code = if interrupt { Code::Interrupted } else { Code::Terminated };
            return Err(Fault::new(code, if again { "Ended at once." } else { "Ended." }));
        }
        terminal.say(Severity::Warning, "Stopping at the next safe point; once more ends at once.");
    }
}

fn reconfigure(wish: vice_envy::cmd::ConfigRollback) -> vice_pride::cmd::Reconfigure {
    let vice_envy::cmd::ConfigRollback { version: digest, project, env, confirm, dry_run, reason } = wish;
    vice_pride::cmd::Reconfigure { project, env, digest, confirm, dry_run, reason }
}

fn dispatch(wired: &wire::Wired, command: Command) -> Pin<Box<dyn Future<Output = Result<Outcome>> + '_>> {
    let app: &App = &wired.app;
    match command {
        Command::Pride(args) => Box::pin(vice_pride::cmd::run(app, args)),
        Command::Deploy(args) => Box::pin(vice_pride::cmd::deploy(app, args)),
        Command::Plan(args) => Box::pin(vice_pride::cmd::plan(app, args)),
        Command::Rollback(args) => Box::pin(vice_pride::cmd::rollback(app, args)),
        Command::Status(args) => Box::pin(vice_pride::cmd::status(app, args)),
        Command::History(args) => Box::pin(vice_pride::cmd::history(app, args)),
        Command::Logs(args) => Box::pin(vice_pride::cmd::logs(app, args)),
        Command::Why(args) => Box::pin(vice_pride::cmd::why(app, args)),
        Command::Envy(args) => match args.rollback() {
            // A change of the configuration is a change: it goes through the same engine.
            Some(wish) => Box::pin(vice_pride::cmd::reconfigure(app, reconfigure(wish))),
            None => Box::pin(vice_envy::cmd::run(app, &wired.envy, args)),
        },
        Command::Wrath(args) => Box::pin(vice_wrath::cmd::run(app, *args)),
        Command::Greed(args) => Box::pin(vice_greed::cmd::run(app, args)),
        Command::Lust(args) => Box::pin(vice_lust::cmd::run(app, args)),
        Command::Gluttony(args) => Box::pin(vice_gluttony::cmd::run(app, args)),
        Command::Report(args) => Box::pin(vice_gluttony::cmd::report(app, args)),
        Command::Sloth(args) => Box::pin(vice_sloth::cmd::run(app, args)),
        Command::Doctor(args) => Box::pin(commands::doctor::run(app, args)),
        Command::Tick(args) => Box::pin(commands::tick::run(app, args)),
        Command::Serve(args) => Box::pin(crate::serve::run(app, args)),
        Command::Plugin(args) => Box::pin(commands::plugin::run(app, args)),
        Command::Completions { .. }
        | Command::Man { .. }
        | Command::Schema
        | Command::Version
        | Command::Help { .. }
        | Command::External(_)
        | Command::Agent { .. }
        | Command::Init(_) => Box::pin(async { Err(Fault::internal("A command was dispatched twice.")) }),
    }
}
