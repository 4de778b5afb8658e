//! A simulation for the terminal: the answer, small charts of block characters, tables. No colour says anything alone.

use vice_core::payload::simulation::{
    Assumption, AssumptionSource, Bottleneck, Histogram, Pareto, PolicyComparison, SimulationReport, Story, StoryKind,
    Unfinished, WaveFigures,
};
use vice_core::text::{Table, Tone, paint, sanitize};

use super::spread::spread;
use super::{cut, fact, heading, item, pad, tone, wrap};
use crate::view::answer;
use crate::view::figure::{NONE, duration, named, number, percent, time_of, title as titled, whole};

/// Rows of any list; the page has all of them.
const ROWS_MAX: usize = 12;

/// The simulation for a terminal of this width.
#[must_use]
pub fn simulation(report: &SimulationReport, width: usize) -> String {
    let width = super::width(width);
    let mut out = title(report, width);
    for one in report.stories.iter().take(ROWS_MAX) {
        story(&mut out, one, width);
    }
    for one in report.stories.iter().take(2) {
        if let Some(drawn) = one.propagation.as_ref().filter(|drawn| !drawn.rows.is_empty()) {
            heading(&mut out, &sanitize(&format!("How it spreads: {}", one.name)));
            out.push_str(&spread(drawn, width));
        }
    }
    waves(&mut out, report, width);
    bottlenecks(&mut out, report, width);
    if let Some(pareto) = &report.pareto {
        let healthy = answer::story(report, StoryKind::Healthy);
        front(&mut out, pareto, healthy.and_then(|story| story.unfinished.as_ref()), width);
    }
    if let Some(compared) = &report.compare {
        compare(&mut out, compared, width);
    }
    rests_on(&mut out, report, width);
    let trimmed: Vec<&str> = out.lines().map(str::trim_end).collect();
    trimmed.join("\n") + "\n"
}

fn title(report: &SimulationReport, width: usize) -> String {
    let name = paint(Tone::Strong, format!("{} in {}", report.project, report.env));
    let mut out = format!("{name} · simulated\n");
    for line in wrap(&answer::sentence(report), width) {
        out.push_str(&line);
        out.push('\n');
    }
    out.push('\n');
    if let Some(policy) = &report.policy {
        fact(&mut out, "policy", Tone::Plain, policy, width);
    }
    fact(&mut out, "fleet", Tone::Plain, &answer::count_of(report.fleet.units, "unit", "units"), width);
    fact(&mut out, "method", Tone::Plain, &answer::method(report), width);
    for note in answer::rests_on(report).iter().chain(report.warnings.iter().take(ROWS_MAX)) {
        fact(&mut out, "note", Tone::Warn, note, width);
    }
    out
}

fn story(out: &mut String, story: &Story, width: usize) {
    let about = story.about.as_ref().map(|about| format!(": {about}")).unwrap_or_default();
    heading(out, &cut(&sanitize(&format!("{}{about}", capital(&story.name))), width));
    for (label, value) in answer::figures(story) {
        fact(out, brief(label), Tone::Plain, &value, width);
    }
    if let Some(line) = story.total_ms_histogram.as_ref().and_then(|histogram| sparkline(histogram, duration)) {
        fact(out, "times", Tone::Plain, &line, width);
    }
    let hours = |value: f64| format!("{} h", number(value));
    if let Some(line) = story.exposure_server_hours_histogram.as_ref().and_then(|found| sparkline(found, hours)) {
        fact(out, "exposures", Tone::Plain, &line, width);
    }
    let all = story.outcomes.iter().map(|end| end.runs).sum::<u64>().max(1) as f64;
    for (index, end) in story.outcomes.iter().filter(|end| end.runs > 0).take(ROWS_MAX).enumerate() {
        let (mood, word) = answer::end(end.end, story.kind);
        let share = end.runs as f64 / all;
        fact(
            out,
            if index == 0 { "ends" } else { "" },
            tone(mood),
            &format!("{} {} {word}", bar(share, 20), percent(share)),
            width,
        );
    }
    if let Some(found) = &story.found {
        out.push('\n');
        for (index, (words, share)) in answer::parts(found).into_iter().enumerate() {
            fact(
                out,
                if index == 0 { "found" } else { "" },
                Tone::Plain,
                &format!("{} {} {words}", bar(share, 20), percent(share)),
                width,
            );
        }
    }
}

/// The labels that are too long for the column.
fn brief(label: &str) -> &str {
    match label {
        "total time" => "total",
        "lower bound" => "at least",
        "false rollback" => "by mistake",
        "found after" => "found",
        "found before" => "before",
        "not found" => "unfound",
        other => other,
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A share as a bar of so many places, the rest of it dotted: a row of spaces would not survive being wrapped.
fn bar(share: f64, places: usize) -> String {
    const PARTS: [char; 8] = ['·', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * places as f64 * 8.0).round() as usize;
    let (full, part) = (eighths / 8, eighths % 8);
    let mut out = "█".repeat(full);
    if full < places {
        out.push(PARTS[part]);
    }
    let missing = places.saturating_sub(full + 1);
    out + &"·".repeat(missing)
}

/// A histogram in one line between its edges.
fn sparkline(histogram: &Histogram, shown: fn(f64) -> String) -> Option<String> {
    const PLACES: usize = 40;
    const LEVELS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (first, last) = histogram.edges.first().zip(histogram.edges.last())?;
    let size = histogram.counts.len().div_ceil(PLACES).max(1);
    let sums: Vec<u64> = histogram.counts.chunks(size).map(|chunk| chunk.iter().sum()).collect();
    let most = sums.iter().copied().max().filter(|most| *most > 0)?;
    let level = |sum: &u64| LEVELS[(u128::from(*sum) * 8).div_ceil(u128::from(most)).min(8) as usize];
    Some(format!("{} {} {}", shown(*first), sums.iter().map(level).collect::<String>(), shown(*last)))
}

fn waves(out: &mut String, report: &SimulationReport, width: usize) {
    let Some(healthy) = answer::story(report, StoryKind::Healthy).or(report.stories.first()) else { return };
    if healthy.waves.is_empty() {
        return;
    }
    heading(out, "Waves");
    let places = if width < 80 { 0 } else { 10 };
    let mut table = Table::with_heading(&["  wave", "units", "of fleet", "begins", "ends", "95 %", "unfound"]);
    let units = report.fleet.units.max(1) as f64;
    let mut row = |wave: &WaveFigures| {
        let unfound = report.unfound_after(wave.wave);
        let [begins, ends, _, late] = answer::wave_times(wave, healthy.unfinished.as_ref());
        table.row([
            (Tone::Plain, format!("  {}", wave.wave)),
            (Tone::Plain, whole(wave.units)),
            (Tone::Plain, percent(wave.units_after as f64 / units)),
            (Tone::Plain, begins),
            (Tone::Plain, ends),
            (Tone::Faint, late),
            (Tone::Plain, unfound.map_or_else(|| NONE.to_owned(), |p| format!("{} {}", bar(p, places), percent(p)))),
        ]);
    };
    // The first waves are the interesting ones; the last one is where it ends.
    let shown = healthy.waves.len().min(ROWS_MAX);
    healthy.waves.iter().take(shown).for_each(&mut row);
    let hidden = healthy.waves.len() - shown;
    if let Some(last) = healthy.waves.last().filter(|_| hidden > 0) {
        row(last);
    }
    out.push_str(&table.render());
    if hidden > 1 {
        out.push_str(&paint(Tone::Faint, format!("  … and {} waves between\n", whole(hidden as u64 - 1))));
    }
}

fn bottlenecks(out: &mut String, report: &SimulationReport, width: usize) {
    for story in report.stories.iter().filter(|story| !story.bottlenecks.is_empty()).take(2) {
        heading(out, &cut(&sanitize(&format!("What it waits for: {}", story.name)), width));
        let mut table = Table::default();
        let row = |one: &Bottleneck| {
            [
                (Tone::Plain, format!("  {}", cut(&sanitize(&one.constraint), width.saturating_sub(46)))),
                (Tone::Plain, bar(one.waited_share, 16)),
                (Tone::Plain, percent(one.waited_share)),
                (Tone::Faint, one.waited_ms.map(|ms| format!("{} a unit", duration(ms))).unwrap_or_default()),
            ]
        };
        story.bottlenecks.iter().take(6).map(row).for_each(|row| table.row(row));
        out.push_str(&table.render());
    }
}

fn front(out: &mut String, pareto: &Pareto, unfinished: Option<&Unfinished>, width: usize) {
    let unit = sanitize(pareto.impact_unit.as_deref().unwrap_or("impact"));
    heading(out, &cut(&format!("Time against impact in {unit}"), width));
    let mut table = Table::with_heading(&["  policy", "time", "mean", "99 %", ""]);
    let mut points: Vec<_> = pareto.points.iter().filter(|point| point.efficient).collect();
    points.sort_by(|one, two| one.time_ms.total_cmp(&two.time_ms));
    // Of a long front every so-manieth point says as much.
    let every = points.len().div_ceil(ROWS_MAX).max(1);
    let thinned = points.iter().step_by(every).map(|point| (**point, ""));
    let marked = [(pareto.best, "★ least cost"), (pareto.current, "◯ this plan")];
    let marked = marked.into_iter().filter_map(|(point, word)| Some((point?, word)));
    for (point, word) in thinned.chain(marked) {
        let policy = format!("  x{}, bake {}", number(point.growth), duration(point.bake_ms));
        table.row([
            (Tone::Plain, policy),
            (Tone::Plain, time_of(point.time_ms, unfinished)),
            (Tone::Plain, number(point.impact)),
            (Tone::Faint, number(point.impact_p99)),
            (Tone::Strong, word.to_owned()),
        ]);
    }
    out.push_str(&table.render());
    if let Some(law) = &pareto.square_root_law {
        let time = law.time_ms.map_or_else(String::new, |time| format!(", {} in all", duration(time)));
        let text = format!(
            "The square-root law puts the best ramp at e^({} t), t in hours{time}.",
            number(law.growth_per_hour)
        );
        item(out, "  ▲", Tone::Plain, &text, width);
    }
}

fn compare(out: &mut String, compared: &PolicyComparison, width: usize) {
    heading(out, "Two policies on the same random numbers");
    fact(out, "A", Tone::Plain, &compared.a, width);
    fact(out, "B", Tone::Plain, &compared.b, width);
    // The interval is what a narrow terminal can do without: its ends only say how clear the difference is.
    let wide = width >= 92;
    let titles = ["  story", "figure", "A", "B", "B - A", "interval", ""];
    let mut table = Table::with_heading(if wide { &titles } else { &titles[..5] });
    for row in compared.rows.iter().take(4 * ROWS_MAX) {
        let shown = |value| named(&row.figure, value);
        let clear = row.lo > 0.0 || row.hi < 0.0;
        let mut cells = vec![
            (Tone::Plain, format!("  {}", cut(&sanitize(&row.story), 10))),
            (Tone::Plain, cut(&sanitize(&titled(&row.figure)), if wide { 22 } else { 14 })),
            (Tone::Plain, shown(row.a)),
            (Tone::Plain, shown(row.b)),
            (if clear { Tone::Strong } else { Tone::Plain }, shown(row.difference)),
        ];
        if wide {
            cells.push((Tone::Faint, format!("{} to {}", shown(row.lo), shown(row.hi))));
            cells.push((Tone::Faint, if clear { "" } else { "unclear" }.to_owned()));
        }
        table.row(cells);
    }
    out.push_str(&table.render());
}

fn rests_on(out: &mut String, report: &SimulationReport, width: usize) {
    if report.assumptions.is_empty() {
        return;
    }
    heading(out, "What the figures rest on");
    let mut sorted: Vec<&Assumption> = report.assumptions.iter().collect();
    sorted.sort_by_key(|one| one.source != AssumptionSource::Assumed);
    let mut table = Table::default();
    for one in sorted.iter().take(2 * ROWS_MAX) {
        let (mood, word) = answer::source(one.source);
        table.row([
            (tone(mood), format!("  {}", pad(word, 8))),
            (Tone::Plain, cut(&sanitize(&one.key), width / 2 - 12)),
            (Tone::Faint, cut(&sanitize(&one.value), width / 2 - 8)),
        ]);
    }
    out.push_str(&table.render());
    let hidden = sorted.len().saturating_sub(2 * ROWS_MAX);
    if hidden > 0 {
        out.push_str(&paint(Tone::Faint, format!("  … and {hidden} more\n")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_their_width_whatever_the_share() {
        for share in [0.0, 0.001, 0.03, 0.5, 0.999, 1.0, 7.0, -1.0, f64::NAN] {
            assert_eq!(bar(share, 10).chars().count(), 10, "{share}");
        }
        assert_eq!([bar(0.0, 4), bar(0.5, 4), bar(1.0, 4)], ["····", "██··", "████"]);
    }

    #[test]
    fn a_sparkline_shows_what_is_there() {
        let histogram = Histogram { edges: vec![0.0, 1.0, 2.0, 3.0], counts: vec![0, 1, 100] };
        assert_eq!(sparkline(&histogram, number).unwrap(), "0 ·▁█ 3");
        assert_eq!(sparkline(&Histogram::default(), number), None);
    }
}
