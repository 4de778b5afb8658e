//! What the template of a simulation gets: texts that are safe to show, and numbers.

use serde::Serialize;
use vice_core::payload::simulation::{
    Assumption, AssumptionSource, Bottleneck, Fleet, Found, PolicyComparison, Probability, SimulationMode,
    SimulationReport, Story, StoryKind, WaveFigures,
};
use vice_core::text::sanitize;

use super::plots::{Distribution, Interval, ParetoPlot, clear, story_class};
use super::script::Script;
use super::shape::px;
use super::spread::Spread;
use crate::view::answer::{self, count_of};
use crate::view::figure::{NONE, duration, named, percent, time_of, title, whole};

/// Rows of any table: what nobody reads is not written.
const ROWS_MAX: usize = 200;
/// Waves: a plan of one wave per unit has as many as units.
const WAVES_MAX: usize = 60;

/// The whole page.
#[derive(Debug, Serialize)]
pub(super) struct Study {
    title: String,
    project: String,
    env: String,
    answer: String,
    method: String,
    mode: &'static str,
    mode_mood: &'static str,
    facts: Vec<Fact>,
    notes: Vec<String>,
    stories: Vec<StoryCard>,
    spreads: Vec<NamedSpread>,
    distributions: Vec<Distribution>,
    found: Vec<FoundBar>,
    waves: Option<Waves>,
    bottlenecks: Vec<Bottlenecks>,
    pareto: Option<ParetoPlot>,
    compare: Option<Compare>,
    assumptions: Vec<Assumed>,
    fleet: Vec<Fact>,
    script: Script,
}

#[derive(Debug, Serialize)]
struct Fact {
    label: &'static str,
    value: String,
}

#[derive(Debug, Serialize)]
struct StoryCard {
    class: &'static str,
    name: String,
    about: Option<String>,
    big: String,
    big_words: &'static str,
    ends: Vec<Part>,
    figures: Vec<Fact>,
}

/// A part of a whole: a piece of a bar, and a line in words.
#[derive(Debug, Serialize)]
struct Part {
    class: &'static str,
    x: String,
    w: String,
    text: String,
    label: String,
    label_x: String,
}

#[derive(Debug, Serialize)]
struct NamedSpread {
    title: String,
    about: String,
    spread: Spread,
}

#[derive(Debug, Serialize)]
struct FoundBar {
    name: String,
    parts: Vec<Part>,
    before: Vec<Fact2>,
}

#[derive(Debug, Serialize)]
struct Fact2 {
    label: String,
    value: String,
}

#[derive(Debug, Serialize)]
struct Waves {
    rows: Vec<WaveRow>,
    has_bug: bool,
    has_share: bool,
    hidden: Option<String>,
    scale_end: String,
}

#[derive(Debug, Serialize)]
struct WaveRow {
    wave: String,
    units: String,
    after: String,
    share: String,
    begins: String,
    ends: String,
    interval: Interval,
    unfound: String,
    unfound_w: String,
    reached: String,
}

#[derive(Debug, Serialize)]
struct Bottlenecks {
    name: String,
    class: &'static str,
    rows: Vec<BottleneckRow>,
}

#[derive(Debug, Serialize)]
struct BottleneckRow {
    constraint: String,
    share: String,
    w: String,
    waited: String,
}

#[derive(Debug, Serialize)]
struct Compare {
    a: String,
    b: String,
    runs: String,
    level: String,
    rows: Vec<CompareRow>,
}

#[derive(Debug, Serialize)]
struct CompareRow {
    story: String,
    figure: String,
    a: String,
    b: String,
    difference: String,
    interval: Interval,
    says: &'static str,
    mood: &'static str,
}

#[derive(Debug, Serialize)]
struct Assumed {
    key: String,
    value: String,
    mood: &'static str,
    source: &'static str,
    note: String,
}

impl Study {
    pub(super) fn new(report: &SimulationReport) -> Self {
        let (mode, mode_mood) = match report.mode {
            SimulationMode::Exact => ("exact", "plain"),
            SimulationMode::Fast => ("fast: approximate", "warn"),
        };
        let notes = answer::rests_on(report).into_iter().chain(report.warnings.iter().cloned());
        Self {
            title: format!("Simulation of {} in {}", report.project, report.env),
            project: report.project.to_string(),
            env: report.env.to_string(),
            answer: kept(&answer::sentence(report)),
            method: answer::method(report),
            mode,
            mode_mood,
            facts: facts(report),
            notes: notes.take(ROWS_MAX).map(|note| sanitize(&note)).collect(),
            stories: report.stories.iter().take(ROWS_MAX).map(story_card).collect(),
            spreads: spreads(report),
            distributions: Distribution::all(report),
            found: report.stories.iter().take(ROWS_MAX).filter_map(found_bar).collect(),
            waves: waves(report),
            bottlenecks: report.stories.iter().take(ROWS_MAX).filter_map(bottlenecks).collect(),
            pareto: report.pareto.as_ref().and_then(ParetoPlot::new),
            compare: report.compare.as_ref().map(compare),
            assumptions: assumptions(&report.assumptions),
            fleet: fleet(&report.fleet),
            script: Script::spread(),
        }
    }
}

/// A text from outside whose numbers stay together with their signs when a line breaks.
fn kept(text: &str) -> String {
    sanitize(text).replace(" %", "\u{a0}%")
}

fn facts(report: &SimulationReport) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |label, value: Option<String>| {
        facts.extend(value.map(|value| Fact { label, value: sanitize(&value) }));
    };
    add("Version", report.version.clone());
    add("Policy", report.policy.clone());
    add("Fleet", Some(count_of(report.fleet.units, "unit", "units")));
    add("Method", Some(answer::method(report)));
    add("Plan", report.plan_hash.as_ref().map(vice_core::Digest::short));
    facts
}

fn story_card(story: &Story) -> StoryCard {
    let all = story.outcomes.iter().map(|end| end.runs).sum::<u64>();
    let ends = story.outcomes.iter().map(|end| {
        let (mood, word) = answer::end(end.end, story.kind);
        (mood.name(), end.runs as f64 / all.max(1) as f64, word.to_owned())
    });
    let (big, big_words) = match (story.kind, &story.found) {
        (StoryKind::Unhealthy, Some(found)) => {
            (percent(1.0 - found.never.value), "of the runs find the bug before it is everywhere")
        }
        _ => (time_of(story.total_ms.p50, story.unfinished.as_ref()), "from start to end, in the median"),
    };
    let fact = |(label, value): (&'static str, String)| Fact { label, value: kept(&value) };
    StoryCard {
        class: story_class(story.kind),
        name: sanitize(&story.name),
        about: story.about.as_deref().map(sanitize),
        big,
        big_words,
        ends: parts(ends.collect()),
        figures: answer::figures(story).into_iter().map(fact).collect(),
    }
}

/// Parts of a whole as pieces of a bar of width 1000; labels where there is room.
fn parts(shares: Vec<(&'static str, f64, String)>) -> Vec<Part> {
    let mut x = 0.0;
    let mut parts = Vec::with_capacity(shares.len());
    for (class, share, words) in shares {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        let w = (share * 1000.0).min(1000.0 - x);
        let label = percent(share);
        parts.push(Part {
            class,
            x: px(x),
            w: px(if w > 0.0 { w.max(2.0) } else { 0.0 }),
            text: format!("{label} {words}"),
            label: if w > 64.0 { label } else { String::new() },
            label_x: px(x + w / 2.0),
        });
        x += w;
    }
    parts
}

fn spreads(report: &SimulationReport) -> Vec<NamedSpread> {
    let drawn = report.stories.iter().filter_map(|story| Some((story, story.propagation.as_ref()?)));
    let drawn = drawn.filter(|(_, propagation)| !propagation.rows.is_empty()).take(4);
    let one = |(index, (story, propagation)): (usize, (&Story, &vice_core::payload::propagation::Propagation))| {
        let run = propagation.run.map_or_else(|| "One run".to_owned(), |run| format!("Run {}", whole(run)));
        NamedSpread {
            title: sanitize(&format!("How it spreads: {}", story.name)),
            about: format!(
                "{run} of {}, near the median. Each row is a part of the fleet, filled by the mix of its units.",
                whole(report.runs)
            ),
            spread: Spread::new(propagation, index),
        }
    };
    drawn.enumerate().map(one).collect()
}

fn found_bar(story: &Story) -> Option<FoundBar> {
    let found: &Found = story.found.as_ref()?;
    let classes = ["early", "mid", "late", "never"];
    let shares = answer::parts(found).into_iter().zip(classes);
    let shares = shares.map(|((words, share), class)| (class, share, words.to_owned())).collect();
    let before = found.before.iter().take(ROWS_MAX).map(|before| Fact2 {
        label: format!("before {} of the fleet", percent(before.fleet_share)),
        value: shown(&before.probability),
    });
    Some(FoundBar { name: sanitize(&story.name), parts: parts(shares), before: before.collect() })
}

fn shown(probability: &Probability) -> String {
    answer::probability(probability)
}

fn waves(report: &SimulationReport) -> Option<Waves> {
    let healthy = answer::story(report, StoryKind::Healthy).or(report.stories.first())?;
    let unhealthy = answer::story(report, StoryKind::Unhealthy).filter(|story| story.name != healthy.name);
    if healthy.waves.is_empty() {
        return None;
    }
    let longest = healthy.waves.iter().map(|wave| wave.end_ms.p95).filter(|end| end.is_finite()).fold(1.0, f64::max);
    let scale = Interval::axis(longest);
    let units = report.fleet.units.max(1) as f64;
    let row = |wave: &WaveFigures| {
        let bad = unhealthy.and_then(|story| story.waves.iter().find(|bad| bad.wave == wave.wave));
        let unfound = report.unfound_after(wave.wave);
        let [begins, ends, early, late] = answer::wave_times(wave, healthy.unfinished.as_ref());
        let name = wave.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        WaveRow {
            wave: sanitize(&format!("{}{name}", wave.wave)),
            units: whole(wave.units),
            after: percent(wave.units_after as f64 / units),
            share: wave.share.map_or_else(|| NONE.to_owned(), percent),
            begins,
            ends: if ends == NONE { ends } else { format!("{ends} ({early} to {late})") },
            interval: Interval::wave(&scale, &wave.start_ms, &wave.end_ms),
            unfound: unfound.map_or_else(|| NONE.to_owned(), percent),
            unfound_w: px(unfound.filter(|p| p.is_finite()).unwrap_or(0.0).clamp(0.0, 1.0) * 80.0),
            reached: bad.map_or_else(|| NONE.to_owned(), |bad| percent(bad.reached)),
        }
    };
    let hidden = healthy.waves.len().saturating_sub(WAVES_MAX);
    Some(Waves {
        rows: healthy.waves.iter().take(WAVES_MAX).map(row).collect(),
        has_bug: healthy.waves.iter().any(|wave| report.unfound_after(wave.wave).is_some()),
        has_share: healthy.waves.iter().any(|wave| wave.share.is_some()),
        hidden: (hidden > 0).then(|| format!("… and {} more waves, in the JSON.", whole(hidden as u64))),
        scale_end: duration(longest),
    })
}

fn bottlenecks(story: &Story) -> Option<Bottlenecks> {
    if story.bottlenecks.is_empty() {
        return None;
    }
    let row = |one: &Bottleneck| BottleneckRow {
        constraint: sanitize(&one.constraint),
        share: percent(one.waited_share),
        w: px(if one.waited_share.is_finite() { one.waited_share.clamp(0.0, 1.0) * 300.0 } else { 0.0 }),
        waited: one.waited_ms.map_or_else(|| NONE.to_owned(), |waited| format!("{} a unit", duration(waited))),
    };
    let rows = story.bottlenecks.iter().take(12).map(row).collect();
    Some(Bottlenecks { name: sanitize(&story.name), class: story_class(story.kind), rows })
}

fn compare(compared: &PolicyComparison) -> Compare {
    let row = |row: &vice_core::payload::simulation::ComparedFigure| {
        let shown = |value| named(&row.figure, value);
        CompareRow {
            story: sanitize(&row.story),
            figure: sanitize(&title(&row.figure)),
            a: shown(row.a),
            b: shown(row.b),
            difference: format!("{} ({} to {})", shown(row.difference), shown(row.lo), shown(row.hi)),
            interval: Interval::difference(row),
            says: match (clear(row), row.difference < 0.0) {
                (false, _) => "no clear difference",
                (true, true) => "B is lower",
                (true, false) => "B is higher",
            },
            mood: if clear(row) { "plain" } else { "warn" },
        }
    };
    Compare {
        a: sanitize(&compared.a),
        b: sanitize(&compared.b),
        runs: count_of(compared.runs, "pair of runs", "pairs of runs"),
        level: percent(compared.level),
        rows: compared.rows.iter().take(ROWS_MAX).map(row).collect(),
    }
}

/// What is assumed comes first: it is what a reader must know.
fn assumptions(all: &[Assumption]) -> Vec<Assumed> {
    let mut sorted: Vec<&Assumption> = all.iter().collect();
    sorted.sort_by_key(|one| one.source != AssumptionSource::Assumed);
    let row = |one: &&Assumption| {
        let (mood, source) = answer::source(one.source);
        let note = one.note.as_deref().map(sanitize).unwrap_or_default();
        Assumed { key: sanitize(&one.key), value: sanitize(&one.value), mood: mood.name(), source, note }
    };
    sorted.iter().take(ROWS_MAX).map(row).collect()
}

fn fleet(fleet: &Fleet) -> Vec<Fact> {
    let mut facts = vec![Fact { label: "Units", value: whole(fleet.units) }];
    let mut add = |label, value: String| {
        if !value.is_empty() {
            facts.push(Fact { label, value: sanitize(&value) });
        }
    };
    let at = |level: usize| fleet.nodes.iter().filter(|node| usize::from(node.level) == level).count();
    let level = |(index, name): (usize, &String)| match at(index) {
        0 => name.clone(),
        nodes => format!("{name} ({nodes})"),
    };
    add("Levels", fleet.levels.iter().enumerate().map(level).collect::<Vec<_>>().join(" › "));
    let list = |all: &[vice_core::payload::simulation::Named]| {
        let shown = all.iter().take(20).map(|one| format!("{}: {}", one.name, whole(one.units)));
        let more = (all.len() > 20).then(|| format!("… and {} more", all.len() - 20));
        shown.chain(more).collect::<Vec<_>>().join(", ")
    };
    add("Classes", list(&fleet.classes));
    add("Domains", list(&fleet.domains));
    add("Drawn", fleet.aggregated.clone().unwrap_or_default());
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_whole_never_leave_the_bar() {
        let shares = vec![("good", 0.7, String::new()), ("bad", 0.9, String::new()), ("warn", f64::NAN, String::new())];
        let parts = parts(shares);
        let end = |part: &Part| part.x.parse::<f64>().unwrap() + part.w.parse::<f64>().unwrap();
        assert!(parts.iter().all(|part| end(part) <= 1000.5), "{parts:?}");
    }
}
