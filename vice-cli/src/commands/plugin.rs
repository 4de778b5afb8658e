//! `vice plugin`: which programs on `PATH` belong to vice, and whether one keeps the rules of the port that it is for.

use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, CommandFactory, Subcommand};
use serde_json::json;
use vice_core::app::{App, ProcessEnv};
use vice_core::testkit::target::Subject;
use vice_core::testkit::target_fixtures::releases;
use vice_core::text::{Table, Tone};
use vice_core::ui::Outcome;
use vice_core::{Class, Code, Context, Fault, Result};
use vice_plugin::suite::manners;
use vice_plugin::{
    Found, LOCK_FILE, Pins, Place, Plugin, Port, digest, file_name, find, find_all, read_pins, write_pins,
};
use vice_pride::plugin::PluginTarget;

use crate::args::Cli;

/// Arguments of `vice plugin`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice plugin list\n  vice plugin test folder\n  vice plugin lock folder")]
pub(crate) struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Programs on PATH that belong to vice, those that are hidden or can't be started too
    #[command(visible_alias = "ls")]
    List,
    /// Note what plug-ins are in vice-plugins.lock: others, or the same with another content, are not started any more
    Lock {
        /// The names behind vice-backend-, vice-credential- or vice-
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Hold vice-backend-NAME to every rule of the port that it is for
    Test {
        /// The name behind vice-backend-
        name: String,
    },
}

/// Runs `vice plugin …`.
pub(crate) async fn run(app: &App, args: PluginArgs) -> Result<Outcome> {
    match args.command {
        PluginCommand::List => Ok(list(app)),
        PluginCommand::Lock { names } => lock(app, &names),
        PluginCommand::Test { name } => test(app, &name).await,
    }
}

const fn word(place: Place) -> &'static str {
    match place {
        Place::First => "is used",
        Place::Hidden => "is hidden by an earlier one",
        Place::NotExecutable => "can't be executed",
        Place::BuiltIn => "is hidden by the command of vice",
        Place::Unsafe => "is not used, because anybody could replace it",
        Place::NotLocked => "is not used, because vice-plugins.lock does not have it like this",
    }
}

fn list(app: &App) -> Outcome {
    let command = Cli::command();
    let found = find_all(&app.env, &|name| command.find_subcommand(name).is_some());
    let mut table = Table::with_heading(&["plug-in", "kind", "path", ""]);
    for Found { name, kind, path, place } in &found {
        let tone = if *place == Place::First { Tone::Good } else { Tone::Warn };
        table.row([
            (Tone::Strong, name.clone()),
            (Tone::Plain, (*kind).to_owned()),
            (Tone::Plain, path.display().to_string()),
            (tone, word(*place).to_owned()),
        ]);
    }
    let text = if found.is_empty() { "There is no plug-in on PATH.\n".to_owned() } else { table.render() };
    let listed: Vec<_> = found
        .iter()
        .map(|found| {
            json!({ "name": found.name, "kind": found.kind, "path": found.path, "used": found.place == Place::First,
                "note": word(found.place) })
        })
        .collect();
    Outcome::done(text, json!({ "plugins": listed }))
}

/// Notes the plug-ins of those names, as they are now, beside `vice.toml`.
fn lock(app: &App, names: &[String]) -> Result<Outcome> {
    let file = app.workspace.root.join(LOCK_FILE);
    let mut pins = if file.symlink_metadata().is_ok() { read_pins(&file)? } else { Pins::new() };
    let command = Cli::command();
    let all = find_all(&app.env, &|name| command.find_subcommand(name).is_some());
    let mut locked = Vec::new();
    for name in names {
        let usable = |found: &&Found| found.name == *name && matches!(found.place, Place::First | Place::NotLocked);
        let found: Vec<&Found> = all.iter().filter(usable).collect();
        if found.is_empty() {
            return Err(no_program(&format!("vice-…{name}")));
        }
        for Found { path, .. } in found {
            let program = file_name(path);
            let digest = digest(path)?;
            pins.insert(program.clone(), digest);
            locked.push((program, digest));
        }
    }
    write_pins(&file, &pins)?;
    let lines = locked.iter().map(|(program, digest)| format!("{program} is locked as {}.\n", digest.short()));
    let text = format!("{}Keep {LOCK_FILE} with the project.\n", lines.collect::<String>());
    let listed: Vec<_> =
        locked.iter().map(|(program, digest)| json!({ "program": program, "sha256": digest.to_string() })).collect();
    Ok(Outcome::done(text, json!({ "file": file, "locked": listed })))
}

fn no_program(name: &str) -> Fault {
    let shown: String = name.chars().take(80).collect();
    Fault::new(Code::UnknownName, format!("There is no program {shown} on PATH that can be started."))
        .hint("`vice plugin list` shows what there is.")
}

/// A plug-in that is tested, and a folder for what it keeps.
#[derive(Clone)]
struct Tested {
    name: String,
    program: PathBuf,
    env: Arc<ProcessEnv>,
    dir: PathBuf,
}

impl Tested {
    /// A folder by a number.
    fn place(&self, number: usize) -> PathBuf {
        self.dir.join(number.to_string())
    }

    fn fresh(&self, number: usize) -> PathBuf {
        let dir = self.place(number);
        if let Err(error) = std::fs::create_dir_all(&dir) {
            panic!("there is no room for the test in {}: {error}", dir.display());
        }
        dir
    }

    fn target(&self, number: usize) -> PluginTarget {
        PluginTarget::under_test(&self.name, self.program.clone(), Arc::clone(&self.env), self.fresh(number))
    }

    fn notifier(&self, number: usize) -> Plugin {
        vice_lust::suite::under_test(&self.name, self.program.clone(), Arc::clone(&self.env), &self.fresh(number))
    }

    fn source(&self) -> Plugin {
        vice_envy::suite::under_test(&self.name, self.program.clone(), &self.env, &self.dir)
    }

    fn metric(&self) -> Plugin {
        vice_pride::metric::suite::under_test(&self.name, self.program.clone(), &self.env, &self.dir)
    }

    #[cfg(feature = "jsonl")]
    fn store(&self) -> vice_greed::plugin::suite::Tested {
        let (name, program) = (self.name.clone(), self.program.clone());
        vice_greed::plugin::suite::Tested { name, program, env: Arc::clone(&self.env), dir: self.dir.clone() }
    }

    /// Lets it say what it is and open a place, so that one that does not even begin is told as what it is, and not as a
    /// broken rule.
    async fn begin(&self, port: Port) -> Result<()> {
        match port {
            Port::Target => self.target(0).connect().await,
            Port::Notifier => self.notifier(0).describe().await.map(drop),
            Port::Config => self.source().describe().await.map(drop),
            Port::Metric => self.metric().describe().await.map(drop),
            #[cfg(feature = "jsonl")]
            Port::Store => self.store().plugin(0).describe().await.map(drop),
            #[cfg(not(feature = "jsonl"))]
            Port::Store => Err(Fault::new(Code::BackendMissing, "This vice has no histories behind plug-ins.")
                .hint("Build with the feature jsonl.")),
        }
    }

    async fn hold(self, port: Port) {
        match port {
            Port::Target => self.hold_target().await,
            Port::Notifier => vice_lust::suite::suite(|number| self.notifier(number + 1)).await,
            Port::Config => vice_envy::suite::suite(|| self.source()).await,
            Port::Metric => vice_pride::metric::suite::suite(|| self.metric()).await,
            Port::Store => self.hold_store().await,
        }
    }

    async fn hold_target(&self) {
        manners(self.target(1).plugin()).await;
        let number = AtomicUsize::new(2);
        let make = || {
            let target = self.target(number.fetch_add(1, Ordering::SeqCst));
            async move {
                if let Err(fault) = target.connect().await {
                    panic!("a fresh plug-in could not be opened: {}", fault.chain().join(" "));
                }
                Subject { target: Arc::new(target), effects: None }
            }
        };
        vice_core::testkit::target::suite(make, &releases()).await;
    }

    #[cfg(feature = "jsonl")]
    async fn hold_store(&self) {
        use vice_core::testkit::event_store;
        let store = self.store();
        vice_greed::plugin::suite::suite(|number| store.plugin(number + 1)).await;
        // Behind the places of that suite.
        let number = AtomicUsize::new(1001);
        event_store::suite(async || store.history(number.fetch_add(1, Ordering::SeqCst))).await;
        event_store::durable_suite(async || store.history(1000)).await;
    }

    #[cfg(not(feature = "jsonl"))]
    async fn hold_store(&self) {}
}

async fn test(app: &App, name: &str) -> Result<Outcome> {
    let program = find(&app.env, name)?.ok_or_else(|| no_program(&format!("vice-backend-{name}")))?;
    let port = Plugin::port_of(name, program.clone(), Arc::clone(&app.env)).await?;
    let place = tempfile::Builder::new().prefix("vice-plugin-").tempdir();
    let place = place.context(Code::Io, || "There is no place for temporary files.".to_owned())?;
    let dir = Path::to_owned(place.path());
    let tested = Tested { name: name.to_owned(), program, env: Arc::clone(&app.env), dir };
    tested.begin(port).await?;
    let noun = port.noun();
    let Some(broken) = broken_rule(tested, port).await? else {
        let text = format!("The plug-in {name} keeps every rule of {noun}.\n");
        return Ok(Outcome::done(text, json!({ "plugin": name, "port": port.word(), "conforms": true })));
    };
    let text = format!("The plug-in {name} breaks a rule of {noun}:\n  {}\n", vice_core::text::sanitize(&broken));
    let value = json!({ "plugin": name, "port": port.word(), "conforms": false, "broken": broken });
    Ok(Outcome::done(text, value).with_class(Class::Verification))
}

/// What the suite says of the first rule that is broken. It says so by a panic, as for every backend of vice's own.
async fn broken_rule(tested: Tested, port: Port) -> Result<Option<String>> {
    let said = Arc::new(Mutex::new(None));
    let told = Arc::clone(&said);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("it gave no reason");
        told.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(format!("{text}{place}"));
    }));
    // On a thread of its own, because a suite need not be able to change threads.
    let runtime = tokio::runtime::Handle::current();
    let ended = tokio::task::spawn_blocking(move || runtime.block_on(tested.hold(port))).await;
    panic::set_hook(before);
    let broken = said.lock().unwrap_or_else(PoisonError::into_inner).take();
    match ended {
        Ok(()) => Ok(None),
        Err(error) if error.is_panic() => Ok(Some(broken.unwrap_or_else(|| "it gave no reason".to_owned()))),
        Err(error) => Err(Fault::internal("The suite was ended.").because(error)),
    }
}
