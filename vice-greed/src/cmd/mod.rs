//! `vice greed`: looking at the history, adding to it, checking it, and keeping copies of it.

mod action;
mod append;
mod archive;
mod backup;
mod copy;
mod dead;
mod export;
mod filter;
mod follow;
mod forward;
mod ingest;
mod links;
mod log;
mod memory;
mod rules;
mod series;
mod show;
mod verify;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{Told, support as testing};

use std::sync::Arc;

use clap::{Args, Subcommand};
use vice_core::app::App;
use vice_core::port::action::Action;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

/// Look at the history, add to it, check it, back it up
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vice greed log --project shop --since 2h\n  vice greed verify\n  vice greed backup s3://backups/shop"
)]
pub struct GreedArgs {
    #[command(subcommand)]
    command: GreedCommand,
}

#[derive(Debug, Subcommand)]
enum GreedCommand {
    /// List events, newest first
    #[command(
        after_help = "Examples:\n  vice greed log --project shop --env prod --type 'dev.cdevents.*' --since 2h\n  vice greed log --where subject.content.outcome=failed --explain"
    )]
    Log(log::LogArgs),
    /// Write events to standard output for other programs, oldest first: JSON lines or CSV
    #[command(
        after_help = "Examples:\n  vice greed export --project shop > shop.jsonl\n  vice greed export --as csv --since 30d > events.csv"
    )]
    Export(export::ExportArgs),
    /// Show one event whole
    #[command(after_help = "Example:\n  vice greed show 42")]
    Show(show::ShowArgs),
    /// Show the last events, and with -f go on with the new ones
    #[command(after_help = "Example:\n  vice greed tail -f --project shop")]
    Tail(log::TailArgs),
    /// Add an event: a CloudEvent in JSON, or a type with data
    #[command(
        after_help = "Examples:\n  vice greed append --file event.json\n  vice greed append --type com.example.cache.cleared --subject shop --id nightly-7"
    )]
    Append(append::AppendArgs),
    /// Ask the observations (metrics, probes): counts, rates and quantiles, by window and label
    #[command(after_help = "Example:\n  vice greed series query http_requests --measure rate --by version")]
    Series(series::SeriesArgs),
    /// What the events say of every environment, computed from them alone, and whether what vice remembers is the same
    #[command(after_help = "Example:\n  vice greed memory")]
    Memory,
    /// Rules over events: list them, check them, try them over recorded events, let them work
    #[command(after_help = "Example:\n  vice greed rules test --since 2h")]
    Rules(rules::RulesArgs),
    /// What rules could not get done: list, show, retry, drop
    #[command(after_help = "Example:\n  vice greed dead list")]
    Dead(dead::DeadArgs),
    /// Take events in over HTTP (CloudEvents and webhooks) until interrupted
    #[command(
        after_help = "Examples:\n  vice greed ingest --listen 127.0.0.1:0\n  vice greed ingest --listen 0.0.0.0:8470 --token env:INGEST_TOKEN"
    )]
    Ingest(ingest::IngestArgs),
    /// Send events to Kafka or NATS as CloudEvents, or rollouts to OpenTelemetry as spans, until interrupted
    ///
    /// It goes on where it stopped. Kafka takes KAFKA_USER, KAFKA_PASSWORD, KAFKA_SASL (plain, scram-sha-256, scram-sha-512)
    /// and KAFKA_CA; NATS takes NATS_CREDS, NATS_NKEY, NATS_TOKEN, or NATS_USER and NATS_PASSWORD, and NATS_CA; a collector
    /// takes OTEL_EXPORTER_OTLP_HEADERS.
    #[command(
        after_help = "Examples:\n  vice greed forward --to kafka://localhost/deploys --type 'dev.cdevents.service.*'\n  vice greed forward --to nats://nats.example/shop.events --mode binary --once\n  vice greed forward --to otlp://localhost:4318"
    )]
    Forward(forward::ForwardArgs),
    /// Take in CloudEvents from a topic of Kafka or a subject of NATS, until interrupted
    ///
    /// Each message has one effect, whatever is killed when; what is no CloudEvent is kept in the stream refused/NAME.
    /// Credentials are taken as for `forward`.
    #[command(
        after_help = "Examples:\n  vice greed follow --from kafka://localhost/builds --rules\n  vice greed follow --from 'nats://nats.example/shop.>' --begin latest"
    )]
    Follow(follow::FollowArgs),
    /// Read everything and check hash chain, order and head witness
    #[command(after_help = "Example:\n  vice greed verify")]
    Verify,
    /// Copy the history to another place and verify the copy by bringing it back
    ///
    /// The place is file:///folder or s3://bucket/prefix; S3 takes AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    /// AWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL. Observations (metrics) are not part of a backup.
    #[command(
        after_help = "Examples:\n  vice greed backup s3://backups/shop\n  vice greed backup s3://backups/shop --incremental --recipient age1..."
    )]
    Backup(backup::BackupArgs),
    /// Move the data of old events into an archive, verified before they are let go of; what is decided from stays
    ///
    /// Headers and hashes stay in the history, so that it is listed and verified as before. The place is file:///folder or
    /// s3://bucket/prefix, as for backups; what is archived is read from there when it is wanted.
    #[command(
        after_help = "Examples:\n  vice greed archive --before 90d --to file:///srv/shop/archive\n  vice greed archive --before 90d --dry-run\n  vice greed archive --list"
    )]
    Archive(archive::ArchiveArgs),
    /// Move the history to another store: event by event, compared afterwards; a copy that was cut off goes on
    #[command(
        after_help = "Examples:\n  vice greed copy sqlite:.vice jsonl:archive\n  vice greed copy .vice postgres://vice@db.example/history"
    )]
    Copy(copy::CopyArgs),
    /// Bring a backup back, verified before and after; the history that was there is kept beside it
    #[command(
        after_help = "Examples:\n  vice greed restore s3://backups/shop --yes\n  vice greed restore s3://backups/shop --until 2h --to look"
    )]
    Restore(backup::RestoreArgs),
}

/// Runs a command.
///
/// # Errors
/// What the command fails with.
pub async fn run(app: &App, args: GreedArgs) -> Result<Outcome> {
    match args.command {
        GreedCommand::Log(args) => log::log(app, args).await,
        GreedCommand::Export(args) => export::export(app, args).await,
        GreedCommand::Show(args) => show::show(app, args).await,
        GreedCommand::Tail(args) => log::tail(app, args).await,
        GreedCommand::Append(args) => append::append(app, args).await,
        GreedCommand::Series(args) => series::series(app, args).await,
        GreedCommand::Memory => memory::memory(app).await,
        GreedCommand::Rules(args) => rules::rules(app, args).await,
        GreedCommand::Dead(args) => dead::dead(app, args).await,
        GreedCommand::Ingest(args) => ingest::ingest(app, args).await,
        GreedCommand::Forward(args) => forward::forward(app, args).await,
        GreedCommand::Follow(args) => follow::follow(app, args).await,
        GreedCommand::Verify => verify::verify(app).await,
        GreedCommand::Backup(args) if args.incremental => backup::increment(app, &args).await,
        GreedCommand::Backup(args) => backup::backup(app, &args.url).await,
        GreedCommand::Archive(args) => archive::archive(app, args).await,
        GreedCommand::Copy(args) => copy::copy(app, args).await,
        GreedCommand::Restore(args) => backup::restore(app, args).await,
    }
}

/// What graphs, rules and chat commands can call.
#[must_use]
pub fn actions(app: &App) -> Vec<Arc<dyn Action>> {
    vec![Arc::new(action::BackupAction::new(app.clone()))]
}

/// The database behind the history, for what only files can do.
fn database(app: &App, operation: &str) -> Result<std::path::PathBuf> {
    let info = app.events.describe();
    if info.kind == "sqlite" { Ok(info.location.into()) } else { Err(Fault::unsupported(info.kind, operation)) }
}

/// A moment: RFC 3339, or how long ago.
fn moment(text: &str, now: jiff::Timestamp) -> Result<jiff::Timestamp> {
    if let Ok(ago) = text.parse::<vice_core::Millis>() {
        let span = jiff::SignedDuration::from_millis(ago.as_i64());
        return Ok(now.checked_sub(span).unwrap_or(jiff::Timestamp::MIN));
    }
    text.parse().map_err(|error: jiff::Error| {
        let shown: String = text.chars().take(80).collect();
        Fault::new(Code::Usage, format!("{shown:?} is not a time."))
            .because(error)
            .hint("Write how long ago, such as 2h or 3d, or a time such as 2026-07-14T09:00:00Z.")
    })
}
