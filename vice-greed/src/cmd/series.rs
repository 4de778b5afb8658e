//! `greed series`: questions to the observations, and forgetting old ones.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::memory::POINTS_MAX;
use vice_core::port::notifier::Severity;
use vice_core::series::{Labels, SeriesQuery};
use vice_core::text::{Table, Tone, count};
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Millis, Result};

use super::moment;
use crate::aggregate::{Answer, Measure, aggregate};

#[derive(Debug, Args)]
pub(super) struct SeriesArgs {
    #[command(subcommand)]
    command: SeriesCommand,
}

#[derive(Debug, Subcommand)]
enum SeriesCommand {
    /// Count, rate, mean or quantile of a series, by window and label
    #[command(
        after_help = "Examples:\n  vice greed series query http_requests --measure rate --by version --window 1m\n  vice greed series query latency --measure p99 --label version=2 --since 1h"
    )]
    Query(QueryArgs),
    /// Forget the points before a time
    #[command(after_help = "Example:\n  vice greed series expire --before 30d")]
    Expire(ExpireArgs),
}

#[derive(Debug, Args)]
struct QueryArgs {
    /// The series
    #[arg(value_name = "NAME")]
    name: String,
    /// Only points with this label; can be given several times
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// What is asked: count, sum, mean, min, max, rate (of counters, a second), or a quantile such as p99 or p99.9
    #[arg(short, long, value_name = "MEASURE", default_value = "count")]
    measure: String,
    /// One answer for each value of this label
    #[arg(long, value_name = "KEY")]
    by: Option<String>,
    /// One answer for each span of this length
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    window: Millis,
    /// Not before this time: how long ago (2h, 3d), or a time such as 2026-07-14T09:00:00Z
    #[arg(long, value_name = "TIME", default_value = "1h")]
    since: String,
    /// Before this time, written in the same way
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Debug, Args)]
struct ExpireArgs {
    /// How long ago (30d), or a time such as 2026-07-14T09:00:00Z
    #[arg(long, value_name = "TIME")]
    before: String,
}

pub(super) async fn series(app: &App, args: SeriesArgs) -> Result<Outcome> {
    match args.command {
        SeriesCommand::Query(args) => query(app, args).await,
        SeriesCommand::Expire(args) => {
            let forgotten = app.series.expire(moment(&args.before, app.clock.now())?).await?;
            let text = format!("{} forgotten.\n", count(forgotten, "point", "points"));
            Ok(Outcome::done(text, json!({ "forgotten": forgotten })))
        }
    }
}

async fn query(app: &App, args: QueryArgs) -> Result<Outcome> {
    let (measure, now) = (measure(&args.measure)?, app.clock.now());
    if args.window == Millis::ZERO {
        return Err(
            Fault::new(Code::Usage, "A window of no length has no points.").hint("Write for example --window 1m.")
        );
    }
    let labels = args.labels.iter().map(|text| label(text)).collect::<Result<Labels>>()?;
    let until = args.until.map_or(Ok(now), |text| moment(&text, now))?;
    let wanted = SeriesQuery { name: args.name, labels, from: moment(&args.since, now)?, until };
    let points = app.series.query(&wanted).await?;
    if points.len() >= POINTS_MAX {
        let text = format!("Only the first {POINTS_MAX} points were looked at; ask for a shorter time or with labels.");
        app.ui.say(Severity::Warning, &text);
    }
    let answers = aggregate(&points, args.by.as_deref(), args.window.as_i64(), measure);
    Ok(Outcome::done(table(&answers, args.by.as_deref(), &args.measure), json(&answers)))
}

fn measure(text: &str) -> Result<Measure> {
    Ok(match text {
        "count" => Measure::Count,
        "sum" => Measure::Sum,
        "mean" => Measure::Mean,
        "min" => Measure::Min,
        "max" => Measure::Max,
        "rate" => Measure::Rate,
        other => {
            let percent = other.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok());
            let fits = percent.filter(|percent| (0.0..=100.0).contains(percent));
            Measure::Quantile(fits.ok_or_else(|| unknown(other))? / 100.0)
        }
    })
}

fn unknown(text: &str) -> Fault {
    let shown: String = text.chars().take(40).collect();
    Fault::new(Code::Usage, format!("There is no measure {shown:?}."))
        .hint("count, sum, mean, min, max, rate, or a quantile from p0 to p100.")
}

fn label(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        Fault::new(Code::Usage, format!("{shown:?} is no label.")).hint("Write KEY=VALUE.")
    })?;
    Ok((key.to_owned(), value.to_owned()))
}

fn json(answers: &[Answer]) -> Value {
    let each = |answer: &Answer| json!({ "group": answer.group, "from": answer.from, "value": answer.value, "points": answer.points });
    answers.iter().map(each).collect()
}

fn table(answers: &[Answer], by: Option<&str>, measure: &str) -> String {
    if answers.is_empty() {
        return "No points.\n".to_owned();
    }
    let mut table = Table::with_heading(&["from", by.unwrap_or(""), measure, "points"]);
    for answer in answers {
        let value = answer.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        table.row([
            (Tone::Faint, answer.from.to_string()),
            (Tone::Strong, answer.group.clone()),
            (Tone::Plain, value),
            (Tone::Faint, answer.points.to_string()),
        ]);
    }
    table.render()
}
