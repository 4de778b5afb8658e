//! Simulations as pictures.

use std::path::Path;

use unicode_width::UnicodeWidthStr;
use vice_core::payload::simulation::SimulationReport;
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
