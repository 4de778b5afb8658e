//! `vice pride judge`: two samples that somebody has, looked at once.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::payload::rollout::Verdict;
use vice_core::port::notifier::Severity;
use vice_core::text::{Tone, count, paint};
use vice_core::ui::Outcome;
use vice_core::{Class, Code, Fault, Millis, Result, Secret};
use vice_pride_engine::judge::compare::{
    Comparison, Finding, Method, Tolerances, compare_counts, compare_samples, kolmogorov_smirnov, median, median_test,
};

use crate::metric::{RangeAnswer, RangeQuery, Sample, parse_sample};
use crate::text_file;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Arguments of `vice pride judge`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 not too bad, 5 worse, 8 undecided (more data would help), 7 nothing to decide on\n
Examples:
  vice pride judge --canary new.txt --baseline old.txt
  vice pride judge --canary new.csv --baseline old.csv --column ms
  vice pride judge --prometheus http://prom:9090 --canary 'p99{version=\"2\"}' --baseline 'p99{version=\"1\"}' --from 2026-11-20T10:00:00Z --until 2026-11-20T11:00:00Z --step 1m"
)]
pub struct JudgeArgs {
    /// The new release: a file with numbers (more is worse), bad/total, CSV or JSON; or, with --prometheus, a query
    #[arg(long, value_name = "FILE|QUERY")]
    canary: String,
    /// The old release, in the same form
    #[arg(long, value_name = "FILE|QUERY")]
    baseline: String,
    /// Which column of CSV files, by name or number
    #[arg(long, value_name = "COLUMN", conflicts_with = "prometheus")]
    column: Option<String>,
    /// Ask this Prometheus for both
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// The beginning of the range, such as 2026-11-20T10:00:00Z
    #[arg(long, value_name = "TIME", requires = "prometheus", value_parser = moment)]
    from: Option<Timestamp>,
    /// The end of the range; now when absent
    #[arg(long, value_name = "TIME", requires = "prometheus", value_parser = moment)]
    until: Option<Timestamp>,
    /// The distance of two points
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    step: Millis,
    /// A file with a bearer token for the Prometheus
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    bearer_file: Option<String>,
    /// How often a release that is not worse may be called worse
    #[arg(long, value_name = "P", default_value_t = 0.01)]
    alpha: f64,
    /// How often one that is too bad may pass
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    beta: f64,
    /// How many times worse is not worse
    #[arg(long, value_name = "RATIO", default_value_t = 1.05)]
    margin: f64,
    /// How many times worse is too bad
    #[arg(long, value_name = "RATIO", default_value_t = 1.5)]
    tolerance: f64,
}

impl JudgeArgs {
    fn tolerances(&self) -> Result<Tolerances> {
        let share = |value: f64| value > 0.0 && value < 0.5;
        let refuse = |what: &str, hint: &str| Err(Fault::new(Code::Usage, format!("{what}.")).hint(hint));
        if !share(self.alpha) || !share(self.beta) {
            return refuse("--alpha and --beta must lie between 0 and 0.5", "Usual are 0.01 and 0.05.");
        }
        let tolerable = self.tolerance > self.margin && self.tolerance <= 1000.0;
        if !((1.0..=1000.0).contains(&self.margin) && tolerable) {
            return refuse(
                "--margin must be at least 1 and --tolerance larger than it",
                "Usual are 1.05 and 1.5: five per cent more is not worse, half as much again is too bad.",
            );
        }
        Ok(Tolerances { alpha: self.alpha, beta: self.beta, margin: self.margin, tolerance: self.tolerance })
    }
}

/// Compares two samples.
///
/// # Errors
/// `Usage` for samples that can't be read or compared; `Io`; for a Prometheus what its source says.
pub(crate) async fn run(app: &App, args: JudgeArgs) -> Result<Outcome> {
    let tolerances = args.tolerances()?;
    let (canary, baseline) = match &args.prometheus {
        Some(url) => from_prometheus(app, &args, url).await?,
        None => (
            from_file(&app.env.dir, &args.canary, args.column.as_deref())?,
            from_file(&app.env.dir, &args.baseline, args.column.as_deref())?,
        ),
    };
    let comparison = match (&canary, &baseline) {
        (Sample::Counts { seen, bad }, Sample::Counts { seen: all, bad: worse }) => {
            compare_counts((*seen, *bad), (*all, *worse), &tolerances)
        }
        (Sample::Values(canary), Sample::Values(baseline)) => compare_samples(canary, baseline, &tolerances),
        _ if canary.is_empty() || baseline.is_empty() => compare_samples(&[], &[], &tolerances),
        _ => {
            return Err(Fault::new(Code::Usage, "One sample has counts and the other has numbers.")
                .hint("Give both in the same form."));
        }
    };
    Ok(outcome(&canary, &baseline, &comparison, &tolerances))
}

fn from_file(dir: &Path, name: &str, column: Option<&str>) -> Result<Sample> {
    parse_sample(name, &read(dir, name)?, column)
}

fn read(dir: &Path, name: &str) -> Result<String> {
    text_file::read(&dir.join(name), name, FILE_BYTES_MAX)
}

async fn from_prometheus(app: &App, args: &JudgeArgs, url: &str) -> Result<(Sample, Sample)> {
    let Some(from) = args.from else {
        return Err(Fault::new(Code::Usage, "--prometheus needs --from.")
            .hint("Give the beginning of the range, such as 2026-11-20T10:00:00Z."));
    };
    let token = args.bearer_file.as_deref().map(|file| read(&app.env.dir, file)).transpose()?;
    let token = token.map(|text| Secret::new(text.trim()));
    let until = args.until.unwrap_or_else(|| app.clock.now());
    let range = RangeQuery::new(url, from, until, args.step, token.as_ref())?;
    let (canary, baseline) =
        futures::join!(range.ask("--canary", &args.canary), range.ask("--baseline", &args.baseline));
    Ok((sample(app, "--canary", canary?), sample(app, "--baseline", baseline?)))
}

/// What was answered as a sample; what is doubtful about it is said.
fn sample(app: &App, name: &str, answer: RangeAnswer) -> Sample {
    let RangeAnswer { values, left_out, warnings } = answer;
    let warn = |text: String| app.ui.say(Severity::Warning, &text);
    for warning in warnings {
        warn(format!("The Prometheus says of {name}: {warning}"));
    }
    if left_out > 0 {
        let all = count(values.len() + left_out, "point", "points");
        warn(format!("{left_out} of {all} of {name} are no number (NaN) and were left out."));
    } else if values.is_empty() {
        warn(format!("The query of {name} matches no series in the range."));
    }
    Sample::Values(values)
}

/// A moment on the command line.
fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        "write a date, a time and a zone, such as 2026-11-20T10:00:00Z or 2026-11-20T11:00:00+01:00".to_owned()
    })
}

fn class(verdict: Verdict) -> Class {
    match verdict {
        Verdict::Proceed => Class::Done,
        Verdict::Rollback => Class::Verification,
        Verdict::Hold => Class::Waiting,
        Verdict::Inconclusive => Class::InDoubt,
    }
}

fn outcome(canary: &Sample, baseline: &Sample, found: &Comparison, tolerances: &Tolerances) -> Outcome {
    let (tone, word) = match found.verdict {
        Verdict::Proceed => (Tone::Good, "proceed"),
        Verdict::Rollback => (Tone::Bad, "rollback"),
        Verdict::Hold => (Tone::Warn, "hold"),
        Verdict::Inconclusive => (Tone::Warn, "inconclusive"),
    };
    let mut text = format!("{}: {}\n", paint(tone, word), sentence(found, tolerances));
    text.push_str(&format!("  canary    {}\n  baseline  {}\n", described(canary), described(baseline)));
    if found.method != Method::None {
        text.push_str(&format!(
            "  ratio     {} ({} to {})\n  p         {} for at most {} times worse, {} for at least {} times worse\n  method    {}\n",
            ratio(found.ratio),
            ratio(found.low),
            ratio(found.high),
            chance(found.p_worse),
            tolerances.margin,
            chance(found.p_tolerable),
            tolerances.tolerance,
            method(found.method),
        ));
    }
    let mut json = json!({
        "verdict": found.verdict,
        "comparison": found,
        "tolerances": tolerances,
        "canary": facts(canary),
        "baseline": facts(baseline),
    });
    if let (Sample::Values(new), Sample::Values(old)) = (canary, baseline)
        && found.method != Method::None
    {
        let (lead, p) = kolmogorov_smirnov(new, old);
        let (_, p_median) = median_test(new, old);
        json["distribution"] = json!({ "lead": lead, "p": p, "p_median": p_median });
        text.push_str(&format!(
            "  also      p {} that the distributions are as alike (Kolmogorov-Smirnov), {} for the medians\n",
            chance(p),
            chance(p_median)
        ));
    }
    Outcome { class: class(found.verdict), text, json }
}

fn sentence(found: &Comparison, tolerances: &Tolerances) -> String {
    match found.finding {
        Finding::Worse => format!("the new release is more than {} times worse.", tolerances.margin),
        Finding::Proven => format!("the new release is less than {} times worse.", tolerances.tolerance),
        Finding::Undecided => "neither can be said yet; more data would help.".to_owned(),
        Finding::Empty => "a sample is empty.".to_owned(),
        Finding::NoEvents => "nothing bad happened in either, so nothing can be said about the ratio.".to_owned(),
        Finding::Nonsense => "a sample holds what can't be.".to_owned(),
    }
}

fn described(sample: &Sample) -> String {
    match sample {
        Sample::Counts { seen, bad } => format!("{bad} bad of {seen}"),
        Sample::Values(values) if values.is_empty() => "no numbers".to_owned(),
        Sample::Values(values) => format!("{} numbers, median {}", values.len(), median(values)),
    }
}

fn facts(sample: &Sample) -> Value {
    match sample {
        Sample::Counts { seen, bad } => json!({ "total": seen, "bad": bad }),
        Sample::Values(values) => json!({ "values": values.len(), "median": median(values) }),
    }
}

const fn method(method: Method) -> &'static str {
    match method {
        Method::Fisher => "Fisher, exact",
        Method::ConditionalBinomial => "conditional binomial, exact for rare events",
        Method::MannWhitneyExact => "Mann-Whitney, exact",
        Method::MannWhitneyNormal => "Mann-Whitney, normal limit",
        Method::None => "none",
    }
}

fn ratio(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "no limit".to_owned() }
}

fn chance(value: f64) -> String {
    if value > 0.0 && value < 0.0001 { format!("{value:.1e}") } else { format!("{value:.4}") }
}
