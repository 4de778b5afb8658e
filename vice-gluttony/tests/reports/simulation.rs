//! Simulations as pictures.

use std::path::Path;

use unicode_width::UnicodeWidthStr;
use vice_core::payload::simulation::{
    EndCount, Probability, SimulatedEnd, SimulationReport, Story, Unfinished, Waited,
};
use vice_core::port::painter::{Painter, PictureFormat};
use vice_gluttony::Gluttony;

use crate::dom;
use crate::golden::{compare, plain};
use crate::study::{HUGE, LARGE, SMALL, study};

pub(crate) fn page(report: &SimulationReport) -> String {
    Gluttony.simulation(report, PictureFormat::Html).unwrap()
}

#[test]
fn pages_of_every_size_are_strict_and_small() {
    for (name, shape) in [("small", SMALL), ("large", LARGE), ("huge", HUGE)] {
        let page = page(&study(shape));
        let dom = dom::read(&page);
        assert!(dom.text.contains("A healthy release takes"), "{name}");
        assert!(page.len() < 1_500_000, "{name} has {} bytes", page.len());
        if let Ok(keep) = std::env::var("VICE_LAB_KEEP") {
            std::fs::write(Path::new(&keep).join(format!("simulation-{name}.html")), &page).unwrap();
        }
    }
}

#[test]
fn the_terminal_keeps_its_width_and_reads_without_colour() {
    let report = study(LARGE);
    for width in [40, 60, 80, 100, 240] {
        let text = plain(&Gluttony.simulation(&report, PictureFormat::Text { width }).unwrap());
        for line in text.lines() {
            assert!(line.width() <= width.clamp(60, 100), "{width}: {} columns: {line}", line.width());
            assert_eq!(line, line.trim_end(), "spaces at the end of a line");
        }
        if width == 100 {
            compare("simulation.txt", &text);
        }
    }
}

#[test]
fn markdown_says_the_same() {
    compare("simulation.md", &Gluttony.simulation(&study(SMALL), PictureFormat::Markdown).unwrap());
}

fn sentence(report: &SimulationReport) -> String {
    let markdown = Gluttony.simulation(report, PictureFormat::Markdown).unwrap();
    markdown.lines().find(|line| line.starts_with(char::is_uppercase)).unwrap().replace('\\', "")
}

const CUT_OFF: f64 = 180.0 * 86_400_000.0;

fn unfinished(runs: u64) -> Unfinished {
    let waits = vec![Waited { what: "the bake of wave 1".into(), runs }];
    Unfinished { runs, of: 200, after_ms: CUT_OFF, waits }
}

#[test]
fn what_is_not_over_is_never_told_as_a_short_time() {
    let mut report = study(SMALL);
    let story = &mut report.stories[0];
    story.false_rollback = Some(Probability::default());
    story.total_ms.p95 = CUT_OFF;
    story.unfinished = Some(unfinished(20));
    let some = sentence(&report);
    assert!(some.contains("in the median and was never rolled back by mistake, but is not over after 180 days in 10 % of the runs, waiting for the bake of wave 1"), "{some}");
    let page = plain(&Gluttony.simulation(&report, PictureFormat::Text { width: 100 }).unwrap());
    assert!(page.contains("20 of 200 runs after 180 days") && page.contains("more than 180 days"), "{page}");
    let story = &mut report.stories[0];
    (story.total_ms.p5, story.total_ms.p50) = (CUT_OFF, CUT_OFF);
    story.unfinished = Some(unfinished(200));
    let all = sentence(&report);
    assert!(all.starts_with("A healthy release is not over after 180 days in 100 % of the runs, waiting for"), "{all}");
    assert!(!all.contains("healthy release takes") && !all.contains("never rolled back"), "{all}");
}

#[test]
fn several_bugs_count_as_they_are_likely() {
    let mut report = study(SMALL);
    let mut rare = report.stories[1].clone();
    report.stories[1].probability = Some(0.09);
    (rare.name, rare.probability) = ("rare".into(), Some(0.01));
    let set = |story: &mut Story, early: f64, unfound: f64| {
        let found = story.found.as_mut().unwrap();
        found.before.iter_mut().for_each(|before| before.probability.value = early);
        found.never.value = unfound;
        story.outcomes = vec![EndCount { end: SimulatedEnd::Completed, runs: 200 }];
        story.waves[0].p_unfound_after = Some(unfound);
    };
    set(&mut report.stories[1], 1.0, 0.0);
    set(&mut rare, 0.0, 1.0);
    // The first in the file is not the one that is spoken of.
    report.stories.insert(1, rare);
    let said = sentence(&report);
    assert!(
        said.contains("with one of 2 bugs as likely as each is, is found before 10 % of the fleet has it in 90 %"),
        "{said}"
    );
    assert!(said.contains("reaches every unit unfound in 10 %"), "{said}");
    assert!((report.forecast().unwrap().waves[0].p_unfound_after.unwrap() - 0.1).abs() < 1e-9);
}

#[test]
fn a_fleet_of_nothing_is_said_to_be_one() {
    let mut report = study(SMALL);
    (report.fleet.units, report.stories) = (0, Vec::new());
    assert_eq!(sentence(&report), "The fleet has no units, so that there is nothing to roll out.");
    for format in [PictureFormat::Html, PictureFormat::Text { width: 80 }] {
        Gluttony.simulation(&report, format).unwrap();
    }
}
