//! What a simulation says, in sentences: the same words on the page, in the terminal and in Markdown.

use vice_core::payload::simulation::{
    AssumptionSource, Found, Probability, SimulatedEnd, SimulationMode, SimulationReport, Story, StoryKind,
};

use super::Mood;
use super::figure::{duration, number, percent, whole};

/// The first story of a kind.
#[must_use]
pub fn story(report: &SimulationReport, kind: StoryKind) -> Option<&Story> {
    report.stories.iter().find(|story| story.kind == kind)
}

/// The whole answer in one sentence.
#[must_use]
pub fn sentence(report: &SimulationReport) -> String {
    let healthy = story(report, StoryKind::Healthy).map(healthy);
    let unhealthy = story(report, StoryKind::Unhealthy).map(unhealthy);
    match (healthy, unhealthy) {
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
    format!(
        "A healthy release takes {} (95 % of the runs: at most {}){mistake}",
        duration(time.p50),
        duration(time.p95)
    )
}

fn unhealthy(story: &Story) -> String {
    let Some(found) = &story.found else {
        return format!("a bad one ends after {}", duration(story.total_ms.p50));
    };
    let share = found.before.iter().find(|before| near(before.fleet_share, 0.1)).or(found.before.last());
    let early = share.map_or_else(String::new, |before| {
        let (share, p) = (percent(before.fleet_share), percent(before.probability.value));
        format!("is found before {share} of the fleet has it in {p} of the runs")
    });
    let (through, otherwise) = unfound(story, found.never.value);
    let mut never = String::new();
    if through > 0.0 {
        never.push_str(&format!(", and reaches every unit unfound in {}", percent(through)));
    }
    if otherwise > 0.0 {
        never.push_str(&format!(
            ", and in {} the rollout ends or stands still before anything is found",
            percent(otherwise)
        ));
    }
    format!("a bad one {early}{never}")
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
    lines.push((
        "total time",
        format!("{} (5 to 95 %: {} to {})", duration(time.p50), duration(time.p5), duration(time.p95)),
    ));
    if let Some(bound) = &story.lower_bound {
        let by = bound.binding.as_ref().map(|by| format!(", set by {by}")).unwrap_or_default();
        lines.push(("lower bound", format!("{}, the median is {:.2}x of it{by}", duration(bound.total_ms), bound.gap)));
    }
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

/// Where a figure comes from, in a word.
#[must_use]
pub const fn source(source: AssumptionSource) -> (Mood, &'static str) {
    match source {
        AssumptionSource::Assumed => (Mood::Warn, "assumed"),
        AssumptionSource::Manifest => (Mood::Plain, "manifest"),
        AssumptionSource::History => (Mood::Good, "history"),
    }
}
