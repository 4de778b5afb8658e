//! The command line as a value. Each sin brings its own arguments; what stands here is what all of them share, and the
//! everyday verbs, which are the same arguments under a shorter name.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use vice_core::ui::Format;

use crate::ui::Color;

/// Gets code out safely: deploys it, proves it, remembers it, tells it, shows it and automates it.
#[derive(Debug, Parser)]
#[command(
    name = "vice",
    version,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    allow_external_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 110,
    after_help = "Start here:\n  vice init            write a vice.toml for this folder\n  vice deploy          deploy it, checked, with a way back\n  vice status          what runs where\n\nExit codes: vice help exit-codes\nTopics:     vice help topics"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command accepts.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The shape of the result
    #[arg(
        long,
        global = true,
        env = "VICE_FORMAT",
        value_enum,
        default_value = "text",
        hide_env = true,
        help_heading = "Global options",
        hide_possible_values = true,
        value_name = "FORMAT",
        long_help = "The shape of the result: text, json or ndjson everywhere; html, markdown, junit, toml, yaml, env, mermaid and svg where they make sense"
    )]
    pub(crate) format: FormatArg,
    /// Write the result to a file instead of standard output
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) output: Option<PathBuf>,
    /// Work as if started in this folder
    #[arg(
        short = 'C',
        long = "directory",
        global = true,
        env = "VICE_DIRECTORY",
        hide_env = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub(crate) directory: Option<PathBuf>,
    /// Say only results, warnings and errors
    #[arg(short, long, global = true, env = "VICE_QUIET", hide_env = true, value_parser = clap::builder::FalseyValueParser::new(), num_args = 0, help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// When to use colour
    #[arg(
        long,
        global = true,
        env = "VICE_COLOR",
        hide_env = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        help_heading = "Global options"
    )]
    pub(crate) color: Color,
    /// Draw no live progress
    #[arg(long, global = true, env = "VICE_NO_PROGRESS", hide_env = true, value_parser = clap::builder::FalseyValueParser::new(), num_args = 0, help_heading = "Global options")]
    pub(crate) no_progress: bool,
    /// Never ask; fail and name the flag instead
    #[arg(long, global = true, env = "VICE_NO_INPUT", hide_env = true, value_parser = clap::builder::FalseyValueParser::new(), num_args = 0, help_heading = "Global options")]
    pub(crate) no_input: bool,
    /// For whom this is done, where a bot or a job asks for somebody
    #[arg(
        long,
        global = true,
        env = "VICE_ACTOR",
        hide_env = true,
        value_name = "NAME",
        help_heading = "Global options"
    )]
    pub(crate) actor: Option<String>,
    /// Treat unknown VICE_* variables as errors
    #[arg(long, global = true, env = "VICE_STRICT", hide_env = true, value_parser = clap::builder::FalseyValueParser::new(), num_args = 0, help_heading = "Global options")]
    pub(crate) strict: bool,
}

/// The formats under their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FormatArg(pub(crate) Format);

impl ValueEnum for FormatArg {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [FormatArg; Format::ALL.len()] = {
            let mut all = [FormatArg(Format::Text); Format::ALL.len()];
            let mut index = 0;
            while index < all.len() {
                all[index] = FormatArg(Format::ALL[index].0);
                index += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

impl Command {
    /// The formats that a command offers besides text, JSON and NDJSON. Where only some of its own commands offer one,
    /// those check it themselves.
    pub(crate) const fn formats(&self) -> &'static [Format] {
        match self {
            Self::Envy(_) => vice_envy::cmd::FORMATS,
            Self::Pride(args) => args.formats(),
            Self::Wrath(_) => vice_wrath::cmd::FORMATS,
            Self::Gluttony(_) | Self::Report(_) => &[Format::Html, Format::Markdown],
            Self::Sloth(_) => &[Format::Mermaid, Format::Svg],
            _ => &[],
        }
    }
}

/// Everything that vice can be told to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Deploy, roll out, roll back
    Pride(vice_pride::cmd::PrideArgs),
    /// Configuration and secrets
    #[command(visible_alias = "config")]
    Envy(vice_envy::cmd::EnvyArgs),
    /// Verify that it works
    #[command(visible_alias = "verify")]
    Wrath(Box<vice_wrath::cmd::WrathArgs>),
    /// The event history: read, add, check, back up
    #[command(visible_alias = "events", alias = "dataproc")]
    Greed(vice_greed::cmd::GreedArgs),
    /// Notify people and systems
    #[command(visible_alias = "notify")]
    Lust(vice_lust::cmd::LustArgs),
    /// Reports and dashboards
    #[command(alias = "dataviz")]
    Gluttony(vice_gluttony::cmd::GluttonyArgs),
    /// Automation graphs
    #[command(visible_alias = "auto")]
    Sloth(vice_sloth::cmd::SlothArgs),

    /// Deploy a project
    #[command(display_order = 1)]
    Deploy(vice_pride::cmd::DeployArgs),
    /// Show what a deploy would change
    #[command(display_order = 2)]
    Plan(vice_pride::cmd::PlanArgs),
    /// Go back to the last version that was proven
    #[command(display_order = 3)]
    Rollback(vice_pride::cmd::RollbackArgs),
    /// What runs where: version, since when, by whom, health, drift
    #[command(display_order = 4)]
    Status(vice_pride::cmd::StatusArgs),
    /// The rollouts so far
    #[command(display_order = 5)]
    History(vice_pride::cmd::HistoryArgs),
    /// The output of the instances
    #[command(display_order = 6)]
    Logs(vice_pride::cmd::LogsArgs),
    /// What was decided in a rollout, and on which evidence
    #[command(display_order = 7)]
    Why(vice_pride::cmd::WhyArgs),
    /// A report of a project's latest rollout, or a saved dashboard
    #[command(display_order = 8)]
    Report(vice_gluttony::cmd::ReportArgs),

    /// Write a commented vice.toml by looking at this folder
    #[command(display_order = 20)]
    Init(crate::commands::init::InitArgs),
    /// Check the environment and every configured backend
    #[command(display_order = 21)]
    Doctor(crate::commands::doctor::DoctorArgs),
    /// Go on with whatever waits: for cron and scheduled CI jobs
    #[command(display_order = 22)]
    Tick(crate::commands::tick::TickArgs),
    /// Serve the history to other machines, until it is told to end
    #[command(display_order = 23)]
    Serve(crate::serve::ServeArgs),
    /// Programs on PATH that extend vice: list, test
    #[command(display_order = 23)]
    Plugin(crate::commands::plugin::PluginArgs),
    /// Print a completion script for a shell
    #[command(
        display_order = 23,
        after_help = "Example:\n  vice completions bash > ~/.local/share/bash-completion/completions/vice"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages
    #[command(display_order = 24, after_help = "Example:\n  vice man --out /usr/local/share/man/man1")]
    Man {
        /// The folder to write them to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Print the JSON Schema of vice.toml
    #[command(display_order = 25, after_help = "Example:\n  vice schema -o .vice/vice.schema.json")]
    Schema,
    /// What this binary is and what is compiled in
    #[command(display_order = 26, after_help = "Example:\n  vice version --format json")]
    Version,
    /// Help for a command, or a topic such as exit-codes
    #[command(display_order = 27, after_help = "Example:\n  vice help exit-codes")]
    Help {
        /// The command or topic
        topic: Vec<String>,
    },

    /// The detached process of a local target; started by vice itself.
    #[command(hide = true)]
    Agent {
        /// The target's folder
        #[arg(long)]
        dir: PathBuf,
    },

    #[command(external_subcommand)]
    External(Vec<String>),
}
