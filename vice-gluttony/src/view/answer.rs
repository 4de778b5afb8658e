//! What a simulation says, in sentences: the same words on the page, in the terminal and in Markdown.

use vice_core::payload::simulation::{
    AssumptionSource, Found, LowerBound, Probability, SimulatedEnd, SimulationMode, SimulationReport, Story, StoryKind,
    Unfinished, WaveFigures,
};

use super::Mood;
use super::figure::{NONE, days, duration, number, percent, time_of, whole};

/// The first story of a kind.
#[must_use]
pub fn story(report: &SimulationReport, kind: StoryKind) -> Option<&Story> {
    report.stories.iter().find(|story| story.kind == kind)
}

/// The whole answer in one sentence.
#[must_use]
pub fn sentence(report: &SimulationReport) -> String {
    if report.fleet.units == 0 && report.stories.is_empty() {
        return "The fleet has no units, so that there is nothing to roll out.".to_owned();
    }
    let healthy = story(report, StoryKind::Healthy).map(healthy);
    match (healthy, unhealthy(report)) {
        (Some(one), Some(two)) => format!("{one}; {two}."),
        (Some(one), None) => format!("{one}."),
        // Sentences begin with a capital letter; this one has lost its first half.
        (None, Some(two)) => format!("A{}.", two.strip_prefix('a').unwrap_or(&two)),
        (None, None) => "Nothing was simulated.".to_owned(),
    }
}

fn healthy(story: &Story) -> String {
    let time = &story.total_ms;
    let mistake = story.false_rollback.map_or_else(String::new, |mistake| match mistake.value {
        0.0 => " and was never rolled back by mistake".to_owned(),
        value => format!(" and is rolled back by mistake in {} of the runs", percent(value)),
    });
    let Some(unfinished) = &story.unfinished else {
        let (median, late) = (duration(time.p50), duration(time.p95));
        return format!("A healthy release takes {median} (95 % of the runs: at most {late}){mistake}");
    };
    let still = not_over(unfinished);
    if time.p50 >= unfinished.after_ms {
        // Of a release that is not over, not being rolled back is no praise.
        let bad = story.false_rollback.is_some_and(|mistake| mistake.value > 0.0);
        return format!("A healthy release {still}{}", if bad { format!(",{mistake}") } else { String::new() });
    }
    let late = (time.p95 < unfinished.after_ms).then(|| format!(" (95 % of the runs: at most {})", duration(time.p95)));
    let (median, late) = (duration(time.p50), late.unwrap_or_default());
    format!("A healthy release takes {median} in the median{late}{mistake}, but {still}")
}

/// That runs were not over, how many, and for what they waited, to stand behind a subject.
#[must_use]
pub fn not_over(unfinished: &Unfinished) -> String {
    let share = percent(unfinished.runs as f64 / unfinished.of.max(1) as f64);
    let waits = match unfinished.waits.as_slice() {
        [] => String::new(),
        [one] => format!(", waiting for {}", one.what),
        [first, ..] => format!(", waiting most often for {}", first.what),
    };
    format!("is not over after {} in {share} of the runs{waits}", days(unfinished.after_ms))
}

/// What becomes of a bad release, whichever of the bugs it has: each counts as it is likely.
fn unhealthy(report: &SimulationReport) -> Option<String> {
    let stories = report.unhealthy();
    let name = match stories.len() {
        0 => return None,
        1 => "a bad one".to_owned(),
        many => format!("a bad one, with one of {many} bugs as likely as each is,"),
    };
    let mut early: Option<(f64, f64)> = None;
    let (mut through, mut otherwise) = (0.0, 0.0);
    for (story, weight) in &stories {
        let Some(found) = &story.found else {
            return Some(format!("a bad one ends after {}", time_of(story.total_ms.p50, story.unfinished.as_ref())));
        };
        let share = found.before.iter().find(|before| near(before.fleet_share, 0.1)).or(found.before.last());
        if let Some(before) = share {
            let sum = early.map_or(0.0, |(_, sum)| sum);
            early = Some((before.fleet_share, sum + weight * before.probability.value));
        }
        let (all, none) = unfound(story, found.never.value);
        through += weight * all;
        otherwise += weight * none;
    }
    let early = early.map_or_else(String::new, |(share, p)| {
        format!("is found before {} of the fleet has it in {} of the runs", percent(share), percent(p.min(1.0)))
    });
    let mut never = String::new();
    if through > 0.0 {
        never.push_str(&format!(", and reaches every unit unfound in {}", percent(through.min(1.0))));
    }
    if otherwise > 0.0 {
        never.push_str(&format!(
            ", and in {} the rollout ends or stands still before anything is found",
            percent(otherwise.min(1.0))
        ));
    }
    Some(format!("{name} {early}{never}"))
}

/// Of the runs in which nobody finds the bug: the share that reaches every unit, and the share that ends before, for
/// another reason or by standing still. A bug that nobody had the time to find has not got through.
fn unfound(story: &Story, never: f64) -> (f64, f64) {
    let all: u64 = story.outcomes.iter().map(|end| end.runs).sum();
    let completed: u64 =
        story.outcomes.iter().filter(|end| end.end == SimulatedEnd::Completed).map(|end| end.runs).sum();
    let through = if all == 0 { never } else { never.min(completed as f64 / all as f64) };
    (through, if never - through < 5e-4 { 0.0 } else { never - through })
}

fn near(one: f64, two: f64) -> bool {
    (one - two).abs() < 1e-9
}

/// How it was simulated, in a few words.
#[must_use]
pub fn method(report: &SimulationReport) -> String {
    let mode = match report.mode {
        SimulationMode::Exact => "exact mode",
        SimulationMode::Fast => "fast mode, an approximation",
    };
    format!("{} per story, seed {}, {mode}", count_of(report.runs, "run", "runs"), report.seed)
}

/// A whole number with its noun, thousands apart.
#[must_use]
pub fn count_of(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", whole(number), if number == 1 { one } else { many })
}

/// What the figures rest on, when some of it is assumed.
#[must_use]
pub fn rests_on(report: &SimulationReport) -> Option<String> {
    let assumed = report.assumptions.iter().filter(|one| one.source == AssumptionSource::Assumed).count();
    if assumed == 0 {
        return None;
    }
    let all = count_of(report.assumptions.len() as u64, "input", "inputs");
    let is = if assumed == 1 { "is" } else { "are" };
    Some(format!("{assumed} of {all} {is} assumed: nobody said it, and no past rollout shows it."))
}

/// How runs end, in words, with how good that is for this kind of story.
#[must_use]
pub const fn end(end: SimulatedEnd, kind: StoryKind) -> (Mood, &'static str) {
    match (end, kind) {
        (SimulatedEnd::Completed, StoryKind::Healthy) => (Mood::Good, "reached every unit"),
        (SimulatedEnd::Completed, StoryKind::Unhealthy) => (Mood::Bad, "reached every unit unfound"),
        (SimulatedEnd::RolledBack, StoryKind::Healthy) => (Mood::Bad, "rolled back by mistake"),
        (SimulatedEnd::RolledBack, StoryKind::Unhealthy) => (Mood::Good, "found and rolled back"),
        (SimulatedEnd::NeedsHuman, _) => (Mood::Warn, "stood still for a person"),
        (SimulatedEnd::NotRestored, _) => (Mood::Bad, "could not go back"),
        (SimulatedEnd::CutOff, _) => (Mood::Warn, "not over in the simulated time"),
    }
}

/// A probability with what is known of it: `0.2 % (2 of 1,000, 95 %: 0.1 % to 0.8 %)`.
#[must_use]
pub fn probability(found: &Probability) -> String {
    let counted = found.k.zip(found.n).map(|(k, n)| format!("{} of {}", whole(k), whole(n)));
    let interval = found.lo.zip(found.hi).map(|(lo, hi)| format!("95 %: {} to {}", percent(lo), percent(hi)));
    let parts: Vec<String> = counted.into_iter().chain(interval).collect();
    let value = percent(found.value);
    if parts.is_empty() { value } else { format!("{value} ({})", parts.join(", ")) }
}

/// When it is found, part by part; the parts are everything.
#[must_use]
pub fn parts(found: &Found) -> [(&'static str, f64); 4] {
    [
        ("early: before 10 % of the fleet", found.early),
        ("middle: between 10 and 50 %", found.middle),
        ("late: after 50 %", found.late),
        ("not before the rollout was over", found.never.value),
    ]
}

/// The figures of a story in lines of label and value.
#[must_use]
pub fn figures(story: &Story) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let time = &story.total_ms;
    let shown = |ms: f64| time_of(ms, story.unfinished.as_ref());
    lines.push(("total time", format!("{} (5 to 95 %: {} to {})", shown(time.p50), shown(time.p5), shown(time.p95))));
    lines.extend(story.unfinished.as_ref().map(|unfinished| ("not over", still(unfinished))));
    lines.extend(story.lower_bound.as_ref().map(|bound| ("lower bound", least(bound))));
    if let Some(mistake) = &story.false_rollback {
        lines.push(("false rollback", probability(mistake)));
    }
    if let Some(found) = &story.found {
        if let Some(at) = &found.at_ms {
            lines.push(("found after", format!("{} (95 %: {})", duration(at.p50), duration(at.p95))));
        }
        let before = found.before.iter().map(|before| {
            format!("{} of the fleet: {}", percent(before.fleet_share), percent(before.probability.value))
        });
        lines.push(("found before", before.collect::<Vec<_>>().join(" · ")));
        lines.push(("not found", probability(&found.never)));
    }
    if let Some(exposure) = &story.exposure_server_hours {
        let (p50, p95) = (number(exposure.p50), number(exposure.p95));
        lines.push(("exposure", format!("{p50} server-hours (95 %: {p95})")));
    }
    if let Some(impact) = &story.impact {
        let unit = story.impact_unit.as_deref().unwrap_or("units of impact");
        lines.push(("impact", format!("{} {unit} (mean; 99 %: {})", number(impact.mean), number(impact.p99))));
    }
    lines
}

fn still(unfinished: &Unfinished) -> String {
    let waits = unfinished.waits.iter().map(|waited| format!("{} ({})", waited.what, whole(waited.runs)));
    let waits = waits.collect::<Vec<_>>().join("; ");
    let runs = format!("{} of {} runs", whole(unfinished.runs), whole(unfinished.of));
    let waits = if waits.is_empty() { waits } else { format!(", waiting for {waits}") };
    format!("{runs} after {}{waits}", days(unfinished.after_ms))
}

/// The normal quantile of a 95 % interval.
const NORMAL_95: f64 = 1.96;

/// A bound of means beside a mean. Where the runs have none that it is a bound of, it stands alone.
fn least(bound: &LowerBound) -> String {
    let by = bound.binding.as_ref().map(|by| format!(", set by {by}")).unwrap_or_default();
    let runs = bound.mean_ms.zip(bound.mean_gap).map(|(mean, gap)| {
        let error = bound.mean_error_ms.unwrap_or(0.0) * NORMAL_95;
        let (low, high) = (duration((mean - error).max(0.0)), duration(mean + error));
        format!("; that of the runs is {} (95 %: {low} to {high}), {gap:.2}x of it", duration(mean))
    });
    format!("{} in the mean{}{by}", duration(bound.total_ms), runs.unwrap_or_default())
}

/// When a wave begins, and when it ends: the median, 5 and 95 %. What no run came to has no time.
#[must_use]
pub fn wave_times(wave: &WaveFigures, unfinished: Option<&Unfinished>) -> [String; 4] {
    let ends = wave.reached > 0.0 && (wave.ended.is_none_or(|ended| ended > 0.0) || wave.end_ms.p95 > 0.0);
    let end = |ms: f64| if ends { time_of(ms, unfinished) } else { NONE.to_owned() };
    let begins = if wave.reached > 0.0 { duration(wave.start_ms.p50) } else { NONE.to_owned() };
    [begins, end(wave.end_ms.p50), end(wave.end_ms.p5), end(wave.end_ms.p95)]
}

/// Where a figure comes from, in a word.
#[must_use]
pub const fn source(source: AssumptionSource) -> (Mood, &'static str) {
    match source {
        AssumptionSource::Assumed => (Mood::Warn, "assumed"),
        AssumptionSource::Manifest => (Mood::Plain, "manifest"),
        AssumptionSource::History => (Mood::Good, "history"),
    }
}
