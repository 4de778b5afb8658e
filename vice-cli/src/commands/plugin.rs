//! `vice plugin`: which programs on `PATH` belong to vice, and whether one keeps the rules of a target.

use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, CommandFactory, Subcommand};
use serde_json::json;
use vice_core::app::App;
use vice_core::testkit::target::{Subject, suite};
use vice_core::testkit::target_fixtures::releases;
use vice_core::text::{Table, Tone};
use vice_core::ui::Outcome;
use vice_core::{Class, Code, Context, Fault, Result};
use vice_pride::plugin::{Found, Place, PluginTarget, find, find_all};

use crate::args::Cli;

/// Arguments of `vice plugin`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice plugin list\n  vice plugin test folder")]
pub(crate) struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Programs on PATH that belong to vice, those that are hidden or can't be started too
    #[command(visible_alias = "ls")]
    List,
    /// Hold the target vice-backend-NAME to every rule
    Test {
        /// The name behind vice-backend-
        name: String,
    },
}

/// Runs `vice plugin …`.
pub(crate) async fn run(app: &App, args: PluginArgs) -> Result<Outcome> {
    match args.command {
        PluginCommand::List => Ok(list(app)),
        PluginCommand::Test { name } => test(app, &name).await,
    }
}

const fn word(place: Place) -> &'static str {
    match place {
        Place::First => "is used",
        Place::Hidden => "is hidden by an earlier one",
        Place::NotExecutable => "can't be executed",
        Place::BuiltIn => "is hidden by the command of vice",
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

async fn test(app: &App, name: &str) -> Result<Outcome> {
    let program = find(&app.env, name).ok_or_else(|| {
        let shown: String = name.chars().take(60).collect();
        Fault::new(Code::UnknownName, format!("There is no program vice-backend-{shown} on PATH that can be started."))
            .hint("`vice plugin list` shows what there is.")
    })?;
    let place = tempfile::Builder::new().prefix("vice-plugin-").tempdir();
    let place = place.context(Code::Io, || "There is no place for temporary files.".to_owned())?;
    let fresh = {
        let (name, env, dir) = (name.to_owned(), Arc::clone(&app.env), place.path().to_owned());
        let number = std::sync::atomic::AtomicUsize::new(0);
        move || {
            let dir = dir.join(number.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string());
            let made = std::fs::create_dir_all(&dir).context(Code::Io, || "A folder can't be made.".to_owned());
            made.map(|()| PluginTarget::under_test(&name, program.clone(), Arc::clone(&env), dir))
        }
    };
    // One that does not even begin is told as what it is, and not as a broken rule.
    fresh()?.connect().await?;
    let Some(broken) = broken_rule(fresh).await? else {
        let text = format!("The plug-in {name} keeps every rule of a target.\n");
        return Ok(Outcome::done(text, json!({ "plugin": name, "conforms": true })));
    };
    let text = format!("The plug-in {name} breaks a rule:\n  {}\n", vice_core::text::sanitize(&broken));
    let value = json!({ "plugin": name, "conforms": false, "broken": broken });
    Ok(Outcome::done(text, value).with_class(Class::Verification))
}

/// What the suite says of the first rule that is broken. It says so by a panic, as for every target of vice's own.
async fn broken_rule(fresh: impl Fn() -> Result<PluginTarget> + Send + Sync + 'static) -> Result<Option<String>> {
    let said = Arc::new(Mutex::new(None));
    let told = Arc::clone(&said);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("it gave no reason");
        told.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(format!("{text}{place}"));
    }));
    let make = move || {
        let target = fresh();
        async move {
            let target = match target {
                Ok(target) => target.connect().await.map(|()| target),
                Err(fault) => Err(fault),
            };
            match target {
                Ok(target) => Subject { target: Arc::new(target), effects: None },
                Err(fault) => panic!("a fresh plug-in could not be opened: {}", fault.chain().join(" ")),
            }
        }
    };
    let ended = tokio::spawn(async move { suite(make, &releases()).await }).await;
    panic::set_hook(before);
    let broken = said.lock().unwrap_or_else(PoisonError::into_inner).take();
    match ended {
        Ok(()) => Ok(None),
        Err(error) if error.is_panic() => Ok(Some(broken.unwrap_or_else(|| "it gave no reason".to_owned()))),
        Err(error) => Err(Fault::internal("The suite was ended.").because(error)),
    }
}
