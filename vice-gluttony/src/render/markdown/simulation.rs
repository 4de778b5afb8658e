//! A simulation as Markdown: what fits into a comment of a merge request.

use vice_core::payload::simulation::{AssumptionSource, SimulationReport, StoryKind, WaveFigures};

use super::{Page, code, escape};
use crate::view::answer;
use crate::view::figure::{NONE, duration, named, number, percent, time_of, title, whole};

/// Rows of any table.
const ROWS_MAX: usize = 30;

/// The simulation.
#[must_use]
pub fn simulation(report: &SimulationReport) -> String {
    let mut page = Page(String::new());
    page.line(format!("# {} in {}: simulated\n", report.project, report.env));
    page.line(format!("{}\n", escape(&answer::sentence(report))));
    page.line(format!("*{}.*", escape(&answer::method(report))));
    for note in answer::rests_on(report).iter().chain(report.warnings.iter().take(ROWS_MAX)) {
        page.line(format!("\n> {}", escape(note)));
    }
    for story in report.stories.iter().take(ROWS_MAX) {
        page.heading(&escape(&story.name));
        let all = story.outcomes.iter().map(|end| end.runs).sum::<u64>().max(1) as f64;
        let ends = story.outcomes.iter().filter(|end| end.runs > 0).map(|end| {
            let words = answer::end(end.end, story.kind).1;
            vec!["outcome".to_owned(), format!("{} {words}", percent(end.runs as f64 / all))]
        });
        let figures = answer::figures(story).into_iter().map(|(label, value)| vec![label.to_owned(), escape(&value)]);
        page.table(&["", ""], ends.chain(figures).collect::<Vec<_>>());
    }
    waves(&mut page, report);
    front(&mut page, report);
    compare(&mut page, report);
    assumed(&mut page, report);
    page.0
}

fn waves(page: &mut Page, report: &SimulationReport) {
    let Some(healthy) = answer::story(report, StoryKind::Healthy).filter(|story| !story.waves.is_empty()) else {
        return;
    };
    let units = report.fleet.units.max(1) as f64;
    let row = |wave: &WaveFigures| {
        let unfound = report.unfound_after(wave.wave).map_or_else(|| NONE.to_owned(), percent);
        let after = percent(wave.units_after as f64 / units);
        let [begins, ends, _, late] = answer::wave_times(wave, healthy.unfinished.as_ref());
        vec![wave.wave.to_string(), whole(wave.units), after, begins, ends, late, unfound]
    };
    page.heading("Waves");
    let titles = ["Wave", "Units", "Fleet after", "Begins", "Ends", "95 %", "Bug unfound after it"];
    page.table(&titles, healthy.waves.iter().take(ROWS_MAX).map(row));
    if healthy.waves.len() > ROWS_MAX {
        page.line(format!("\n… and {} more.", healthy.waves.len() - ROWS_MAX));
    }
}

fn front(page: &mut Page, report: &SimulationReport) {
    let Some(pareto) = &report.pareto else { return };
    let unfinished = answer::story(report, StoryKind::Healthy).and_then(|story| story.unfinished.as_ref());
    page.heading("Time against impact");
    let marked = [(&pareto.best, "least whole cost"), (&pareto.current, "this plan")];
    let marked = marked.into_iter().filter_map(|(point, word)| Some((point.as_ref()?, word)));
    let efficient = pareto.points.iter().filter(|point| point.efficient).take(ROWS_MAX).map(|point| (point, ""));
    let row = |(point, word): (&vice_core::payload::simulation::ParetoPoint, &str)| {
        let policy = format!("x{}, bake {}", number(point.growth), duration(point.bake_ms));
        let figures = [time_of(point.time_ms, unfinished), number(point.impact), number(point.impact_p99)];
        [policy].into_iter().chain(figures).chain([word.to_owned()]).collect()
    };
    page.table(&["Policy", "Time", "Mean impact", "99 %", ""], marked.chain(efficient).map(row));
}

fn compare(page: &mut Page, report: &SimulationReport) {
    let Some(compared) = &report.compare else { return };
    page.heading("Two policies on the same random numbers");
    page.line(format!("A: {}, B: {}\n", escape(&compared.a), escape(&compared.b)));
    let row = |row: &vice_core::payload::simulation::ComparedFigure| {
        let shown = |value| named(&row.figure, value);
        let difference = format!("{} ({} to {})", shown(row.difference), shown(row.lo), shown(row.hi));
        vec![escape(&row.story), escape(&title(&row.figure)), shown(row.a), shown(row.b), difference]
    };
    page.table(&["Story", "Figure", "A", "B", "B - A"], compared.rows.iter().take(ROWS_MAX).map(row));
}

fn assumed(page: &mut Page, report: &SimulationReport) {
    let assumed = report.assumptions.iter().filter(|one| one.source == AssumptionSource::Assumed);
    let rows: Vec<Vec<String>> = assumed.take(ROWS_MAX).map(|one| vec![code(&one.key), code(&one.value)]).collect();
    if !rows.is_empty() {
        page.heading("Assumed");
        page.table(&["Input", "Value"], rows);
    }
}
