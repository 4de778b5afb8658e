//! The command line of `vice lust` (and `vice notify`).

mod list;
mod mailbox;
pub(crate) mod post;

use std::io::Read;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use vice_core::id::EnvName;
use vice_core::manifest::{BuiltInChannel, ChannelSpec, Project};
use vice_core::port::notifier::{Delivery, Severity};
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{App, Class, Code, Context as _, Fault, Result};

use post::{Post, Posted};

/// The largest message that is read from standard input, in bytes.
const STDIN_BYTES_MAX: u64 = 64 * 1024;

/// Tell people and other systems about a project.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  vice lust hello -m \"Everything's looking good, guys\"\n  vice lust hello --to ops --severity warning -m \"Disk is nearly full\"\n  git log -1 | vice lust hello -m -\n  vice lust dead"
)]
pub struct LustArgs {
    #[command(subcommand)]
    command: Option<LustCommand>,
    /// The project that the message is about; the one of this folder when absent
    project: Option<String>,
    /// The message; its first line is the title unless --title is given; - reads standard input
    #[arg(short, long, value_name = "TEXT", required = true, allow_hyphen_values = true)]
    message: Option<String>,
    /// One line that stands for the message
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// How much attention it asks for
    #[arg(long, value_enum, default_value_t = SeverityArg::Info)]
    severity: SeverityArg,
    /// A channel to send it to, instead of those of the rules (repeatable)
    #[arg(long, value_name = "CHANNEL")]
    to: Vec<String>,
    /// The environment that the message is about
    #[arg(short, long)]
    env: Option<EnvName>,
}

/// How much attention a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SeverityArg {
    /// For the record
    Info,
    /// Something ended well
    Success,
    /// Somebody may want to look
    Warning,
    /// Somebody must look
    Error,
}

impl From<SeverityArg> for Severity {
    fn from(severity: SeverityArg) -> Self {
        match severity {
            SeverityArg::Info => Self::Info,
            SeverityArg::Success => Self::Success,
            SeverityArg::Warning => Self::Warning,
            SeverityArg::Error => Self::Error,
        }
    }
}

#[derive(Debug, Subcommand)]
enum LustCommand {
    /// List the channels of a project and the rules that use them
    #[command(after_help = "Example:\n  vice lust channels hello")]
    Channels {
        /// The project; all when absent
        project: Option<String>,
    },
    /// Send a test message to one channel or to all of a project
    #[command(after_help = "Example:\n  vice lust test ops --project hello")]
    Test {
        /// The channel; all of the project when absent
        channel: Option<String>,
        /// The project; the one of this folder when absent
        #[arg(short, long)]
        project: Option<String>,
        /// The environment whose secrets are used
        #[arg(short, long)]
        env: Option<EnvName>,
    },
    /// List the messages that wait to be sent
    #[command(after_help = "Example:\n  vice lust outbox --format json")]
    Outbox,
    /// List the messages that were given up
    #[command(after_help = "Example:\n  vice lust dead")]
    Dead,
    /// Send waiting or given-up messages again, now
    #[command(after_help = "Examples:\n  vice lust retry 3f2a9c\n  vice lust retry --all")]
    Retry {
        /// The key of the message, or its beginning
        #[arg(required_unless_present = "all")]
        key: Option<String>,
        /// Every message that was given up
        #[arg(long, conflicts_with = "key")]
        all: bool,
    },
    /// Send what waits, for a bounded time
    #[command(after_help = "Example:\n  vice lust pump")]
    Pump,
}

/// Runs `vice lust`.
///
/// # Errors
/// What the chosen command fails with.
pub async fn run(app: &App, args: LustArgs) -> Result<Outcome> {
    app.ui.format().among(&[])?;
    match args.command {
        None => {
            let message = read_message(args.message).await?;
            let request = Post {
                project: args.project,
                env: args.env,
                title: args.title,
                message,
                severity: args.severity.into(),
                channels: args.to,
            };
            Ok(told(&post::post(app, request).await?))
        }
        Some(LustCommand::Channels { project }) => list::channels(app, project.as_deref()),
        Some(LustCommand::Test { channel, project, env }) => test(app, channel, project, env).await,
        Some(LustCommand::Outbox) => mailbox::outbox(app).await,
        Some(LustCommand::Dead) => mailbox::dead(app).await,
        Some(LustCommand::Retry { key, all }) => mailbox::retry(app, key.as_deref(), all).await,
        Some(LustCommand::Pump) => mailbox::pump(app).await,
    }
}

async fn read_message(message: Option<String>) -> Result<String> {
    match message {
        Some(dash) if dash == "-" => {
            let read = tokio::task::spawn_blocking(|| bounded(std::io::stdin().lock())).await;
            read.context(Code::Io, || "Standard input could not be read.".to_owned())?
        }
        Some(message) => Ok(message),
        None => Err(Fault::new(Code::Usage, "What is the message?").hint("Write it after -m.")),
    }
}

fn bounded(reader: impl Read) -> Result<String> {
    let mut text = String::new();
    let read = reader.take(STDIN_BYTES_MAX + 1).read_to_string(&mut text);
    let read = read.context(Code::Usage, || "Standard input is not text in UTF-8.".to_owned())?;
    if u64::try_from(read).unwrap_or(u64::MAX) > STDIN_BYTES_MAX {
        return Err(Fault::new(Code::Usage, format!("A message has at most {STDIN_BYTES_MAX} bytes."))
            .hint("Send a link to the long text instead."));
    }
    Ok(text)
}

async fn test(app: &App, channel: Option<String>, project: Option<String>, env: Option<EnvName>) -> Result<Outcome> {
    let found = app.workspace.project_or_here(project.as_deref())?;
    crate::rules::check(&found)?;
    let channels = match channel {
        Some(channel) => vec![channel],
        None => found.manifest.channel.keys().cloned().collect(),
    };
    let message = format!("Sent by {} to see whether notifications arrive.", app.actor);
    let title = Some(format!("{}: a test message of vice", found.name()));
    let project = Some(found.name().to_string());
    let request = Post { project, env, title, message, severity: Severity::Info, channels };
    Ok(told(&post::post(app, request).await?))
}

/// What became of a posted message. A channel that shows it on this terminal has said so by showing it.
fn told(posted: &Posted) -> Outcome {
    let shown = |delivery: &&Delivery| !(delivery.delivered && is_terminal(&posted.project, &delivery.channel));
    let text: String = posted.deliveries.iter().filter(shown).map(line).collect();
    let json = json!({
        "project": posted.project.name(),
        "title": posted.title,
        "deliveries": posted.deliveries,
    });
    let all = posted.deliveries.iter().all(|delivery| delivery.delivered);
    Outcome::done(text, json).with_class(if all { Class::Done } else { Class::Failed })
}

fn is_terminal(project: &Project, channel: &str) -> bool {
    matches!(crate::rules::channel(project, channel), Some(ChannelSpec::BuiltIn(BuiltInChannel::Stdout {})))
}

fn line(delivery: &Delivery) -> String {
    let (tone, word) = if delivery.delivered { (Tone::Good, "delivered") } else { (Tone::Bad, "failed") };
    format!("{} {}: {}\n", paint(tone, word), sanitize(&delivery.channel), sanitize(&delivery.detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        lust: LustArgs,
    }

    fn parse(args: &[&str]) -> Result<LustArgs, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"lust").chain(args)).map(|cli| cli.lust)
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_message_and_a_subcommand_are_told_apart() {
        let args = parse(&["hello", "-m", "Everything's looking good, guys"]).unwrap();
        assert_eq!(args.project.as_deref(), Some("hello"));
        assert!(args.command.is_none());
        assert!(matches!(parse(&["channels"]).unwrap().command, Some(LustCommand::Channels { project: None })));
        assert!(matches!(parse(&["retry", "--all"]).unwrap().command, Some(LustCommand::Retry { all: true, .. })));
        assert!(parse(&["hello"]).is_err(), "a message is needed");
        assert!(parse(&["retry"]).is_err(), "a key or --all is needed");
        assert_eq!(parse(&["hello", "-m", "-"]).unwrap().message.as_deref(), Some("-"));
    }

    #[test]
    fn standard_input_is_bounded() {
        assert_eq!(bounded("abc".as_bytes()).unwrap(), "abc");
        assert_eq!(bounded(std::io::repeat(b'x')).unwrap_err().code(), Code::Usage);
        assert_eq!(bounded([0xff, 0xfe].as_slice()).unwrap_err().code(), Code::Usage);
    }
}
