//! The command line of `vice envy` (and `vice config`).

mod check;
mod diff;
mod edit;
mod exec;
mod explain;
mod fmt;
mod history;
mod import;
mod init;
mod keys;
mod markdown;
mod render;
mod rotate;
mod running;
mod schema;
mod set;
mod show;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use vice_core::app::{ProcessEnv, Workspace};
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::command::CommandRunner;
use vice_core::port::locator::Locator;
use vice_core::port::notifier::Severity;
use vice_core::store::EventStore;
use vice_core::ui::{Format, Outcome, Ui};
use vice_core::{App, Code, Fault, Millis, Result};

use crate::Envy;
use crate::guard::Guard;
use crate::rotate::Wish;
use crate::site::Named;
use crate::source::Ask;

/// Show and change the configuration and the secrets of a project.
#[derive(Debug, Clone, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  vice envy --env dev hello\n  vice envy --env dev hello --format env -o .env\n  vice envy explain db.host --env prod"
)]
pub struct EnvyArgs {
    #[command(subcommand)]
    command: Option<EnvyCommand>,
    /// The project; the one of this folder when absent
    project: Option<String>,
    /// The environment
    #[arg(short, long)]
    env: Option<EnvName>,
    /// Print secrets as they are; keep the output away from logs
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    site: SiteArgs,
    /// The configuration that a rollout used, by the beginning of its version (see `vice envy history`)
    #[arg(long, value_name = "VERSION", conflicts_with = "reveal")]
    at: Option<String>,
}

/// What of an environment is meant, where layers differ inside it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SiteArgs {
    /// The target, where layers differ by it
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// The machine, where layers differ by it
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// A label, where layers differ by it (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
}

impl SiteArgs {
    fn named(self) -> Result<Named> {
        let pair = |text: String| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Fault::new(Code::Usage, format!("{text:?} is no label.")).hint("Write --label NAME=VALUE.")),
        };
        let labels = self.label.into_iter().map(pair).collect::<Result<_>>()?;
        Ok(Named { target: self.target, host: self.host, labels, whole: false })
    }
}

/// What `vice envy rollback` asks for. It is a rollout, so that another part of the binary does it.
#[derive(Debug, Clone, Args)]
pub struct ConfigRollback {
    /// The beginning of the version (see `vice envy history`); the one before the one in use when absent
    pub version: Option<String>,
    /// The project; the one of this folder when absent
    #[arg(short, long, value_name = "NAME")]
    pub project: Option<String>,
    /// The environment
    #[arg(short, long)]
    pub env: Option<EnvName>,
    /// For environments of production class: the environment's name in full
    #[arg(long, value_name = "ENV")]
    pub confirm: Option<EnvName>,
    /// Show the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

impl EnvyArgs {
    /// The rollback that is asked for, if it is one.
    #[must_use]
    pub fn rollback(&self) -> Option<ConfigRollback> {
        match &self.command {
            Some(EnvyCommand::Rollback(wish)) => Some(wish.clone()),
            _ => None,
        }
    }
}

/// The project and the environment that a subcommand works on.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Where {
    /// The project; the one of this folder when absent
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// The environment
    #[arg(short, long)]
    pub(crate) env: Option<EnvName>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum EnvyCommand {
    /// Make your key and the list of those who can read secrets
    #[command(
        after_help = "Examples:\n  vice envy init\n  vice envy init --recipient-file ~/.ssh/id_ed25519.pub\n  vice envy init --recipient age1…\n  vice envy init --env prod --recipient age1…"
    )]
    Init {
        /// The project; the one of this folder when absent
        #[arg(short, long, value_name = "NAME")]
        project: Option<String>,
        /// Keep a list of its own for this environment; it counts there in place of the common one
        #[arg(short, long)]
        env: Option<EnvName>,
        /// A public key that may read secrets: age1…, ssh-ed25519 … or ssh-rsa … (repeatable)
        #[arg(long, value_name = "KEY")]
        recipient: Vec<String>,
        /// A file with public keys, one in a line, such as id_ed25519.pub (repeatable)
        #[arg(long, value_name = "PATH")]
        recipient_file: Vec<PathBuf>,
    },
    /// Set a value in a TOML layer, keeping its comments
    #[command(
        after_help = "Examples:\n  vice envy set greeting Hello --env dev\n  vice envy set db.password --secret\n  vice envy set db.password --secret --from-file - < password.txt"
    )]
    Set {
        /// The dotted key
        key: String,
        /// The value: a number, true, false or a list as in TOML; anything else is text
        #[arg(allow_hyphen_values = true, required_unless_present_any = ["from_file", "secret"], conflicts_with = "from_file")]
        value: Option<String>,
        /// Take the value as text, whatever it looks like
        #[arg(long)]
        text: bool,
        /// Encrypt the value for the recipients; it is asked for, or comes from --from-file
        #[arg(long, conflicts_with = "value")]
        secret: bool,
        /// Read the value from a file, or from standard input with -
        #[arg(long, value_name = "PATH")]
        from_file: Option<String>,
        /// The layer's file, as in [config] layers; the strongest TOML layer when absent
        #[arg(long, value_name = "FILE")]
        layer: Option<String>,
        #[command(flatten)]
        at: Where,
    },
    /// Say which layer and line a value comes from, and what it overrides
    #[command(after_help = "Example:\n  vice envy explain db.host --env prod")]
    Explain {
        /// The dotted key
        key: String,
        #[command(flatten)]
        at: Where,
        #[command(flatten)]
        site: SiteArgs,
    },
    /// Compare two environments or revisions; secrets are compared and not shown
    #[command(
        after_help = "Examples:\n  vice envy diff dev prod\n  vice envy diff prod --at HEAD~1\n  vice envy diff prod --at v1 --at v2\n  vice envy diff prod --deployed\n  vice envy diff dev prod --format markdown"
    )]
    Diff {
        /// The first environment
        from: EnvName,
        /// The second environment
        to: Option<EnvName>,
        /// A git revision; one is compared with the files as they are now, two with each other
        #[arg(long, value_name = "REV")]
        at: Vec<String>,
        /// Compare what is deployed with what the next deploy would give, and say what really runs where the target can tell
        #[arg(long, conflicts_with_all = ["to", "at", "target", "host", "label"])]
        deployed: bool,
        /// The project; the one of this folder when absent
        #[arg(short, long, value_name = "NAME")]
        project: Option<String>,
        #[command(flatten)]
        site: SiteArgs,
        /// Also list what is equal
        #[arg(long)]
        all: bool,
    },
    /// Check layers, secrets, templates, the rules of [[config.rule]] and the JSON Schema of [config] schema
    #[command(
        after_help = "Examples:\n  vice envy check --env prod\n  vice envy check --env prod --unused --scan src --scan scripts"
    )]
    Check {
        #[command(flatten)]
        at: Where,
        /// Also list the keys that nothing uses: no template, no value, not vice.toml and nothing under --scan
        #[arg(long)]
        unused: bool,
        /// A file or folder of the project that is searched for uses (repeatable)
        #[arg(long, value_name = "PATH", requires = "unused")]
        scan: Vec<String>,
        #[command(flatten)]
        site: SiteArgs,
    },
    /// Run a command with the configuration as its environment
    #[command(after_help = "Example:\n  vice envy exec --env dev -- ./shop --port 8080")]
    Exec {
        #[command(flatten)]
        at: Where,
        /// How long the command may take
        #[arg(long, value_name = "DURATION", default_value = "24h")]
        timeout: Millis,
        #[command(flatten)]
        site: SiteArgs,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Write templates and the files of [[config.file]] into a folder, each in one step
    #[command(
        after_help = "Examples:\n  vice envy render out --env prod\n  vice envy render /etc/shop --env prod --check"
    )]
    Render {
        /// The folder; what else is in it stays as it is
        folder: String,
        #[command(flatten)]
        at: Where,
        /// Render everything and write nothing
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        site: SiteArgs,
    },
    /// Bring TOML layers into one form; comments, order and values stay
    #[command(after_help = "Examples:\n  vice envy fmt\n  vice envy fmt config/prod.toml --check")]
    Fmt {
        /// The files, as in [config] layers; all of them when absent
        file: Vec<String>,
        /// Change nothing, and fail where something would change
        #[arg(long)]
        check: bool,
        /// The project; the one of this folder when absent
        #[arg(short, long, value_name = "NAME")]
        project: Option<String>,
    },
    /// Edit a layer with its secrets opened; what did not change stays as it is
    #[command(
        after_help = "Examples:\n  vice envy edit prod\n  vice envy edit config/default.toml\n\nA text that starts with `secret:` is encrypted when the editor ends."
    )]
    Edit {
        /// The environment whose strongest layer is meant, or a layer's file
        what: Option<String>,
        /// The project; the one of this folder when absent
        #[arg(short, long, value_name = "NAME")]
        project: Option<String>,
    },
    /// Print a JSON Schema of layers for editors
    #[command(after_help = "Example:\n  vice envy schema --env dev -o config/layer.schema.json")]
    Schema {
        #[command(flatten)]
        at: Where,
        #[command(flatten)]
        site: SiteArgs,
    },
    /// Encrypt everything again for those who may read it now; can be repeated
    #[command(after_help = "Examples:\n  vice envy rotate\n  vice envy rotate --layer config/prod.toml")]
    Rotate {
        /// The project; the one of this folder when absent
        #[arg(short, long, value_name = "NAME")]
        project: Option<String>,
        /// Only this layer's file
        #[arg(long, value_name = "FILE")]
        layer: Option<String>,
        /// Values were moved or files renamed on purpose: bind them to where they are now
        #[arg(long)]
        moved: bool,
    },
    /// Confirm the keys and values of a layer, so that a change by others is found
    #[command(after_help = "Example:\n  vice envy seal config/prod.toml")]
    Seal {
        /// The layer's file
        layer: String,
        /// The project; the one of this folder when absent
        #[arg(short, long, value_name = "NAME")]
        project: Option<String>,
        /// With a new key, when somebody who can't read any more knows the old one
        #[arg(long)]
        fresh: bool,
    },
    /// Take over values from a .env file, Kamal's secrets or a SOPS file, encrypted
    #[command(
        after_help = "Examples:\n  vice envy import .env --env dev\n  vice envy import .kamal/secrets --env prod\n  vice envy import secrets.sops.yaml --env prod --plain db.host"
    )]
    Import {
        /// The file, in the project
        file: String,
        /// A key that is no secret and stays readable; a last * matches the rest (repeatable)
        #[arg(long, value_name = "KEY")]
        plain: Vec<String>,
        /// The layer's file to write to; the strongest TOML layer when absent
        #[arg(long, value_name = "FILE")]
        layer: Option<String>,
        #[command(flatten)]
        at: Where,
    },
    /// List the configurations that rollouts used, and what differed
    #[command(after_help = "Example:\n  vice envy history --env prod")]
    History {
        #[command(flatten)]
        at: Where,
        /// At most so many
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: usize,
    },
    /// Give what runs an earlier configuration, by a rollout like any other
    #[command(
        after_help = "Examples:\n  vice envy rollback --env dev\n  vice envy rollback 3fa9c1 --env prod --confirm prod"
    )]
    Rollback(ConfigRollback),
    /// List who can read secrets, your own keys, and what each of them opens
    #[command(after_help = "Example:\n  vice envy keys --env prod")]
    Keys {
        #[command(flatten)]
        at: Where,
    },
}

/// The formats that some command of envy offers besides text, JSON and NDJSON.
pub const FORMATS: &[Format] = &{
    let documents = crate::export::FORMATS;
    let mut all = [Format::Markdown; crate::export::FORMATS.len() + 1];
    let mut index = 0;
    while index < documents.len() {
        all[index] = documents[index];
        index += 1;
    }
    all
};

/// Runs `vice envy`.
///
/// # Errors
/// What the chosen command fails with.
pub async fn run(app: &App, envy: &Envy, args: EnvyArgs) -> Result<Outcome> {
    let desk = Desk {
        ui: Arc::clone(&app.ui),
        workspace: Arc::clone(&app.workspace),
        runner: Arc::clone(&app.runner),
        process: Arc::clone(&app.env),
        envy: envy.clone(),
        events: Arc::clone(&app.events),
        locator: Arc::clone(&app.locator),
    };
    dispatch(&desk, args).await
}

/// What the commands need of the [`App`], so that tests need no more.
pub(crate) struct Desk {
    pub(crate) ui: Arc<dyn Ui>,
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) runner: Arc<dyn CommandRunner>,
    pub(crate) process: Arc<ProcessEnv>,
    pub(crate) envy: Envy,
    pub(crate) events: Arc<dyn EventStore>,
    /// Tells what really runs.
    pub(crate) locator: Arc<dyn Locator>,
}

impl Desk {
    /// The project and the environment that are meant.
    pub(crate) fn place(&self, project: Option<&str>, env: Option<&EnvName>) -> Result<(Arc<Project>, EnvName)> {
        let project = self.workspace.project_or_here(project)?;
        let env = project.choose_env(env)?;
        Ok((project, env))
    }

    /// The project and the configuration that is meant.
    fn ask(&self, at: &Where, site: SiteArgs) -> Result<(Arc<Project>, Ask)> {
        let (project, env) = self.at(at)?;
        Ok((project, Ask { env, named: site.named()?, at: None }))
    }

    /// Does work that changes files of a project, while no other command does. `command` is what it is told to be.
    pub(crate) async fn alone<T: Send + 'static>(
        &self,
        project: &Arc<Project>,
        command: &'static str,
        work: impl FnOnce(&Envy) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let project = Arc::clone(project);
        let done = self.envy.off_thread(move |envy| {
            let guard = Guard::take(&envy.state, &project, command, envy.clock.as_ref())?;
            Ok((guard.killed.clone(), work(envy)))
        });
        let (killed, done) = done.await?;
        if let Some(note) = killed {
            self.ui.say(Severity::Warning, &note.advice());
        }
        done
    }

    fn at(&self, at: &Where) -> Result<(Arc<Project>, EnvName)> {
        self.place(at.project.as_deref(), at.env.as_ref())
    }
}

pub(crate) async fn dispatch(desk: &Desk, args: EnvyArgs) -> Result<Outcome> {
    match args.command {
        Some(command) => carry_out(desk, command).await,
        None => {
            let (project, env) = desk.place(args.project.as_deref(), args.env.as_ref())?;
            match args.at {
                Some(version) => history::show_at(desk, &project, env, &version).await,
                None => show::run(desk, &project, Ask { env, named: args.site.named()?, at: None }, args.reveal).await,
            }
        }
    }
}

async fn carry_out(desk: &Desk, command: EnvyCommand) -> Result<Outcome> {
    match command {
        EnvyCommand::Init { project, env, recipient, recipient_file } => {
            let project = desk.workspace.project_or_here(project.as_deref())?;
            init::run(desk, project, env, recipient, recipient_file).await
        }
        EnvyCommand::Set { key, value, text, secret, from_file, layer, at } => {
            let (project, env) = desk.at(&at)?;
            set::run(desk, project, env, set::Change { key, value, text, secret, from_file, layer, typed: None }).await
        }
        EnvyCommand::Explain { key, at, site } => {
            let (project, ask) = desk.ask(&at, site)?;
            explain::run(desk, &project, ask, key).await
        }
        EnvyCommand::Diff { from, to, at, deployed, project, all, site } => {
            let project = desk.workspace.project_or_here(project.as_deref())?;
            diff::run(desk, &project, diff::Pair { from, to, at, deployed }, &site.named()?, all).await
        }
        EnvyCommand::Check { at, unused, scan, site } => {
            let (project, ask) = desk.ask(&at, site)?;
            check::run(desk, project, ask, check::Extent { unused, scan }).await
        }
        EnvyCommand::Exec { at, timeout, site, command } => {
            let (project, ask) = desk.ask(&at, site)?;
            exec::run(desk, &project, ask, command, timeout).await
        }
        EnvyCommand::Render { folder, at, check, site } => {
            let (project, ask) = desk.ask(&at, site)?;
            render::run(desk, &project, ask, folder, check).await
        }
        EnvyCommand::Fmt { file, check, project } => {
            let project = desk.workspace.project_or_here(project.as_deref())?;
            fmt::run(desk, project, file, check).await
        }
        EnvyCommand::Schema { at, site } => {
            let (project, ask) = desk.ask(&at, site)?;
            schema::run(desk, &project, ask).await
        }
        EnvyCommand::Edit { what, project } => {
            let project = desk.workspace.project_or_here(project.as_deref())?;
            edit::run(desk, project, what).await
        }
        EnvyCommand::Rotate { project, layer, moved } => {
            let project = desk.workspace.project_or_here(project.as_deref())?;
            rotate::run(desk, project, layer, Wish { moved, ..Wish::default() }).await
        }
        EnvyCommand::Seal { layer, project, fresh } => {
            let project = desk.workspace.project_or_here(project.as_deref())?;
            rotate::run(desk, project, Some(layer), Wish { seal: true, fresh, ..Wish::default() }).await
        }
        EnvyCommand::Import { file, plain, layer, at } => {
            let (project, env) = desk.at(&at)?;
            import::run(desk, project, env, import::Wish { file, plain, layer }).await
        }
        EnvyCommand::History { at, limit } => {
            let (project, env) = desk.at(&at)?;
            history::run(desk, &project, env, limit).await
        }
        EnvyCommand::Rollback(_) => Err(Fault::internal("A rollback is a rollout, which the binary begins.")),
        EnvyCommand::Keys { at } => {
            let (project, env) = desk.at(&at)?;
            keys::run(desk, project, env).await
        }
    }
}
